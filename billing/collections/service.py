"""
Use cases of collections. A case moves by facts that others wrote; it asks control, never commands.

`step` may be killed anywhere and run again: facts are read by watermark in the transaction that
uses them, and a request whose answer was lost is found again by asking control.
"""

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from billing.bills.service import plans
from billing.collections import rules, store
from billing.collections.model import (
    Case,
    CaseEvent,
    CaseState,
    Debtor,
    Refusal,
    Step,
    Stepped,
    Transition,
)
from billing.customers import service as customers
from billing.customers.model import AgreementId, Notification, Terms
from billing.prepaid import service as prepaid
from billing.prepaid.model import Balance, Crossing, CrossingKind
from billing.prepaid.rules.credit import Window
from billing.prepaid.service import policies
from billing.rating import service as rating
from cloud.assets import service as assets
from cloud.control import service as control
from cloud.control.model import OPEN_REQUEST, RelayPosition, RequestId
from cloud.messages import service as messages
from cloud.messages.model import Kind
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

_LOG = logging.getLogger(__name__)
_SYSTEM = "system:billing"
_RETRY_HELD = timedelta(hours=1)
_ASK_AHEAD = timedelta(hours=12)
"""A cut is asked for so long before its window opens: time for two people, not for it to lapse."""


def step(db: Database, *, now: datetime) -> Stepped:
    """Take in crossings and outcomes, end what was paid, move what is due, answer rechecks."""
    with db.transaction() as conn:
        moved = _take_crossings(conn, now)
        # a plan's balance rises with its signature: its case must know before it looks paid
        moved += _take_debts(conn, now)
    with db.transaction() as conn:
        moved += _take_outcomes(conn, now)
    with db.transaction() as conn:
        moved += _end_paid(conn, now)
    with db.transaction() as conn:
        cases = store.open_cases(conn)
    for case in cases:
        moved += _advance(db, case, now)
    return Stepped(moved=moved, rechecked=_answer_rechecks(db, now))


def give_notice(db: Database, usage_point: str, *, actor: str, now: datetime) -> None:
    """
    Send the cut notice by hand where dunning is not automatic (I6).

    Raises: RefusedError when there is no overdue case at the usage point.
    """
    with db.transaction() as conn:
        open_now = [case for case in store.cases_of(conn, usage_point) if not case.closed_at]
        if not open_now:
            raise RefusedError(Refusal.NO_CASE, f"{usage_point} has no open case")
        case = store.lock_case(conn, open_now[0].id)
        if case is None or case.state is not CaseState.OVERDUE:
            raise RefusedError(Refusal.NOT_OVERDUE, f"the case of {usage_point} is not overdue")
        _notice(conn, case, actor=actor, now=now)


def cases_of(conn: Connection, usage_point: str) -> list[Case]:
    """Return the cases at a usage point, newest first."""
    return store.cases_of(conn, usage_point)


def transitions_of(conn: Connection, case: int) -> list[Transition]:
    """Return how a case came where it is, oldest move first."""
    return store.transitions_of(conn, case)


def debtors(conn: Connection, *, transformer: str | None = None) -> list[Debtor]:
    """Return accounts below zero with their cases, the largest debt first (I2, I5)."""
    found = []
    for case in store.open_cases(conn):
        flags = prepaid.standing(conn, [case.agreement]).get(case.agreement)
        card = customers.card_of_account(conn, case.account)
        point = assets.usage_point(conn, case.usage_point)
        area = str(point.transformer) if point else ""
        if flags is None or card is None or not flags.below_zero:
            continue
        if transformer is None or area == transformer:
            found.append(
                Debtor(
                    case=case, transformer=area, name=card.name,
                    available_micros=flags.available_micros, currency=card.currency,
                )
            )  # fmt: skip
    return sorted(found, key=lambda debtor: debtor.available_micros)


