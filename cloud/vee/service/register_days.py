"""
Registers of civil days: checks where registers are all there is, and midnights that nobody read.

    a usage point without a profile    its registers are checked each day
    any usage point without a register on a day    the midnight that ends it is estimated, between
        the read before and the read after, or refused with a reason that stands with the day

What comes of it is a version of the day of its own (`seconds` 0) and a row of the register overlay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np

from cloud.store.db import Connection
from cloud.vee.model import CheckedDay, DayFinding, DayPolicy, ExceptionKind, OverlayKind, Validated
from cloud.vee.rules import day_findings, register_days, turns
from cloud.vee.rules.anchors import estimate_registers
from cloud.vee.rules.checks import CHECKS, check_series
from cloud.vee.rules.findings import Findings, no_hits
from cloud.vee.rules.grid import empty_grid, frame_of
from cloud.vee.rules.observed import Observed, Reads, reads_of
from cloud.vee.rules.parameters import HighLow
from cloud.vee.rules.register_days import Guess, Midnight
from cloud.vee.service.estimating import Terms
from cloud.vee.service.looking import facts_of, look, reads_said, span_of_days
from cloud.vee.service.versions import Changed, rule_hash, rule_set_name
from cloud.vee.store import days as store
from cloud.vee.store import findings as finding_store
from cloud.vee.store import registers as register_store
from cloud.vee.store.registers import MachineRegister
from protocols.identity import UsagePointId
from protocols.timeline import Interval, from_ms, local_day, to_ms

REGISTERS = 0
"""What stands for the interval length in the day of a usage point's registers."""

