"""
Pure decisions of the balance: figures from registers, lines passed, days that are over.

`available = posted - (fee - drawn)`: what the ledger holds, less what the kernel says was used and
the ledger has not taken yet. All of it in columns; nothing here knows a clock or a database.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from billing.money import IntArray
from billing.prepaid.model import (
    BalanceQuality,
    BoolArray,
    Columns,
    FeeBlock,
    Figures,
    Passed,
    Screened,
    States,
)
from billing.rating.model import CompiledTariff
from billing.rating.rules import kernel
from protocols.timeline import local_date, local_day, to_ms

MISSING_AFTER = timedelta(hours=24)
"""Business time without a register after which a balance is an interval."""

DAY_GRACE = timedelta(hours=6)
"""How long a business day waits for a late register before it is drawn without."""

_SECONDS_PER_HOUR = 3600


def keeps_a_balance(tariff: CompiledTariff) -> bool:
    """Tell whether a fee under a version is a cumulative of one register, as balances need."""
    return tariff.basis == "ladder_year"


def figures(
    states: States, tariffs: Mapping[str, CompiledTariff], register_wh: IntArray
) -> Figures:
    """
    Return fee, year counter and tier of every agreement at `register_wh`.

    A counter beyond the tariff's bound keeps the fee it had and is marked; a register under the
    segment's opening charges nothing and is marked. *Shape*: as `states`.
    """
    hashes = np.array(states.tariff_hash, dtype=object)
    return _figures(
        [(tariffs[digest], hashes == digest) for digest in sorted(set(states.tariff_hash))],
        states, register_wh,
    )  # fmt: skip


def screened(
    columns: Columns,
    tariffs: Mapping[int, CompiledTariff],
    *,
    reminder: IntArray,
    cut: IntArray,
    now: datetime,
) -> Screened:
    """
    Price columns at their newest registers and tell what has to be written (C1, C2, C4).

    A register older than the one the state was written at does not count. *Shape*: as `columns`.
    """
    take = columns.newest_ms >= columns.register_ms
    register = np.where(take, columns.newest, columns.register)
    register_ms = np.where(take, columns.newest_ms, columns.register_ms)
    numbers = np.flatnonzero(np.bincount(columns.tariff_no)).tolist()
    groups = [(tariffs[number], columns.tariff_no == number) for number in numbers]
    found = _figures(groups, columns, register)
    left = columns.posted - (found.fee - columns.drawn)
    missing = register_ms < to_ms(now - MISSING_AFTER)
    estimated = np.where(take, columns.doubt == 1, columns.quality == 1)
    quality = np.where(missing, 2, estimated.astype(np.int64))
    crossed = (
        ((left < reminder) != columns.below_reminder)
        | ((left < 0) != columns.below_zero)
        | ((left < cut) != columns.below_cut)
        | (found.tier != columns.tier)
        | (quality != columns.quality)
    )
    moved = (
        crossed
        | (register_ms != columns.register_ms)
        | (register != columns.register)
        | (left != columns.available)
    )
    return Screened(
        rows=len(register), fees=FeeBlock(
            point=columns.point, register_wh=register, register_ms=register_ms,
            fee_micros=found.fee, tariff_no=columns.tariff_no,
        ),
        crossed=crossed, moved=moved, missing=missing, beyond=found.beyond,
        below_opening=found.below_opening,
    )  # fmt: skip


def _figures(
    groups: Sequence[tuple[CompiledTariff, BoolArray]], states: States | Columns, wh: IntArray
) -> Figures:
    used = wh - states.segment_register
    below = used < 0
    year = states.segment_year + np.maximum(used, 0)
    fee, tier = states.fee.copy(), states.tier.copy()
    beyond = np.zeros(len(wh), dtype=np.bool_)
    for tariff, mine in groups:
        inside = year <= tariff.largest_wh
        beyond |= mine & ~inside
        rows = mine & inside
        # one tariff for all is the usual case: then nothing is picked out and put back
        at: BoolArray | slice = slice(None) if rows.all() else rows
        fee[at] = (
            states.segment_before[at]
            + kernel.fee_at(tariff, year[at])
            - kernel.fee_at(tariff, states.segment_year[at])
        )
        tier[at] = kernel.tier_at(tariff, year[at])
    return Figures(fee=fee, year_wh=year, tier=tier, beyond=beyond, below_opening=below)


def available(states: States, fee: IntArray) -> IntArray:
    """Return what each account has left at a cumulative fee."""
    left: IntArray = states.posted - (fee - states.drawn)
    return left


def lines_passed(states: States, left: IntArray, *, reminder: IntArray, cut: IntArray) -> Passed:
    """
    Return which lines each balance went through since the states were written.

    Down through a line counts once; the line is armed again only when the balance is back at or
    above it, so a top-up that lifts the balance makes the next fall a new crossing (F1, F2).
    """
    below_reminder, below_zero, below_cut = left < reminder, left < 0, left < cut
    return Passed(
        reminder=below_reminder & ~states.below_reminder,
        zero=below_zero & ~states.below_zero,
        cut=below_cut & ~states.below_cut,
        restored=~below_zero & states.below_zero,
        below_reminder=below_reminder,
        below_zero=below_zero,
        below_cut=below_cut,
    )


def corrected(states: States, figures: Figures) -> BoolArray:
    """
    Tell whose fee is below what it was when the state was written.

    A fee is a cumulative and only grows by use, so a register was corrected.
    """
    fallen: BoolArray = figures.fee < states.fee
    return fallen


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


def steps_reached(before: int, after: int) -> Sequence[int]:
    """Return the ladder steps reached on the way from one tier to a later one."""
    return range(before + 1, after + 1)
