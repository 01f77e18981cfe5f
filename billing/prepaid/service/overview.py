"""Fee control as a whole: who stands where, by area and class; lines passed, exceptions, credit."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.prepaid.store import watch as store
from billing.prepaid.store.watch import Count, CreditSum, Standing
from cloud.store.db import Connection
from protocols.timeline import Interval

SIDES = ("good", "reminder", "zero", "cut")
"""From well above the lines to below the one of cuts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """
    Statistics of fee control (C12). `standing` is as last written by the sweep.

    *Shape*: each list by area; an empty area is one that control does not know.
    """

    span: Interval
    standing: Sequence[Standing]
    switches: Sequence[Count]
    crossings: Sequence[Count]
    exceptions: Sequence[Count]
    credit: Sequence[CreditSum]

    @property
    def accounts(self) -> int:
        """Return how many accounts pay ahead."""
        return sum(row.count for row in self.standing)

    @property
    def areas(self) -> list[str]:
        """Return every area that something is said of."""
        found = {row.area for row in self.standing}
        for rows in (self.switches, self.crossings, self.exceptions):
            found |= {row.area for row in rows}
        return sorted(found)

    def on_side(self, side: str, *, area: str | None = None) -> int:
        """Return how many accounts stand on a side, of all areas or one."""
        return sum(
            row.count for row in self.standing
            if row.side == side and (area is None or row.area == area)
        )  # fmt: skip

    def of_class(self, kind: str) -> int:
        """Return how many accounts a class of customers has."""
        return sum(row.count for row in self.standing if row.kind == kind)

    def of_quality(self, quality: str) -> int:
        """Return how many balances stand on figures of a quality."""
        return sum(row.count for row in self.standing if row.quality == quality)

    def passed(self, kind: str, *, area: str | None = None) -> int:
        """Return how often a kind of line was passed, in all areas or one."""
        return _count(self.crossings, kind, area)

    def excepted(self, *, area: str | None = None) -> int:
        """Return how many calculation exceptions stand."""
        return sum(row.count for row in self.exceptions if area is None or row.area == area)

    def switched(self, state: str, *, area: str | None = None) -> int:
        """Return how many switches stand so."""
        return _count(self.switches, state, area)

    def exception_kinds(self) -> list[tuple[str, int]]:
        """Return how many exceptions of each kind stand, the most frequent first."""
        found: Counter[str] = Counter()
        for row in self.exceptions:
            found[row.what] += row.count
        return found.most_common()


def overview(conn: Connection, *, days: int, now: datetime) -> Overview:
    """Return the statistics of fee control now, and of lines passed in the last `days`."""
    # half open: what was passed at this very instant belongs to it
    span = Interval(start=now - timedelta(days=days), end=now + timedelta(seconds=1))
    return Overview(
        span=span, standing=store.standing_by_area(conn), switches=store.switches_by_area(conn),
        crossings=store.crossings_by_area(conn, span),
        exceptions=store.exceptions_by_area(conn), credit=store.credit_owed(conn),
    )  # fmt: skip


def _count(rows: Sequence[Count], what: str, area: str | None) -> int:
    return sum(row.count for row in rows if row.what == what and (area is None or row.area == area))
