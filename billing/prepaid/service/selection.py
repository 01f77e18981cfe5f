"""
The plan of looks: which accounts a sweep has to calculate now, and when each is due again.

The plan lives in the process that sweeps, as one number for each point. There is nothing to lose:
whoever starts anew looks at everybody once and plans from there. An account is looked at when its
time has come, when its money moved, and when it is new (C1, C2, C3, C8).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from billing.money import IntArray
from billing.prepaid import rules, store
from billing.prepaid.model import Columns, Swept
from billing.prepaid.rules import selection
from billing.prepaid.rules.credit import Policy
from billing.prepaid.service import policies, screen
from billing.prepaid.service.screen import Progress
from billing.prepaid.service.sweep import sweep
from billing.prepaid.store import watch as fees
from billing.rating import service as rating
from billing.rating.model import CompiledTariff
from cloud.store.db import Connection, Database
from protocols.timeline import from_ms, to_ms

_AVERAGE = timedelta(days=14)
_MS_PER_MINUTE = 60_000
Average = Callable[[IntArray, IntArray, IntArray], IntArray]
"""Takes points, fees and the ms they are as of; returns the average day's fee."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What one look at the accounts that were due saw and did."""

    accounts: int
    """All there are."""
    chosen: int
    swept: Swept


@dataclass(frozen=True, slots=True, kw_only=True)
class NextLook:
    """
    When an account is due again, and why then. *Units*: micros.

    `days_left` is the balance over the average day of the last two weeks; None without one.
    """

    at: datetime
    distance_micros: int | None
    """What may be used before the next line below; None where there is none."""
    daily_micros: int | None
    days_left: int | None
    unseen_minutes: int
    limit_minutes: int


class Plan:
    """When each account is to be looked at next, by point; 0 is now."""

    def __init__(self, *, cycle: timedelta = timedelta(minutes=15)) -> None:
        """Begin with nothing planned: everybody is due."""
        self.cycle = cycle
        self._next_ms = np.zeros(0, dtype=np.int64)
        self._fee = np.zeros(0, dtype=np.int64)
        self._fee_ms = np.zeros(0, dtype=np.int64)
        self._daily = np.zeros(0, dtype=np.int64)
        self._enrolled = np.zeros(0, dtype=np.bool_)
        self._entry: int | None = None
        self._new_sought_at: datetime | None = None

    @property
    def accounts(self) -> int:
        """Return how many accounts are planned."""
        return int(self._enrolled.sum())

    def due(self, conn: Connection, *, now: datetime) -> IntArray | None:
        """Return the points to look at now; None when nothing is planned yet, so all are."""
        newest = store.newest_entry(conn, self._entry or 0)
        before, self._entry = self._entry, newest
        if before is None or not self._enrolled.any():
            return None
        ripe = np.flatnonzero(self._enrolled & (self._next_ms <= to_ms(now)))
        moved = store.points_of_moved_money(conn, before, newest)
        return np.unique(np.concatenate((ripe, moved, self._new(conn, now))))

    def note(self, conn: Connection, points: IntArray, *, now: datetime) -> None:
        """Plan the next look at points that were just looked at."""
        more = int(points.max(initial=-1)) + 1 - len(self._next_ms)
        if more > 0:
            for name in ("_next_ms", "_fee", "_fee_ms", "_daily", "_enrolled"):
                setattr(self, name, np.pad(getattr(self, name), (0, more)))
        planned = _planned(conn, points, cycle=self.cycle, now=now, average=self._average)
        self._next_ms[planned.point] = planned.at_ms
        self._enrolled[planned.point] = True

    def _average(self, point: IntArray, fee: IntArray, ms: IntArray) -> IntArray:
        """Note what was used since the last look; return the average day's fee, 0: not known."""
        known = self._enrolled[point]
        since = np.where(known, ms - self._fee_ms[point], 0)
        daily = selection.daily_fee(self._daily[point], fee - self._fee[point], since)
        moved = point[(since > 0) | ~known]
        self._daily[point] = daily
        at = (since > 0) | ~known
        self._fee[moved], self._fee_ms[moved] = fee[at], ms[at]
        return daily

    def _new(self, conn: Connection, now: datetime) -> IntArray:
        """Return points that have a state and no plan; sought once in a cycle."""
        if self._new_sought_at is not None and now - self._new_sought_at < self.cycle:
            return np.zeros(0, dtype=np.int64)
        self._new_sought_at = now
        return np.setdiff1d(store.every_point(conn), np.flatnonzero(self._enrolled))


def look(db: Database, plan: Plan, *, now: datetime, progress: Progress | None = None) -> Looked:
    """Price those who are due, act on what that means, and plan when each is due again."""
    with db.transaction() as conn:
        chosen = plan.due(conn, now=now)
    swept = sweep(db, now=now, chosen=chosen, progress=progress)
    with db.transaction() as conn:
        points = store.every_point(conn) if chosen is None else chosen
        plan.note(conn, points, now=now)
    return Looked(accounts=plan.accounts, chosen=len(points), swept=swept)


def next_look_of(conn: Connection, usage_point: str, *, now: datetime) -> NextLook | None:
    """Return when one account would be due after a look now; None where it has no balance."""
    agreement = store.agreement_at(conn, usage_point)
    if agreement is None:
        return None
    states = store.states(conn, [agreement])
    row = store.points_of(conn, [agreement], [])[0]
    points = np.array([row[3]], dtype=np.int64)
    first = (now - _AVERAGE).date()
    daily = fees.daily_fees(conn, [agreement], first).get(agreement)
    planned = _planned(
        conn, points, cycle=timedelta(minutes=15), now=now,
        average=lambda point, _fee, _ms: np.full_like(point, daily or 0),
    )  # fmt: skip
    policy = policies.policies_of(conn, [row[:3]])[0]
    left = np.array([int(planned.left[0])], dtype=np.int64)
    lasts = selection.days_left(left, np.array([daily or 0], dtype=np.int64))
    distance = int(planned.distance[0])
    return NextLook(
        at=from_ms(int(planned.at_ms[0])),
        distance_micros=distance if distance < selection.FAR else None,
        daily_micros=daily, days_left=int(lasts[0]) if lasts[0] >= 0 else None,
        unseen_minutes=policy.unseen_minutes, limit_minutes=policy.limit_minutes,
    ) if len(states) else None  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    point: IntArray
    at_ms: IntArray
    left: IntArray
    distance: IntArray


