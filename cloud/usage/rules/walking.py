"""From figures of meters to segments: what to add, and by what to multiply, from when to when."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]

FOREVER_MS = (1 << 42) - 1
"""After every instant there can be: the end of what has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """
    The registers of one installation, oldest first. *Units*: Wh; `rollover_wh` 0 means none.

    `initial_wh` and `final_wh` are the fitter's figures, None where nobody wrote them down.
    """

    wh: NDArray[np.int64]
    rollover_wh: int = 0
    initial_wh: int | None = None
    final_wh: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A factor from an instant on, and what the meter showed then, where known. *Units*: ms, Wh."""

    since_ms: int
    numerator: int = 1
    denominator: int = 1
    register_wh: int | None = None

    def of(self, wh: int) -> int:
        """Return Wh of the usage point of a meter's figure, rounded down."""
        return wh * self.numerator // self.denominator


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """
    One installation with its registers, oldest first. *Units*: ms, Wh; `until_ms` FOREVER_MS.

    *Shape*: `at_ms` and `wh` equally long. `factors` are those of the usage point, oldest first.
    """

    since_ms: int
    until_ms: int
    at_ms: Int
    wh: Int
    rollover_wh: int = 0
    initial_wh: int | None = None
    final_wh: int | None = None
    factors: tuple[Factor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One segment as it is kept. *Units*: ms, Wh. `stay` is the place of its installation."""

    stay: int
    since_ms: int
    until_ms: int
    offset_wh: int
    numerator: int
    denominator: int


def steps(wh: NDArray[np.int64], rollover_wh: int) -> NDArray[np.int64]:
    """Return the energy between neighbours; a register that fell has rolled over once."""
    difference = np.diff(wh)
    return difference % rollover_wh if rollover_wh else difference


def accumulate(segments: Sequence[Segment]) -> list[NDArray[np.int64]]:
    """
    Return per segment the cumulative register of the usage point, a function of the set alone.

    The first segment counts as its meter shows. Each next one starts where the one before ended:
    from its initial figure (else its first register) on top of the final figure (else the last
    register) before it. *Shape*: one array per segment, as long as its `wh`. It is the plain oracle
    of `lines_of`, which adds factors.
    """
    results: list[NDArray[np.int64]] = []
    base: int | None = None
    for segment in segments:
        if not len(segment.wh):
            results.append(segment.wh)
            # energy that a meter counted unseen is known only when the fitter wrote both figures
            if segment.initial_wh is not None and segment.final_wh is not None:
                walked = _step(segment.initial_wh, segment.final_wh, segment.rollover_wh)
                base = segment.final_wh if base is None else base + walked
            continue
        first, last = int(segment.wh[0]), int(segment.wh[-1])
        if base is None:
            start = first
        elif segment.initial_wh is None:
            start = base
        else:
            start = base + _step(segment.initial_wh, first, segment.rollover_wh)
        walk = np.concatenate(([0], np.cumsum(steps(segment.wh, segment.rollover_wh))))
        cumulative = start + walk.astype(np.int64)
        results.append(cumulative)
        base = int(cumulative[-1])
        if segment.final_wh is not None:
            base += _step(last, segment.final_wh, segment.rollover_wh)
    return results


def lines_of(stays: Sequence[Stay]) -> list[Line]:
    """
    Return the segments of one usage point, a function of its registers and installations alone.

    An installation is cut where its register rolled over and where a factor began. Each piece goes
    on from the figure that ended the one before: what the fitter wrote down at a change of factor,
    else the last register before it. So a watt-hour is multiplied once, by the factor of its time.
    """
    if len(stays) == 1 and _even(stays[0]):
        # nearly every usage point: one meter, which never turned
        alone = stays[0]
        return [
            Line(
                stay=0, since_ms=alone.since_ms, until_ms=alone.until_ms, offset_wh=0,
                numerator=1, denominator=1,
            )
        ]  # fmt: skip
    lines: list[Line] = []
    base: int | None = None
    for n, stay in enumerate(stays):
        walk = _Walk(n, stay, base)
        lines += walk.lines()
        base = walk.ended()
    return lines


class _Walk:
    """One installation on its way to lines; `base` is where the usage point stands before it."""

    def __init__(self, number: int, stay: Stay, base: int | None) -> None:
        self._number, self._stay, self._base = number, stay, base
        self._factor = _factor_at(stay.factors, stay.since_ms)
        self._offset = 0
        self._since = stay.since_ms
        self._lines: list[Line] = []
        self._last: int | None = None
        """The figure up to which energy is counted."""
        self._seen_ms = stay.since_ms - 1
        self._joined = base is None
        """Whether the figures are joined to where the usage point stood before."""

    def lines(self) -> list[Line]:
        """Return the segments."""
        stay = self._stay
        if not self._joined and stay.initial_wh is not None:
            self._join(stay.initial_wh)
        for at, wh, factor in self._events():
            if factor is not None:
                self._change(at, factor)
            else:
                self._read(at, wh)
        self._end(stay.until_ms)
        return self._lines

    def ended(self) -> int | None:
        """Return where the usage point stands when the installation ends; None: still unknown."""
        stay, final = self._stay, self._stay.final_wh
        if not len(stay.at_ms):
            if stay.initial_wh is None or final is None:
                return self._base
            walked = self._factor.of(final) if self._base is None else None
            if walked is not None:
                return walked
        if final is not None:
            if self._last is not None:
                final = self._last + _step(self._last, final, stay.rollover_wh)
            return self._factor.of(final) + self._offset
        assert self._last is not None
        return self._factor.of(self._last) + self._offset

    def _events(self) -> list[tuple[int, int, Factor | None]]:
        """Return registers and changes of factor in order; at one instant the register is first."""
        stay = self._stay
        falls = self._falls()
        changes = [f for f in stay.factors if stay.since_ms < f.since_ms < stay.until_ms]
        # between falls and changes nothing happens: only the registers beside them matter
        edges = np.searchsorted(stay.at_ms, [f.since_ms for f in changes], side="right") - 1
        wanted = {0, *falls, *(int(edge) for edge in edges), len(stay.at_ms) - 1}
        wanted |= {fall - 1 for fall in falls}
        events: list[tuple[int, int, Factor | None]] = [
            (int(stay.at_ms[k]), int(stay.wh[k]), None)
            for k in sorted(wanted)
            if 0 <= k < len(stay.at_ms)
        ]
        events += [(f.since_ms, 0, f) for f in changes]
        return sorted(events, key=lambda event: (event[0], event[2] is not None))

    def _falls(self) -> list[int]:
        wh = self._stay.wh
        falls = [int(k) + 1 for k in np.flatnonzero(np.diff(wh) < 0)] if len(wh) else []
        begun = self._stay.initial_wh
        if self._base is not None and begun is not None and len(wh) and int(wh[0]) < begun:
            falls.insert(0, 0)
        return falls if self._stay.rollover_wh else []

    def _join(self, figure: int) -> None:
        assert self._base is not None
        self._offset = self._base - self._factor.of(figure)
        self._last, self._joined = figure, True

    def _read(self, at: int, wh: int) -> None:
        rollover = self._stay.rollover_wh
        if not self._joined:
            self._join(wh)
        elif self._last is not None and wh < self._last and rollover:
            # the figure starts anew: what was counted up to the turn goes into the offset
            turned = self._factor.of(wh + rollover) + self._offset
            # it did so after what was seen last; so the end of a stay never parts it from its line
            self._end(self._seen_ms + 1)
            self._offset = turned - self._factor.of(wh)
        self._last, self._seen_ms = wh, at

    def _change(self, at: int, factor: Factor) -> None:
        rollover, known = self._stay.rollover_wh, factor.register_wh
        if known is not None and self._last is not None and known < self._last:
            # noted after a turn that no register has shown yet; else it cannot be and is left out
            known = known + rollover if rollover else None
        figure = known if known is not None else self._last
        self._end(at)
        if figure is not None:
            if not self._joined:
                self._join(figure)
            stands = self._factor.of(figure) + self._offset
            if rollover and figure >= rollover:
                figure -= rollover
            self._offset = stands - factor.of(figure)
            self._last = figure
        self._factor, self._seen_ms = factor, at

    def _end(self, at: int) -> None:
        if at > self._since:
            self._lines.append(
                Line(
                    stay=self._number, since_ms=self._since, until_ms=at, offset_wh=self._offset,
                    numerator=self._factor.numerator, denominator=self._factor.denominator,
                )
            )  # fmt: skip
        self._since = at


def _even(stay: Stay) -> bool:
    turned = bool(stay.rollover_wh) and bool((stay.wh[1:] < stay.wh[:-1]).any())
    return not stay.factors and not turned


def _factor_at(factors: Sequence[Factor], at_ms: int) -> Factor:
    begun = [factor for factor in factors if factor.since_ms <= at_ms]
    return begun[-1] if begun else Factor(since_ms=0)


def _step(before: int, after: int, rollover_wh: int) -> int:
    return (after - before) % rollover_wh if rollover_wh else after - before
