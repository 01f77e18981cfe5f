"""
When an account has to be calculated again: before it can have crossed a line for too long.

From a register on, a supply can use no more than its contract power, so the nearest line cannot be
reached before that power has cost the distance to it. Until then nobody need look; from then on a
crossing stays unseen for `unseen` at most. Nobody is looked at more often than each cycle, and
everybody within the limit (C1, C2, C3, C8).
"""

from collections.abc import Callable, Sequence

import numpy as np

from billing.money import IntArray
from billing.rating.model import CompiledEnergy, CompiledPercent, CompiledTariff, CompiledValue
from billing.rating.rules import kernel

FeeAhead = Callable[[IntArray, IntArray], IntArray]
"""Takes Wh and ms from now on, tells what they cost at the most in micros; equally long columns."""

_MS_PER_MINUTE = 60_000
_MS_PER_HOUR = 60 * _MS_PER_MINUTE
_MS_PER_DAY = 24 * _MS_PER_HOUR
_MINUTES_PER_DAY = 1_440
_FORTNIGHT = 14 * _MINUTES_PER_DAY
_DAYS_PER_MONTH = 28
FAR = np.int64(2**62)
_SCATTER, _OTHER, _PARTS = 40_503, 26_545, 65_536
"""Neighbouring numbers land far apart. *Source*: Knuth, TAOCP 3, 6.4: the golden ratio of 2^16."""


def next_look(
    *,
    left: IntArray,
    lines: Sequence[IntArray],
    register_ms: IntArray,
    contract_w: IntArray,
    fee_ahead: FeeAhead,
    unseen_ms: IntArray,
    limit_ms: IntArray,
    daily: IntArray,
    horizon_days: IntArray,
    cycle_ms: int,
    now_ms: int,
) -> IntArray:
    """
    Return the instant at which each account is to be calculated again, in ms.

    Whose next line is nearer than `horizon_days` of the average day's fee, where one is known, is
    looked at each `unseen_ms`. Whatever the average says, a crossing is seen within `unseen_ms` of
    its register, where registers come in time and no supply uses more than its contract power.
    *Shape*: all columns equally long. *Units*: micros, W.
    """
    distance = distance_to_line(left, lines)
    cycles = _safe_cycles(distance, contract_w, fee_ahead, limit_ms, cycle_ms)
    safe = register_ms + cycles * cycle_ms
    wanted = safe + np.maximum(unseen_ms - cycle_ms, 0)
    soon = (daily > 0) & (distance // np.maximum(daily, 1) < horizon_days)
    wanted = np.where(soon, np.minimum(wanted, now_ms + unseen_ms), wanted)
    found: IntArray = np.maximum(np.minimum(wanted, now_ms + limit_ms), now_ms + cycle_ms)
    return found


def distance_to_line(left: IntArray, lines: Sequence[IntArray]) -> IntArray:
    """Return what may be used before the next line below is crossed; far where there is none."""
    found = np.full_like(left, FAR)
    for line in lines:
        found = np.where(left >= line, np.minimum(found, left - line), found)
    return found


def fee_of_ladder(tariff: CompiledTariff, year_wh: IntArray) -> FeeAhead:
    """Return what energy ahead costs under a tariff whose fee is a cumulative of one register."""
    most = tariff.largest_wh
    begun = np.minimum(year_wh, most)
    before = kernel.fee_at(tariff, begun)

    def ahead(wh: IntArray, _ms: IntArray) -> IntArray:
        fee: IntArray = kernel.fee_at(tariff, np.minimum(begun + wh, most)) - before
        return fee

    return ahead


def fee_of_period(tariff: CompiledTariff) -> FeeAhead | None:
    """
    Return a bound of what energy ahead costs under a tariff of periods, or None where none holds.

    The largest price of each line, all taxes and the fixed charges of the time: more than it costs,
    never less. Where a step prices all energy anew (whole bands, schedules) one more kWh may cost
    any amount, and such an account is looked at each time.
    """
    # a line rounds by less than its step
    per_kwh, per_day, slack = 0, 0, sum(line.head.rounding.step for line in tariff.lines)
    numerator, denominator = 1, 1
    for line in tariff.lines:
        if line.head.at_close:
            continue
        if isinstance(line, CompiledEnergy):
            if line.mode != "marginal" or len(line.ladders) > 1:
                return None
            if line.sign > 0 and line.qty == "ENERGY":
                per_kwh += int(line.price.max())
        elif isinstance(line, CompiledValue):
            days = 1 if line.per == "day" else _DAYS_PER_MONTH
            if line.head.kind != "fixed" or line.qty not in {"", "DAYS", "MONTHS", "CUSTOMERS"}:
                return None
            per_day += -(-max(0, line.price) // days)
        elif isinstance(line, CompiledPercent):
            if line.numerator > 0:
                numerator *= line.denominator + line.numerator
                denominator *= line.denominator
        else:
            return None

    def ahead(wh: IntArray, ms: IntArray) -> IntArray:
        days = ms // _MS_PER_DAY + 1
        plain = -(-wh * per_kwh // 1000) + days * per_day + slack
        fee: IntArray = -(-plain * numerator // denominator) + tariff.total.step
        return fee

    return ahead


def spread(limit_ms: IntArray, point: IntArray, *, now_ms: int) -> IntArray:
    """
    Return limits between a half and the whole, other ones at each point and time.

    Whoever was looked at together, as after a start, is not looked at together for ever; limits
    that stay the same would meet again at their common multiples.
    """
    part = (point * _SCATTER + now_ms // _MS_PER_MINUTE * _OTHER) % _PARTS
    found: IntArray = limit_ms - limit_ms // 2 * part // _PARTS
    return found


def daily_fee(known: IntArray, fee: IntArray, ms: IntArray) -> IntArray:
    """
    Return the average day's fee after `fee` more was used in `ms` more; 0 is not known yet.

    The days of two weeks weigh alike, what is older fades. *Units*: micros, ms.
    """
    minutes = np.maximum(ms // _MS_PER_MINUTE, 1)
    now = np.maximum(fee, 0) * _MINUTES_PER_DAY // minutes
    weight = np.minimum(minutes, _FORTNIGHT)
    moved = np.where(known > 0, known + (now - known) * weight // _FORTNIGHT, now)
    found: IntArray = np.where(ms > 0, moved, known)
    return found


def days_left(left: IntArray, daily_micros: IntArray) -> IntArray:
    """Return for how many whole days the balance lasts at the average day's fee; -1: none known."""
    lasts: IntArray = np.maximum(left, 0) // np.maximum(daily_micros, 1)
    return np.where(daily_micros > 0, lasts, -1)


def _safe_cycles(
    distance: IntArray,
    contract_w: IntArray,
    fee_ahead: FeeAhead,
    limit_ms: IntArray,
    cycle_ms: int,
) -> IntArray:
    """Return for how many whole cycles contract power cannot cost more than the distance."""
    low = np.zeros_like(distance)
    high = -(-limit_ms // cycle_ms)
    # the fee never falls with time, so the last cycle that fits is found by halving
    while bool((low < high).any()):
        middle = (low + high + 1) // 2
        ms = middle * cycle_ms
        wh = -(-contract_w * ms // _MS_PER_HOUR)
        fits = fee_ahead(wh, ms) <= distance
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    return low
