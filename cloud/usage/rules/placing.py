"""From raw figures to usage, by segments; then what validation or a person says. Columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.usage.model import (
    EDITED,
    ESTIMATED,
    QUESTIONABLE,
    VALID,
    Registers,
    Slots,
)
from cloud.usage.rules.walking import FOREVER_MS
from cloud.vee.model import OverlayColumns, OverlayKind, RegisterOverlayColumns
from protocols.identity import MeterId

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

_DAY_MS = 86_400_000
_SHIFT = 43
"""An instant takes fewer bits; what is above them tells the point or the pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """
    Segments of many usage points, by pair and since. *Shape*: equal columns; *units*: ms, Wh, W.

    A pair is a usage point and a meter (`meter` indexes `meters`). `ends_ms` is where the
    installation ends: segments that touch are of one. `began_ms` is where it begins.
    """

    meters: tuple[MeterId, ...]
    point: Int
    meter: Int
    pair: Int
    since_ms: Int
    until_ms: Int
    offset_wh: Int
    numerator: Int
    denominator: Int
    capacity_w: Int
    began_ms: Int
    ends_ms: Int

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.point)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Raw figures, each with the segment that speaks for it. *Shape*: equal columns."""

    line: Int
    at_ms: Int
    seconds: Int
    wh: Int
    status: Int


Row = tuple[int, str, int, int, int, int, int, int]
"""Point, meter, since ms, until ms, offset, numerator, denominator, capacity."""


def lines_from(rows: Sequence[Row]) -> Lines:
    """Return segments as columns."""
    meters = tuple(dict.fromkeys(MeterId(row[1]) for row in rows))
    place = {meter: n for n, meter in enumerate(meters)}
    table = np.array(
        [(row[0], place[MeterId(row[1])], *row[2:]) for row in rows], dtype=np.int64
    ).reshape(-1, 8)
    table = table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))]
    point, meter, since, until = (table[:, k] for k in range(4))
    fresh = np.ones(len(table), dtype=np.bool_)
    fresh[1:] = (point[1:] != point[:-1]) | (meter[1:] != meter[:-1])
    first = fresh.copy()
    first[1:] |= since[1:] != until[:-1]
    starts = np.flatnonzero(first)
    lasts = np.append(starts[1:], len(table)) - 1 if len(table) else starts
    stay = np.cumsum(first) - 1
    return Lines(
        meters=meters, point=point, meter=meter, pair=np.cumsum(fresh) - 1, since_ms=since,
        until_ms=until, offset_wh=table[:, 4], numerator=table[:, 5], denominator=table[:, 6],
        capacity_w=table[:, 7], began_ms=since[starts][stay], ends_ms=until[lasts][stay],
    )  # fmt: skip


def figures_of(
    lines: Lines, *, meter: Int, at_ms: Int, seconds: Int, wh: Int, status: Int
) -> Figures:
    """
    Return raw readings beside their segments, once for each usage point that they speak for.

    Readings come by meter and instant. One that no segment covers is left out: an interval must
    lie within the installation, a register may stand at its very end.
    """
    heads = np.flatnonzero(np.diff(lines.pair, prepend=-1))
    low = np.searchsorted(meter, lines.meter[heads])
    size = np.searchsorted(meter, lines.meter[heads], side="right") - low
    starts = np.cumsum(size) - size
    if not np.array_equal(low, starts) or int(size.sum()) != len(meter):
        rows = np.repeat(low - starts, size) + np.arange(int(size.sum()))
        at_ms, seconds, wh, status = (each[rows] for each in (at_ms, seconds, wh, status))
    line = np.repeat(np.arange(len(heads)), size)
    if len(heads) == len(lines):
        # one segment speaks for each meter: it does from its own beginning on
        ok = at_ms >= np.repeat(lines.since_ms, size)
        ends_ms, until_ms = np.repeat(lines.ends_ms, size), np.repeat(lines.until_ms, size)
    else:
        line = place(lines, line, at_ms)
        ok = line >= 0
        ends_ms, until_ms = lines.ends_ms[line], lines.until_ms[line]
    length = seconds > 0
    ok &= np.where(length, at_ms + seconds * 1000 <= ends_ms, at_ms <= until_ms)
    ok &= ~length | (at_ms < until_ms)
    if ok.all():
        return Figures(line=line, at_ms=at_ms, seconds=seconds, wh=wh, status=status)
    return Figures(
        line=line[ok], at_ms=at_ms[ok], seconds=seconds[ok], wh=wh[ok], status=status[ok]
    )


def place(lines: Lines, pair: Int, at_ms: Int) -> Int:
    """Return per (pair, instant) its newest segment that begins by then, -1 where none does."""
    if not len(lines):
        return np.full(len(pair), -1, dtype=np.int64)
    keys = (lines.pair << _SHIFT) + lines.since_ms
    found = np.searchsorted(keys, (pair << _SHIFT) + at_ms, side="right") - 1
    return np.where((found >= 0) & (lines.pair[found] == pair), found, -1)


def cumulative(lines: Lines, line: Int, wh: Int) -> Int:
    """Return the usage point's register of each figure."""
    scaled: Int = wh * lines.numerator[line] // lines.denominator[line] + lines.offset_wh[line]
    return scaled