def _take_crossings(conn: Connection, now: datetime) -> int:
    after = store.watermark(conn, "crossings")
    crossings = prepaid.crossings_after(conn, after)
    moved = 0
    for crossing in crossings:
        if crossing.kind is CrossingKind.REMINDER:
            moved += _open(conn, crossing, CaseState.REMINDED, now)
        elif crossing.kind is CrossingKind.ZERO:
            case = store.open_case_of_agreement(conn, crossing.agreement)
            if case is None:
                moved += _open(conn, crossing, CaseState.OVERDUE, now)
            else:
                dunned_at, ends = _dates(conn, crossing)
                fallen = Step(
                    event=CaseEvent.ZERO, figures=_of(crossing), dunned_at=dunned_at,
                    notice_ends_at=ends,
                )  # fmt: skip
                moved += _move(conn, case, fallen, now)
    if crossings:
        store.set_watermark(conn, "crossings", crossings[-1].id)
    return moved


def _take_debts(conn: Connection, now: datetime) -> int:
    """Follow plans and ended agreements (G11): a kept plan stops a cut, a broken one returns it."""
    after = store.watermark(conn, "debts")
    events = plans.events_after(conn, after)
    moved = 0
    for event in events:
        became = rules.event_of_debt(event.event)
        case = store.open_case_of_agreement(conn, event.agreement)
        if became is None or case is None:
            continue
        step_ = Step(event=became, actor=event.actor, reason=event.reason, figures=event.figures)
        if became in {CaseEvent.PLAN_LOST, CaseEvent.PLAN_PAID}:
            hours = timedelta(hours=_terms(conn, event.account).notice_hours)
            flags = prepaid.standing(conn, [AgreementId(event.agreement)])
            fallen = any(each.below_zero for each in flags.values())
            # a plan is paid, but what was used since may not be
            again = became is CaseEvent.PLAN_LOST or fallen
            step_ = replace(
                step_, event=CaseEvent.PLAN_LOST if again else became,
                dunned_at=now if again else None, notice_ends_at=now + hours if again else None,
            )  # fmt: skip
        moved += _move(conn, case, step_, now)
    if events:
        store.set_watermark(conn, "debts", events[-1].id)
    return moved


def _take_outcomes(conn: Connection, now: datetime) -> int:
    after = store.watermark(conn, "outcomes")
    outcomes = control.outcomes_after(conn, after)
    moved = 0
    for outcome in outcomes:
        for case in store.cases_of(conn, outcome.usage_point)[:1]:
            if case.closed_at is not None:
                continue
            if outcome.verb == "reconnect" and outcome.result in {"done", "armed"}:
                restored = Step(event=CaseEvent.RESTORED, reason=outcome.result)
                moved += _move(conn, case.id, restored, now)
            elif outcome.request is not None and outcome.request == case.request_id:
                moved += _by_request(conn, case, outcome.request, now)
    if outcomes:
        store.set_watermark(conn, "outcomes", outcomes[-1].seq)
    return moved


def _by_request(conn: Connection, case: Case, request: RequestId, now: datetime) -> int:
    found = control.request_of(conn, request)
    event = rules.event_of_request(found.state, found.cause) if found else None
    if found is None or event is None:
        return 0
    if event is not CaseEvent.CANCELLED:
        return _move(conn, case.id, Step(event=event, reason=found.cause), now)
    # the debt may stand: the customer is told anew and has the whole notice period again
    again = Step(
        event=event, reason=found.cause, dunned_at=now,
        notice_ends_at=now + timedelta(hours=_terms(conn, case.account).notice_hours),
    )  # fmt: skip
    return _move(conn, case.id, again, now)


def _end_paid(conn: Connection, now: datetime) -> int:
    cases = store.open_cases(conn)
    flags = prepaid.standing(conn, [case.agreement for case in cases])
    moved = 0
    for case in cases:
        found = flags.get(case.agreement)
        if found is not None and rules.is_paid(
            case.state, available_micros=found.available_micros,
            below_reminder=found.below_reminder, below_zero=found.below_zero,
        ):  # fmt: skip
            figures = {"available_micros": found.available_micros}
            moved += _move(conn, case.id, Step(event=CaseEvent.PAID, figures=figures), now)
    return moved


