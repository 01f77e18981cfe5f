"""
Registers of one civil day: was one read, what may stand at a midnight that nobody read, is use
believable where registers are all that is known.

An estimated register always lies between two that were read, so it is never the newest one: what
is drawn or cut today rests on what a meter showed.
"""

from dataclasses import dataclass

import numpy as np

from cloud.vee.rules.findings import Hits, hits_of, no_hits
from cloud.vee.rules.grid import DAY_S, MAX_WH, Int
from cloud.vee.rules.parameters import HighLow

FROM_INTERVALS = "register_from_intervals"
AVERAGE_USE = "monthly_adu"
_DAY_MS = DAY_S * 1000
_ADU_STEP_WH = 10
"""Average daily use is rounded to two decimals of a kWh."""


class Unread:
    """Why a midnight stays without a register. The words are stable."""

    NO_LATER = "no_read_after"
    EXCEEDS = "exceeds_next_register"
    LITTLE = "too_little_history"
    MISSING = "register_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Midnight:
    """
    What is known of the register that ends a day. *Units*: ms, Wh.

    `first`, `last` and `following` are (instant, register) of the oldest read known, the last one
    before the midnight and the first after it.
    """

    expected: bool
    present: bool
    first: tuple[int, int] | None = None
    last: tuple[int, int] | None = None
    following: tuple[int, int] | None = None

    @property
    def unread(self) -> bool:
        """Tell whether a register should have been read and was not."""
        return self.expected and not self.present


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A register that nobody read: what it probably was and how that was found, or why not."""

    wh: int | None
    method: str = ""
    reason: str = Unread.MISSING
    references: int = 0


def midnight_of(at_ms: Int, wh: Int, *, since_ms: int, until_ms: int, installed: bool) -> Midnight:
    """
    Return what is known of the register at `until_ms`; any read in `(since, until]` counts for it.

    *Shape*: equal columns by instant. A register is expected while a meter hangs there, from the
    first one on that was read: where none ever came, the watch over silent meters tells.
    """
    before = int(np.searchsorted(at_ms, until_ms, side="right"))
    if not before:
        return Midnight(expected=False, present=False)

    def read(n: int) -> tuple[int, int]:
        return int(at_ms[n]), int(wh[n])

    return Midnight(
        expected=installed, present=int(at_ms[before - 1]) > since_ms, first=read(0),
        last=read(before - 1), following=read(before) if before < len(at_ms) else None,
    )  # fmt: skip


def average_use(known: Midnight, *, until_ms: int) -> Guess:
    """
    Return the register at a midnight by the average daily use before it, at most the next one read.

    Daily use over all reads before, rounded to 0.01 kWh, times days, truncated, on the last read.
    *Source*: California VEE standards (PSWG), monthly reads: average daily use, two decimals,
    times days, truncated, plus the last read; MDM handbook section 4, `monthly_adu`.
    """
    first, last, following = known.first, known.last, known.following
    if following is None:
        return Guess(wh=None, reason=Unread.NO_LATER)
    if first is None or last is None or last[0] - first[0] < _DAY_MS:
        return Guess(wh=None, reason=Unread.LITTLE)
    took, used = last[0] - first[0], last[1] - first[1]
    steps = (2 * used * _DAY_MS + _ADU_STEP_WH * took) // (2 * _ADU_STEP_WH * took)
    since = steps * _ADU_STEP_WH * (until_ms - last[0]) // _DAY_MS
    return Guess(wh=min(last[1] + max(0, since), following[1]), method=AVERAGE_USE, references=3)


def from_intervals(known: Midnight, wh: int | None, *, reason: str, intervals: int) -> Guess:
    """Return the register that intervals give, unless it says more than the next one read."""
    if known.following is None:
        return Guess(wh=None, reason=Unread.NO_LATER)
    if wh is None:
        return Guess(wh=None, reason=reason)
    if wh > known.following[1]:
        return Guess(wh=None, reason=Unread.EXCEEDS)
    return Guess(wh=wh, method=FROM_INTERVALS, references=intervals + 1)


def high_low(at_ms: Int, wh: Int, p: HighLow, *, series: int, until_ms: int) -> Hits:
    """
    Find use that leaves the band around its history, where registers are all that is known.

    As `register_checks.high_low` does of intervals: the use a day between the registers at both
    ends of the window against that between the oldest one and the window. *Shape*: columns by
    instant, none after `until_ms`. *Units*: permille of the history's daily use.
    """
    cut_ms = until_ms - p.window_days * _DAY_MS
    end, cut = len(at_ms) - 1, int(np.searchsorted(at_ms, cut_ms, side="right")) - 1
    if cut < 1 or end <= cut:
        return no_hits()
    far, mid, near = ((int(at_ms[n]), int(wh[n])) for n in (0, cut, end))
    if mid[0] - far[0] < p.least_history_days * _DAY_MS or mid[1] <= far[1]:
        return no_hits()
    now = (near[1] - mid[1]) * (mid[0] - far[0])
    past = (mid[1] - far[1]) * (near[0] - mid[0])
    for outside, limit in (
        (now * 1000 > p.high_permille * past, p.high_permille),
        (now * 1000 < p.low_permille * past, p.low_permille),
    ):
        if outside:
            one = np.array([series], dtype=np.int64)
            share = np.array([min(now * 1000 // past, MAX_WH)], dtype=np.int64)
            return hits_of(one, one * 0 + mid[0], one * 0 + until_ms, share, limit)
    return no_hits()
