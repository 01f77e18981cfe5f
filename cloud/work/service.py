"""Use cases of field work: raise once, assign and tell the crew, report, verify."""

from datetime import datetime

from cloud.control import service as control
from cloud.messages import service as messages
from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.vee import service as vee
from cloud.vee.model import ExceptionKind
from cloud.work import rules, store
from cloud.work.model import (
    POSITION_AFTER,
    Crew,
    Order,
    OrderEvent,
    OrderId,
    OrderKind,
    OrderState,
    Refusal,
    Report,
    VisitOutcome,
)
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

SYSTEM = "system:work"


def set_crew(
    db: Database, *, crew: str, phone: str, language: str, now: datetime, on_duty: bool = True
) -> None:
    """Say who goes out, under which number and language; `crew` is a login or `user:LOGIN`."""
    login = _login(crew)
    with db.transaction() as conn:
        store.upsert_crew(
            conn, login=login, phone=phone, language=language, on_duty=on_duty, now=now
        )
        messages.set_contact(conn, subject=login, phone=phone, language=language, now=now)


def crews(conn: Connection) -> list[Crew]:
    """Return the crews, the least busy on duty first."""
    return store.crews(conn)


def raise_order(
    conn: Connection,
    *,
    kind: OrderKind,
    usage_point: UsagePointId,
    cause_key: str,
    summary: str,
    now: datetime,
) -> OrderId | None:
    """
    Raise an order once per cause and give it to the least busy crew on duty (E3, E4).

    Return None when the cause was raised before, or the same kind of job waits there already.
    """
    if store.open_order_of(conn, usage_point, kind) is not None:
        return None
    id_ = store.insert(
        conn, kind=kind, usage_point=usage_point, cause_key=cause_key, summary=summary[:200],
        now=now,
    )  # fmt: skip
    if id_ is None:
        return None
    audit.record(
        conn, at=now, actor=SYSTEM, action="order.raise", entity="order", entity_id=id_,
        after={"kind": kind.value, "usage_point": usage_point}, reason=summary[:200],
    )  # fmt: skip
    on_duty = [crew for crew in store.crews(conn) if crew.on_duty]
    if on_duty:
        _assign(conn, id_, crew=on_duty[0].login, actor=SYSTEM, now=now)
    return id_


def assign(db: Database, order: OrderId, *, crew: str, actor: str, now: datetime) -> None:
    """
    Give an order to a crew and tell it by SMS (E4).

    Raises: RefusedError UNKNOWN_ORDER, UNKNOWN_CREW, WRONG_STATE.
    """
    with db.transaction() as conn:
        _assign(conn, order, crew=_login(crew), actor=actor, now=now)


def _assign(conn: Connection, id_: OrderId, *, crew: str, actor: str, now: datetime) -> None:
    found = _locked(conn, id_)
    if rules.move_order(found.state, OrderEvent.ASSIGN) is None:
        raise RefusedError(Refusal.WRONG_STATE, f"order {id_} is {found.state}")
    if crew not in {known.login for known in store.crews(conn)}:
        raise RefusedError(Refusal.UNKNOWN_CREW, f"there is no crew {crew}", fix="set_crew first")
    store.assign(conn, id_, crew=crew, now=now)
    audit.record(
        conn, at=now, actor=actor, action="order.assign", entity="order", entity_id=id_,
        before={"crew": found.crew}, after={"crew": crew},
    )  # fmt: skip
    messages.enqueue(
        conn, dedupe_key=f"order:{id_}:{crew}", kind=messages.Kind.WORK_ORDER, subject=crew,
        variables={"order": id_, "usage_point": found.usage_point, "kind_code": found.kind.value},
        now=now,
    )  # fmt: skip


def report(
    db: Database,
    order: OrderId,
    *,
    outcome: VisitOutcome | int,
    register_wh: int | None,
    note: str,
    actor: str,
    idempotency_key: str,
    now: datetime,
) -> Order:
    """
    Take a crew's report (D20) and tell control where the switch stands (E5, E6).

    The same key with the same report returns the order as it is. An officer's word never posts
    money: `paid` waits for the ledger.

    Raises: RefusedError UNKNOWN_ORDER, NOT_YOURS, WRONG_STATE, REGISTER_MISSING,
    REGISTER_NEGATIVE, NOTE_MISSING, OTHER_REPORT.
    """
    said = Report(
        outcome=VisitOutcome(outcome), register_wh=register_wh, note=note, actor=actor,
        idempotency_key=idempotency_key,
    )  # fmt: skip
    with db.transaction() as conn:
        found = _locked(conn, order)
        before = store.report_by_key(conn, order, idempotency_key)
        if before is not None:
            if before != said:
                raise RefusedError(
                    Refusal.OTHER_REPORT, f"key {idempotency_key} brought another report before"
                )
            return found
        refusal = rules.refuse_report(found, said)
        if refusal is not None:
            raise RefusedError(refusal, f"order {order}: {refusal.value}")
        store.report(conn, order, said, now=now)
        audit.record(
            conn, at=now, actor=actor, action="order.report", entity="order", entity_id=order,
            after={"outcome": said.outcome.value, "register_wh": register_wh}, reason=note[:200],
        )  # fmt: skip
        position = POSITION_AFTER.get(said.outcome)
        if position is not None:
            control.field_report(
                conn, found.usage_point, relay_state=position, actor=actor, ref=order, now=now
            )
        return _locked(conn, order)


