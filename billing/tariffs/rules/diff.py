"""
What differs between two tariff files: every field that changed, and the price steps side by side.

Files are compared as they are written, so that a reader finds each place again: lines by their id,
TouPeriods and day types by name, all other lists by position.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from billing.money import parse_micros

_KEYS = {"lines": "id", "touperiods": "name", "day_types": "name"}
_PAPER = frozenset({"version", "valid_from", "valid_to", "legal_ref", "sources", "test_cases"})
_LADDERS = {"steps": ("over_kwh", "upto_kwh"), "power": ("over_kw", "upto_kw")}


class About(StrEnum):
    """What a change touches."""

    PRICE = "price"
    """It can change a bill."""
    PAPER = "paper"
    """Version, validity, sources, cases: it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field: None on the side where it is not written."""

    place: str
    before: str | None
    after: str | None
    about: About


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChange:
    """The price of one stretch of a line's ladder before and after; None where there is no step."""

    line: str
    over: str
    upto: str | None
    before: str | None
    after: str | None

    @property
    def basis_points(self) -> int | None:
        """Return by how much it rose, in hundredths of a percent of its size, towards zero."""
        if self.before is None or self.after is None:
            return None
        old, new = parse_micros(self.before), parse_micros(self.after)
        if not old:
            return None if new else 0
        sign = -1 if new < old else 1
        return sign * (abs(new - old) * 10_000 // abs(old))


def changes_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return every field that differs, in the order of the files."""
    return [
        Change(
            place=place, before=old, after=new,
            about=About.PAPER if place.split(".")[0] in _PAPER else About.PRICE,
        )
        for place, old, new in _compared("", before, after)
    ]  # fmt: skip


def step_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[StepChange]:
    """
    Return the price steps of every line of either file, those that did not change too.

    Ladders are cut at the edges of both files, so each row has one price on each side.
    """
    old, new = _ladders(before), _ladders(after)
    found: list[StepChange] = []
    for name in dict.fromkeys([*old, *new]):
        rows = _merged(old.get(name, []), new.get(name, []))
        found += [
            StepChange(line=name, over=over, upto=upto, before=one, after=other)
            for over, upto, one, other in rows
        ]
    return found


def _compared(place: str, old: Any, new: Any) -> Iterator[tuple[str, str | None, str | None]]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _compared(f"{place}.{key}" if place else key, old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _compared_lists(place, old, new)
    else:
        yield place, _told(old), _told(new)


def _compared_lists(
    place: str, old: Sequence[Any], new: Sequence[Any]
) -> Iterator[tuple[str, str | None, str | None]]:
    key = _KEYS.get(place.rsplit(".", maxsplit=1)[-1])
    if key is None:
        for number, (one, other) in enumerate(zip_longest(old, new), start=1):
            yield from _compared(f"{place}.{number}", one, other)
        return
    first = {str(each[key]): each for each in old}
    second = {str(each[key]): each for each in new}
    for name in dict.fromkeys([*first, *second]):
        yield from _compared(f"{place}.{name}", first.get(name), second.get(name))
    kept = [name for name in first if name in second]
    again = [name for name in second if name in first]
    if kept != again:
        yield f"{place} (order)", " ".join(kept), " ".join(again)


def _told(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(each)}" for key, each in value.items())
    if isinstance(value, list):
        return "; ".join(str(_told(each)) for each in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


Ladder = list[tuple[str, str | None, str]]


def _ladders(file: Mapping[str, Any]) -> dict[str, Ladder]:
    """Return each line's steps as (over, upto, price), those of schedules under a name each."""
    found: dict[str, Ladder] = {}
    for line in file["lines"]:
        if "steps" in line:
            found[line["id"]] = _ladder(line["steps"])
        for schedule in line.get("schedules", []):
            upto = schedule["upto_kwh"] or "more"
            found[f"{line['id']} (use to {upto})"] = _ladder(schedule["steps"])
        if "price" in line:
            found[line["id"]] = [("0", None, line["price"])]
    return found


def _ladder(steps: Sequence[Mapping[str, Any]]) -> Ladder:
    found: Ladder = []
    for step in steps:
        over, upto = next(pair for pair in _LADDERS.values() if pair[0] in step)
        found.append((step[over], step[upto], step["price"]))
    return found


def _merged(old: Ladder, new: Ladder) -> Iterator[tuple[str, str | None, str | None, str | None]]:
    """Yield (over, upto, price before, price after) of every stretch between edges of either."""
    edges = {parse_micros(over): over for ladder in (old, new) for over, _, _ in ladder}
    order = sorted(edges)
    for number, low in enumerate(order):
        upto = edges[order[number + 1]] if number + 1 < len(order) else None
        yield edges[low], upto, _price_at(old, low), _price_at(new, low)


def _price_at(ladder: Ladder, low: int) -> str | None:
    """Return the price of what lies just above an edge."""
    held = [price for over, _, price in ladder if parse_micros(over) <= low]
    return held[-1] if held else None
