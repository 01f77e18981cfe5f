"""Which months of packed intervals may go, by a policy and by how far readings have come."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from cloud.ingest.rules.packing import Readings
from protocols.identity import MeterId


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """
    How long what is kept. *Units*: days of rows, months of packed intervals; 0 months is for ever.

    `floor_months` is the least that `packed_months` may be: what roll-ups are made anew from and
    bills are proven with. Raises: ValueError naming the key.
    """

    rows_days: int = 2
    packed_months: int = 0
    floor_months: int = 25

    def __post_init__(self) -> None:
        """Refuse a policy that lets go what is still needed."""
        if self.rows_days < 0:
            raise ValueError("rows_days must be 0 or more")
        if self.floor_months < 2:
            raise ValueError("floor_months must be 2 or more: bills of last month rest on readings")
        if self.packed_months and self.packed_months < self.floor_months:
            raise ValueError(
                f"packed_months is {self.packed_months}, below floor_months {self.floor_months}; "
                "write 0 to keep packed days for ever, or lower the floor knowingly"
            )

    def keep_from(self, reached: date | None) -> date | None:
        """Return the first day kept when readings have reached a day; None: nothing may go."""
        if reached is None or not self.packed_months:
            return None
        return months_before(reached, self.packed_months)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthPart:
    """One packed day of intervals, for an export. *Units*: s; ms after midnight, Wh."""

    meter: MeterId
    channel: int
    seconds: int
    day: date
    readings: Readings


def months_before(day: date, months: int) -> date:
    """Return the first of the month that lies `months` before the month of `day`."""
    number = day.year * 12 + day.month - 1 - months
    return date(max(1, number // 12), number % 12 + 1, 1) if number >= 12 else date(1, 1, 1)


def next_month(month: date) -> date:
    """Return the first of the month after."""
    return months_before(month, -1)


def months_due(months: Sequence[date], keep_from: date | None) -> list[date]:
    """Return the months, oldest first, that end at or before the first day kept."""
    if keep_from is None:
        return []
    return [month for month in sorted(months) if next_month(month) <= keep_from]
