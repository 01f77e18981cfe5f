"""SQL of bills, and of charges not billed yet, that had used a day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import UsagePointId

_SQL = Queries(Path(__file__).parents[1] / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """
    What one bill or charge was priced from. *Units*: Wh, micros.

    `number` tells which of the days asked about it holds; `state` is empty for a bill.
    """

    number: int
    reference: str
    account: str
    currency: str
    usage: str
    versions: tuple[str, ...]
    energy_wh: int
    total_micros: int | None
    state: str


def bills_on_days(
    conn: Connection, points: Sequence[UsagePointId], days: Sequence[date]
) -> list[Pinned]:
    """Return the standing bills that hold the (usage point, day) pairs, pair by pair."""
    rows = conn.execute(_SQL["bills_on_days"], {"usage_points": list(points), "days": list(days)})
    return [
        Pinned(
            number=row[0] - 1, reference=str(row[1]), account=row[2], currency=row[3],
            usage=row[4], versions=tuple(row[5]), energy_wh=row[6], total_micros=row[7], state="",
        )
        for row in rows
    ]  # fmt: skip


def items_on_days(
    conn: Connection, points: Sequence[UsagePointId], days: Sequence[date]
) -> list[Pinned]:
    """Return the charges not billed yet that hold the (usage point, day) pairs, pair by pair."""
    rows = conn.execute(_SQL["items_on_days"], {"usage_points": list(points), "days": list(days)})
    return [
        Pinned(
            number=row[0] - 1, reference=f"{row[1]}/{row[2]}", account=row[3], currency=row[4],
            usage=row[5], versions=tuple(row[6]), energy_wh=row[7], total_micros=row[8],
            state=row[9],
        )
        for row in rows
    ]  # fmt: skip
