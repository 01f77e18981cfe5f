"""Days of a balance: when one is over, which is open, how old a register may be."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from billing.money import IntArray
from billing.prepaid.model import BalanceQuality, BoolArray, States
from protocols.timeline import local_date, local_day, to_ms

MISSING_AFTER = timedelta(hours=24)
"""Business time without a register after which a balance is an interval."""

DAY_GRACE = timedelta(hours=6)
"""How long a business day waits for a late register before it is drawn without."""

_SECONDS_PER_HOUR = 3600


def days_over(states: States, *, register_ms: IntArray, now: datetime) -> BoolArray:
    """
    Tell whose business day is to be drawn.

    A day is over when a register of a later day has come, or when the grace after its end has
    passed without one: the day is then drawn at the last register known (C9).
    """
    late = to_ms(now - DAY_GRACE)
    over: BoolArray = (states.day_ends_ms <= register_ms) | (states.day_ends_ms <= late)
    return over


def next_day(
    *, day_ends: datetime, register_at: datetime, now: datetime, zone: ZoneInfo
) -> tuple[date, datetime]:
    """Return the business day that is open after one was drawn, and the instant it ends."""
    reached = register_at if register_at >= day_ends else max(day_ends, now - DAY_GRACE)
    day = local_date(reached, zone)
    return day, local_day(day, zone).end


def ladder_year(day: date) -> date:
    """Return the first day of the ladder year `day` belongs to: the calendar year (G1)."""
    return date(day.year, 1, 1)


def quality_of(*, trusted: bool, register_at: datetime, now: datetime) -> BalanceQuality:
    """Return what stands behind a balance as of a register."""
    if now - register_at > MISSING_AFTER:
        return BalanceQuality.MISSING
    return BalanceQuality.ACTUAL if trusted else BalanceQuality.ESTIMATED


def largest_plausible_wh(contract_w: int, *, since: datetime, now: datetime) -> int:
    """Return the most a supply can have used since a register: its contract power all the time."""
    seconds = max(0, int((now - since).total_seconds()))
    return contract_w * seconds // _SECONDS_PER_HOUR
