"""
Why days under a tariff of periods cost what they cost: differences of two traces of one stretch.

A line's amounts at the two ends are rounded cumulatives, so what lies between adds up exactly to
what was drawn. What was put right later stands as a line of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from billing.prepaid.model import Drawdown, ExplainedLine, Segment
from billing.prepaid.rules.periods import Uses, period_use, pinned_use
from billing.rating.model import CompiledTariff, TraceLine
from billing.rating.rules import kernel
from billing.rating.rules.trace import trace_of

CORRECTION = "correction"
"""The line of what days cost less or more than was drawn for them at first."""


@dataclass(frozen=True, slots=True)
class At:
    """How far a stretch had come."""

    energy_wh: tuple[int, ...]
    upto: date


@dataclass(slots=True)
class Part:
    """Days of one segment that follow one another: from one point of it to another."""

    segment: Segment
    since: At | None
    until: At | None = None
    from_register_wh: int = 0
    register_wh: int = 0
    regular: bool = False
    """Some day was drawn in it, or runs; else it only puts others right."""
    corrections: int = 0


@dataclass(slots=True)
class Walk:
    """Days as they were written: the parts of some of them, and how far each segment came."""

    parts: list[Part]
    reached: dict[int, At | None]


def walked(
    rows: Sequence[Drawdown], segments: Mapping[int, Segment], first: date, last: date
) -> Walk:
    """
    Return the parts of `[first, last]`, from every day drawn in the order they were written.

    That order counts: what puts a day right was written after days that were drawn without it.
    """
    walk = Walk(parts=[], reached={})
    found = walk.parts
    for row in rows:
        if first <= row.day <= last:
            if not found or found[-1].segment.seq != row.segment_seq:
                found.append(
                    Part(
                        segment=segments[row.segment_seq],
                        since=walk.reached.get(row.segment_seq),
                        from_register_wh=row.from_register_wh,
                    )
                )  # fmt: skip
            _add(found, row)
        walk.reached[row.segment_seq] = _at(row)
    return walk


def _add(found: list[Part], row: Drawdown) -> None:
    part = found[-1]
    if row.seq:
        # what follows goes on from here
        part.corrections += row.amount_micros
        if part.regular:
            part = Part(segment=part.segment, since=None)
            found.append(part)
        part.since, part.from_register_wh = _at(row), row.register_wh
    else:
        part.until, part.regular = _at(row), True
    part.register_wh = row.register_wh


def with_running(
    walk: Walk, segment: Segment, *, registers: tuple[int, int], until: At | None
) -> list[Part]:
    """Return the parts with the open day: it goes on where the last day of its segment ended."""
    parts = walk.parts
    if not parts or parts[-1].segment.seq != segment.seq:
        since = walk.reached.get(segment.seq)
        parts.append(Part(segment=segment, since=since, from_register_wh=registers[0]))
    last = parts[-1]
    last.until, last.register_wh, last.regular = until, registers[1], True
    return parts


def _at(row: Drawdown) -> At | None:
    if row.energy_wh is None:
        return None
    return At(row.energy_wh, row.day + timedelta(days=1))


def lines_of(tariff: CompiledTariff, part: Part) -> list[ExplainedLine]:
    """Return the lines of a part under a tariff of periods; they add up to what it cost."""
    if part.until is None:
        return []
    first = _traced(tariff, part.segment, part.since)
    last = _traced(tariff, part.segment, part.until)
    found = []
    for key in [*last, *(key for key in first if key not in last)]:
        line = last.get(key) or first[key]
        old, new = first.get(key), last.get(key)
        start, end = (old.quantity if old else 0), (new.quantity if new else 0)
        amount = (new.amount_micros if new else 0) - (old.amount_micros if old else 0)
        metered = line.unit == "Wh" and line.price_micros is not None
        if amount or (metered and end != start):
            found.append(
                ExplainedLine(
                    line=line.line, label=line.label, tariff_hash=part.segment.tariff_hash,
                    step=line.step, from_wh=start if metered else 0, upto_wh=end if metered else 0,
                    wh=end - start if metered else 0,
                    price_micros_per_kwh=line.price_micros if metered else None,
                    amount_micros=amount,
                )
            )  # fmt: skip
    return found


def _traced(
    tariff: CompiledTariff, segment: Segment, at: At | None
) -> dict[tuple[str, int], TraceLine]:
    if at is None:
        return {}
    uses = Uses(
        row=np.zeros(1, dtype=np.int64), open=[pinned_use(segment)], energy=[at.energy_wh],
        upto=[at.upto],
    )  # fmt: skip
    rows = trace_of(kernel.open_twin(tariff), period_use(tariff, uses, 0))
    return {(row.line, row.step): row for row in rows if row.counts}


def correction_line(tariff_hash: str, amount: int) -> ExplainedLine:
    """Return the line of what was put right."""
    return ExplainedLine(
        line=CORRECTION, label={}, tariff_hash=tariff_hash, step=0, from_wh=0, upto_wh=0, wh=0,
        price_micros_per_kwh=None, amount_micros=amount,
    )  # fmt: skip
