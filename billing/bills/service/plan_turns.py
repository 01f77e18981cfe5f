"""
A plan's turns: shares are asked for, and it ends when it is paid, missed or taken back.

Each share comes back as a due line some days before its day; what is unpaid of a plan that is not
kept is returned to where it came from. Locks: the plan, ledger account, state.
"""

from dataclasses import asdict
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from billing.bills.rules import plans as rules
from billing.bills.rules.plans import Clock, PlanEvent, PlanRefusal, PlanState
from billing.bills.service.accounts import card_of
from billing.bills.store import plans as store
from billing.bills.store.plans import Instalment, Plan
from billing.customers import service as customers
from billing.customers.model import AgreementId, Notification
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Event
from billing.prepaid import service as prepaid
from cloud.messages import service as messages
from cloud.messages.model import Kind
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.timeline import local_date

PAGE = 200
_SYSTEM = "system:billing"


def step(db: Database, *, now: datetime) -> int:
    """Ask for shares whose time has come, end plans that are paid or missed; return how many."""
    with db.transaction() as conn:
        unpaid = store.plans_to_reopen(conn, PAGE)
    for number in unpaid:
        with db.transaction() as conn:
            _reopen(conn, plan_of(conn, number), now=now)
    looked = 0
    while True:
        with db.transaction() as conn:
            numbers = store.plans_to_look_at(conn, now, PAGE)
        for number in numbers:
            with db.transaction() as conn:
                look(conn, plan_of(conn, number), now=now)
        looked += len(numbers)
        if len(numbers) < PAGE:
            return looked


def end_plan(
    conn: Connection, plan: Plan, event: PlanEvent, *, actor: str, approver: str = "",
    reason: str, now: datetime,
) -> None:  # fmt: skip
    """Return what is unpaid of a locked plan, if it is signed, and end it."""
    state = rules.moved(plan.state, event, plan.id)
    figures = {}
    if plan.state is PlanState.ACTIVE and state is not PlanState.PAID:
        figures = _return_debt(conn, plan, actor=actor, reason=reason, now=now)
    store.end(conn, plan.id, state, actor=actor, now=now)
    note(
        conn, plan, state.value, actor=actor, now=now, reason=reason, figures=figures,
        approver=approver,
    )  # fmt: skip


def plan_of(conn: Connection, number: int) -> Plan:
    """Return a plan, locked until commit. Raises: RefusedError `plan.unknown`."""
    plan = store.plan_for_update(conn, number)
    if plan is None:
        raise RefusedError(
            PlanRefusal.UNKNOWN, f"there is no plan {number}", fix="plan show lists an account's"
        )
    return plan


def look(conn: Connection, plan: Plan, *, now: datetime) -> None:
    """Ask for what is due of a locked plan, and end it when it is paid or missed."""
    if plan.state is not PlanState.ACTIVE:
        return
    today = local_date(now, ZoneInfo(plan.zone))
    shares = store.instalments_of(conn, [plan.id])[plan.id]
    asked = rules.asked_for(shares, today=today, terms=plan.terms)
    fresh = [share for share in shares if share.entry_id is None and share.seq in
             {each.seq for each in asked}]  # fmt: skip
    for share in fresh:
        _ask(conn, plan, share, now=now)
    if fresh:
        _pay_from_credit(conn, plan, upto=fresh[-1].seq, now=now)
    unpaid = ledger.owed(conn, plan.account, lock=True).get(AccountKind.AR_INSTALMENT, 0)
    asked_micros = sum(share.amount_micros for share in asked)
    found = rules.standing(
        shares, asked_micros=asked_micros, unpaid_micros=unpaid, today=today, terms=plan.terms
    )
    if found.complete:
        end_plan(conn, plan, PlanEvent.COMPLETE, actor=_SYSTEM, reason="", now=now)
    elif found.missed is not None:
        reason = f"instalment {found.missed.seq} of {found.missed.due_on} was not paid"
        end_plan(conn, plan, PlanEvent.MISS, actor=_SYSTEM, reason=reason, now=now)
    else:
        day = rules.next_look(
            shares, asked=len(asked), paid_micros=found.paid_micros, terms=plan.terms
        )
        store.look_again(conn, plan.id, _midnight(day, plan.zone))


def _reopen(conn: Connection, plan: Plan, *, now: datetime) -> None:
    """Let a locked plan go on whose payment was voided; it may be missed at once."""
    owed = ledger.owed(conn, plan.account, lock=True).get(AccountKind.AR_INSTALMENT, 0)
    if plan.state is not PlanState.PAID or not owed:
        return
    rules.moved(plan.state, PlanEvent.REOPEN, plan.id)
    store.reopen(conn, plan.id, now)
    note(
        conn, plan, "reopened", actor=_SYSTEM, now=now, reason="a payment of it was taken back",
        figures={"unpaid_micros": owed},
    )  # fmt: skip


