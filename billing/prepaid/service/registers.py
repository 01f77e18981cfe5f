"""Which register each agreement is priced at: the newest that usage has, or the one it had."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from billing.money import IntArray
from billing.prepaid import rules, store
from billing.prepaid.model import BoolArray, States
from billing.prepaid.rules.hours import known_energy, periods_at
from billing.prepaid.rules.periods import OpenUse, Uses
from billing.prepaid.service import versions
from billing.prepaid.service.hours import intervals_since
from cloud.store.db import Connection
from cloud.usage import service as usage
from protocols.identity import UsagePointId
from protocols.reading import Quality
from protocols.timeline import from_ms, to_ms

_NEVER = to_ms(datetime(9999, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """Registers to price at, as columns like the states. *Units*: Wh and ms."""

    wh: IntArray
    at_ms: IntArray
    trusted: BoolArray
    uses: Uses | None = None
    """Of those on a tariff of periods."""
    ahead_wh: IntArray | None = None
    """What a register says beyond the hours that are known; no TouPeriod can be told for it."""
    ahead_ms: IntArray | None = None
    """When that register was read."""

    def qualities(self, now: datetime) -> list[str]:
        """Return what stands behind each, at `now`."""
        return [
            rules.quality_of(trusted=trusted, register_at=from_ms(at), now=now).value
            for trusted, at in zip(self.trusted.tolist(), self.at_ms.tolist(), strict=True)
        ]


def newest(conn: Connection, states: States) -> Registers:
    """Return the newest register of each agreement, from one question to usage."""
    wh, at_ms = states.register.copy(), states.register_ms.copy()
    trusted = np.array([quality != "estimated" for quality in states.quality], dtype=np.bool_)
    known = store.newest_at(conn, states.usage_point)
    for n, usage_point in enumerate(states.usage_point):
        found = known.get(usage_point)
        if found is not None and found[1] >= at_ms[n]:
            wh[n], at_ms[n], trusted[n] = found[0], found[1], not found[2]
    return _with_uses(conn, states, Registers(wh=wh, at_ms=at_ms, trusted=trusted))


def at_day_ends(conn: Connection, states: States) -> Registers:
    """Return the register that ends each agreement's open day: the last at or before its end."""
    wh, at_ms = states.register.copy(), states.register_ms.copy()
    trusted = np.ones(len(states), dtype=np.bool_)
    ends = [from_ms(each) for each in states.day_ends_ms.tolist()]
    points = [UsagePointId(each) for each in states.usage_point]
    for n, found in enumerate(usage.registers_at_each(conn, points, ends)):
        if found is not None and to_ms(found.at) >= at_ms[n]:
            wh[n], at_ms[n] = found.cumulative_wh, to_ms(found.at)
    read = Registers(wh=wh, at_ms=at_ms, trusted=trusted)
    return _with_uses(conn, states, read, until_ms=states.day_ends_ms, whole=True)


def known_at(conn: Connection, states: States, now: datetime) -> Registers:
    """Return the newest register at or before `now` of each agreement."""
    wh, at_ms = states.register.copy(), states.register_ms.copy()
    trusted = np.array([quality != "estimated" for quality in states.quality], dtype=np.bool_)
    points = [UsagePointId(each) for each in states.usage_point]
    for n, found in enumerate(usage.registers_at_each(conn, points, [now] * len(points))):
        if found is not None and to_ms(found.at) >= at_ms[n]:
            wh[n], at_ms[n] = found.cumulative_wh, to_ms(found.at)
            trusted[n] = found.quality is not Quality.QUESTIONABLE
    until = np.full(len(points), to_ms(now), dtype=np.int64)
    return _with_uses(conn, states, Registers(wh=wh, at_ms=at_ms, trusted=trusted), until_ms=until)


def at_stored(conn: Connection, states: States) -> Registers:
    """Return the registers that the states' own fees were computed from, and their uses."""
    open_uses = store.open_uses(conn, states.agreement)
    rows = [n for n, agreement in enumerate(states.agreement) if agreement in open_uses]
    mine = [open_uses[states.agreement[n]] for n in rows]
    uses = Uses(
        row=np.array(rows, dtype=np.int64), open=mine, energy=[each.energy_wh for each in mine],
        upto=[each.upto for each in mine],
    )  # fmt: skip
    return Registers(
        wh=states.register, at_ms=states.register_ms,
        trusted=np.ones(len(states), dtype=np.bool_), uses=uses if rows else None,
    )  # fmt: skip


def _with_uses(
    conn: Connection, states: States, read: Registers, *, until_ms: IntArray | None = None,
    whole: bool = False,
) -> Registers:  # fmt: skip
    """
    Add energy and days of those on a tariff of periods.

    Where hours are needed the register to price at is as far as they are known without a gap, up to
    `until_ms`; of the open day alone, or with `whole` of the stretch since it began.
    """
    open_uses = store.open_uses(conn, states.agreement)
    if not open_uses:
        return read
    rows = [n for n, agreement in enumerate(states.agreement) if agreement in open_uses]
    mine = [open_uses[states.agreement[n]] for n in rows]
    wh, at_ms, trusted = read.wh.copy(), read.at_ms.copy(), read.trusted.copy()
    energy: dict[int, tuple[int, ...]] = {
        n: (max(0, int(read.wh[n] - states.segment_register[n])),)
        for n, use in zip(rows, mine, strict=True)
        if not use.hourly
    }
    hourly = [(n, use) for n, use in zip(rows, mine, strict=True) if use.hourly]
    for digest in sorted({states.tariff_hash[n] for n, _ in hourly}):
        some = [(n, use) for n, use in hourly if states.tariff_hash[n] == digest]
        for n, known in _known(conn, states, digest, some, until_ms=until_ms, whole=whole):
            energy[n] = known.energy
            wh[n] = states.segment_register[n] + sum(known.energy)
            at_ms[n], trusted[n] = known.until_ms, trusted[n] and not known.doubt
    return Registers(
        wh=wh, at_ms=at_ms, trusted=trusted,
        uses=Uses(
            row=np.array(rows, dtype=np.int64), open=mine, energy=[energy[n] for n in rows],
            upto=[states.open_day[n] + timedelta(days=1) for n in rows],
        ),
        ahead_wh=np.maximum(read.wh - wh, 0), ahead_ms=read.at_ms,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Hours:
    energy: tuple[int, ...]
    until_ms: int
    doubt: bool


def _known(
    conn: Connection, states: States, digest: str, some: Sequence[tuple[int, OpenUse]], *,
    until_ms: IntArray | None, whole: bool,
) -> Iterator[tuple[int, _Hours]]:  # fmt: skip
    tariff = versions.file_of(conn, digest)
    rows = [n for n, _ in some]
    since = [to_ms(use.opened_at if whole else use.day_at) for _, use in some]
    base = [use.opening_wh if whole else use.day_wh for _, use in some]
    until = np.full(len(some), _NEVER) if until_ms is None else until_ms[rows]
    since_ms = np.array(since, dtype=np.int64)
    found = intervals_since(
        conn, [states.usage_point[n] for n in rows], since_ms, np.maximum(until, since_ms)
    )
    period = periods_at(tariff, found.start_ms, found.seconds)
    known = known_energy(found, period, since_ms, len(tariff.period_names))
    for place, n in enumerate(rows):
        used = known.energy[:, place].tolist()
        yield n, _Hours(
            tuple(one + other for one, other in zip(base[place], used, strict=True)),
            int(known.until_ms[place]), bool(known.doubt[place]),
        )  # fmt: skip
