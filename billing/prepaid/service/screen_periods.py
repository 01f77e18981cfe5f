"""
The screen of those on tariffs of periods: energy by hours, days begun, the kernel in columns.

Like the screen of ladders it locks and writes nothing; what it finds is looked at again.
"""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from billing.money import IntArray
from billing.prepaid import rules, store
from billing.prepaid.model import FeeBlock, Figures, Screened, States
from billing.prepaid.service import lines, registers
from billing.prepaid.service.registers import Registers
from billing.rating.model import CompiledTariff
from cloud.store.db import Connection
from protocols.timeline import to_ms

PAGE = 20_000
"""Agreements priced at a time."""


def by_period(
    conn: Connection,
    tariffs: Mapping[str, CompiledTariff],
    *,
    since: str | None,
    now: datetime,
    chosen: IntArray | None = None,
) -> list[Screened]:
    """
    Price agreements with an open stretch, or with `since` those that may have moved.

    With `chosen` those at the points named alone.

    Whose register is ahead of the hours known is looked at each time: a late hour raises no mark.
    """
    found: list[Screened] = []
    after = ""
    while names := store.period_agreements(conn, since=since, after=after, limit=PAGE):
        after = names[-1]
        if chosen is not None:
            mine = np.isin(store.points_of_agreements(conn, names)[0], chosen)
            names = [name for name, wanted in zip(names, mine.tolist(), strict=True) if wanted]
        if not names:
            continue
        states = store.states(conn, names)
        read = registers.newest(conn, states)
        fresh = rules.figures(states, tariffs, read.wh, read.uses)
        found.append(_screened(conn, states, read, fresh, now=now))
    return found


def _screened(
    conn: Connection, states: States, read: Registers, fresh: Figures, *, now: datetime
) -> Screened:
    marks = lines.lines_of(conn, states)
    left = rules.available(states, fresh.fee)
    passed = rules.lines_passed(states, left, reminder=marks.reminder, cut=marks.cut)
    quality = read.qualities(now)
    crossed = (
        (passed.below_reminder != states.below_reminder)
        | (passed.below_zero != states.below_zero)
        | (passed.below_cut != states.below_cut)
        | (fresh.tier != states.tier)
        | np.array([a != b for a, b in zip(quality, states.quality, strict=True)], dtype=np.bool_)
    )
    moved = (
        crossed
        | (read.at_ms != states.register_ms)
        | (read.wh != states.register)
        | (left != states.available)
    )
    point, tariff_no = store.points_of_agreements(conn, states.agreement)
    stale = to_ms(now - rules.MISSING_AFTER)
    newest_ms = read.at_ms if read.ahead_ms is None else read.ahead_ms
    return Screened(
        rows=len(states), fees=FeeBlock(
            point=point, register_wh=read.wh, register_ms=read.at_ms, fee_micros=fresh.fee,
            tariff_no=tariff_no,
        ),
        crossed=crossed, moved=moved, missing=newest_ms < stale, beyond=fresh.beyond,
        below_opening=fresh.below_opening, no_hours=(read.at_ms < stale) & (newest_ms >= stale),
    )  # fmt: skip
