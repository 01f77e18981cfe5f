"""
Figures of balances from registers, all of it in columns.

`available = posted - (fee - drawn)`: what the ledger holds, less what the kernel says was used and
the ledger has not taken yet. Nothing here knows a clock or a database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime

import numpy as np

from billing.money import IntArray
from billing.prepaid.model import BoolArray, Columns, FeeBlock, Figures, Screened, States
from billing.prepaid.rules.days import MISSING_AFTER
from billing.prepaid.rules.lines import available
from billing.prepaid.rules.periods import Uses, price_uses
from billing.rating.model import CompiledTariff
from billing.rating.rules import kernel
from protocols.timeline import to_ms


def figures(
    states: States,
    tariffs: Mapping[str, CompiledTariff],
    register_wh: IntArray,
    uses: Uses | None = None,
) -> Figures:
    """
    Return fee, year counter and tier of every agreement at `register_wh`.

    `uses` tells energy and days of those on a tariff of periods. A counter beyond the tariff's
    bound keeps the fee it had and is marked; a register under the segment's opening charges nothing
    and is marked. *Shape*: as `states`.
    """
    hashes = np.array(states.tariff_hash, dtype=object)
    found = _figures(
        [
            (tariffs[digest], hashes == digest)
            for digest in sorted(set(states.tariff_hash))
            if tariffs[digest].basis == "ladder_year"
        ],
        states, register_wh,
    )  # fmt: skip
    return found if uses is None else _with_periods(found, states, tariffs, uses)


def _with_periods(
    found: Figures, states: States, tariffs: Mapping[str, CompiledTariff], uses: Uses
) -> Figures:
    fee, tier, beyond = found.fee.copy(), found.tier.copy(), found.beyond.copy()
    for digest in sorted({states.tariff_hash[row] for row in uses.row.tolist()}):
        mine = [n for n, row in enumerate(uses.row.tolist()) if states.tariff_hash[row] == digest]
        part = uses.rows(mine)
        said = price_uses(tariffs[digest], part)
        inside, row = said.beyond == 0, part.row
        fee[row] = np.where(inside, states.segment_before[row] + said.fee, states.fee[row])
        tier[row] = np.where(inside, said.tier, states.tier[row])
        beyond[row] = ~inside
    return replace(found, fee=fee, tier=tier, beyond=beyond)


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
    register, register_ms, estimated = newest(columns)
    numbers = np.flatnonzero(np.bincount(columns.tariff_no)).tolist()
    groups = [(tariffs[number], columns.tariff_no == number) for number in numbers]
    found = _figures(groups, columns, register)
    return said(
        columns, found, register=register, register_ms=register_ms, heard_ms=register_ms,
        estimated=estimated, reminder=reminder, cut=cut, now=now,
    )  # fmt: skip


def newest(columns: Columns) -> tuple[IntArray, IntArray, BoolArray]:
    """Return register, its time and its doubt of each row: the newest, or what the state has."""
    take = columns.newest_ms >= columns.register_ms
    return (
        np.where(take, columns.newest, columns.register),
        np.where(take, columns.newest_ms, columns.register_ms),
        np.where(take, columns.doubt == 1, columns.quality == 1),
    )


def said(
    columns: Columns, found: Figures, *, register: IntArray, register_ms: IntArray,
    heard_ms: IntArray, estimated: BoolArray, reminder: IntArray, cut: IntArray, now: datetime,
) -> Screened:  # fmt: skip
    """
    Return what figures at a register mean, as `screened` does.

    `heard_ms` is when the meter was last read at all, which hours may be behind.
    """
    left = available(columns, found.fee)
    stale = to_ms(now - MISSING_AFTER)
    missing = register_ms < stale
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
    unheard = heard_ms < stale
    return Screened(
        rows=len(register), fees=FeeBlock(
            point=columns.point, register_wh=register, register_ms=register_ms,
            fee_micros=found.fee, tariff_no=columns.tariff_no,
        ),
        crossed=crossed, moved=moved, missing=unheard, beyond=found.beyond,
        below_opening=found.below_opening, no_hours=missing & ~unheard,
    )  # fmt: skip


def rows_of(columns: Columns, rows: IntArray | BoolArray) -> Columns:
    """Return some rows of columns."""
    return Columns(**{each.name: getattr(columns, each.name)[rows] for each in fields(Columns)})


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


def corrected(states: States, figures: Figures, register_wh: IntArray) -> BoolArray:
    """
    Tell whose register, and with it the fee, is below what it was when the state was written.

    A register only grows by use, so it was corrected. A fee alone may fall as a day begins: free
    energy and ladders that are shared by days grow with them.
    """
    fallen: BoolArray = (figures.fee < states.fee) & (register_wh < states.register)
    return fallen