def shown(lines: Lines, line: Int, cumulative_wh: Int) -> Int:
    """Return what the meter shows at a register of the usage point."""
    own = cumulative_wh - lines.offset_wh[line]
    figure: Int = own * lines.denominator[line] // lines.numerator[line]
    return figure


def slots_of(lines: Lines, found: Figures) -> tuple[Slots, Int, Int]:
    """
    Return the intervals of usage, their status and the contract's power of each.

    Where a factor is a fraction, what is rounded away of an interval is carried into the next of
    the same segment and UTC day, so that a day adds up to the factor times its figures.
    """
    line = found.line
    order = _in_order(lines.point[line], found.at_ms, found.seconds)
    at_ms, wh, seconds, status = found.at_ms, found.wh, found.seconds, found.status
    if order is not None:
        line, at_ms, wh = line[order], at_ms[order], wh[order]
        seconds, status = seconds[order], status[order]
    scaled = wh
    if (lines.numerator != 1).any() or (lines.denominator != 1).any():
        scaled, denominator = wh * lines.numerator[line], lines.denominator[line]
        if (denominator != 1).any():
            scaled = _carried(scaled, denominator, (line << 20) + at_ms // _DAY_MS)
    return (
        Slots(
            point=lines.point[line], start_ms=at_ms, seconds=seconds, wh=scaled,
            quality=np.full(len(line), VALID, dtype=np.int64),
        ),
        status,
        lines.capacity_w[line],
    )  # fmt: skip


def _in_order(point: Int, at_ms: Int, seconds: Int) -> Int | None:
    """Return the order by point, instant and length; None where the rows stand in it already."""
    keys = (point << _SHIFT) + at_ms
    if (keys[1:] > keys[:-1]).all():
        return None
    order: Int = np.argsort(keys, kind="stable")
    if (np.diff(keys[order]) != 0).all():
        return order
    return np.lexsort((seconds, at_ms, point))


def registers_of(lines: Lines, found: Figures) -> tuple[Registers, Int]:
    """
    Return the cumulative registers, and their status.

    The old meter's last and the new meter's first may share an instant: the new one stays.
    """
    point = lines.point[found.line]
    order = np.lexsort((lines.since_ms[found.line], found.at_ms, point))
    keys = (point[order] << _SHIFT) + found.at_ms[order]
    order = order[np.append(keys[1:] != keys[:-1], values=True)] if len(keys) else order
    line, wh = found.line[order], found.wh[order]
    registers = Registers(
        meters=lines.meters, point=point[order], at_ms=found.at_ms[order],
        wh=cumulative(lines, line, wh), quality=np.full(len(order), VALID, dtype=np.int64),
        meter=lines.meter[line], meter_wh=wh,
    )  # fmt: skip
    return registers, found.status[order]


def doubted(quality: Int, doubtful: Bool) -> Int:
    """Return codes of quality, questionable where doubtful."""
    return np.where(doubtful, QUESTIONABLE, quality)


def _precedence(
    own: Int, keys: Int, kind: NDArray[np.int8]
) -> tuple[Bool, Bool, Bool, NDArray[np.intp]]:
    """
    Return which raw values stay, which of those are suspect, and of what was said: edits, and rows
    that stand.

    `own` and `keys` name the places of raw values and of what was said over them. A person's word
    comes first, then a raw value, then an estimate.
    """
    edits, cancels = kind == OverlayKind.EDIT, kind == OverlayKind.CANCEL
    person = keys[edits | cancels]
    stays = ~np.isin(own, person)
    kept = own[stays]
    fills = (kind == OverlayKind.ESTIMATE) & ~np.isin(keys, kept) & ~np.isin(keys, person)
    suspect = np.isin(kept, keys[kind == OverlayKind.SUSPECT])
    return stays, suspect, edits, np.flatnonzero(edits | fills)


def slots_said(raw: Slots, said: OverlayColumns) -> Slots:
    """
    Return what stands of the intervals: the newest edit, else the raw value, else the estimate.

    A cancelled one is absent; a suspect keeps its raw value and is questionable.
    """
    if not len(said):
        return raw
    keys, own = (said.point << _SHIFT) + said.start_ms, (raw.point << _SHIFT) + raw.start_ms
    stays, suspect, edits, extra = _precedence(own, keys, said.kind)
    kept = raw.take(stays)
    whole = Slots(
        point=np.concatenate((kept.point, said.point[extra])),
        start_ms=np.concatenate((kept.start_ms, said.start_ms[extra])),
        seconds=np.concatenate((kept.seconds, said.seconds[extra])),
        wh=np.concatenate((kept.wh, said.wh[extra])),
        quality=np.concatenate(
            (doubted(kept.quality, suspect), np.where(edits[extra], EDITED, ESTIMATED))
        ),
    )
    return whole.take(np.lexsort((whole.seconds, whole.start_ms, whole.point)))


def registers_said(raw: Registers, said: RegisterOverlayColumns, lines: Lines) -> Registers:
    """Return what stands of the registers, in the same sense as of intervals."""
    if not len(said):
        return raw
    keys, own = (said.point << _SHIFT) + said.at_ms, (raw.point << _SHIFT) + raw.at_ms
    stays, suspect, edits, extra = _precedence(own, keys, said.kind)
    kept = raw.take(stays)
    line = _speaking(lines, said.point[extra], said.at_ms[extra])
    extra, line = extra[line >= 0], line[line >= 0]
    whole = Registers(
        meters=raw.meters,
        point=np.concatenate((kept.point, said.point[extra])),
        at_ms=np.concatenate((kept.at_ms, said.at_ms[extra])),
        wh=np.concatenate((kept.wh, said.wh[extra])),
        quality=np.concatenate(
            (doubted(kept.quality, suspect), np.where(edits[extra], EDITED, ESTIMATED))
        ),
        meter=np.concatenate((kept.meter, lines.meter[line])),
        meter_wh=np.concatenate((kept.meter_wh, shown(lines, line, said.wh[extra]))),
    )
    return whole.take(np.lexsort((whole.at_ms, whole.point)))


def _speaking(lines: Lines, point: Int, at_ms: Int) -> Int:
    """Return per (point, instant) the newest segment of any meter that begins by then, else -1."""
    order = np.lexsort((lines.since_ms, lines.point))
    keys = (lines.point[order] << _SHIFT) + lines.since_ms[order]
    found = np.searchsorted(keys, (point << _SHIFT) + np.minimum(at_ms, FOREVER_MS), side="right")
    found -= 1
    line = order[np.maximum(found, 0)] if len(order) else found
    ok = (found >= 0) & (lines.point[line] == point) if len(order) else found >= 0
    return np.where(ok, line, -1)


def _carried(scaled: Int, denominator: Int, group: Int) -> Int:
    """Return differences of the rounded running sum of each group; rows of a group in order."""
    order = np.argsort(group, kind="stable")
    heads = np.flatnonzero(np.diff(group[order], prepend=-1))
    total = np.cumsum(scaled[order])
    size = np.diff(heads, append=len(order))
    before = np.repeat(total[heads] - scaled[order][heads], size)
    upto = (total - before) // denominator[order]
    step = np.diff(upto, prepend=0)
    step[heads] = upto[heads]
    found = np.empty_like(scaled)
    found[order] = step
    return found
