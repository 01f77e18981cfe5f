"""
When a meter's clock is set, and when it is left alone. Pure.

    surely within tolerance (offset less uncertainty)     leave
    our own clock is not to be trusted                    leave: it measures nothing
    possibly beyond the step limit                        refuse: an event, a person looks at it
    near an interval's end, or across one                 wait: energy would change its interval
    set a short while ago                                 wait
    otherwise                                             set
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from edge.acquire.driver import ClockReading
from protocols.timeline import floor_to_grid

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRules:
    """
    How one meter's clock is kept. *Units*: seconds of the meter's time; `rest` is wall time.

    `guard` is how far from an interval's end both the old and the new time must be, `rest` the
    least time between two sets: a clock that will not stay set is not set without end.
    """

    tolerance: int = 5
    step_limit: int = 120
    guard: int = 30
    rest: int = 3600

    def __post_init__(self) -> None:
        """Refuse rules that could never set, or that would set on noise."""
        if self.tolerance < 1 or self.guard < 1 or self.rest < 0:
            raise ValueError("tolerance and guard are 1 second or more, rest is not negative")
        if self.step_limit <= self.tolerance:
            raise ValueError("step_limit must be greater than tolerance, or no clock is ever set")


class ClockAct(StrEnum):
    """What to do about a clock that was just compared."""

    LEAVE = "leave"
    WAIT = "wait"
    SET = "set"
    REFUSE = "refuse"


def judge_clock(
    reading: ClockReading,
    rules: ClockRules,
    *,
    interval_seconds: int,
    now: datetime,
    trusted: bool,
    rested: bool,
) -> ClockAct:
    """
    Return what to do with a clock that differs by `reading` at `now`.

    `interval_seconds` is 0 for a meter without a profile: then no interval is in the way.
    """
    off = abs(reading.offset_ms)
    if off - reading.uncertainty_ms <= rules.tolerance * 1000 or not trusted:
        return ClockAct.LEAVE
    if off + reading.uncertainty_ms > rules.step_limit * 1000:
        return ClockAct.REFUSE
    if not rested or not clear_of_ends(reading, rules, interval_seconds=interval_seconds, now=now):
        return ClockAct.WAIT
    return ClockAct.SET


def clear_of_ends(
    reading: ClockReading, rules: ClockRules, *, interval_seconds: int, now: datetime
) -> bool:
    """Tell whether no interval ends between the old and the new time, widened by the guard."""
    if not interval_seconds:
        return True
    shown = now + reading.offset_ms * _MILLISECOND
    margin = timedelta(seconds=rules.guard) + reading.uncertainty_ms * _MILLISECOND
    first, last = min(shown, now) - margin, max(shown, now) + margin
    begins = floor_to_grid(first, interval_seconds)
    return begins < first and last < begins + timedelta(seconds=interval_seconds)
