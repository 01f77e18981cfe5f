"""
Estimation of many series in one call: which slots lack, what fills them, what stays empty and why.

Order: registers are judged, then intervals (`judged`), then missing slots get a shape by the first
method that applies, and last the shape is put under the register's energy, per TOU rate where rate
registers were read. Measured values are never altered: where they exceed the register, the stretch
is refused. Nothing is invented: where no method applies, the slot stays missing.

*Source*: MDM handbook section 4; Elhub: measured and estimated add up to the register's advance.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cloud.vee.model import ExceptionKind
from cloud.vee.rules import shapes
from cloud.vee.rules.analogue import Candidates, at_quantile, band, candidates, scaled
from cloud.vee.rules.anchors import Anchor, anchors_of
from cloud.vee.rules.findings import Findings, Severity
from cloud.vee.rules.grid import Bool, Grid, Int, State, runs
from cloud.vee.rules.interval_checks import installed
from cloud.vee.rules.observed import NO_SERIES, Observed
from cloud.vee.rules.parameters import EstimateParameters, RegisterStep
from cloud.vee.rules.register_checks import register_step, sums
from cloud.vee.rules.rule_sets import Method, RuleSet

_DOUBT = (
    ExceptionKind.NEGATIVE,
    ExceptionKind.CAPACITY,
    ExceptionKind.DEVICE_FLAGS,
    ExceptionKind.DEVICE_INACTIVE,
    ExceptionKind.SPIKE_ROBUST,
)
_VOUCHED = (ExceptionKind.SPIKE_ROBUST, ExceptionKind.CAPACITY)
"""Findings that a register puts right when the intervals add up to its advance."""


class Reason:
    """Why a slot was filled, or was not. The words are stable."""

    MISSING = "missing"
    QUESTIONABLE = "questionable"
    OUTAGE = "confirmed_outage"
    TOO_LONG = "gap_too_long"
    CONTRADICTION = "measured_exceeds_register"
    NOTHING = "no_method_applies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """
    One stretch that was filled, or refused (`method` empty). *Units*: ms, Wh.

    `anchored` tells that a register gave its energy; `references` how many measured values it
    rests on; `rule` names the rule set and its version.
    """

    series: int
    start_ms: int
    end_ms: int
    method: str
    reason: str
    anchored: bool
    by_rate: bool
    total_wh: int
    references: int
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """
    The grid with its estimates in place, and what was done. *Units*: Wh; bands shaped as the grid.

    `low` and `high` hold most true values of an estimated slot (share as the rule set says); both
    are the value itself where the slot was measured or the method knows no band.
    """

    grid: Grid
    low: Int
    high: Int
    made: tuple[Estimate, ...]


@dataclass(slots=True, kw_only=True)
class _Piece:
    """A run of lacking slots under one anchor or none, and what was found for it."""

    first: int
    end: int
    reason: str
    method: str = ""
    values: Int | None = None
    found: Candidates | None = None
    references: int = 0


def judged(seen: Observed, findings: Findings) -> Observed:
    """
    Return the series with values that a finding doubts as questionable, the others as valid.

    A value above its neighbours stays when the intervals around it add up to the register.
    """
    state = np.where(seen.grid.state == State.MEASURED, State.VALID, seen.grid.state).astype(
        np.int8
    )
    vouched = _vouched(seen)
    for code in _DOUBT:
        severity, _, hits = findings.by_code.get(code, (Severity.WARNING, "", None))
        if hits is None or severity is Severity.WARNING:
            continue
        slot, _ = seen.grid.frame.slot_of(hits.start_ms)
        keep = state[hits.series, slot] != State.EDITED
        if code in _VOUCHED:
            keep &= ~vouched[hits.series, slot]
        state[hits.series[keep], slot[keep]] = State.QUESTIONABLE
    return replace(seen, grid=replace(seen.grid, state=state))


def _vouched(seen: Observed) -> Bool:
    sound = np.zeros(seen.grid.wh.shape, dtype=np.bool_)
    anchors = anchors_of(seen)
    if not anchors:
        return sound
    columns = np.array([(each.series, each.first, each.end) for each in anchors], dtype=np.int64).T
    energies, lacking = sums(seen.grid, *columns)
    for each, energy, lack in zip(anchors, energies.tolist(), lacking.tolist(), strict=True):
        inside = slice(each.first, each.end)
        if not lack and energy == each.total_wh:
            sound[each.series, inside] = True
    return sound


def estimate_series(
    seen: Observed, rules: RuleSet, *, after: Callable[[int], None] = lambda _: None
) -> Estimates:
    """
    Fill the slots that are missing or questionable within the installation, as `rules` say.

    *Shape*: any number of series on one frame. Deterministic; a series does not depend on its
    neighbours in the grid but where facts name them (check meter, sum meter). `after` hears of each
    series that is done.
    """
    lacking = ~seen.grid.eligible & (seen.grid.state != State.ESTIMATED) & installed(seen)
    wh = np.where(lacking, 0, seen.grid.wh)
    state = np.where(lacking, State.MISSING, seen.grid.state).astype(np.int8)
    work = _Work(seen=seen, rules=rules, wh=wh, state=state)
    anchors: dict[int, list[Anchor]] = {}
    for anchor in anchors_of(seen, too_fast=_too_fast(seen, rules)):
        anchors.setdefault(anchor.series, []).append(anchor)
    row, first, end = runs(lacking)
    gaps: dict[int, list[tuple[int, int]]] = {}
    for series, start, stop in zip(row.tolist(), first.tolist(), end.tolist(), strict=True):
        gaps.setdefault(series, []).append((start, stop))
    for series, mine in gaps.items():
        for anchor_or_none, pieces in _under(mine, anchors.get(series, []), seen.grid, series):
            work.settle(series, anchor_or_none, pieces)
        after(series)
    grid = replace(seen.grid, wh=work.wh, state=work.state)
    return Estimates(grid=grid, low=work.low, high=work.high, made=tuple(work.made))


def _too_fast(seen: Observed, rules: RuleSet) -> Bool | None:
    told = rules.checks.get(ExceptionKind.REGISTER_STEP)
    if told is None or not isinstance(told.parameters, RegisterStep):
        return None
    hits = register_step(seen, told.parameters)
    bad = set(zip(hits.series.tolist(), hits.start_ms.tolist(), hits.end_ms.tolist(), strict=True))
    reads = seen.reads
    same = (np.diff(reads.series) == 0) & (np.diff(reads.rate) == 0)
    spans = [
        (int(reads.series[n]), int(reads.at_ms[n]), int(reads.at_ms[n + 1])) in bad
        for n in np.nonzero(same)[0]
    ]
    return np.array(spans, dtype=np.bool_)


def _under(
    gaps: list[tuple[int, int]], anchors: list[Anchor], grid: Grid, series: int
) -> list[tuple[Anchor | None, list[_Piece]]]:
    """Return the gaps cut at the ends of anchors, those of one anchor together."""
    groups: list[tuple[Anchor | None, list[_Piece]]] = [(anchor, []) for anchor in anchors]
    free: list[_Piece] = []

    def piece(first: int, end: int) -> _Piece:
        doubted = bool((grid.state[series, first:end] == State.QUESTIONABLE).all())
        reason = Reason.QUESTIONABLE if doubted else Reason.MISSING
        return _Piece(first=first, end=end, reason=reason)

    for first, end in gaps:
        at = first
        for anchor, mine in groups:
            if anchor is None or anchor.end <= at or anchor.first >= end:
                continue
            if anchor.first > at:
                free.append(piece(at, anchor.first))
                at = anchor.first
            mine.append(piece(at, min(end, anchor.end)))
            at = min(end, anchor.end)
        if at < end:
            free.append(piece(at, end))
    settled = [(anchor, mine) for anchor, mine in groups if mine]
    return settled + [(None, [each]) for each in free]


class _Work:
    """The grid as it is filled. One per call; no state outlives it."""

    def __init__(self, *, seen: Observed, rules: RuleSet, wh: Int, state: NDArray[np.int8]) -> None:
        self.seen, self.rules, self.wh, self.state = seen, rules, wh, state
        self.p: EstimateParameters = rules.estimate
        self.low, self.high = wh.copy(), wh.copy()
        self.made: list[Estimate] = []
        self.table = shapes.by_wall(seen.grid.frame)

    def settle(self, series: int, anchor: Anchor | None, pieces: list[_Piece]) -> None:
        """Fill the pieces under one anchor, or one piece under none."""
        pieces = [part for each in pieces for part in self._outages(series, each)]
        open_, target = [each for each in pieces if not each.method], None
        if anchor is not None:
            measured = self._measured(series, anchor)
            target = anchor.total_wh - measured
            if target < 0 or (target > 0 and not open_):
                self._refuse(series, open_, Reason.CONTRADICTION)
                open_ = []
        longest = self.p.longest_gap_seconds // self.seen.grid.frame.step_s
        for each in [each for each in open_ if each.end - each.first > longest]:
            self._refuse(series, [each], Reason.TOO_LONG)
            # what one part stays without cannot be shared among the others
            open_, target, anchor = [o for o in open_ if o is not each], None, None
        self._shape(series, open_, target)
        shaped = [each for each in open_ if each.values is not None or each.found is not None]
        if target is not None and len(shaped) < len(open_):
            target, anchor = None, None
        self._refuse(series, [e for e in open_ if e not in shaped], Reason.NOTHING)
        if shaped:
            self._place(series, shaped, anchor if target is not None else None, target)

    def _outages(self, series: int, piece: _Piece) -> list[_Piece]:
        """Cut a piece where a confirmed outage begins and ends; the outage itself is zero."""
        outage = self.seen.outage
        if outage is None or Method.ZERO not in self.p.with_register:
            return [piece]
        inside = outage[series, piece.first : piece.end]
        cuts = [0, *(np.nonzero(np.diff(inside))[0] + 1).tolist(), len(inside)]
        parts = []
        for start, stop in pairwise(cuts):
            part = _Piece(first=piece.first + start, end=piece.first + stop, reason=piece.reason)
            if inside[start]:
                part.reason, part.method = Reason.OUTAGE, Method.ZERO.value
                part.values = np.zeros(stop - start, dtype=np.int64)
                self._write(series, part, part.values, anchored=False, by_rate=False)
            parts.append(part)
        return parts

    def _measured(self, series: int, anchor: Anchor) -> int:
        inside = slice(anchor.first, anchor.end)
        return int(self.wh[series, inside][self.state[series, inside] != State.MISSING].sum())

    def _shape(self, series: int, pieces: list[_Piece], target: int | None) -> None:
        """Give each piece its shape by the first method that applies."""
        methods = self.p.without_register if target is None else self.p.with_register
        shares: list[int | None] = [None] * len(pieces)
        if target is not None and len(pieces) == 1:
            shares = [target]
        elif target is not None:
            shares = list(self._shares(series, pieces, target))
        for piece, share in zip(pieces, shares, strict=True):
            for method in methods:
                if self._try(series, piece, Method(method), share, anchored=target is not None):
                    piece.method = method
                    break

    def _shares(self, series: int, pieces: list[_Piece], target: int) -> list[int]:
        """Share the register's energy among pieces as the like moments around them would."""
        means = [self._candidates(series, each, None).mean() for each in pieces]
        known = [int(each.sum()) for each in means]
        slots = sum(len(each) for each, energy in zip(means, known, strict=True) if energy)
        # a piece that nothing is like takes the level of the others
        level = max(1, sum(known) // slots) if slots else 1
        guess = [energy or level * len(each) for each, energy in zip(means, known, strict=True)]
        return [int(part) for part in scaled(np.array(guess, dtype=np.int64), target)]

    def _candidates(self, series: int, piece: _Piece, total: int | None) -> Candidates:
        step = self.seen.grid.frame.step_s
        return candidates(
            self.seen.grid, series, piece.first, piece.end, table=self.table, total=total,
            history_days=self.p.history_days,
            context_slots=max(1, self.p.context_seconds // step),
        )  # fmt: skip

    def _try(
        self, series: int, piece: _Piece, method: Method, share: int | None, *, anchored: bool
    ) -> bool:
        """Tell whether a method gives the whole piece, and keep what it gives."""
        if method is Method.ANALOGUE:
            found = self._candidates(series, piece, share)
            if not found.known.all():
                return False
            piece.found, piece.references = found, int((found.weight > 0).sum())
            return True
        if method is Method.LINEAR and not anchored:
            seconds = (piece.end - piece.first) * self.seen.grid.frame.step_s
            if seconds > self.p.linear_longest_seconds:
                return False
        values, known = _SHAPES[method](self, series, piece)
        if not len(known) or not known.all():
            return False
        piece.values, piece.references = values, len(values)
        return True

    def _place(
        self, series: int, pieces: list[_Piece], anchor: Anchor | None, target: int | None
    ) -> None:
        """Put shapes under their energy and write them down."""
        groups = [(np.ones(sum(e.end - e.first for e in pieces), dtype=np.bool_), target)]
        by_rate = False
        if anchor is not None and anchor.by_rate:
            split = self._by_rate(series, pieces, anchor)
            if split:
                groups, by_rate = split, True
        values = _values(pieces, groups)
        at = 0
        for each in pieces:
            length = each.end - each.first
            self._write(series, each, values[at : at + length], anchored=anchor is not None,
                        by_rate=by_rate)  # fmt: skip
            at += length

    def _by_rate(
        self, series: int, pieces: list[_Piece], anchor: Anchor
    ) -> list[tuple[Bool, int | None]]:
        """Return the lacking slots of each rate and their energy; nothing when that cannot be."""
        rates = self.seen.rate_of_slot
        if rates is None:
            return []
        mine = np.concatenate([rates[each.first : each.end] for each in pieces])
        inside = slice(anchor.first, anchor.end)
        known = self.state[series, inside] != State.MISSING
        groups: list[tuple[Bool, int | None]] = []
        for rate in sorted(set(mine.tolist()) | set(anchor.by_rate)):
            here = known & (rates[inside] == rate)
            left = anchor.by_rate.get(rate, -1) - int(self.wh[series, inside][here].sum())
            slots = mine == rate
            if left < 0 or (left > 0 and not slots.any()):
                return []
            groups.append((slots, left))
        return groups

    def _write(
        self, series: int, piece: _Piece, values: Int, *, anchored: bool, by_rate: bool
    ) -> None:
        inside = slice(piece.first, piece.end)
        self.wh[series, inside] = values
        self.state[series, inside] = State.ESTIMATED
        self.low[series, inside] = self.high[series, inside] = values
        if piece.found is not None:
            low, high = band(piece.found, self.p.band_permille)
            self.low[series, inside] = np.minimum(low, values)
            self.high[series, inside] = np.maximum(high, values)
        self._note(series, piece, int(values.sum()), anchored=anchored, by_rate=by_rate)

    def _refuse(self, series: int, pieces: list[_Piece], reason: str) -> None:
        for each in pieces:
            each.reason, each.method = reason, ""
            self._note(series, each, 0, anchored=False, by_rate=False)

    def _note(
        self, series: int, piece: _Piece, total: int, *, anchored: bool, by_rate: bool
    ) -> None:
        frame = self.seen.grid.frame
        step = frame.step_s * 1000
        self.made.append(
            Estimate(
                series=series, start_ms=frame.start_ms + piece.first * step,
                end_ms=frame.start_ms + piece.end * step, method=piece.method,
                reason=piece.reason, anchored=anchored, by_rate=by_rate, total_wh=total,
                references=piece.references, rule=f"{self.rules.name}.v{self.rules.version}",
            )
        )  # fmt: skip


def _values(pieces: list[_Piece], groups: list[tuple[Bool, int | None]]) -> Int:
    """Return the values of all pieces in a row, each group of slots under its energy."""
    if all(each.found is not None for each in pieces):
        found = _together([each.found for each in pieces if each.found is not None])
        plain = None
    else:
        found, plain = None, np.concatenate(_levelled(pieces))
    values = np.zeros(len(groups[0][0]), dtype=np.int64)
    for slots, energy in groups:
        if not slots.any():
            continue
        if found is not None:
            some = Candidates(wh=found.wh[:, slots], weight=found.weight[:, slots])
            total = int(some.mean().sum()) if energy is None else energy
            values[slots] = at_quantile(some, total)
        elif plain is not None:
            values[slots] = plain[slots] if energy is None else scaled(plain[slots], energy)
    return values


def _levelled(pieces: list[_Piece]) -> list[Int]:
    """Return the shape of each piece in watt-hours: a flat one takes the level of the others."""
    shapes_ = [each.found.mean() if each.found is not None else each.values for each in pieces]
    given = [each if each is not None else np.zeros(0, dtype=np.int64) for each in shapes_]
    flat = [each.method == Method.FLAT_FROM_REGISTER for each in pieces]
    others = [each for each, is_flat in zip(given, flat, strict=True) if not is_flat]
    slots = sum(len(each) for each in others)
    level = max(1, int(sum(each.sum() for each in others)) // slots) if slots else 1
    return [each * level if is_flat else each for each, is_flat in zip(given, flat, strict=True)]


def _together(found: list[Candidates]) -> Candidates:
    height = max(len(each.wh) for each in found)

    def padded(columns: Int) -> Int:
        return np.pad(columns, ((0, height - len(columns)), (0, 0)))

    return Candidates(
        wh=np.concatenate([padded(each.wh) for each in found], axis=1),
        weight=np.concatenate([padded(each.weight) for each in found], axis=1),
    )


_Given = tuple[Int, Bool]
_NOTHING: _Given = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_))


def _linear(work: _Work, series: int, piece: _Piece) -> _Given:
    return shapes.linear(work.seen.grid, series, piece.first, piece.end)


def _like_day(work: _Work, series: int, piece: _Piece) -> _Given:
    return shapes.like_day(
        work.seen.grid, series, piece.first, piece.end, table=work.table,
        days=work.p.like_days, search_days=work.p.like_search_days,
    )  # fmt: skip


def _two_week(work: _Work, series: int, piece: _Piece) -> _Given:
    return shapes.like_day_two_week(
        work.seen.grid, series, piece.first, piece.end, table=work.table, days=work.p.like_days
    )


def _proxy_day(work: _Work, series: int, piece: _Piece) -> _Given:
    if work.seen.temperature_mk is None:
        return _NOTHING
    return shapes.proxy_day(
        work.seen.grid, series, piece.first, piece.end, table=work.table,
        temperature_mk=work.seen.temperature_mk,
    )  # fmt: skip


def _load_profile(work: _Work, series: int, piece: _Piece) -> _Given:
    del series
    return shapes.load_profile(work.seen.grid.frame, piece.first, piece.end, work.p.load_profile)


def _check_meter(work: _Work, series: int, piece: _Piece) -> _Given:
    other = int(work.seen.facts.check_of[series])
    if other == NO_SERIES:
        return _NOTHING
    return shapes.check_meter(work.seen.grid, other, piece.first, piece.end)


def _subtractive(work: _Work, series: int, piece: _Piece) -> _Given:
    whole = int(work.seen.facts.part_of[series])
    if whole == NO_SERIES:
        return _NOTHING
    parts = np.nonzero(work.seen.facts.part_of == whole)[0].tolist()
    others = [each for each in parts if each != series]
    return shapes.subtractive(work.seen.grid, whole, others, piece.first, piece.end)


def _flat(work: _Work, series: int, piece: _Piece) -> _Given:
    del work, series
    length = piece.end - piece.first
    return np.ones(length, dtype=np.int64), np.ones(length, dtype=np.bool_)


_SHAPES: dict[Method, Callable[[_Work, int, _Piece], _Given]] = {
    Method.LINEAR: _linear,
    Method.LIKE_DAY: _like_day,
    Method.LIKE_DAY_TWO_WEEK: _two_week,
    Method.PROXY_DAY: _proxy_day,
    Method.LOAD_PROFILE: _load_profile,
    Method.CHECK_METER: _check_meter,
    Method.SUBTRACTIVE: _subtractive,
    Method.FLAT_FROM_REGISTER: _flat,
    Method.ZERO: lambda work, series, piece: _NOTHING,  # noqa: ARG005 - placed with the outages
}