def _planned(
    conn: Connection, points: IntArray, *, cycle: timedelta, now: datetime, average: Average
) -> _Planned:
    """Return the next looks of points that have a state and a register."""
    hashes = store.number_tariffs(conn, [])
    compiled = rating.compiled(conn, list(hashes.values()))
    tariffs = {number: compiled[digest] for number, digest in hashes.items()}
    lines = screen.marks_of(conn, tariffs)
    own, house = _policies(conn)
    parts = [
        _next_of(
            conn,
            columns,
            tariffs,
            lines,
            pace=_pace(columns, own, house),
            cycle=cycle,
            now=now,
            average=average,
        )
        for each in store.in_order(store.registers_of_points(conn, points))
        if (columns := store.read_moved(conn, each)) is not None
    ]
    nothing = np.zeros(0, dtype=np.int64)
    return _Planned(
        point=np.concatenate([part.point for part in parts] or [nothing]),
        at_ms=np.concatenate([part.at_ms for part in parts] or [nothing]),
        left=np.concatenate([part.left for part in parts] or [nothing]),
        distance=np.concatenate([part.distance for part in parts] or [nothing]),
    )


def _next_of(
    conn: Connection,
    columns: Columns,
    tariffs: dict[int, CompiledTariff],
    lines: screen.Marks,
    *,
    pace: tuple[IntArray, IntArray, IntArray],
    cycle: timedelta,
    now: datetime,
    average: Average,
) -> _Planned:
    reminder, cut = lines.of(columns)
    unseen, limit, horizon = pace
    limit = selection.spread(limit, columns.point, now_ms=to_ms(now))
    watts = _contracts(conn, columns.point)
    left, at_ms, fee = columns.available.copy(), columns.register_ms.copy(), columns.fee.copy()
    looks = np.full_like(left, to_ms(now) + int(cycle.total_seconds() * 1000))
    for number in np.unique(columns.tariff_no).tolist():
        tariff, mine = tariffs[number], columns.tariff_no == number
        part = rules.rows_of(columns, mine)
        if tariff.basis == "ladder_year":
            priced = rules.screened(
                part, tariffs, reminder=reminder[mine], cut=cut[mine], now=now
            ).fees
            fee[mine] = priced.fee_micros
            left[mine] = part.posted - (priced.fee_micros - part.drawn)
            at_ms[mine] = priced.register_ms
            year = part.segment_year + np.maximum(priced.register_wh - part.segment_register, 0)
            ahead = selection.fee_of_ladder(tariff, year)
        else:
            bound = selection.fee_of_period(tariff)
            if bound is None:
                continue
            ahead = bound
        looks[mine] = selection.next_look(
            left=left[mine], lines=(reminder[mine], np.zeros_like(left[mine]), cut[mine]),
            register_ms=at_ms[mine], contract_w=watts[mine], fee_ahead=ahead,
            unseen_ms=unseen[mine], limit_ms=limit[mine], horizon_days=horizon[mine],
            daily=average(part.point, fee[mine], at_ms[mine]),
            cycle_ms=int(cycle.total_seconds() * 1000), now_ms=to_ms(now),
        )  # fmt: skip
    distance = selection.distance_to_line(left, (reminder, np.zeros_like(left), cut))
    return _Planned(point=columns.point, at_ms=looks, left=left, distance=distance)


def _contracts(conn: Connection, points: IntArray) -> IntArray:
    """Return the contract power at each point, in their order."""
    known, watts = store.contracts_of_points(conn, points)
    order = np.argsort(known)
    found: IntArray = watts[order][np.searchsorted(known[order], points)]
    return found


def _policies(conn: Connection) -> tuple[dict[int, Policy], dict[int, Policy]]:
    """Return policies by point where they are not the currency's alone, else by tariff number."""
    usual = {}
    for number, digest in store.number_tariffs(conn, []).items():
        currency = rating.compiled(conn, [digest])[digest].currency
        usual[number] = policies.policies_of(conn, [("", "", currency)])[0]
    agreements, usage_points = policies.named(conn)
    rows = store.points_of(conn, agreements, usage_points)
    own = policies.policies_of(conn, [row[:3] for row in rows])
    return {row[3]: policy for row, policy in zip(rows, own, strict=True)}, usual


def _pace(
    columns: Columns, own: dict[int, Policy], usual: dict[int, Policy]
) -> tuple[IntArray, IntArray, IntArray]:
    """Return for each row the time unseen and the limit in ms, and the horizon in days."""
    known = np.zeros((max(usual, default=0) + 1, 3), dtype=np.int64)
    for number, policy in usual.items():
        known[number] = _times(policy)
    found = known[columns.tariff_no]
    if own:
        for n, point in enumerate(columns.point.tolist()):
            if point in own:
                found[n] = _times(own[point])
    return found[:, 0] * _MS_PER_MINUTE, found[:, 1] * _MS_PER_MINUTE, found[:, 2]


def _times(policy: Policy) -> tuple[int, int, int]:
    return policy.unseen_minutes, policy.limit_minutes, policy.horizon_days
