"""
What registers say about missing intervals: how much energy each stretch of slots must hold.

A span between two reads is an anchor when both lie on slot borders inside the frame and the
register did not fall. What was measured inside is taken off; the rest is what the missing slots
must add up to, per TOU rate where rate registers were read at both ends.
"""

from dataclasses import dataclass

import numpy as np

from cloud.vee.rules.grid import Bool, Int, State
from cloud.vee.rules.observed import Observed
from cloud.vee.rules.register_checks import borders
from cloud.vee.rules.shapes import register_from_intervals


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """
    One stretch of slots with known energy. *Units*: Wh after the factor.

    `by_rate` holds the energy of each TOU rate, empty where the rates were not all read.
    """

    series: int
    first: int
    end: int
    total_wh: int
    by_rate: dict[int, int]


def anchors_of(seen: Observed, *, too_fast: Bool | None = None) -> list[Anchor]:
    """Return the anchors, by series and time; `too_fast` marks spans that no register may make."""
    spans, first, end, inside = borders(seen)
    good = inside & ~spans.fell
    if too_fast is not None:
        good &= ~too_fast
    reads, found = seen.reads, {}
    rates: dict[tuple[int, int, int], dict[int, int]] = {}
    broken: set[tuple[int, int, int]] = set()
    for n in np.nonzero(inside)[0].tolist():
        series, rate = int(reads.series[spans.after[n]]), int(reads.rate[spans.after[n]])
        key = (series, int(first[n]), int(end[n]))
        energy = int(spans.advance[n]) * int(reads.factor[spans.after[n]])
        if not good[n]:
            broken.add(key if rate else (-1, -1, -1))
        elif rate:
            rates.setdefault(key, {})[rate] = energy
        else:
            found[key] = energy
    have: dict[int, set[int]] = {}
    for (series, _, _), each in rates.items():
        have.setdefault(series, set()).update(each)
    anchors = []
    for key, energy in sorted(found.items()):
        parts = rates.get(key, {})
        whole = key not in broken and set(parts) == have.get(key[0], set()) and parts
        adds_up = whole and sum(parts.values()) == energy and seen.rate_of_slot is not None
        anchors.append(
            Anchor(series=key[0], first=key[1], end=key[2], total_wh=energy,
                   by_rate=parts if adds_up else {})
        )  # fmt: skip
    return anchors


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatedRead:
    """A register that nobody read: the read before it plus the intervals since, or why not."""

    series: int
    at_ms: int
    wh: int | None
    reason: str = ""


def estimate_registers(seen: Observed, series: Int, at_ms: Int) -> list[EstimatedRead]:
    """
    Return the total registers at instants at which none was read, forward from the read before.

    Refused, with the reason, where no read comes before or a slot between is missing: a register
    is never made of estimates. *Source*: Itron IEE, register estimation from intervals.
    """
    frame, reads, found = seen.grid.frame, seen.reads, []
    for one, at in zip(series.tolist(), at_ms.tolist(), strict=True):
        rows = np.nonzero((reads.series == one) & (reads.rate == 0) & (reads.at_ms <= at))[0]
        border, on = frame.slot_of(np.array([at]))
        end = int(border[0])
        if not len(rows):
            found.append(EstimatedRead(series=one, at_ms=at, wh=None, reason="no_read_before"))
            continue
        last = int(rows[-1])
        start, on_start = frame.slot_of(reads.at_ms[last : last + 1])
        first = int(start[0])
        if not (on[0] and on_start[0] and 0 <= first <= end <= len(frame)):
            found.append(EstimatedRead(series=one, at_ms=at, wh=None, reason="off_the_slots"))
        elif (seen.grid.state[one, first:end] < State.MEASURED).any():
            found.append(EstimatedRead(series=one, at_ms=at, wh=None, reason="interval_missing"))
        else:
            wh = register_from_intervals(
                int(reads.wh[last]), seen.grid.wh[one, first:end],
                int(seen.facts.rollover_wh[one]), int(reads.factor[last]),
            )  # fmt: skip
            found.append(EstimatedRead(series=one, at_ms=at, wh=wh))
    return found
