"""
Days of usage points are looked at: findings, doubts and estimates, in versions.

Order: registers are judged, then intervals, then what lacks is estimated under the registers (MDM
handbook section 4). What comes of a day follows from the values that stand and the end of the last
complete day alone, so the order in which they came, or days were looked at, does not matter.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from cloud.assets import service as assets
from cloud.assets.model import Installed
from cloud.store.db import Connection, Database
from cloud.vee.model import DayFinding, DayPolicy, Validated
from cloud.vee.rules import day_findings
from cloud.vee.rules.checks import check_series
from cloud.vee.rules.estimate import judged
from cloud.vee.rules.findings import Findings
from cloud.vee.rules.grid import Bool, State
from cloud.vee.rules.rule_sets import rule_set_for
from cloud.vee.service.estimating import DayEstimates, Terms, estimates_of
from cloud.vee.service.history import long_findings
from cloud.vee.service.looking import Supply, look, span_of_days
from cloud.vee.service.published import shipped_rule_sets
from cloud.vee.service.register_days import REGISTERS, look_at_registers
from cloud.vee.service.versions import Changed, DayLook, DaySlots, FilledSlots, write_versions
from cloud.vee.store import days as store
from cloud.vee.store.days import PointDay
from protocols.identity import UsagePointId
from protocols.timeline import local_date, local_day, to_ms

DEFAULT_DAYS = DayPolicy()


def validate_days(
    db: Database,
    supply: Supply,
    days: Sequence[PointDay],
    *,
    now: datetime,
    policy: DayPolicy = DEFAULT_DAYS,
    changed: Changed | None = None,
) -> Validated:
    """
    Look at civil days of usage points; days that are not complete yet are left for their round.

    Repeating it writes nothing new. Several transactions of `policy.at_once` days each.
    """
    total = Validated()
    chosen = sorted(set(days), key=lambda each: (each[1], each[0]))
    for at in range(0, len(chosen), policy.at_once):
        with db.transaction() as conn:
            store.lock_validation(conn)
            some = chosen[at : at + policy.at_once]
            done = look_at(conn, supply, some, now=now, policy=policy, changed=changed)
            total = summed(total, done)
    return total


def summed(one: Validated, other: Validated) -> Validated:
    """Return two runs as one."""
    return Validated(
        days=one.days + other.days, changed=one.changed + other.changed,
        findings=one.findings + other.findings, estimated=one.estimated + other.estimated,
        missing=one.missing + other.missing,
    )  # fmt: skip


def complete_until(frontier: datetime, zone: ZoneInfo) -> datetime:
    """Return the end of the last civil day of a zone that is complete at the frontier."""
    return local_day(local_date(frontier, zone), zone).start


def look_at(
    conn: Connection,
    supply: Supply,
    days: Sequence[PointDay],
    *,
    now: datetime,
    policy: DayPolicy,
    changed: Changed | None = None,
) -> Validated:
    """Look at days in the caller's transaction, which holds the lock of validation."""
    installed: dict[UsagePointId, list[Installed]] = {}
    for item in assets.installations_at(conn, sorted({point for point, _ in days})):
        installed.setdefault(item.usage_point.id, []).append(item)
    frontier, total = store.frontier(conn), Validated()
    groups: dict[tuple[date, str, int], list[UsagePointId]] = {}
    registers: dict[tuple[date, str], dict[UsagePointId, int]] = {}
    for point, day in days:
        for name, seconds in _profiles(installed.get(point, ()), day):
            if local_day(day, ZoneInfo(name)).end <= frontier:
                groups.setdefault((day, name, seconds), []).append(point)
    for (day, name, seconds), points in sorted(groups.items()):
        terms = _terms(supply, installed, policy, frontier, day=day, name=name, seconds=seconds)
        of_day = registers.setdefault((day, name), {})
        if not seconds:
            of_day.update(dict.fromkeys(points, 0))
            continue
        slots, looked, unread = _look(conn, terms, points, day, every=policy.long_every)
        said_before = store.newest_days(conn, points, day, REGISTERS)
        of_day.update(dict.fromkeys({*unread, *said_before}, seconds))
        done = write_versions(conn, terms, slots, looked, now=now, policy=policy, changed=changed)
        total = summed(total, done)
    for (day, name), profile in sorted(registers.items()):
        if profile:
            terms = _terms(supply, installed, policy, frontier, day=day, name=name, seconds=0)
            done = look_at_registers(
                conn, terms, profile, day, now=now, policy=policy, changed=changed
            )
            total = summed(total, done)
    return total


def _terms(
    supply: Supply, installed: dict[UsagePointId, list[Installed]], policy: DayPolicy,
    frontier: datetime, *, day: date, name: str, seconds: int,
) -> Terms:  # fmt: skip
    zone = ZoneInfo(name)
    return Terms(
        supply=supply, installed=installed, seconds=seconds, zone=zone,
        rules=rule_set_for(shipped_rule_sets(), policy.customer_class, day),
        limit=complete_until(frontier, zone),
    )  # fmt: skip


