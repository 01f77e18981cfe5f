"""Registers at instants: the newest at or before each of many, the oldest after, the newest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from cloud.assets import service as assets
from cloud.ingest import service as ingest
from cloud.store.db import Connection
from cloud.usage import store
from cloud.usage.model import (
    MISSING,
    QUALITIES,
    QUESTIONABLE,
    VALID,
    Int,
    LatestRegisters,
    Registers,
    UsageRegister,
)
from cloud.usage.rules import placing
from cloud.usage.rules.placing import Lines
from cloud.usage.rules.walking import FOREVER_MS
from cloud.usage.service import reading
from cloud.vee import rules as vee_rules
from cloud.vee import service as vee
from protocols.identity import UsagePointId
from protocols.timeline import from_ms, to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class AtInstants:
    """
    The register beside each instant asked about; `at_ms` MISSING where there is none.

    *Shape*: equal columns, one place per question. `line` is the segment that speaks, `meter_wh`
    what its meter showed. *Units*: ms, Wh; `quality` is a code.
    """

    lines: Lines
    at_ms: Int
    wh: Int
    quality: Int
    line: Int
    meter_wh: Int

    def plain(self, usage_points: Sequence[UsagePointId]) -> list[UsageRegister | None]:
        """Return one register or None per question; `usage_points` as asked."""
        return [
            None
            if at == MISSING
            else UsageRegister(
                usage_point=point, at=from_ms(at), cumulative_wh=wh, quality=QUALITIES[quality],
                meter=self.lines.meters[int(self.lines.meter[line])], meter_wh=figure,
            )
            for point, at, wh, quality, line, figure in zip(
                usage_points, self.at_ms.tolist(), self.wh.tolist(), self.quality.tolist(),
                self.line.tolist(), self.meter_wh.tolist(), strict=True,
            )
        ]  # fmt: skip


def at_instants(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    at_ms: Int,
    *,
    before: bool = True,
    as_of: datetime | None = None,
) -> AtInstants:
    """
    Return for each (usage point, instant) the newest register at or before it, else the oldest
    at or after it.

    *Shape*: `usage_points` and `at_ms` equally long; a usage point may be asked about often.
    """
    at_ms = np.minimum(at_ms, FOREVER_MS)
    names = list(dict.fromkeys(usage_points))
    place = {point: n for n, point in enumerate(names)}
    point = np.fromiter((place[each] for each in usage_points), np.int64, len(usage_points))
    found = reading.lines(conn, names, as_of)
    answer = AtInstants(
        lines=found, at_ms=np.full(len(point), MISSING), wh=np.zeros(len(point), dtype=np.int64),
        quality=np.zeros(len(point), dtype=np.int64), line=np.zeros(len(point), dtype=np.int64),
        meter_wh=np.zeros(len(point), dtype=np.int64),
    )  # fmt: skip
    if not len(point):
        return answer
    # a cancelled or later known register may hide another: then every register is looked at
    said = vee.register_overlay(conn, names, reading.everything(), as_of=as_of)
    whole = np.ones(len(names), dtype=np.bool_)
    if as_of is None:
        whole = np.isin(np.arange(len(names)), said.point)
    _probe(conn, answer, np.flatnonzero(~whole[point]), point, at_ms, before=before)
    if whole.any():
        few = [names[n] for n in np.flatnonzero(whole).tolist()]
        every = reading.register_columns(conn, few, reading.everything(), as_of=as_of)
        _search(
            answer, every, names=np.flatnonzero(whole), asked=np.flatnonzero(whole[point]),
            point=point, at_ms=at_ms, before=before,
        )  # fmt: skip
    return answer


def register_at(
    conn: Connection, usage_point: UsagePointId, at: datetime, *, as_of: datetime | None = None
) -> UsageRegister | None:
    """Return the newest register at or before `at`, or None."""
    return registers_at_each(conn, [usage_point], [at], as_of=as_of)[0]


def first_register(
    conn: Connection, usage_point: UsagePointId, *, as_of: datetime | None = None
) -> UsageRegister | None:
    """Return the oldest register, or None."""
    found = at_instants(conn, [usage_point], np.zeros(1, dtype=np.int64), before=False, as_of=as_of)
    return found.plain([usage_point])[0]


def registers_at_each(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    at: Sequence[datetime],
    *,
    as_of: datetime | None = None,
) -> list[UsageRegister | None]:
    """Return for each (usage point, instant) the newest register at or before it."""
    instants = np.fromiter((to_ms(each) for each in at), np.int64, len(at))
    return at_instants(conn, usage_points, instants, as_of=as_of).plain(usage_points)


def latest_registers(conn: Connection, *, as_of: datetime | None = None) -> LatestRegisters:
    """Return the newest register of every customer usage point that has one."""
    points = assets.usage_point_ids(conn)
    if as_of is None:
        rows = store.newest_registers(conn, points)
        return LatestRegisters(
            usage_points=[row[0] for row in rows],
            at_ms=np.array([row[1] for row in rows], dtype=np.int64),
            cumulative_wh=np.array([row[2] for row in rows], dtype=np.int64),
            quality=np.array([QUALITIES[row[3]].value for row in rows], dtype=np.str_),
        )
    end = reading.everything().end
    found = at_instants(conn, points, np.full(len(points), to_ms(end)), as_of=as_of)
    there = np.flatnonzero(found.at_ms != MISSING)
    return LatestRegisters(
        usage_points=[points[n] for n in there.tolist()],
        at_ms=found.at_ms[there],
        cumulative_wh=found.wh[there],
        quality=np.array([QUALITIES[n].value for n in found.quality[there].tolist()], np.str_),
    )


def _probe(
    conn: Connection, answer: AtInstants, asked: Int, point: Int, at_ms: Int, *, before: bool
) -> None:
    """Look by index into the stay that holds the instant, then into those before it (or after)."""
    lines = answer.lines
    stays, owner = _stays(lines)
    if not len(stays):
        return
    began, ends = lines.began_ms[stays], lines.ends_ms[stays]
    keys = (owner << 43) + began
    stay = np.searchsorted(keys, (point[asked] << 43) + at_ms[asked], side="right") - 1
    if not before:
        # the first stay that has not ended by then
        behind = np.searchsorted((owner << 43) + ends, (point[asked] << 43) + at_ms[asked])
        stay = behind
    left = np.arange(len(asked))
    while len(left):
        here = stay[left]
        ok = (here >= 0) & (here < len(stays))
        ok &= owner[np.clip(here, 0, len(stays) - 1)] == point[asked[left]]
        left, here = left[ok], here[ok]
        if not len(left):
            return
        at = at_ms[asked[left]]
        at = np.minimum(at, ends[here]) if before else np.maximum(at, began[here])
        meters = [lines.meters[n] for n in lines.meter[stays[here]].tolist()]
        found = ingest.registers_beside(conn, meters, at, before=before)
        hit = found.there & (found.at_ms >= began[here]) & (found.at_ms <= ends[here])
        rows = asked[left[hit]]
        line = placing.place(lines, lines.pair[stays[here[hit]]], found.at_ms[hit])
        answer.at_ms[rows], answer.line[rows] = found.at_ms[hit], line
        answer.wh[rows] = placing.cumulative(lines, line, found.wh[hit])
        answer.meter_wh[rows] = found.wh[hit]
        doubt = vee_rules.doubtful_status(found.status[hit])
        answer.quality[rows] = np.where(doubt, QUESTIONABLE, VALID)
        left = left[~hit]
        stay[left] += -1 if before else 1


def _stays(lines: Lines) -> tuple[Int, Int]:
    """Return the first segment of every installation, by usage point and instant, and its point."""
    first = np.flatnonzero(lines.since_ms == lines.began_ms)
    order = first[np.lexsort((lines.since_ms[first], lines.point[first]))]
    return order, lines.point[order]


def _search(
    answer: AtInstants,
    every: Registers,
    *,
    names: Int,
    asked: Int,
    point: Int,
    at_ms: Int,
    before: bool,
) -> None:
    """Find the answers among all registers of some points; `names` says which points they are."""
    owner = names[every.point] if len(every) else every.point
    keys = (owner << 43) + every.at_ms
    wanted = (point[asked] << 43) + at_ms[asked]
    k = np.searchsorted(keys, wanted, side="right" if before else "left") - int(before)
    ok = (k >= 0) & (k < len(keys))
    asked, k = asked[ok], k[ok]
    ok = owner[k] == point[asked]
    asked, k = asked[ok], k[ok]
    answer.at_ms[asked], answer.wh[asked] = every.at_ms[k], every.wh[k]
    answer.quality[asked], answer.meter_wh[asked] = every.quality[k], every.meter_wh[k]
    lines = answer.lines
    # any segment of that point and meter names the meter
    pair = (lines.point << 32) + lines.meter
    meters = {meter: n for n, meter in enumerate(lines.meters)}
    own = np.array([meters[meter] for meter in every.meters], dtype=np.int64)
    order = np.argsort(pair, kind="stable")
    named = (point[asked] << 32) + own[every.meter[k]]
    answer.line[asked] = order[np.searchsorted(pair[order], named)]
