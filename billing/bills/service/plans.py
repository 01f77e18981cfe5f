"""
Debts in instalments: propose, approve, sign, take back by two people, tell.

A signed plan takes its debt out of the receivables (and a prepaid account's debt out of its
balance) into an account of its own; `plan_turns` brings its shares back as due lines. Locks are
taken as payments take them: ledger account, state, supply.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from billing.bills.rules import plans as rules
from billing.bills.rules.plans import Parts, PlanEvent, PlanRefusal, PlanState, Share, Terms
from billing.bills.service.accounts import card_of, zone_of
from billing.bills.service.plan_turns import end_plan, look, note, plan_of
from billing.bills.store import plans as store
from billing.bills.store.plans import DebtEvent, Instalment, NewPlan, Plan
from billing.customers import service as customers
from billing.customers.model import CustomerCard
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Event
from billing.money import Rounding, RoundMode, round_ratio
from billing.prepaid import service as prepaid
from billing.prepaid.model import Refusal as NoBalance
from cloud.control import service as control
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import local_date

RULES = rules.parse((Path(__file__).parents[1] / "plan_rules.json").read_text(encoding="utf-8"))
"""Terms by class of customer and currency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of an account's debt; `kinds` are the receivables it takes over."""

    account: str
    first_micros: int
    instalments: int
    kinds: frozenset[AccountKind]
    reason: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPage:
    """A plan with its shares: as they would be, until it is signed. *Units*: micros."""

    plan: Plan
    shares: Sequence[Share]
    paid_micros: int
    left_micros: int
    next_due: Share | None
    """The oldest share that is not paid in full."""


ALL_KINDS = frozenset(
    {AccountKind.AR_ENERGY, AccountKind.AR_PENALTY, AccountKind.AR_CONNECTION,
     AccountKind.CUSTOMER}
)  # fmt: skip


def propose(db: Database, wish: Wish, *, now: datetime) -> Plan:
    """
    Propose to share what an account owes today; up to the terms' sum it is approved at once.

    Raises: RefusedError `plan.reason_missing`, `plan.no_debt`, `plan.terms_unfit`,
    `plan.open_already`, `customers.agreement_unknown`.
    """
    if not wish.reason.strip():
        raise RefusedError(PlanRefusal.REASON, "a plan needs a reason", fix="say why")
    with db.transaction() as conn:
        card = card_of(conn, wish.account)
        terms = terms_for(card)
        parts = _debt(conn, card, wish.kinds, now=now)
        rules.check_terms(parts.total, wish.first_micros, wish.instalments, terms)
        two = parts.total > terms.two_people_micros
        plan = NewPlan(
            account=card.account, agreement=card.agreement, usage_point=card.usage_point,
            currency=card.currency, zone=zone_of(conn, card), parts=parts,
            first_micros=wish.first_micros, instalments=wish.instalments, terms=terms,
            two_people=two, reason=wish.reason.strip(), proposed_by=wish.actor, proposed_at=now,
        )  # fmt: skip
        number = store.insert_plan(conn, plan, PlanState.PROPOSED if two else PlanState.APPROVED)
        if number is None:
            raise RefusedError(
                PlanRefusal.OPEN, f"account {card.account} has an open plan",
                fix="withdraw it, or wait until it ends",
            )  # fmt: skip
        found = plan_of(conn, number)
        note(conn, found, "proposed", actor=wish.actor, now=now, reason=found.reason)
        return found


def decide(
    db: Database, number: int, event: PlanEvent, *, actor: str, reason: str = "", now: datetime
) -> Plan:
    """
    Approve or refuse a plan as the second person, or withdraw it.

    Raises: RefusedError `plan.unknown`, `plan.state`, `plan.same_person`.
    """
    with db.transaction() as conn:
        plan = plan_of(conn, number)
        state = rules.moved(plan.state, event, number)
        if event is not PlanEvent.WITHDRAW and actor in ("", plan.proposed_by):
            raise RefusedError(
                PlanRefusal.PERSON, f"{actor or 'nobody'} cannot {event} plan {number} alone",
                fix="let another person decide",
            )  # fmt: skip
        if event is PlanEvent.WITHDRAW:
            store.end(conn, number, state, actor=actor, now=now)
        else:
            store.decide(conn, number, state, actor=actor, now=now)
        note(conn, plan, state.value, actor=actor, now=now, reason=reason)
        return plan_of(conn, number)


