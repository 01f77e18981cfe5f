"""
The screen of those on tariffs of periods: energy by hours, days begun, all of it in columns.

Like the screen of ladders it locks and writes nothing; what it finds is looked at again, by rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from billing.money import IntArray
from billing.prepaid import rules, store
from billing.prepaid.model import BoolArray, Columns, Figures, Screened
from billing.prepaid.rules.hours import known_energy, periods_at
from billing.prepaid.rules.stretches import Stretches, price_stretches
from billing.prepaid.service import versions
from billing.prepaid.service.hours import intervals_since
from billing.rating.model import CompiledTariff
from cloud.store.db import Connection
from protocols.timeline import to_ms

HOURS_PAGE = 20_000
"""Agreements whose hours are asked for at once: a day of them is many more."""

_NEVER = to_ms(datetime(9999, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What one part is priced at. *Shape*: (rows,), `energy_wh` (TouPeriods, rows)."""

    wh: IntArray
    at_ms: IntArray
    heard_ms: IntArray
    estimated: BoolArray
    below_opening: BoolArray
    energy_wh: IntArray


def by_period(
    conn: Connection,
    columns: Columns,
    tariffs: Mapping[int, CompiledTariff],
    *,
    reminder: IntArray,
    cut: IntArray,
    now: datetime,
) -> list[Screened]:
    """
    Price states that are on tariffs of periods; *shape* of both lines as the columns.

    Who has no open stretch as these columns want it was written meanwhile: the next sweep sees it.
    """
    if not columns.point.size:
        return []
    order = np.argsort(columns.point, kind="stable")
    columns, reminder, cut = rules.rows_of(columns, order), reminder[order], cut[order]
    found = []
    for hourly, every in store.stretches_at(conn, columns.point):
        page = HOURS_PAGE if hourly else len(every.point)
        for start in range(0, len(every.point), page):
            some = every.rows(np.arange(start, min(start + page, len(every.point))))
            rows = np.searchsorted(columns.point, some.point)
            numbers = columns.tariff_no[rows]
            for number in np.flatnonzero(np.bincount(numbers)).tolist():
                mine = np.flatnonzero(numbers == number)
                if len(tariffs[number].periods) != every.day_wh.shape[0]:
                    continue
                at = rows[mine]
                found.append(
                    _screened(
                        conn, rules.rows_of(columns, at), some.rows(mine), tariffs[number],
                        hourly=hourly, reminder=reminder[at], cut=cut[at], now=now,
                    )
                )  # fmt: skip
    return found


def _screened(
    conn: Connection, columns: Columns, stretches: Stretches, tariff: CompiledTariff, *,
    hourly: bool, reminder: IntArray, cut: IntArray, now: datetime,
) -> Screened:  # fmt: skip
    read = _by_register(columns)
    if hourly:
        read = _by_hours(conn, columns, stretches, tariff, read)
    shapes = store.shapes_numbered(conn, set(np.unique(stretches.shape_no).tolist()))
    priced = price_stretches(tariff, stretches, read.energy_wh, columns.open_day, shapes)
    inside = priced.beyond == 0
    figures = Figures(
        fee=np.where(inside, columns.segment_before + priced.fee, columns.fee),
        year_wh=columns.segment_year + np.maximum(read.wh - columns.segment_register, 0),
        tier=np.where(inside, priced.tier, columns.tier), beyond=~inside,
        below_opening=read.below_opening,
    )  # fmt: skip
    return rules.said(
        columns, figures, register=read.wh, register_ms=read.at_ms, heard_ms=read.heard_ms,
        estimated=read.estimated, reminder=reminder, cut=cut, now=now,
    )  # fmt: skip


def _by_register(columns: Columns) -> _Read:
    wh, at_ms, estimated = rules.newest(columns)
    used = wh - columns.segment_register
    return _Read(
        wh=wh, at_ms=at_ms, heard_ms=at_ms, estimated=estimated, below_opening=used < 0,
        energy_wh=np.maximum(used, 0).reshape(1, -1),
    )  # fmt: skip


def _by_hours(
    conn: Connection, columns: Columns, stretches: Stretches, tariff: CompiledTariff, read: _Read
) -> _Read:
    """Return energy as far as hours follow one another since the open day began."""
    names = store.usage_points_at(conn, columns.point)
    since = stretches.day_ms
    found = intervals_since(
        conn, [names[point] for point in columns.point.tolist()], since,
        np.full(len(since), _NEVER, dtype=np.int64),
    )  # fmt: skip
    period = periods_at(versions.file_of(conn, tariff.digest), found.start_ms, found.seconds)
    known = known_energy(found, period, since, len(tariff.periods))
    energy = stretches.day_wh + known.energy
    return replace(
        read, wh=columns.segment_register + energy.sum(axis=0), at_ms=known.until_ms,
        estimated=read.estimated | (known.doubt == 1), energy_wh=energy,
        below_opening=np.zeros(len(since), dtype=np.bool_),
    )  # fmt: skip