def _profiles(installed: Sequence[Installed], day: date) -> set[tuple[str, int]]:
    """
    Return zone and interval length of the meters that hung there on a civil day.

    Length 0 is a meter without a profile, named where no other hung there that day.
    """
    found = set()
    for item in installed:
        zone, seconds = item.usage_point.zone, item.meter.interval_seconds
        span, removed = local_day(day, ZoneInfo(zone)), item.installation.removed_at
        inside = item.installation.installed_at < span.end and (
            removed is None or removed > span.start
        )
        if inside:
            found.add((zone, seconds or 0))
    profiles = {(zone, seconds) for zone, seconds in found if seconds}
    return profiles or found


def _look(
    conn: Connection, terms: Terms, points: Sequence[UsagePointId], day: date, *, every: int
) -> tuple[DaySlots, list[DayLook], set[UsagePointId]]:
    """Return the day, what each usage point's look came to, and which have no register of it."""
    span = span_of_days(day - timedelta(days=1), day, terms.zone, terms.limit, terms.seconds)
    seen = look(
        conn, terms.supply, points, terms.installed, span, seconds=terms.seconds, zone=terms.zone
    )
    grid = seen.observed.grid
    today = np.flatnonzero(grid.frame.day == (day - grid.frame.first_day).days)
    slots = DaySlots(
        day=day, start_ms=grid.frame.start_ms + int(today[0]) * terms.seconds * 1000,
        slots=len(today), step_ms=terms.seconds * 1000,
    )  # fmt: skip
    findings = check_series(seen.observed, terms.rules, now_ms=grid.frame.end_ms, light=True)
    longer = long_findings(
        conn, terms, points, day, every=every, since_ms=slots.start_ms, until_ms=slots.end_ms
    )
    findings = Findings(by_code={**findings.by_code, **longer.by_code})
    suspect = (judged(seen.observed, findings).grid.state == State.QUESTIONABLE)[:, today]
    short = np.flatnonzero(seen.lacking[:, today].any(axis=1))
    some = [points[row] for row in short.tolist()]
    estimates = dict(zip(some, estimates_of(conn, terms, some, day), strict=True)) if some else {}
    filled = [
        _filled(slots, estimates.get(point), seen.cancelled[row, today])
        for row, point in enumerate(points)
    ]
    state = np.where(suspect, State.QUESTIONABLE, grid.state[:, today]).astype(np.int8)
    for row, each in enumerate(filled):
        state[row, each.at] = State.ESTIMATED
    found = day_findings.of_day(
        findings, day_findings.gate(grid, today, state, seen.expected[:, today], terms.rules),
        terms.rules, points=points, since_ms=slots.start_ms, until_ms=slots.end_ms,
        meters=[_meter_of(terms.installed.get(point, ())) for point in points],
    )  # fmt: skip
    looks = [
        DayLook(
            point=point, expected=seen.expected[row, today], edited=seen.edited[row, today],
            cancelled=seen.cancelled[row, today], suspect=suspect[row],
            present=grid.present[row, today], wh=grid.wh[row, today], filled=filled[row],
            estimates=estimates.get(point),
            found=found[row] + _refused(slots, terms, point, estimates.get(point)),
        )
        for row, point in enumerate(points)
    ]  # fmt: skip
    reads, whole = seen.observed.reads, local_day(day, terms.zone)
    inside = (reads.at_ms > to_ms(whole.start)) & (reads.at_ms <= to_ms(whole.end))
    read = set(np.unique(reads.series[inside]).tolist())
    return slots, looks, {point for row, point in enumerate(points) if row not in read}


def _filled(day: DaySlots, estimates: DayEstimates | None, cancelled: Bool) -> FilledSlots:
    """Return the slots of the day among what was filled; what people cancelled stays so."""
    nothing = np.zeros(0, dtype=np.int64)
    parts = estimates.filled if estimates is not None else ()
    start, wh, low, high = (
        np.concatenate([nothing, *(getattr(part, name) for part in parts)])
        for name in ("start_ms", "wh", "low", "high")
    )
    at = (start - day.start_ms) // day.step_ms
    mine = np.flatnonzero((at >= 0) & (at < day.slots))
    mine = mine[~cancelled[at[mine]]]
    mine = mine[np.argsort(at[mine])]
    return FilledSlots(at=at[mine], wh=wh[mine], low=low[mine], high=high[mine])


def _refused(
    day: DaySlots, terms: Terms, point: UsagePointId, estimates: DayEstimates | None
) -> list[DayFinding]:
    if estimates is None:
        return []
    return day_findings.refused_of_day(
        [one for part in estimates.filled for one in part.made], point=point,
        meter=_meter_of(terms.installed.get(point, ())), since_ms=day.start_ms,
        until_ms=day.end_ms, step_ms=day.step_ms,
    )  # fmt: skip


def _meter_of(installed: Sequence[Installed]) -> str:
    return str(installed[-1].meter.id) if installed else ""
