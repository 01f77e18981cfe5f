"""Rows of orders, reports, crews and the cursor over control's outcomes."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cloud.store.db import Connection
from cloud.store.sql import Queries
from cloud.work.model import (
    Crew,
    Order,
    OrderId,
    OrderKind,
    OrderState,
    Report,
    VisitOutcome,
)
from protocols.identity import UsagePointId

_SQL = Queries(Path(__file__).parent / "sql")
_CURSOR = "outcomes"


def insert(
    conn: Connection,
    *,
    kind: OrderKind,
    usage_point: UsagePointId,
    cause_key: str,
    summary: str,
    now: datetime,
) -> OrderId | None:
    """Insert an order; None when its cause was raised before."""
    values = {
        "kind": kind.value, "usage_point": usage_point, "cause_key": cause_key,
        "summary": summary, "now": now,
    }  # fmt: skip
    row = conn.execute(_SQL["insert_order"], values).fetchone()
    return OrderId(row[0]) if row else None


def order(conn: Connection, id_: OrderId, *, lock: bool = False) -> Order | None:
    """Return an order, or None; locked if asked so."""
    if lock:
        conn.execute(_SQL["lock_order"], {"order": id_})
    row = conn.execute(_SQL["order"], {"order": id_}).fetchone()
    return _order(row) if row else None


def open_order_of(conn: Connection, usage_point: UsagePointId, kind: OrderKind) -> OrderId | None:
    """Return the order of a kind at a usage point that waits to be done, or None."""
    values = {"usage_point": usage_point, "kind": kind.value}
    row = conn.execute(_SQL["open_order_of"], values).fetchone()
    return OrderId(row[0]) if row else None


def orders(conn: Connection, *, crew: str | None, limit: int) -> list[Order]:
    """Return orders, open ones first."""
    rows = conn.execute(_SQL["orders"], {"crew": crew, "limit": limit}).fetchall()
    return [_order(row) for row in rows]


def orders_of(conn: Connection, usage_point: UsagePointId) -> list[Order]:
    """Return the orders at one usage point, newest first."""
    rows = conn.execute(_SQL["orders_of"], {"usage_point": usage_point}).fetchall()
    return [_order(row) for row in rows]


def assign(conn: Connection, id_: OrderId, *, crew: str, now: datetime) -> None:
    """Give a locked order to a crew."""
    conn.execute(_SQL["assign_order"], {"order": id_, "crew": crew, "now": now})


def report(conn: Connection, id_: OrderId, said: Report, *, now: datetime) -> None:
    """Write a crew's report to its order and to the list of reports."""
    values = {
        "order": id_, "outcome": said.outcome.value, "register_wh": said.register_wh,
        "note": said.note, "actor": said.actor, "key": said.idempotency_key, "now": now,
    }  # fmt: skip
    conn.execute(_SQL["insert_report"], values)
    conn.execute(_SQL["report_order"], values)


def report_by_key(conn: Connection, id_: OrderId, key: str) -> Report | None:
    """Return the report that came under this key, or None."""
    row = conn.execute(_SQL["report_by_key"], {"order": id_, "key": key}).fetchone()
    if row is None:
        return None
    outcome, register_wh, note, actor = row
    return Report(
        outcome=VisitOutcome(outcome), register_wh=register_wh, note=note, actor=actor,
        idempotency_key=key,
    )  # fmt: skip


def verify(
    conn: Connection, id_: OrderId, *, state: OrderState, actor: str | None, now: datetime | None
) -> None:
    """Close a locked order, or give it back to its crew with `actor` None."""
    values = {"order": id_, "state": state.value, "verified_by": actor, "verified_at": now}
    conn.execute(_SQL["verify_order"], values)


def raised_before(conn: Connection, causes: Sequence[str]) -> set[str]:
    """Return the causes for which an order was ever raised."""
    rows = conn.execute(_SQL["orders_of_causes"], {"causes": list(causes)})
    return {row[0] for row in rows}


def open_missing(conn: Connection) -> list[tuple[OrderId, str]]:
    """Return orders for missing registers that nobody has reported done, with their causes."""
    return [(OrderId(id_), cause) for id_, cause in conn.execute(_SQL["open_missing_orders"])]


def upsert_crew(
    conn: Connection, *, login: str, phone: str, language: str, on_duty: bool, now: datetime
) -> None:
    """Insert or replace a crew."""
    values = {
        "login": login, "phone": phone, "language": language, "on_duty": on_duty, "now": now,
    }  # fmt: skip
    conn.execute(_SQL["upsert_crew"], values)


def crews(conn: Connection) -> list[Crew]:
    """Return the crews, the least busy on duty first."""
    return [
        Crew(login=login, phone=phone, language=language, on_duty=on_duty, open_orders=busy)
        for login, phone, language, on_duty, busy in conn.execute(_SQL["crews"])
    ]


def lock_cursor(conn: Connection) -> int:
    """Lock the cursor over control's outcomes and return where it stands."""
    row = conn.execute(_SQL["lock_cursor"], {"name": _CURSOR}).fetchone()
    assert row is not None
    return int(row[0])


def move_cursor(conn: Connection, seq: int) -> None:
    """Move the cursor that the caller has locked."""
    conn.execute(_SQL["move_cursor"], {"name": _CURSOR, "seq": seq})


def _order(row: Sequence[Any]) -> Order:
    (id_, kind, usage_point, cause_key, summary, state, crew, raised_at, assigned_at, done_at,
     verified_at, verified_by, outcome, register_wh, note) = row  # fmt: skip
    return Order(
        id=OrderId(id_), kind=OrderKind(kind), usage_point=UsagePointId(usage_point),
        cause_key=cause_key, summary=summary, state=OrderState(state), crew=crew,
        raised_at=raised_at, assigned_at=assigned_at, done_at=done_at, verified_at=verified_at,
        verified_by=verified_by, outcome=VisitOutcome(outcome) if outcome else None,
        register_wh=register_wh, note=note,
    )  # fmt: skip