def sign(db: Database, number: int, *, actor: str, ref: str = "", now: datetime) -> Plan:
    """
    Take the debt over: the customer has agreed, at a page or on the paper that `ref` names.

    What the account owes now is shared anew, the first share as agreed; a cut that was on its way
    is void. Raises: RefusedError `plan.state`, `plan.debt_changed`, `plan.no_debt`.
    """
    with db.transaction() as conn:
        plan = plan_of(conn, number)
        rules.moved(plan.state, PlanEvent.SIGN, number)
        card = card_of(conn, plan.account)
        ledger.owed(conn, plan.account, lock=True)
        parts = _debt(conn, card, _kinds_of(plan.parts), now=now)
        if rules.drifted(plan.parts.total, parts.total, plan.terms):
            raise RefusedError(
                PlanRefusal.CHANGED,
                f"plan {number} was of {plan.parts.total} micros, {parts.total} are owed now",
                fix="withdraw it and propose another",
            )  # fmt: skip
        rules.check_terms(parts.total, plan.first_micros, plan.instalments, plan.terms)
        today = local_date(now, ZoneInfo(plan.zone))
        shares = rules.schedule(
            parts.total, plan.first_micros, plan.instalments, signed_on=today, terms=plan.terms
        )
        store.sign(conn, number, parts, shares, actor=actor, ref=ref, signed_on=today)
        opened = Event(
            kind="plan_opened", key=f"plan:{number}", value_date=today, actor=actor,
            currency=plan.currency, owners={"account": plan.account},
            amounts={"total": parts.total, **asdict(parts)}, reason=plan.terms.rule,
            source_ref=f"plan:{number}",
        )  # fmt: skip
        ledger.book(conn, opened, now=now)
        _settle_and_fence(conn, card, ref=f"plan:{number}", now=now)
        note(conn, plan, "signed", actor=actor, now=now, figures={"total": parts.total})
        look(conn, plan_of(conn, number), now=now)
        return plan_of(conn, number)


def take_back(db: Database, number: int, *, order: tuple[str, str], reason: str,
              now: datetime) -> Plan:  # fmt: skip
    """
    End a plan before its time by two people: what is unpaid is due again.

    Raises: RefusedError `plan.same_person`, `plan.reason_missing`, `plan.state`.
    """
    actor, approver = order
    if not reason.strip():
        raise RefusedError(PlanRefusal.REASON, "taking a plan back needs a reason", fix="say why")
    if approver in ("", actor):
        raise RefusedError(
            PlanRefusal.PERSON, f"{actor} cannot take plan {number} back alone",
            fix="name another person as approver",
        )  # fmt: skip
    with db.transaction() as conn:
        plan = plan_of(conn, number)
        rules.moved(plan.state, PlanEvent.END, number)
        end_plan(conn, plan, PlanEvent.END, actor=actor, approver=approver, reason=reason, now=now)
        return plan_of(conn, number)


def pages_of(conn: Connection, account: str) -> list[PlanPage]:
    """Return an account's plans with their shares, newest first."""
    found = store.plans_of(conn, account)
    kept = store.instalments_of(conn, [plan.id for plan in found])
    unpaid = ledger.owed(conn, account).get(AccountKind.AR_INSTALMENT, 0)
    return [_page(plan, kept.get(plan.id, []), unpaid) for plan in found]


def waiting(conn: Connection, *, limit: int = 100) -> list[Plan]:
    """Return plans that wait for a second person or for the customer, oldest first."""
    return store.plans_in(conn, (PlanState.PROPOSED, PlanState.APPROVED), limit)


def events_after(conn: Connection, after: int) -> list[DebtEvent]:
    """Return what happened to debts after a number, oldest first."""
    return store.events_after(conn, after)


def events_of(conn: Connection, account: str, *, limit: int = 50) -> list[DebtEvent]:
    """Return what happened to an account's debts, newest first."""
    return store.events_of(conn, account, limit)


