"""The hi-low check (B5): is this use believable beside what the same agreement used before?"""

from collections.abc import Sequence
from datetime import date

from billing.bills.model import Bill, Doubt, Gate

ESTIMATED = "estimated"
QUESTIONABLE = "questionable"
MOST = 12


def same_season(bills: Sequence[Bill], middle: date) -> list[Bill]:
    """Return up to 12 of the newest bills whose month is within one of `middle`'s; all if none."""
    near = [bill for bill in bills if _months_apart(_middle(bill), middle) <= 1]
    return (near or list(bills))[-MOST:]


def daily_wh(bills: Sequence[Bill]) -> int:
    """Return the daily use over all days of the bills, truncated; 0 without any."""
    days = sum((bill.period_end - bill.period_start).days for bill in bills)
    return sum(bill.energy_wh for bill in bills) // days if days else 0


def estimates_in_row(bills: Sequence[Bill]) -> int:
    """Return how many of the newest bills in a row were estimated."""
    count = 0
    for bill in reversed(bills):
        if bill.quality != ESTIMATED:
            break
        count += 1
    return count


def doubts(
    *, energy_wh: int, start: date, end: date, quality: str, history: Sequence[Bill], gate: Gate
) -> list[Doubt]:
    """Return what to hold an item for; empty lets it pass. `history` is oldest first."""
    found: list[Doubt] = []
    if energy_wh < 0:
        found.append(Doubt.NEGATIVE)
    if quality == QUESTIONABLE:
        found.append(Doubt.QUESTIONABLE)
    if quality == ESTIMATED and estimates_in_row(history) >= gate.estimates:
        found.append(Doubt.ESTIMATES)
    real = [bill for bill in history if bill.quality != ESTIMATED]
    if quality == ESTIMATED or not real:
        return found
    days = (end - start).days
    usual = daily_wh(same_season(real, start + (end - start) // 2)) * days
    if energy_wh == 0 and usual > 0:
        found.append(Doubt.ZERO)
    elif energy_wh >= gate.least_wh and energy_wh * 100 > usual * gate.high_percent:
        found.append(Doubt.HIGH)
    elif usual >= gate.least_wh and energy_wh * 100 < usual * gate.low_percent:
        found.append(Doubt.LOW)
    return found


def _middle(bill: Bill) -> date:
    return bill.period_start + (bill.period_end - bill.period_start) // 2


def _months_apart(first: date, second: date) -> int:
    apart = abs(first.month - second.month)
    return min(apart, 12 - apart)
