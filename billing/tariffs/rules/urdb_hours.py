"""
From URDB's month by hour tables to TouPeriods: each hour of a workday or weekend has one number.

Energy and demand have tables of their own; a TouPeriod here is a pair of their numbers, so that
both find their hours in one partition of the year.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from billing.tariffs.rules.urdb_fields import refuse

WORKDAY, WEEKEND = "workday", "weekend"
CALENDAR = {
    "day_types": [
        {"name": WORKDAY, "weekdays": [1, 2, 3, 4, 5]},
        {"name": WEEKEND, "weekdays": [6, 7]},
    ]
}
"""URDB knows no holidays; weekends are Saturday and Sunday."""

Table = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """The partition of the year, and which of its TouPeriods each number of a table owns."""

    periods: tuple[str, ...]
    spans: Mapping[str, list[dict[str, Any]]]
    energy: Mapping[int, tuple[str, ...]]
    demand: Mapping[int, tuple[str, ...]]
    energy_months: Mapping[int, frozenset[int]]

    @property
    def touperiods(self) -> list[dict[str, Any]]:
        """Return the TouPeriods as a file writes them; none where all hours are the same."""
        if len(self.periods) == 1:
            return []
        return [{"name": name, "spans": self.spans[name]} for name in self.periods]

    def named(self, periods: Sequence[str]) -> list[str]:
        """Return what a line writes as its periods: nothing where it means all."""
        return [] if len(periods) == len(self.periods) else list(periods)


def hours_of(rate: Mapping[str, Any]) -> Hours:
    """
    Return the partition that a rate's tables describe.

    Raises: RefusedError `tariffs.unsupported`, naming a table that is not 12 by 24 of its numbers.
    """
    energy = _tables(rate, "energy")
    demand = _tables(rate, "demand") if "demandratestructure" in rate else None
    names: list[str] = []
    cells: dict[str, dict[str, list[tuple[int, int]]]] = {}
    owners: dict[str, tuple[int, int]] = {}
    for day_type in (WORKDAY, WEEKEND):
        for month in range(12):
            for hour in range(24):
                pair = (
                    energy[day_type][month][hour],
                    demand[day_type][month][hour] if demand else 0,
                )
                name = f"e{pair[0]}_d{pair[1]}" if demand else f"e{pair[0]}"
                if name not in owners:
                    names.append(name)
                    owners[name] = pair
                    cells[name] = {WORKDAY: [], WEEKEND: []}
                cells[name][day_type].append((month + 1, hour))
    return Hours(
        periods=tuple(names),
        spans={name: _spans(cells[name]) for name in names},
        energy=_owned(names, owners, 0),
        demand=_owned(names, owners, 1) if demand else {},
        energy_months=_months(names, owners, cells),
    )


def _owned(
    names: Sequence[str], owners: Mapping[str, tuple[int, int]], place: int
) -> dict[int, tuple[str, ...]]:
    numbers = sorted({owners[name][place] for name in names})
    return {n: tuple(name for name in names if owners[name][place] == n) for n in numbers}


def _months(
    names: Sequence[str],
    owners: Mapping[str, tuple[int, int]],
    cells: Mapping[str, Mapping[str, list[tuple[int, int]]]],
) -> dict[int, frozenset[int]]:
    found: dict[int, frozenset[int]] = {}
    for name in names:
        months = frozenset(month for hours in cells[name].values() for month, _ in hours)
        number = owners[name][0]
        found[number] = found.get(number, frozenset()) | months
    return found


def _tables(rate: Mapping[str, Any], kind: str) -> dict[str, Table]:
    structure = f"{kind}ratestructure"
    if structure not in rate:
        refuse(structure, "is missing", "take the rate with detail=full")
    count = len(rate[structure])
    return {
        day_type: _table(rate, f"{kind}{word}schedule", count)
        for day_type, word in ((WORKDAY, "weekday"), (WEEKEND, "weekend"))
    }


def _table(rate: Mapping[str, Any], name: str, count: int) -> Table:
    rows = rate.get(name, [])
    if len(rows) != 12 or any(not isinstance(row, list) or len(row) != 24 for row in rows):
        refuse(name, "is not a table of 12 months by 24 hours", "correct the file")
    for row in rows:
        for cell in row:
            if not isinstance(cell, str) or not cell.isdigit() or int(cell) >= count:
                refuse(name, f"{cell!r} is not one of its {count} periods", "correct the file")
    return tuple(tuple(int(cell) for cell in row) for row in rows)


def _spans(cells: Mapping[str, list[tuple[int, int]]]) -> list[dict[str, Any]]:
    """Return the hours as stretches, months with the same stretch together."""
    found: list[dict[str, Any]] = []
    for day_type, hours in cells.items():
        months: dict[tuple[int, int], list[int]] = {}
        for month in sorted({month for month, _ in hours}):
            for stretch in _stretches([hour for when, hour in hours if when == month]):
                months.setdefault(stretch, []).append(month)
        found += [
            {
                "months": among,
                "day_types": [day_type],
                "from": f"{low:02}:00",
                "to": f"{high:02}:00",
            }
            for (low, high), among in months.items()
        ]
    return found


def _stretches(hours: Sequence[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for hour in hours:
        if found and found[-1][1] == hour:
            found[-1] = (found[-1][0], hour + 1)
        else:
            found.append((hour, hour + 1))
    return found