def terms_for(card: CustomerCard) -> Terms:
    """Return the terms of a customer's class. Raises: RefusedError `plan.terms_unfit`."""
    terms = RULES.get((card.kind.value, card.currency))
    if terms is None:
        raise RefusedError(
            PlanRefusal.TERMS, f"no terms fit {card.kind} accounts in {card.currency}",
            fix="state terms for this class and currency",
        )  # fmt: skip
    return terms


def debt_of(conn: Connection, card: CustomerCard, *, now: datetime) -> Parts:
    """Return what a plan of an account could take over today."""
    return _debt(conn, card, ALL_KINDS, now=now)


def _debt(
    conn: Connection, card: CustomerCard, kinds: frozenset[AccountKind], *, now: datetime
) -> Parts:
    owed = ledger.owed(conn, card.account)
    try:
        available = prepaid.balance_of(conn, card.usage_point, now).available_micros
    except RefusedError as error:
        if error.refusal is not NoBalance.NO_AGREEMENT:
            raise
        available = ledger.balance_of(conn, card.account)
    left = max(0, available)  # unspent money pays the oldest debts, as penalties count it
    found = {
        kind: owed.get(kind, 0) if kind in kinds else 0
        for kind in (AccountKind.AR_ENERGY, AccountKind.AR_PENALTY, AccountKind.AR_CONNECTION)
    }
    found[AccountKind.AR_ENERGY] = max(0, found[AccountKind.AR_ENERGY] - left)
    return Parts(
        ar_energy=found[AccountKind.AR_ENERGY], ar_penalty=found[AccountKind.AR_PENALTY],
        ar_connection=found[AccountKind.AR_CONNECTION],
        prepaid=_whole(-available, card) if AccountKind.CUSTOMER in kinds else 0,
    )  # fmt: skip


def _whole(owed: int, card: CustomerCard) -> int:
    """Return a balance's debt in sums that can be paid: a balance knows parts of a cent."""
    step = terms_for(card).step_micros
    return round_ratio(max(0, owed), 1, Rounding(step=step, mode=RoundMode.UP))


def _kinds_of(parts: Parts) -> frozenset[AccountKind]:
    """Return the kinds a plan was proposed for; a debt that is new since is another's."""
    named = {
        AccountKind.AR_ENERGY: parts.ar_energy, AccountKind.AR_PENALTY: parts.ar_penalty,
        AccountKind.AR_CONNECTION: parts.ar_connection, AccountKind.CUSTOMER: parts.prepaid,
    }  # fmt: skip
    return frozenset(kind for kind, amount in named.items() if amount)


def _settle_and_fence(conn: Connection, card: CustomerCard, *, ref: str, now: datetime) -> None:
    """Settle the balance and void every cut that was wanted for the debt before."""
    balance = prepaid.settle(conn, card.account, now=now)
    if card.ended_at is not None:
        return
    left = balance.available_micros if balance else ledger.balance_of(conn, card.account)
    control.payment_registered(
        conn, UsagePointId(card.usage_point), ref=ref, now=now,
        restores=left > 0 and customers.terms_of(conn, card).auto_restore,
    )  # fmt: skip


def _page(plan: Plan, kept: Sequence[Instalment], unpaid: int) -> PlanPage:
    total = plan.parts.total
    if not kept:
        today = local_date(plan.proposed_at, ZoneInfo(plan.zone))
        shares: Sequence[Share] = rules.schedule(
            total, plan.first_micros, plan.instalments, signed_on=today, terms=plan.terms
        )
        return PlanPage(plan=plan, shares=shares, paid_micros=0, left_micros=total,
                        next_due=None)  # fmt: skip
    paid = total if plan.state is PlanState.PAID else 0
    if plan.state is PlanState.ACTIVE:
        paid = sum(each.amount_micros for each in kept if each.entry_id is not None) - unpaid
    upto, following = 0, None
    for share in kept:
        upto += share.amount_micros
        if paid < upto and plan.state is PlanState.ACTIVE:
            following = share
            break
    return PlanPage(
        plan=plan, shares=kept, paid_micros=paid, left_micros=total - paid, next_due=following
    )