def _advance(db: Database, case: Case, now: datetime) -> int:
    """Move one case by time and by its balance; asking control is a transaction of its own."""
    if case.state in {CaseState.OVERDUE, CaseState.NOTICE, CaseState.PROTECTED}:
        with db.transaction() as conn:
            return _advance_locked(conn, case.id, now)
    if case.state is CaseState.CUT_CANDIDATE:
        return _ask_control(db, case, now)
    if case.state is CaseState.FIELD and case.request_id:
        # a crew's report ends our request by hand, after its outcome was read
        with db.transaction() as conn:
            return _by_request(conn, case, RequestId(case.request_id), now)
    if case.state is CaseState.RECONNECT_DUE:
        # a switch closed by hand or by a crew has no outcome of a command, only a position
        with db.transaction() as conn:
            position = control.supply_of(conn, case.usage_point).relay_state
            if position in {RelayPosition.CONNECTED, RelayPosition.ARMED}:
                restored = Step(event=CaseEvent.RESTORED, reason=position.value)
                return _move(conn, case.id, restored, now)
    return 0


def _advance_locked(conn: Connection, case_id: int, now: datetime) -> int:
    case = store.lock_case(conn, case_id)
    if case is None:
        return 0
    if case.state is CaseState.OVERDUE and _terms(conn, case.account).auto_dun:
        _notice(conn, case, actor=_SYSTEM, now=now)
        return 1
    if case.state is CaseState.PROTECTED:
        if control.supply_of(conn, case.usage_point).protected:
            return 0
        hours = _terms(conn, case.account).notice_hours
        lifted = Step(
            event=CaseEvent.LIFTED, dunned_at=now, notice_ends_at=now + timedelta(hours=hours)
        )
        return _move(conn, case.id, lifted, now)
    over = case.notice_ends_at is not None and case.notice_ends_at <= now
    if case.state is not CaseState.NOTICE or not over:
        return 0
    balance = _balance(conn, case.usage_point, now)
    if balance is None or not rules.still_due(balance):
        return 0
    figures = rules.figures_of(balance, computed_at=now)
    return _move(conn, case.id, Step(event=CaseEvent.STILL_DUE, figures=figures), now)


def _ask_control(db: Database, case: Case, now: datetime) -> int:
    """Compute once more and ask for the cut (D4, D5); keep the answer with its figures."""
    with db.transaction() as conn:
        balance = _balance(conn, case.usage_point, now)
        window = _window(conn, case.usage_point, now)
    if balance is None or window is None or not rules.still_due(balance):
        return 0
    if window.opens_at > now + _ASK_AHEAD:
        return 0
    figures = rules.figures_of(balance, computed_at=now)
    answer = _request(db, case, figures, now)
    if answer is None:
        return 0
    with db.transaction() as conn:
        return _move(conn, case.id, answer, now)


def _request(db: Database, case: Case, figures: dict[str, object], now: datetime) -> Step | None:
    try:
        request = control.request_disconnect(
            db, usage_point=case.usage_point, requested_by=_SYSTEM,
            reason=f"balance below the cut line, case {case.id}", figures=figures, now=now,
        )  # fmt: skip
    except RefusedError as error:
        event = rules.event_of_refusal(error.refusal.value)
        if event is not None:
            ends = now + _RETRY_HELD if event is CaseEvent.HELD else None
            return Step(
                event=event, reason=error.refusal.value, figures=figures, notice_ends_at=ends
            )
        # ours may be open already: an answer that a crash swallowed
        with db.transaction() as conn:
            ours = [
                each
                for each in control.requests_of(conn, case.usage_point)
                if each.requested_by == _SYSTEM and each.state in OPEN_REQUEST
            ]
        if not ours:
            return None
        request = ours[0].id
    return Step(event=CaseEvent.REQUESTED, request_id=request, figures=figures)


def _answer_rechecks(db: Database, now: datetime) -> int:
    """Recompute what two people approved and tell control, with the epoch it was computed at."""
    with db.transaction() as conn:
        pending = control.pending_rechecks(conn)
    answered = 0
    for recheck in pending:
        with db.transaction() as conn:
            # the epoch first: a payment after this line makes the answer worthless, as it must
            epoch = control.supply_of(conn, recheck.usage_point).epoch
            balance = _balance(conn, recheck.usage_point, now)
            window = _window(conn, recheck.usage_point, now)
        due = rules.still_due(balance) if balance else None
        # in friendly hours a debt only grows: the cut waits for the window, an end does not
        if balance is None or due is None or (due and not (window and window.open)):
            continue
        control.confirm_recheck(
            db, recheck.request, epoch=epoch, still_due=due,
            figures=rules.figures_of(balance, computed_at=now), now=now,
            until=window.closes_at if window else None,
        )  # fmt: skip
        answered += 1
    return answered