_HOUR_S = 3600
_OF_READS = (ExceptionKind.REGISTER_STEP, ExceptionKind.DELTA_PERCENT, ExceptionKind.TOU_SUM)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Day:
    """The day of some usage points; `profile` tells the interval length of each, 0 without one."""

    day: date
    span: Interval
    points: Sequence[UsagePointId]
    profile: Mapping[UsagePointId, int]
    reads: Reads

    def reads_of(self, row: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
        """Return instants and registers of one usage point."""
        low, high = np.searchsorted(self.reads.series, [row, row + 1])
        return self.reads.at_ms[low:high], self.reads.wh[low:high]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What was found of one usage point: its midnight, what may stand there, its findings."""

    point: UsagePointId
    midnight: Midnight
    guess: Guess | None
    found: Sequence[DayFinding]

    @property
    def estimated(self) -> bool:
        """Tell whether something may stand at a midnight that nobody read."""
        return self.guess is not None and self.guess.wh is not None

    @property
    def refused(self) -> bool:
        """Tell whether nothing may stand there."""
        return self.guess is not None and self.guess.wh is None


def look_at_registers(
    conn: Connection,
    terms: Terms,
    profile: Mapping[UsagePointId, int],
    day: date,
    *,
    now: datetime,
    policy: DayPolicy,
    changed: Changed | None,
) -> Validated:
    """Look at the registers of usage points on one civil day; write what is other than before."""
    points = sorted(profile)
    span = local_day(day, terms.zone)
    reach = timedelta(days=terms.history_days), timedelta(days=terms.reach_days)
    until = max(span.end, min(terms.limit, span.end + reach[1]))
    known = Interval(start=span.start - reach[0], end=until)
    raw = terms.supply.registers(conn, points, known)
    here = _Day(
        day=day, span=span, points=points, profile=profile,
        reads=reads_said(conn, raw, points, known),
    )  # fmt: skip
    midnights = [_midnight(terms, here, row) for row in range(len(points))]
    guesses = _guesses(conn, terms, here, midnights)
    found = _findings(terms, here, every=policy.long_every)
    looks = [
        _Look(point=point, midnight=midnight, guess=guesses.get(row), found=found[row])
        for row, (point, midnight) in enumerate(zip(points, midnights, strict=True))
    ]
    return _write(conn, terms, here, looks, now=now, policy=policy, changed=changed)


def _midnight(terms: Terms, here: _Day, row: int) -> Midnight:
    hangs = any(
        item.installation.installed_at < here.span.end
        and (item.installation.removed_at is None or item.installation.removed_at >= here.span.end)
        for item in terms.installed.get(here.points[row], ())
    )
    at_ms, wh = here.reads_of(row)
    return register_days.midnight_of(
        at_ms, wh, since_ms=to_ms(here.span.start), until_ms=to_ms(here.span.end), installed=hangs
    )


def _guesses(
    conn: Connection, terms: Terms, here: _Day, midnights: Sequence[Midnight]
) -> dict[int, Guess]:
    """Return by row what may stand at each midnight that was not read, or why nothing may."""
    until_ms, found = to_ms(here.span.end), dict[int, Guess]()
    by_length: dict[int, list[int]] = {}
    for row, known in enumerate(midnights):
        if not known.unread:
            continue
        seconds = here.profile[here.points[row]]
        if seconds and known.following is not None:
            by_length.setdefault(seconds, []).append(row)
        else:
            found[row] = register_days.average_use(known, until_ms=until_ms)
    for seconds, rows in by_length.items():
        some = {row: midnights[row] for row in rows}
        found |= _from_intervals(conn, terms, here, some, seconds=seconds)
    return found


def _from_intervals(
    conn: Connection, terms: Terms, here: _Day, unread: Mapping[int, Midnight], *, seconds: int
) -> dict[int, Guess]:
    """Return by row the registers that measured intervals give since the read before."""
    last = {row: known.last or (0, 0) for row, known in unread.items()}
    first = min(from_ms(at) for at, _ in last.values()).astimezone(terms.zone).date()
    seen = look(
        conn, terms.supply, [here.points[row] for row in unread], terms.installed,
        span_of_days(first, here.day, terms.zone, terms.limit, seconds),
        seconds=seconds, zone=terms.zone,
    )  # fmt: skip
    until_ms = to_ms(here.span.end)
    made = estimate_registers(
        seen.observed, np.arange(len(unread)), np.full(len(unread), until_ms, dtype=np.int64)
    )
    return {
        row: register_days.from_intervals(
            unread[row], one.wh, reason=one.reason,
            intervals=(until_ms - last[row][0]) // (seconds * 1000),
        )
        for row, one in zip(unread, made, strict=True)
    }  # fmt: skip


def _findings(terms: Terms, here: _Day, *, every: int) -> list[list[DayFinding]]:
    """Return what checks of registers find of usage points that have nothing else."""
    since_ms, until_ms = to_ms(here.span.start), to_ms(here.span.end)
    alone = np.array([not here.profile[point] for point in here.points], dtype=np.bool_)
    if not alone.any():
        return [[] for _ in here.points]
    mine = alone[here.reads.series] & (here.reads.at_ms <= until_ms)
    reads = reads_of(
        here.reads.series[mine], here.reads.rate[mine], here.reads.at_ms[mine], here.reads.wh[mine]
    )
    hour = _HOUR_S * 1000
    frame = frame_of(since_ms // hour * hour, 1, _HOUR_S, terms.zone)
    observed = Observed(
        grid=empty_grid(frame, len(here.points)), facts=facts_of(here.points, terms.installed),
        reads=reads,
    )  # fmt: skip
    checks = {code: told for code, told in terms.rules.checks.items() if code in _OF_READS}
    findings = check_series(observed, replace(terms.rules, checks=checks), now_ms=until_ms)
    findings = _beside_history(findings, terms, here, alone=alone, every=every)
    return day_findings.of_day(
        findings, no_hits(), terms.rules, points=here.points, since_ms=since_ms, until_ms=until_ms,
        meters=[
            str(items[-1].meter.id) if (items := terms.installed.get(point, ())) else ""
            for point in here.points
        ],
    )  # fmt: skip


def _beside_history(
    found: Findings, terms: Terms, here: _Day, *,
    alone: "np.ndarray[tuple[int], np.dtype[np.bool_]]", every: int,
) -> Findings:  # fmt: skip
    told = terms.rules.checks.get(ExceptionKind.HIGH_LOW)
    if told is None or not isinstance(told.parameters, HighLow):
        return found
    until_ms = to_ms(here.span.end)
    for row in np.flatnonzero(alone).tolist():
        if not turns.has_turn(here.points[row], here.day, every):
            continue
        at_ms, wh = here.reads_of(row)
        some = at_ms <= until_ms
        hits = register_days.high_low(
            at_ms[some], wh[some], told.parameters, series=row, until_ms=until_ms
        )
        if len(hits):
            unit = CHECKS[ExceptionKind.HIGH_LOW].unit
            found = found.with_hits(ExceptionKind.HIGH_LOW, told.severity, unit, hits)
    return found


def _write(
    conn: Connection,
    terms: Terms,
    here: _Day,
    looks: Sequence[_Look],
    *,
    now: datetime,
    policy: DayPolicy,
    changed: Changed | None,
) -> Validated:
    """Write versions where anything is other than before; tell who hears of it."""
    rules = rule_set_name(terms.rules)
    said = register_store.newest(conn, here.points, here.span.end)
    known = store.newest_days(conn, here.points, here.day, REGISTERS)
    fresh = [_said(each, said.get(each.point), now=now) for each in looks]
    rows = [row for row in fresh if row is not None]
    looked = [_version(terms, here, each, known.get(each.point), now=now) for each in looks]
    versions = [version for version in looked if version is not None]
    if rows:
        register_store.insert(conn, rows, at=here.span.end, rule_set=rules)
        terms.supply.refresh(conn, [each.usage_point for each in rows])
    if versions:
        store.insert_days(conn, versions)
    alone = [point for point in here.points if not here.profile[point]]
    if alone:
        least = day_findings.RANK[policy.queue_from]
        every = [one for each in looks for one in each.found]
        queued = [one for one in every if day_findings.RANK[one.severity] >= least]
        finding_store.replace_findings(conn, alone, here.day, queued, rule_set=rules, now=now)
    other = sorted({each.usage_point for each in rows} | {each.usage_point for each in versions})
    if other and changed is not None:
        # a midnight ends one day and begins the next
        days = [here.day, here.day + timedelta(days=1)]
        changed(
            conn, [point for point in other for _ in days], days * len(other), cause="validation",
            reference=rules, actor="system:vee", now=now,
        )  # fmt: skip
    return Validated(
        days=len(alone), changed=len(rows), findings=sum(len(each.found) for each in looks),
        estimated=sum(each.estimated for each in looks),
        missing=sum(each.refused for each in looks),
    )  # fmt: skip


def _said(each: _Look, before: MachineRegister | None, *, now: datetime) -> MachineRegister | None:
    """Return the next version of what the machine says, or None where it says as before."""
    if before is None and not each.estimated:
        return None
    guess = each.guess if each.guess is not None and each.estimated else Guess(wh=0, reason="")
    last = each.midnight.last
    row = MachineRegister(
        usage_point=each.point, version=before.version + 1 if before else 1,
        created_at=max(now, before.created_at) if before else now,
        kind=int(OverlayKind.ESTIMATE if each.estimated else OverlayKind.WITHDRAWN),
        wh=guess.wh or 0, method=guess.method, reason=guess.reason, references=guess.references,
        rests_from=from_ms(last[0]) if each.estimated and last else None,
    )  # fmt: skip
    return None if before is not None and row.says_as(before) else row


def _version(
    terms: Terms, here: _Day, each: _Look, before: CheckedDay | None, *, now: datetime
) -> CheckedDay | None:
    """Return the next version of the registers' day, or None where nothing is other than before."""
    known, rests = each.midnight, each.guess is not None
    last = here.day + timedelta(days=terms.reach_days)
    if known.following is not None:
        last = min(last, from_ms(known.following[0]).astimezone(terms.zone).date())
    refused: list[dict[str, str | int]] = []
    if each.guess is not None and each.refused:
        span = {"start_ms": to_ms(here.span.start), "end_ms": to_ms(here.span.end)}
        refused.append({**span, "reason": each.guess.reason})
    version = CheckedDay(
        usage_point=each.point, day=here.day, seconds=REGISTERS,
        version=before.version + 1 if before else 1, since=here.span.start, until=here.span.end,
        checked_at=max(now, before.checked_at) if before else now,
        rule_set=rule_set_name(terms.rules), rule_hash=rule_hash(terms.rules),
        expected=int(known.expected), present=int(known.expected and known.present), edited=0,
        suspect=0, estimated=int(each.estimated), missing=int(each.refused),
        findings={one.kind: one.places for one in each.found}, refused=refused,
        reads_from=here.day - timedelta(days=terms.history_days) if rests else here.day,
        reads_to=last if rests else here.day,
    )  # fmt: skip
    if before is None:
        return version if rests or each.found else None
    same = replace(version, version=before.version, checked_at=before.checked_at) == before
    return None if same else version