def verify(db: Database, order: OrderId, *, actor: str, now: datetime) -> None:
    """
    Close an order after a look at its result; not by the crew that did it.

    Raises: RefusedError UNKNOWN_ORDER, WRONG_STATE, SAME_PERSON.
    """
    with db.transaction() as conn:
        found = _locked(conn, order)
        refusal = rules.refuse_verify(found, actor)
        if refusal is not None:
            raise RefusedError(refusal, f"order {order}: {refusal.value}")
        store.verify(conn, order, state=OrderState.VERIFIED, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="order.verify", entity="order", entity_id=order
        )


def reopen(db: Database, order: OrderId, *, actor: str, reason: str, now: datetime) -> None:
    """
    Give a reported order back to its crew because the report did not settle it.

    Raises: RefusedError UNKNOWN_ORDER, WRONG_STATE.
    """
    with db.transaction() as conn:
        found = _locked(conn, order)
        state = rules.move_order(found.state, OrderEvent.REOPEN)
        if state is None:
            raise RefusedError(Refusal.WRONG_STATE, f"order {order} is {found.state}")
        store.verify(conn, order, state=state, actor=None, now=None)
        audit.record(
            conn, at=now, actor=actor, action="order.reopen", entity="order", entity_id=order,
            reason=reason,
        )  # fmt: skip


def orders(conn: Connection, crew: str | None = None, *, limit: int = 200) -> list[Order]:
    """Return orders of one crew or of all, open ones first (E7)."""
    return store.orders(conn, crew=_login(crew) if crew else None, limit=limit)


def orders_of(conn: Connection, usage_point: UsagePointId) -> list[Order]:
    """Return the orders at one usage point, newest first."""
    return store.orders_of(conn, usage_point)


def order_of(conn: Connection, order: OrderId) -> Order | None:
    """Return one order, or None."""
    return store.order(conn, order)


def follow_outcomes(db: Database, *, now: datetime) -> int:
    """
    Raise the orders that follow from control's outcomes; return how many.

    The cursor moves in the transaction that raises, so each outcome is followed exactly once.
    """
    with db.transaction() as conn:
        seq = store.lock_cursor(conn)
        outcomes = control.outcomes_after(conn, seq)
        if not outcomes:
            return 0
        raised = 0
        for outcome in outcomes:
            job = rules.job_for(outcome)
            if job is not None:
                raised += (
                    raise_order(
                        conn, kind=job.kind, usage_point=outcome.usage_point, cause_key=job.key,
                        summary=job.summary, now=now,
                    )
                    is not None
                )  # fmt: skip
        store.move_cursor(conn, outcomes[-1].seq)
        return raised


def follow_missing(db: Database, *, now: datetime) -> tuple[int, int]:
    """
    Raise an order for each meter that lacks registers for too long, and settle it when they come.

    Each exception raises one order at most (E1); a crew that has reported is not overruled.
    Returns how many were raised and how many settled.
    """
    with db.transaction() as conn:
        missing = vee.open_exceptions(conn, ExceptionKind.MISSING_REGISTERS)
        causes = {rules.missing_key(each.id): each for each in missing}
        known = store.raised_before(conn, sorted(causes))
        raised = [
            raise_order(
                conn, kind=OrderKind.EXCEPTION, usage_point=each.usage_point, cause_key=cause,
                summary=f"{each.kind.value} {each.meter}", now=now,
            )
            for cause, each in causes.items()
            if cause not in known
        ]  # fmt: skip
        over = [id_ for id_, cause in store.open_missing(conn) if cause not in causes]
        for id_ in over:
            _settle(conn, id_, now)
        return sum(each is not None for each in raised), len(over)


def _settle(conn: Connection, id_: OrderId, now: datetime) -> None:
    found = _locked(conn, id_)
    state = rules.move_order(found.state, OrderEvent.SETTLE)
    if state is None:
        return
    store.verify(conn, id_, state=state, actor=SYSTEM, now=now)
    audit.record(
        conn, at=now, actor=SYSTEM, action="order.settle", entity="order", entity_id=id_,
        before={"state": found.state.value}, reason="registers came",
    )  # fmt: skip


def _locked(conn: Connection, order: OrderId) -> Order:
    found = store.order(conn, order, lock=True)
    if found is None:
        raise RefusedError(Refusal.UNKNOWN_ORDER, f"there is no order {order}")
    return found


def _login(crew: str) -> str:
    return crew if crew.startswith("user:") else f"user:{crew}"
