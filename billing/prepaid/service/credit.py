"""
Emergency credit and old debt: lent, repaid first, recovered by shares; every step is booked.

A loan is money on the balance and a debt beside it, so the balance itself needs no second formula;
what is the customer's own and what is lent is told apart here. Locks follow the one order of all
who move money: ledger account, state, supply.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from billing.customers import service as customers
from billing.customers.model import CustomerCard, Notification
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Event
from billing.prepaid import store as balances
from billing.prepaid.model import Balance, CrossingKind
from billing.prepaid.rules import credit as rules
from billing.prepaid.rules.credit import Policy, Refusal, Window
from billing.prepaid.service import lines, policies, views
from billing.prepaid.store import credit as store
from billing.prepaid.store.credit import Emergency, OldDebt, Source
from cloud.control import service as control
from cloud.messages import service as messages
from cloud.messages.model import Kind
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

_LOG = logging.getLogger(__name__)
_SYSTEM = "system:billing"
_CROSSINGS = "emergency"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditView:
    """
    A balance taken apart: what is the customer's own, what is lent, what is old debt.

    *Units*: micros. `own_micros` is what would be available without the loan. `refusal` says why
    no loan may be taken now; None when it may.
    """

    policy: Policy
    available_micros: int
    own_micros: int
    lent_micros: int
    old_debt_micros: int
    friendly: Window
    refusal: RefusedError | None
    loans: tuple[Emergency, ...]
    debts: tuple[OldDebt, ...]


def credit_of(conn: Connection, card: CustomerCard, balance: Balance, now: datetime) -> CreditView:
    """Return the balance of an account taken apart, and whether a loan may be taken."""
    policy = policies.policy_of(conn, card)
    owed = ledger.owed(conn, card.account)
    lent = owed.get(AccountKind.AR_EMERGENCY, 0)
    return CreditView(
        policy=policy, available_micros=balance.available_micros,
        own_micros=balance.available_micros - lent, lent_micros=lent,
        old_debt_micros=owed.get(AccountKind.AR_OLD_DEBT, 0),
        friendly=policies.cut_window(conn, card, now),
        refusal=rules.refuse_emergency(
            policy, available_micros=balance.available_micros, outstanding_micros=lent,
            quality=balance.quality,
        ),
        loans=tuple(store.emergencies_of(conn, card.account)),
        debts=tuple(store.old_debts_of(conn, card.account)),
    )  # fmt: skip


def take_emergency(db: Database, usage_point: str, *, actor: str, now: datetime) -> Emergency:
    """
    Lend what the policy offers, once until it is repaid; a supply that was cut comes back.

    Raises: RefusedError `credit.*` when it is not offered, not needed, still owed or too little.
    """
    with db.transaction() as conn:
        card = _card(conn, usage_point)
        given, refusal = _lend(conn, card, actor=actor, now=now)
    if refusal is not None:
        raise refusal
    assert given is not None
    return given


def lend_by_policy(db: Database, *, now: datetime) -> int:
    """
    Lend to those who fell below zero where the policy lends by itself; return to how many.

    Reads the lines passed by a watermark; killed on the way it looks at a fall again, and lends
    only to those who are still below and owe no loan.
    """
    with db.transaction() as conn:
        crossings = balances.crossings_after(conn, store.read_upto(conn, _CROSSINGS))
    given = 0
    for crossing in crossings:
        if crossing.kind is CrossingKind.ZERO:
            # one transaction each: nobody waits for the locks of two accounts
            with db.transaction() as conn:
                card = customers.card_of(conn, crossing.usage_point)
                if card is not None and policies.policy_of(conn, card).emergency_auto:
                    given += _lend(conn, card, actor=_SYSTEM, now=now)[0] is not None
    if crossings:
        with db.transaction() as conn:
            store.set_read_upto(conn, _CROSSINGS, crossings[-1].id)
    return given


def propose_old_debt(
    db: Database,
    account: str,
    *,
    source: Source,
    amount_micros: int,
    reason: str,
    actor: str,
    now: datetime,
) -> int:
    """
    Propose that debt is set aside from the balance; nothing moves until another person agrees.

    Raises: RefusedError `credit.no_such_debt` when no such debt stands, or a proposal is open.
    """
    with db.transaction() as conn:
        card = customers.card_of_account(conn, account)
        if card is None or not reason.strip():
            raise _no_debt(f"{account} is no account, or no reason was given")
        _check_debt(conn, account, source, amount_micros)
        number = store.insert_old_debt(
            conn, account, source=source, amount=amount_micros, currency=card.currency,
            reason=reason.strip(), actor=actor, now=now,
        )  # fmt: skip
        if number is None:
            raise _no_debt(f"a proposal for {account} is open already")
        _audit(
            conn, "prepaid.old_debt_proposed", account, amount=amount_micros, reason=reason,
            actor=actor, now=now,
        )  # fmt: skip
    return number


def approve_old_debt(db: Database, number: int, *, actor: str, now: datetime) -> OldDebt:
    """
    Agree to a proposal: the debt leaves the balance and is recovered by shares of top-ups.

    Raises: RefusedError `credit.same_person`, `credit.debt_ended`, `credit.no_such_debt`.
    """
    with db.transaction() as conn:
        found = _locked(conn, number)
        if actor == found.proposed_by:
            raise RefusedError(
                Refusal.SAME_PERSON, "who proposed it may not agree to it",
                fix="let another person look at it",
            )  # fmt: skip
        card = customers.card_of_account(conn, found.account)
        assert card is not None, "a proposal stands without its account"
        ledger.owed(conn, found.account, lock=True)
        _check_debt(conn, found.account, found.source, found.amount_micros)
        kind = "debt_set_aside" if found.source is Source.BALANCE else "debt_carried"
        entry = _book(
            conn, kind, card, key=f"old_debt:{number}", amount=found.amount_micros, actor=actor,
            now=now,
        )  # fmt: skip
        store.end_old_debt(conn, number, entry=entry, actor=actor, now=now)
        _moved(conn, card, ref=f"old_debt:{number}", now=now)
        _audit(
            conn, "prepaid.old_debt_set_aside", found.account, amount=found.amount_micros,
            reason=found.reason, actor=actor, now=now,
        )  # fmt: skip
        return _of(conn, found.account, number)


def withdraw_old_debt(db: Database, number: int, *, actor: str, now: datetime) -> None:
    """Take a proposal back. Raises: RefusedError `credit.debt_ended`, `credit.no_such_debt`."""
    with db.transaction() as conn:
        found = _locked(conn, number)
        store.end_old_debt(conn, number, entry=None, actor=actor, now=now)
        _audit(
            conn, "prepaid.old_debt_withdrawn", found.account, amount=found.amount_micros,
            reason=found.reason, actor=actor, now=now,
        )  # fmt: skip


def old_debts_open(conn: Connection) -> list[OldDebt]:
    """Return proposals that wait for a second person."""
    return store.old_debts_open(conn)


def due_of_top_up(
    conn: Connection, card: CustomerCard, amount_micros: int, owed: Mapping[AccountKind, int]
) -> dict[AccountKind, int]:
    """Return what a top-up of this amount may pay: all that is owed, of old debt its share."""
    due = dict(owed)
    debt = due.pop(AccountKind.AR_OLD_DEBT, 0)
    if debt:
        repaid = min(amount_micros, due.get(AccountKind.AR_EMERGENCY, 0))
        share = rules.recovery_of(
            policies.policy_of(conn, card), amount_micros=amount_micros, repaid_micros=repaid,
            debt_micros=debt,
        )  # fmt: skip
        due[AccountKind.AR_OLD_DEBT] = share
    return due


def without_old_debt(owed: Mapping[AccountKind, int]) -> dict[AccountKind, int]:
    """Return what is due at once: old debt comes back as a share of what is paid."""
    return {kind: due for kind, due in owed.items() if kind is not AccountKind.AR_OLD_DEBT}


def _lend(
    conn: Connection, card: CustomerCard, *, actor: str, now: datetime
) -> tuple[Emergency | None, RefusedError | None]:
    policy = policies.policy_of(conn, card)
    owed = ledger.owed(conn, card.account, lock=True)
    try:
        balance = views.balance_of(conn, card.usage_point, now)
    except RefusedError as error:
        return None, error
    refusal = rules.refuse_emergency(
        policy, available_micros=balance.available_micros,
        outstanding_micros=owed.get(AccountKind.AR_EMERGENCY, 0), quality=balance.quality,
    )  # fmt: skip
    if refusal is not None:
        return None, refusal
    earlier = store.emergencies_of(conn, card.account, limit=1)
    number = earlier[0].no + 1 if earlier else 1
    ref = f"emergency:{card.account}:{number}"
    entry = _book(
        conn, "emergency_given", card, key=ref, amount=policy.emergency_micros, actor=actor,
        now=now,
    )  # fmt: skip
    given = Emergency(
        account=card.account, no=number, agreement=card.agreement, usage_point=card.usage_point,
        at=now, amount_micros=policy.emergency_micros, currency=card.currency,
        before_micros=balance.available_micros, entry_id=entry, actor=actor,
    )  # fmt: skip
    store.insert_emergency(conn, given)
    available = _moved(conn, card, ref=ref, now=now)
    _audit(
        conn, "prepaid.emergency_given", card.account, amount=given.amount_micros, reason="",
        actor=actor, now=now,
    )  # fmt: skip
    _tell(conn, card, given, available, now)
    _LOG.info("prepaid.emergency.given", extra={"fields": {"account": card.account, "no": number}})
    return given, None


def _moved(conn: Connection, card: CustomerCard, *, ref: str, now: datetime) -> int:
    """Settle the balance with what was booked and tell control, as a payment does."""
    balance = lines.settle(conn, card.account, now=now)
    available = balance.available_micros if balance else ledger.balance_of(conn, card.account)
    restores = available > 0 and customers.terms_of(conn, card).auto_restore
    control.payment_registered(
        conn, UsagePointId(card.usage_point), ref=ref, restores=restores, now=now
    )
    return available


def _book(
    conn: Connection,
    kind: str,
    card: CustomerCard,
    *,
    key: str,
    amount: int,
    actor: str,
    now: datetime,
) -> int:
    event = Event(
        kind=kind, key=key, value_date=now.date(), actor=actor, currency=card.currency,
        source_ref=key, owners={"account": card.account}, amounts={"amount": amount},
    )  # fmt: skip
    return ledger.book(conn, event, now=now).entry_id


def _check_debt(conn: Connection, account: str, source: Source, amount: int) -> None:
    if source is Source.BALANCE:
        stands = -ledger.balance_of(conn, account)
    else:
        stands = ledger.owed(conn, account).get(AccountKind.AR_ENERGY, 0)
    if not 0 < amount <= stands:
        raise _no_debt(f"{account} owes {max(0, stands)} micros there, not {amount}")


def _locked(conn: Connection, number: int) -> OldDebt:
    found = store.lock_old_debt(conn, number)
    if found is None:
        raise _no_debt(f"there is no proposal {number}")
    if found.ended_at is not None:
        raise RefusedError(
            Refusal.ENDED, f"proposal {number} has ended", fix="look at the account's debts"
        )
    return found


def _of(conn: Connection, account: str, number: int) -> OldDebt:
    return next(each for each in store.old_debts_of(conn, account) if each.id == number)


def _card(conn: Connection, usage_point: str) -> CustomerCard:
    card = customers.card_of(conn, usage_point)
    if card is None:
        raise RefusedError(
            Refusal.NOT_OFFERED, f"nobody pays at {usage_point}", fix="check the usage point"
        )
    return card


def _tell(
    conn: Connection, card: CustomerCard, given: Emergency, available: int, now: datetime
) -> None:
    terms = customers.terms_of(conn, card)
    messages.enqueue(
        conn, dedupe_key=f"emergency:{given.account}:{given.no}", kind=Kind.CREDIT_GIVEN,
        subject=given.usage_point,
        phone="" if terms.notification is Notification.PAPER else None,
        variables={
            "amount_micros": given.amount_micros, "available_micros": available,
            "currency": given.currency,
        },
        now=now,
    )  # fmt: skip


def _audit(
    conn: Connection,
    action: str,
    account: str,
    *,
    amount: int,
    reason: str,
    actor: str,
    now: datetime,
) -> None:
    audit.record(
        conn, at=now, actor=actor, action=action, entity="account", entity_id=account,
        reason=reason, after={"amount_micros": amount},
    )  # fmt: skip


def _no_debt(message: str) -> RefusedError:
    return RefusedError(Refusal.NO_DEBT, message, fix="look at what the account owes")