def note(
    conn: Connection, plan: Plan, event: str, *, actor: str, now: datetime, reason: str = "",
    figures: dict[str, int] | None = None, approver: str = "",
) -> None:  # fmt: skip
    """Write what happened to a plan for collections to follow, and for the audit log."""
    store.insert_event(
        conn, plan=plan.id, account=plan.account, agreement=plan.agreement,
        event=f"plan_{event}", actor=actor, reason=reason, figures=figures or {}, now=now,
    )  # fmt: skip
    audit.record(
        conn, at=now, actor=actor, on_behalf=approver, action=f"plan.{event}", entity="account",
        entity_id=plan.account, reason=reason,
        after={"plan": plan.id, "total_micros": plan.parts.total, **(figures or {})},
    )  # fmt: skip


def _ask(conn: Connection, plan: Plan, share: Instalment, *, now: datetime) -> None:
    due = Event(
        kind="instalment_due", key=f"instalment:{plan.id}:{share.seq}",
        value_date=local_date(now, ZoneInfo(plan.zone)), actor=_SYSTEM, currency=plan.currency,
        owners={"account": plan.account}, amounts={"amount": share.amount_micros},
        source_ref=f"plan:{plan.id}",
    )  # fmt: skip
    entry = ledger.book(conn, due, now=now).entry_id
    store.demand(conn, plan.id, share.seq, entry=entry, now=now)
    card = card_of(conn, plan.account)
    paper = customers.terms_of(conn, card).notification is Notification.PAPER
    messages.enqueue(
        conn, dedupe_key=f"instalment:{plan.id}:{share.seq}", kind=Kind.INSTALMENT_DUE,
        subject=plan.usage_point, phone="" if paper else None, now=now,
        variables={
            "number": f"{plan.id}/{share.seq}", "amount_micros": share.amount_micros,
            "currency": plan.currency, "due_at": _midnight(share.due_on, plan.zone),
        },
    )  # fmt: skip


def _pay_from_credit(conn: Connection, plan: Plan, *, upto: int, now: datetime) -> None:
    """Pay what is asked for from money that lies there; prepaid balances buy energy alone."""
    owed = ledger.owed(conn, plan.account, lock=True).get(AccountKind.AR_INSTALMENT, 0)
    if prepaid.standing(conn, [AgreementId(plan.agreement)]):
        return
    part = min(owed, ledger.balance_of(conn, plan.account))
    if part <= 0:
        return
    amounts = {kind.value: 0 for kind in ledger.ORDER.order}
    amounts |= {AccountKind.AR_INSTALMENT.value: part, "total": part}
    paid = Event(
        kind="allocation", key=f"allocation:plan:{plan.id}:{upto}", actor=_SYSTEM,
        value_date=local_date(now, ZoneInfo(plan.zone)), currency=plan.currency,
        owners={"account": plan.account}, amounts=amounts, reason=ledger.ORDER.rule,
        source_ref=f"plan:{plan.id}",
    )  # fmt: skip
    ledger.book(conn, paid, now=now)


def _return_debt(
    conn: Connection, plan: Plan, *, actor: str, reason: str, now: datetime
) -> dict[str, int]:
    """Book what is unpaid back to where it came from; return what that was."""
    unpaid = ledger.owed(conn, plan.account, lock=True).get(AccountKind.AR_INSTALMENT, 0)
    shares = store.instalments_of(conn, [plan.id])[plan.id]
    asked = sum(share.amount_micros for share in shares if share.entry_id is not None)
    left = rules.unpaid_parts(plan.parts, asked - unpaid, ledger.ORDER)
    assert plan.signed_on is not None
    since_start = plan.terms.clock is Clock.FROM_START
    returned = Event(
        kind="plan_returned", key=f"plan_end:{plan.id}", actor=actor, reason=reason,
        # the day says from when the debt bears penalty again
        value_date=plan.signed_on if since_start else local_date(now, ZoneInfo(plan.zone)),
        currency=plan.currency, owners={"account": plan.account}, source_ref=f"plan:{plan.id}",
        amounts={**asdict(left), "unpaid": unpaid, "undue": plan.parts.total - asked},
    )  # fmt: skip
    ledger.book(conn, returned, now=now)
    prepaid.settle(conn, plan.account, now=now)
    return {"returned_micros": left.total, "paid_micros": asked - unpaid}


def _midnight(day: date | None, zone: str) -> datetime | None:
    return None if day is None else datetime.combine(day, time(0), ZoneInfo(zone))
