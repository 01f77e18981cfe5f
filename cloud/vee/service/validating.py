"""
Days of usage points are looked at: findings, doubts and estimates, in versions.

Order: registers are judged, then intervals, then what lacks is estimated under the registers (MDM
handbook section 4). What comes of a day follows from the values that stand and the end of the last
complete day alone, so the order in which they came, or days were looked at, does not matter.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from cloud.assets import service as assets
from cloud.assets.model import Installed
from cloud.store.db import Connection, Database
from cloud.store.failpoint import reach
from cloud.vee.model import CheckedDay, DayFinding, DayPolicy, OverlayKind, Validated
from cloud.vee.rules import day_findings
from cloud.vee.rules.checks import check_series
from cloud.vee.rules.estimate import judged
from cloud.vee.rules.grid import Bool, Int, State
from cloud.vee.rules.rule_sets import RuleSet, rule_set_for
from cloud.vee.service.estimating import DayEstimates, Terms, estimates_of
from cloud.vee.service.looking import Supply, look, span_of_days
from cloud.vee.service.published import shipped_rule_sets
from cloud.vee.store import days as store
from cloud.vee.store import findings as finding_store
from cloud.vee.store.days import MachineRow, PointDay
from protocols.identity import UsagePointId
from protocols.timeline import from_ms, local_date, local_day

DEFAULT_DAYS = DayPolicy()


class Changed(Protocol):
    """Who hears, in the same transaction, that a day stands other than before."""

    def __call__(
        self,
        conn: Connection,
        usage_points: Sequence[UsagePointId],
        days: Sequence[date],
        *,
        cause: str,
        reference: str,
        actor: str,
        now: datetime,
    ) -> None:
        """Take note; `usage_points` and `days` are equally long."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filled:
    """Slots of one day that are estimated, by place in the day. *Units*: Wh."""

    at: Int
    wh: Int
    low: Int
    high: Int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Day:
    """The slots of a civil day of usage points alike in zone and interval length. *Units*: ms."""

    day: date
    start_ms: int
    slots: int
    step_ms: int

    @property
    def end_ms(self) -> int:
        """Return the end of the last slot."""
        return self.start_ms + self.slots * self.step_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """One usage point's day as it was found. *Units*: slots, ms, Wh; masks as long as the day."""

    point: UsagePointId
    expected: Bool
    edited: Bool
    cancelled: Bool
    suspect: Bool
    present: Bool
    wh: Int
    filled: _Filled
    estimates: DayEstimates | None
    found: list[DayFinding]


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
    for point, day in days:
        for name, seconds in _profiles(installed.get(point, ()), day):
            if local_day(day, ZoneInfo(name)).end <= frontier:
                groups.setdefault((day, name, seconds), []).append(point)
    for (day, name, seconds), points in sorted(groups.items()):
        zone = ZoneInfo(name)
        terms = Terms(
            supply=supply, installed=installed, seconds=seconds, zone=zone,
            rules=rule_set_for(shipped_rule_sets(), policy.customer_class, day),
            limit=complete_until(frontier, zone),
        )  # fmt: skip
        slots, looked = _look(conn, terms, points, day)
        done = _write(conn, terms, slots, looked, now=now, policy=policy, changed=changed)
        total = summed(total, done)
    return total


def rule_set_name(rules: RuleSet) -> str:
    """Return the name and version of a rule set."""
    return f"{rules.name}.v{rules.version}"


