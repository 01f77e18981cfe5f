"""Everything that one look at many series takes: intervals, registers, facts, rows as they came."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cloud.vee.rules.grid import Bool, Grid, Int, State

NO_SERIES = -1
_ALWAYS, _NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def _none() -> Int:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """
    What is known of each series beforehand. *Shape*: one place per series. *Units*: W, Wh, ms.

    `capacity_w` and `rollover_wh` are 0 where unknown. `device` numbers the meter: series of one
    device are siblings. `active_of` names the series of active energy that belongs to a reactive
    one, `check_of` that of a check meter, `part_of` that of a sum meter behind which it lies, -1
    where there is none. Installed in
    `[installed_ms, removed_ms)`.
    """

    capacity_w: Int
    rollover_wh: Int
    device: Int
    active_of: Int
    check_of: Int
    part_of: Int
    installed_ms: Int
    removed_ms: Int

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.capacity_w)


def plain_facts(series: int) -> Facts:
    """Return the facts of series of which nothing is known, each a device of its own."""
    return Facts(
        capacity_w=np.zeros(series, dtype=np.int64),
        rollover_wh=np.zeros(series, dtype=np.int64),
        device=np.arange(series, dtype=np.int64),
        active_of=np.full(series, NO_SERIES, dtype=np.int64),
        check_of=np.full(series, NO_SERIES, dtype=np.int64),
        part_of=np.full(series, NO_SERIES, dtype=np.int64),
        installed_ms=np.full(series, _ALWAYS, dtype=np.int64),
        removed_ms=np.full(series, _NEVER, dtype=np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """
    Registers, sorted by series, rate and time. *Shape*: equal columns. *Units*: ms, Wh.

    `rate` 0 is the total, 1 and above are TOU rates. `factor` is the transformer factor that was
    valid at the read; `wh` is before it.
    """

    series: Int = field(default_factory=_none)
    rate: Int = field(default_factory=_none)
    at_ms: Int = field(default_factory=_none)
    wh: Int = field(default_factory=_none)
    factor: Int = field(default_factory=_none)
    state: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, dtype=np.int8))

    def __len__(self) -> int:
        """Return the number of reads."""
        return len(self.series)


def reads_of(series: Int, rate: Int, at_ms: Int, wh: Int, *, factor: Int | None = None) -> Reads:
    """Return measured reads from columns in any order, factor 1 where none is told."""
    order = np.lexsort((at_ms, rate, series))
    ones = np.ones(len(series), dtype=np.int64) if factor is None else factor
    return Reads(
        series=series[order], rate=rate[order], at_ms=at_ms[order], wh=wh[order],
        factor=ones[order], state=np.full(len(series), State.MEASURED, dtype=np.int8),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Neighbouring reads of one series and rate, by index of the later one: it ends the span."""

    before: Int
    after: Int
    advance: Int
    """Wh before the factor; a register that fell with a known rollover has rolled over once."""
    fell: Bool
    """The register fell and no rollover is known that would explain it."""


def spans_of(reads: Reads, facts: Facts) -> Spans:
    """Return the spans between neighbouring reads."""
    same = (np.diff(reads.series) == 0) & (np.diff(reads.rate) == 0)
    before = np.nonzero(same)[0]
    after = before + 1
    advance = reads.wh[after] - reads.wh[before]
    rollover = facts.rollover_wh[reads.series[after]]
    turned = (advance < 0) & (rollover > 0)
    advance = np.where(turned, advance + rollover, advance)
    return Spans(before=before, after=after, advance=advance, fell=advance < 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """
    Interval rows as they came, before they took their place on the grid. *Shape*: equal columns.

    `unit` and `factor` are what the row says of itself, `factor_known` the factor of the asset at
    that time; unit codes are those of IEC 61968-9 (72 = Wh, 73 = varh). *Units*: ms, s.
    """

    series: Int = field(default_factory=_none)
    start_ms: Int = field(default_factory=_none)
    seconds: Int = field(default_factory=_none)
    wh: Int = field(default_factory=_none)
    unit: Int = field(default_factory=_none)
    factor: Int = field(default_factory=_none)
    factor_known: Int = field(default_factory=_none)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.series)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Meter clock less standard time at each check of it, sorted by series and time. *Units*: ms"""

    series: Int = field(default_factory=_none)
    at_ms: Int = field(default_factory=_none)
    ahead_ms: Int = field(default_factory=_none)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """A new value beside the one that stands. *Units*: Wh; states as in the grid."""

    series: Int = field(default_factory=_none)
    start_ms: Int = field(default_factory=_none)
    old_wh: Int = field(default_factory=_none)
    new_wh: Int = field(default_factory=_none)
    old_state: Int = field(default_factory=_none)
    new_state: Int = field(default_factory=_none)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """
    What checks and estimators look at.

    `rate_of_slot` names the TOU rate of each slot, 0 where no rate registers exist. `outage` tells
    per slot of each series whether a confirmed outage covers it whole.
    """

    grid: Grid
    facts: Facts
    reads: Reads = field(default_factory=Reads)
    rows: Rows = field(default_factory=Rows)
    clocks: Clocks = field(default_factory=Clocks)
    changes: Changes = field(default_factory=Changes)
    rate_of_slot: Int | None = None
    outage: Bool | None = None
    reactive: Bool | None = None
    """Which series are reactive energy; None means none."""
    temperature_mk: Int | None = None
    """Mean temperature of each local day of the frame, millikelvin; None where nobody knows."""
