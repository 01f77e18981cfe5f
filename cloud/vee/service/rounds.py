"""
Which days are looked at, and when: rounds of whole days, then days to look at again.

    frontier   up to here every civil day that ended was handed to a round
    round      a civil day of a zone, looked at usage point by usage point, in order
    dirty      a day of a usage point to look at again: a late reading, an edit, or what rests on it

The frontier moves only while nobody adds readings, so each reading is either seen by the round of
its day or marks its day. A round and the list survive any death: what is not ended is done again.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from cloud.assets import service as assets
from cloud.ingest import service as ingest
from cloud.ingest.model import Stored
from cloud.store.db import Connection, Database
from cloud.vee.model import DayPolicy, Validated
from cloud.vee.rules import turns
from cloud.vee.rules.grid import Int
from cloud.vee.rules.rule_sets import rule_set_for
from cloud.vee.service.looking import Supply
from cloud.vee.service.published import shipped_rule_sets
from cloud.vee.service.validating import DEFAULT_DAYS, look_at, summed
from cloud.vee.service.versions import Changed, rule_set_name
from cloud.vee.store import days as store
from cloud.vee.store.days import PointDay
from protocols.identity import UsagePointId
from protocols.reading import Channel
from protocols.timeline import Interval, from_ms, local_date, local_day, to_ms

_COUNTED = (int(Channel.IMPORT_WH), int(Channel.IMPORT_INTERVAL_WH))


def mark_late(conn: Connection, stored: Stored, now: datetime) -> None:
    """Mark the days before the frontier that get readings, in their transaction."""
    store.share_frontier(conn)
    until = store.frontier(conn)
    meter, at = _before(stored, to_ms(until))
    if len(meter):
        store.mark_dirty(conn, _days_of(stored, meter, at), now, cause="late")


def advance(db: Database, *, now: datetime, policy: DayPolicy = DEFAULT_DAYS) -> int:
    """
    Begin the rounds of days that have become complete; return how many.

    A day is complete `policy.wait_ms` after its end, once an interval newer than its end was heard
    of: while the whole stream stands still, no day ends.
    """
    with db.transaction() as conn:
        before = store.frontier(conn)
        zones = assets.zones(conn)
        heard = _heard(conn) if zones else None
        if heard is None:
            return 0
        until = min(now - timedelta(milliseconds=policy.wait_ms), heard)
        if not _ended(zones, before, until):
            return 0
        store.lock_validation(conn)
        store.hold_frontier(conn)
        before = store.frontier(conn)
        rounds = [
            (zone, day, span.start, span.end, _rules_of(policy, day))
            for zone, day, span in _ended(zones, before, until)
        ]
        if rounds:
            store.insert_rounds(conn, rounds, now)
            store.move_frontier(conn, max(end for _, _, _, end, _ in rounds))
        return len(rounds)


def work_once(
    db: Database,
    supply: Supply,
    *,
    now: datetime,
    policy: DayPolicy = DEFAULT_DAYS,
    changed: Changed | None = None,
) -> Validated | None:
    """Look at the next portion of what waits, in one transaction; None when nothing waits."""
    with db.transaction() as conn:
        store.lock_validation(conn)
        dirty = store.dirty_days(conn, policy.at_once)
        if dirty:
            changes = [(p, day) for p, day, cause, _ in dirty if cause != "again"]
            _mark_resting(conn, changes, now, policy)
            days = [(point, day) for point, day, _, _ in dirty]
            done = look_at(conn, supply, days, now=now, policy=policy, changed=changed)
            store.clear_dirty(conn, [(point, day, marks) for point, day, _, marks in dirty])
            return done
        found = store.open_round(conn)
        if found is None:
            return None
        zone, day, after = found
        span = local_day(day, ZoneInfo(zone))
        points = assets.points_of_zone(conn, zone, span, after=after, limit=policy.at_once)
        days = [(point, day) for point in points]
        done = look_at(conn, supply, days, now=now, policy=policy, changed=changed)
        if days:
            _again(conn, store.resting_days(conn, days), now)
        store.move_round(
            conn, zone, day, after=points[-1] if points else after, points=len(points),
            ended_at=None if len(points) == policy.at_once else now,
        )  # fmt: skip
        return done


def work_all(
    db: Database,
    supply: Supply,
    *,
    now: datetime,
    policy: DayPolicy = DEFAULT_DAYS,
    changed: Changed | None = None,
) -> Validated:
    """Begin what has become complete and look at everything that waits."""
    advance(db, now=now, policy=policy)
    total = Validated()
    while True:
        done = work_once(db, supply, now=now, policy=policy, changed=changed)
        if done is None:
            return total
        total = summed(total, done)


def waiting(conn: Connection) -> tuple[int, int]:
    """Return how many rounds are not ended and how many days wait to be looked at again."""
    return store.waiting(conn)


def _heard(conn: Connection) -> datetime | None:
    """Return the newest interval of any meter; where none has a profile, the newest register."""
    newest = store.newest_start(conn)
    if newest is not None:
        return newest
    meters = [item.meter.id for item in assets.installed_now(conn)]
    return max(ingest.last_register_times(conn, meters).values(), default=None)


def _mark_resting(
    conn: Connection, days: Sequence[PointDay], now: datetime, policy: DayPolicy
) -> None:
    """
    Have looked at again what rests on changed days: the day after each, estimates, and the turns of
    long checks.
    """
    if days:
        after = {(point, day + timedelta(days=1)) for point, day in days}
        last = local_date(store.frontier(conn), ZoneInfo("UTC"))
        for point, day in days:
            rules = rule_set_for(shipped_rule_sets(), policy.customer_class, day)
            after |= {
                (point, turn)
                for turn in turns.turns_after(
                    point, day, last, every=policy.long_every, back=turns.days_back(rules)
                )
            }  # fmt: skip
        # those that are looked at now see one another's values as they stand
        _again(conn, sorted((after | set(store.resting_days(conn, days))) - set(days)), now)


def _again(conn: Connection, days: Sequence[PointDay], now: datetime) -> None:
    store.mark_dirty(conn, days, now, cause="again", actor="system:vee")


def _ended(
    zones: dict[str, datetime], before: datetime, until: datetime
) -> list[tuple[str, date, Interval]]:
    """Return the civil days with meters that end in `(before, until]`, oldest first."""
    found = []
    for name, since in zones.items():
        zone = ZoneInfo(name)
        day = local_date(max(before, since), zone)
        span = local_day(day, zone)
        while span.end <= until:
            if span.end > before:
                found.append((name, day, span))
            day += timedelta(days=1)
            span = local_day(day, zone)
    return sorted(found, key=lambda each: (each[1], each[0]))


def _rules_of(policy: DayPolicy, day: date) -> str:
    return rule_set_name(rule_set_for(shipped_rule_sets(), policy.customer_class, day))


def _before(stored: Stored, until_ms: int) -> tuple[Int, Int]:
    """Return meter and instant of what came for days before the frontier."""
    fresh, read = stored.intervals, stored.registers
    late = (fresh.start_ms < until_ms) & np.isin(fresh.channel, _COUNTED)
    # a register at midnight ends one day and begins the next
    end = (read.at_ms <= until_ms) & np.isin(read.channel, _COUNTED)
    meter = np.concatenate((fresh.meter[late], read.meter[end], read.meter[end]))
    at = np.concatenate((fresh.start_ms[late], read.at_ms[end] - 1, read.at_ms[end]))
    return meter, at


def _days_of(stored: Stored, meter: Int, at_ms: Int) -> set[PointDay]:
    """Return usage point and civil day of each reading; of late ones there are few."""
    hour = 3_600_000
    place = {id_: n for n, id_ in enumerate(stored.meters)}
    quarter = at_ms // (hour // 4)
    pairs = np.unique(np.stack((meter, quarter)), axis=1)
    days: set[PointDay] = set()
    for item in stored.installed:
        mine = pairs[1][pairs[0] == place[item.meter.id]]
        zone, removed = ZoneInfo(item.usage_point.zone), item.installation.removed_at
        since = to_ms(item.installation.installed_at)
        until = to_ms(removed) if removed else None
        for at in (mine * (hour // 4)).tolist():
            if at + hour // 4 > since and (until is None or at <= until):
                days.add((UsagePointId(item.usage_point.id), local_date(from_ms(at), zone)))
    return days