def _window(conn: Connection, usage_point: UsagePointId, now: datetime) -> Window | None:
    card = customers.card_of(conn, usage_point)
    return policies.cut_window(conn, card, now) if card else None


def _balance(conn: Connection, usage_point: UsagePointId, now: datetime) -> Balance | None:
    try:
        return prepaid.balance_of(conn, usage_point, now)
    except RefusedError:
        return None


def _notice(conn: Connection, case: Case, *, actor: str, now: datetime) -> None:
    """Send the cut notice; the period runs from the dunning message, never shorter than told."""
    card = customers.card_of_account(conn, case.account)
    assert card is not None
    terms = customers.terms_of(conn, card)
    dunned = case.dunned_at if case.dunned_at and terms.auto_dun else now
    ends = dunned + timedelta(hours=terms.notice_hours)
    balance = prepaid.balance_of(conn, case.usage_point, now)
    zone = rating.compiled(conn, [balance.tariff_hash])[balance.tariff_hash].zone
    messages.enqueue(
        conn, dedupe_key=f"cut_notice:{case.id}:{case.steps}", kind=Kind.CUT_NOTICE,
        subject=case.usage_point,
        phone="" if terms.notification is Notification.PAPER else None,
        variables={
            "available_micros": balance.available_micros, "currency": balance.currency,
            "deadline_at": ends.astimezone(zone),
        },
        now=now,
    )  # fmt: skip
    told = Step(event=CaseEvent.NOTICE, actor=actor, dunned_at=dunned, notice_ends_at=ends)
    _move(conn, case.id, told, now)


def _open(conn: Connection, crossing: Crossing, state: CaseState, now: datetime) -> int:
    dunned_at, ends = _dates(conn, crossing) if state is CaseState.OVERDUE else (None, None)
    case = store.open_case(
        conn, agreement=crossing.agreement, account=crossing.account,
        usage_point=crossing.usage_point, state=state, now=now,
        dunned_at=dunned_at, notice_ends_at=ends,
    )  # fmt: skip
    if case is None:
        return 0
    first = Step(event=CaseEvent(crossing.kind.value), figures=_of(crossing))
    store.insert_transition(conn, case, 1, was="current", became=state.value, step=first, now=now)
    return 1


def _move(conn: Connection, case_id: int, step_: Step, now: datetime) -> int:
    """Move a case if the table says so; return how many moved (0 or 1)."""
    case = store.lock_case(conn, case_id)
    became = rules.move(case.state, step_.event) if case else None
    if case is None or became is None:
        return 0
    store.update_case(conn, case, became, step_, now)
    store.insert_transition(
        conn, case.id, case.steps + 1, was=case.state.value, became=became.value, step=step_,
        now=now,
    )  # fmt: skip
    _LOG.info(
        "collections.case.moved",
        extra={"fields": {"case": case.id, "event": step_.event.value, "became": became.value}},
    )
    return 1


def _dates(conn: Connection, crossing: Crossing) -> tuple[datetime, datetime]:
    """Return when the customer was dunned and when the notice period then ends."""
    hours = _terms(conn, crossing.account).notice_hours
    return crossing.at, crossing.at + timedelta(hours=hours)


def _of(crossing: Crossing) -> dict[str, object]:
    return {
        "crossing": crossing.id, "available_micros": crossing.available_micros,
        "register_wh": crossing.register_wh, "tariff_hash": crossing.tariff_hash,
        "ledger_entry": crossing.ledger_version,
    }  # fmt: skip


def _terms(conn: Connection, account: str) -> Terms:
    card = customers.card_of_account(conn, account)
    assert card is not None
    return customers.terms_of(conn, card)
