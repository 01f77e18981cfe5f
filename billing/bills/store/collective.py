"""SQL of bills that go over all supplies of a company."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from billing.bills.rules.collective import CollectiveBill
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parents[1] / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCollectiveBill:
    """A company's bill before it has a number."""

    collective: str
    currency: str
    start: date
    end: date
    seq: int
    bills: Sequence[int]
    total_micros: int
    posted_micros: int
    due_on: date


def standing_bills(conn: Connection, accounts: Sequence[str], start: date, end: date) -> list[int]:
    """Return numbers of standing bills whose days end in `(start, end]`."""
    asked = {"accounts": list(accounts), "start": start, "end": end}
    return [int(row[0]) for row in conn.execute(_SQL["standing_bills_of_accounts"], asked)]


def insert(conn: Connection, new: NewCollectiveBill, *, actor: str, now: datetime) -> int:
    """Insert a company's bill and return its number."""
    row = conn.execute(
        _SQL["insert_collective_bill"],
        {
            "collective": new.collective, "currency": new.currency, "start": new.start,
            "end": new.end, "seq": new.seq, "bills": list(new.bills), "total": new.total_micros,
            "posted": new.posted_micros, "due_on": new.due_on, "actor": actor, "now": now,
        },
    ).fetchone()  # fmt: skip
    assert row is not None
    return int(row[0])


def bills_of(conn: Connection, collective: str, bill: int | None = None) -> list[CollectiveBill]:
    """Return a company's bills, newest first, or the one named."""
    asked = {"collective": collective, "bill": bill}
    return [_bill(row) for row in conn.execute(_SQL["collective_bills"], asked)]


def _bill(row: tuple[Any, ...]) -> CollectiveBill:
    return CollectiveBill(
        id=row[0], collective=row[1], currency=row[2], period_start=row[3], period_end=row[4],
        seq=row[5], bills=tuple(row[6]), total_micros=row[7], posted_micros=row[8],
        issued_at=row[9], due_on=row[10], actor=row[11],
    )  # fmt: skip
