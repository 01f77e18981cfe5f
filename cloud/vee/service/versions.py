"""
What a look at days came to becomes versions: of the machine's overlay, of the day, of findings.

Nothing is written where nothing is other than before, so a look may be repeated at will.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from typing import Protocol

import numpy as np

from cloud.store.db import Connection
from cloud.store.failpoint import reach
from cloud.vee.model import CheckedDay, DayFinding, DayPolicy, OverlayKind, Validated
from cloud.vee.rules import day_findings
from cloud.vee.rules.grid import Bool, Int
from cloud.vee.rules.rule_sets import RuleSet
from cloud.vee.service.estimating import DayEstimates, Terms
from cloud.vee.store import days as store
from cloud.vee.store import findings as finding_store
from cloud.vee.store.days import MachineRow
from protocols.identity import UsagePointId
from protocols.timeline import from_ms


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
class FilledSlots:
    """Slots of one day that are estimated, by place in the day. *Units*: Wh."""

    at: Int
    wh: Int
    low: Int
    high: Int


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySlots:
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
class DayLook:
    """One usage point's day as it was found. *Units*: slots, ms, Wh; masks as long as the day."""

    point: UsagePointId
    expected: Bool
    edited: Bool
    cancelled: Bool
    suspect: Bool
    present: Bool
    wh: Int
    filled: FilledSlots
    estimates: DayEstimates | None
    found: list[DayFinding]


def rule_set_name(rules: RuleSet) -> str:
    """Return the name and version of a rule set."""
    return f"{rules.name}.v{rules.version}"


def rule_hash(rules: RuleSet) -> str:
    """Return what a rule set says as 16 hexadecimal digits: other rules, other digits."""
    plain = json.dumps(asdict(rules), sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def write_versions(
    conn: Connection,
    terms: Terms,
    day: DaySlots,
    looked: Sequence[DayLook],
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


def _missing(each: DayLook) -> int:
    return int((each.expected & ~each.present).sum()) - len(each.filled.at)


def _machine_row(
    day: DaySlots, each: DayLook, before: MachineRow | None, hash_: str, now: datetime
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
    terms: Terms, day: DaySlots, each: DayLook, before: CheckedDay | None, now: datetime
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
