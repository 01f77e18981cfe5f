"""
Pictures as integers: where the bars of a chart and the steps of a ladder stand.

A picture is `WIDE` x `HIGH` units and is stretched to its place; words stand beside it as text, so
they keep their size on a phone and their direction in every script.
"""

from collections.abc import Sequence
from dataclasses import dataclass

WIDE, HIGH = 1000, 200
_GAP_SHARE = 5
"""One fifth of a bar's room is left free."""
_LEAST = 4
"""What is not nothing is never drawn narrower or lower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle with what it stands for."""

    x: int
    y: int
    width: int
    height: int
    kind: str
    value: int = 0
    said: str = ""


def bars(values: Sequence[tuple[int, str, str]]) -> list[Box]:
    """Return a bar for each (value, kind, words); what is below zero is drawn as nothing."""
    if not values:
        return []
    top = max(1, *(value for value, _, _ in values))
    room = WIDE // len(values)
    offset = (WIDE - room * len(values)) // 2
    width = max(1, min(room - room // _GAP_SHARE, 90))
    found = []
    for n, (value, kind, said) in enumerate(values):
        height = max(_LEAST, value * (HIGH - 6) // top) if value > 0 else 0
        x = offset + n * room + (room - width) // 2
        found.append(
            Box(x=x, y=HIGH - height, width=width, height=height, kind=kind, value=value, said=said)
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a ladder: from `over` up to `upto` (None: without end) at `price`."""

    over: int
    upto: int | None
    price: int


def ladder(steps: Sequence[Step], *, since: int, now: int) -> list[Box]:
    """
    Return the stair of a ladder: each step's height is its price, its width what it holds.

    Drawn over it, `before` is what was used until `since`, `now` what came until `now`.
    """
    top = max(1, *(step.price for step in steps))
    last = steps[-1].over
    end = max(last + last // 3, now + now // 8, 1_000)
    found = []
    for step in steps:
        low, high = step.over, end if step.upto is None else min(step.upto, end)
        height = max(_LEAST, max(0, step.price) * (HIGH - 6) // top)
        for kind, start, stop in (
            ("step", low, high),
            ("before", low, min(high, since)),
            ("now", max(low, since), min(high, now)),
        ):
            if stop > start:
                found.append(_stretch(kind, start, stop, end=end, height=height))
    return found


def _stretch(kind: str, start: int, stop: int, *, end: int, height: int) -> Box:
    x = start * WIDE // end
    width = max(stop * WIDE // end - x, 1)
    if kind == "now":
        width = max(width, _LEAST)
        x = max(0, min(x, WIDE - width))
    return Box(x=x, y=HIGH - height, width=width, height=height, kind=kind, value=stop - start)


def strip(minutes: Sequence[int]) -> list[Box]:
    """Return a day as a band: one box for each run of minutes that belong together."""
    found: list[Box] = []
    begin = 0
    for at in range(1, len(minutes) + 1):
        if at == len(minutes) or minutes[at] != minutes[begin]:
            x = begin * WIDE // len(minutes)
            found.append(
                Box(
                    x=x, y=0, width=at * WIDE // len(minutes) - x, height=HIGH,
                    kind=f"band-{minutes[begin] % 6}", value=minutes[begin],
                )
            )  # fmt: skip
            begin = at
    return found


def cell(n: int, of: int, *, kind: str, value: int, said: str = "") -> Box:
    """Return place `n` of a band cut into `of` equal cells, with a seam between them."""
    begin, end = n * WIDE // of, (n + 1) * WIDE // of
    return Box(
        x=begin, y=0, width=max(1, end - begin - 4), height=HIGH, kind=kind, value=value, said=said
    )
