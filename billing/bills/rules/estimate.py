"""
What an agreement probably used when no register says so, and how that was found.

In this order: its own use of the same season a year ago, times its growth since; its own recent
use; what others of its tariff use a day in this run; its contract power for some hours a day.
*Source*: handbook, billing.md 6.
"""

from collections.abc import Sequence
from datetime import date, timedelta

from billing.bills.model import Bill, Gate
from billing.bills.rules.gate import ESTIMATED, MOST, daily_wh

_YEAR = timedelta(days=365)
_SLACK = timedelta(days=20)
_RECENT = 3


def estimate(
    *, start: date, end: date, history: Sequence[Bill], class_daily_wh: int | None,
    contract_w: int, gate: Gate,
) -> tuple[int, str]:  # fmt: skip
    """Return Wh and the method's name; `history` is oldest first."""
    days = (end - start).days
    real = [bill for bill in history if bill.quality != ESTIMATED]
    last_year = [bill for bill in real if abs(bill.period_start - (start - _YEAR)) <= _SLACK]
    if last_year:
        then = daily_wh(last_year)
        recent, before = _growth(real)
        if before:
            return then * days * recent // before, "last_year_growth"
        return then * days, "last_year"
    if real:
        return daily_wh(real[-MOST:]) * days, "own_profile"
    if class_daily_wh is not None:
        return class_daily_wh * days, "class_profile"
    return contract_w * gate.contract_hours * days, "contract"


def _growth(real: Sequence[Bill]) -> tuple[int, int]:
    """Return growth of the newest bills over the same a year before, as a ratio; 0/0 if unknown."""
    recent = list(real[-_RECENT:])
    before = [
        old
        for bill in recent
        for old in real
        if abs(old.period_start - (bill.period_start - _YEAR)) <= _SLACK
    ]
    if len(before) != len(recent):
        return 0, 0
    (new_wh, new_days), (old_wh, old_days) = _sums(recent), _sums(before)
    return new_wh * old_days, old_wh * new_days


def _sums(bills: Sequence[Bill]) -> tuple[int, int]:
    days = sum((bill.period_end - bill.period_start).days for bill in bills)
    return sum(bill.energy_wh for bill in bills), days