def rule_hash(rules: RuleSet) -> str:
    """Return what a rule set says as 16 hexadecimal digits: other rules, other digits."""
    plain = json.dumps(asdict(rules), sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def _profiles(installed: Sequence[Installed], day: date) -> set[tuple[str, int]]:
    """Return zone and interval length of the meters that hung there on a civil day."""
    found = set()
    for item in installed:
        zone, seconds = item.usage_point.zone, item.meter.interval_seconds
        span, removed = local_day(day, ZoneInfo(zone)), item.installation.removed_at
        inside = item.installation.installed_at < span.end and (
            removed is None or removed > span.start
        )
        if seconds and inside:
            found.add((zone, seconds))
    return found


def _look(
    conn: Connection, terms: Terms, points: Sequence[UsagePointId], day: date
) -> tuple[_Day, list[_Looked]]:
    span = span_of_days(day - timedelta(days=1), day, terms.zone, terms.limit, terms.seconds)
    seen = look(
        conn, terms.supply, points, terms.installed, span, seconds=terms.seconds, zone=terms.zone
    )
    grid = seen.observed.grid
    today = np.flatnonzero(grid.frame.day == (day - grid.frame.first_day).days)
    slots = _Day(
        day=day, start_ms=grid.frame.start_ms + int(today[0]) * terms.seconds * 1000,
        slots=len(today), step_ms=terms.seconds * 1000,
    )  # fmt: skip
    findings = check_series(seen.observed, terms.rules, now_ms=grid.frame.end_ms, light=True)
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
    return slots, [
        _Looked(
            point=point, expected=seen.expected[row, today], edited=seen.edited[row, today],
            cancelled=seen.cancelled[row, today], suspect=suspect[row],
            present=grid.present[row, today], wh=grid.wh[row, today], filled=filled[row],
            estimates=estimates.get(point),
            found=found[row] + _refused(slots, terms, point, estimates.get(point)),
        )
        for row, point in enumerate(points)
    ]  # fmt: skip


def _filled(day: _Day, estimates: DayEstimates | None, cancelled: Bool) -> _Filled:
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
    return _Filled(at=at[mine], wh=wh[mine], low=low[mine], high=high[mine])


def _refused(
    day: _Day, terms: Terms, point: UsagePointId, estimates: DayEstimates | None
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


def _write(
    conn: Connection,
    terms: Terms,
    day: _Day,
    looked: Sequence[_Looked],
    *,
    now: datetime,
    policy: DayPolicy,
    changed: Changed | None,
) -> Validated:
    """Write versions where anything is other than before; tell who hears of it."""
    points = [each.point for each in looked]
    rules, hash_ = rule_set_name(terms.rules), rule_hash(terms.rules)
    said = store.newest_machine_rows(conn, points, day.day, terms.seconds)
    known = store.newest_days(conn, points, day.day, terms.seconds)
    rows, versions = [], []
    for each in looked:
        row = _machine_row(day, each, said.get(each.point), hash_, now)
        if row is not None:
            rows.append(row)
        version = _version(terms, day, each, known.get(each.point), now)
        if version is not None:
            versions.append(version)
    reach("vee.before_write")
    if rows:
        store.insert_machine_rows(
            conn, rows, day=day.day, seconds=terms.seconds, since=from_ms(day.start_ms),
            rule_set=rules,
        )  # fmt: skip
    if versions:
        store.insert_days(conn, versions)
    least = day_findings.RANK[policy.queue_from]
    queued = [one for each in looked for one in each.found if _rank(one) >= least]
    finding_store.replace_findings(conn, points, day.day, queued, rule_set=rules, now=now)
    other = sorted({each.usage_point for each in rows} | {each.usage_point for each in versions})
    if other and changed is not None:
        changed(
            conn, other, [day.day] * len(other), cause="validation", reference=rules,
            actor="system:vee", now=now,
        )  # fmt: skip
    reach("vee.written")
    return Validated(
        days=len(looked), changed=len(rows), findings=sum(len(each.found) for each in looked),
        estimated=sum(len(each.filled.at) for each in looked),
        missing=sum(_missing(each) for each in looked),
    )  # fmt: skip


def _rank(finding: DayFinding) -> int:
    return day_findings.RANK[finding.severity]


def _missing(each: _Looked) -> int:
    return int((each.expected & ~each.present).sum()) - len(each.filled.at)


def _machine_row(
    day: _Day, each: _Looked, before: MachineRow | None, hash_: str, now: datetime
) -> MachineRow | None:
    """Return the next version of what the machine says, or None where it says as before."""
    doubts = np.flatnonzero(each.suspect & ~each.edited)
    at = np.concatenate((each.filled.at, doubts))
    order = np.argsort(at, kind="stable")
    raw = each.wh[doubts]
    kind = np.repeat(
        [int(OverlayKind.ESTIMATE), int(OverlayKind.SUSPECT)], [len(each.filled.at), len(doubts)]
    )
    parts = each.estimates.filled if each.estimates is not None else ()
    made = [
        {
            "start_ms": one.start_ms, "end_ms": one.end_ms, "method": one.method,
            "reason": one.reason, "anchored": one.anchored, "total_wh": one.total_wh,
            "references": one.references,
        }
        for part in parts
        for one in part.made
        if one.end_ms > day.start_ms and one.start_ms < day.end_ms
    ]  # fmt: skip
    row = MachineRow(
        usage_point=each.point, version=before.version + 1 if before else 1,
        created_at=max(now, before.created_at) if before else now,
        offset_s=(at[order] * (day.step_ms // 1000)).tolist(), kind=kind[order].tolist(),
        wh=np.concatenate((each.filled.wh, raw))[order].tolist(),
        low_wh=np.concatenate((each.filled.low, raw))[order].tolist(),
        high_wh=np.concatenate((each.filled.high, raw))[order].tolist(),
        made=sorted(made, key=lambda one: str(one["start_ms"])), rule_hash=hash_,
    )  # fmt: skip
    if before is None:
        return row if row.offset_s else None
    return None if row.says_as(before) else row


def _version(
    terms: Terms, day: _Day, each: _Looked, before: CheckedDay | None, now: datetime
) -> CheckedDay | None:
    """Return the next version of the day, or None where nothing is other than before."""
    yesterday = day.day - timedelta(days=1)
    estimates = each.estimates
    refused: list[dict[str, str | int]] = [
        {"start_ms": max(one.start_ms, day.start_ms), "end_ms": min(one.end_ms, day.end_ms),
         "reason": one.reason}
        for part in (estimates.filled if estimates is not None else ())
        for one in part.made
        if not one.method and one.end_ms > day.start_ms and one.start_ms < day.end_ms
    ]  # fmt: skip
    present = int((each.expected & each.present).sum())
    version = CheckedDay(
        usage_point=each.point, day=day.day, seconds=terms.seconds,
        version=before.version + 1 if before else 1, since=from_ms(day.start_ms),
        until=from_ms(day.end_ms), checked_at=max(now, before.checked_at) if before else now,
        rule_set=rule_set_name(terms.rules), rule_hash=rule_hash(terms.rules),
        expected=int(each.expected.sum()), present=present, edited=int(each.edited.sum()),
        suspect=int(each.suspect.sum()), estimated=len(each.filled.at), missing=_missing(each),
        findings={one.kind: one.places for one in each.found}, refused=refused,
        reads_from=estimates.reads_from if estimates else yesterday,
        reads_to=estimates.reads_to if estimates else day.day,
    )  # fmt: skip
    if before is None:
        clean = present == version.expected and not (version.findings or version.edited)
        return None if clean else version
    same = replace(version, version=before.version, checked_at=before.checked_at) == before
    return None if same else version
