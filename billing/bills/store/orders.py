"""SQL of orders that staff give to runs."""

from datetime import datetime
from pathlib import Path
from typing import Any

from billing.bills.model import Run, RunAct, RunId, RunOrder, RunOutcome
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parents[1] / "sql")


def insert_order(conn: Connection, run: Run, act: RunAct, *, actor: str, now: datetime) -> int:
    """Keep an order and return its number."""
    row = conn.execute(
        _SQL["insert_run_order"],
        {"run": run.id, "opened_by": run.opened_by, "act": act.value, "actor": actor, "now": now},
    ).fetchone()
    assert row is not None
    return int(row[0])


def oldest_order(conn: Connection) -> RunOrder | None:
    """Return the order that is to be carried out next, or None."""
    row = conn.execute(_SQL["oldest_run_order"]).fetchone()
    return _order((*row, None, "", "", None)) if row else None


def end_order(
    conn: Connection, order: int, outcome: RunOutcome, *, code: str = "", detail: str = "",
    now: datetime,
) -> None:  # fmt: skip
    """Note what became of an order; the first end stands."""
    conn.execute(
        _SQL["end_run_order"],
        {"order": order, "outcome": outcome.value, "code": code, "detail": detail, "now": now},
    )


def orders_of(conn: Connection, run: RunId, limit: int) -> list[RunOrder]:
    """Return the newest orders of a run."""
    return [_order(row) for row in conn.execute(_SQL["run_orders"], {"run": run, "limit": limit})]


def _order(row: tuple[Any, ...]) -> RunOrder:
    return RunOrder(
        id=row[0], run=RunId(row[1]), act=RunAct(row[2]), actor=row[3], at=row[4],
        outcome=RunOutcome(row[5]) if row[5] else None, code=row[6] or "", detail=row[7] or "",
        ended_at=row[8],
    )  # fmt: skip
