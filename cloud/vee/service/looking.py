"""Raw values and what people said over them, laid on one civil clock for checks and estimates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from cloud.assets.model import Installed
from cloud.store.db import Connection
from cloud.vee.model import OverlayKind, Supplied
from cloud.vee.rules import DOUBTFUL
from cloud.vee.rules.grid import Bool, Frame, Int, State, frame_of, placed
from cloud.vee.rules.observed import Facts, Observed, Reads, plain_facts, reads_of
from cloud.vee.service.overlays import overlay, register_overlay
from protocols.identity import UsagePointId
from protocols.timeline import Interval, from_ms, local_day, to_ms

_NEVER = np.iinfo(np.int64).max


class Supply(Protocol):
    """Who knows which meter speaks for a usage point, and hands in what it said."""

    def raw(
        self, conn: Connection, usage_points: Sequence[UsagePointId], span: Interval, seconds: int
    ) -> Supplied:
        """Return intervals of `seconds` that start in `span`, and registers read in it or at its end."""  # noqa: E501
        ...

    def registers(
        self, conn: Connection, usage_points: Sequence[UsagePointId], span: Interval
    ) -> Supplied:
        """Return registers alone, read in `span` or at its end."""
        ...

    def refresh(self, conn: Connection, usage_points: Sequence[UsagePointId]) -> None:
        """Take note that something else is said over their registers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """
    Many usage points on one frame. *Shape*: the masks as the grid.

    `expected` slots lie in an installation of a meter with such intervals; `cancelled` ones have no
    value because two people said so.
    """

    observed: Observed
    expected: Bool
    edited: Bool
    cancelled: Bool

    @property
    def lacking(self) -> Bool:
        """Tell which slots should have a value and have none."""
        return self.expected & ~self.observed.grid.present

    def rows(self, chosen: Int) -> "Seen":
        """Return the usage points chosen, in that order; one may be there twice."""
        seen, reads = self.observed, self.observed.reads
        grid = replace(
            seen.grid, wh=seen.grid.wh[chosen], state=seen.grid.state[chosen],
            status=seen.grid.status[chosen],
        )  # fmt: skip
        counts = np.searchsorted(reads.series, chosen, side="right") - np.searchsorted(
            reads.series, chosen
        )
        first = np.searchsorted(reads.series, chosen)
        row = np.repeat(np.arange(len(chosen)), counts)
        place = np.repeat(first, counts) + np.arange(len(row)) - np.repeat(
            np.cumsum(counts) - counts, counts
        )  # fmt: skip
        facts = replace(plain_facts(len(chosen)), capacity_w=seen.facts.capacity_w[chosen])
        return Seen(
            observed=Observed(
                grid=grid, facts=facts,
                reads=Reads(
                    series=row, rate=reads.rate[place], at_ms=reads.at_ms[place],
                    wh=reads.wh[place], factor=reads.factor[place], state=reads.state[place],
                ),
            ),
            expected=self.expected[chosen], edited=self.edited[chosen],
            cancelled=self.cancelled[chosen],
        )  # fmt: skip


def span_of_days(
    first: date, last: date, zone: ZoneInfo, limit: datetime, seconds: int
) -> Interval:
    """
    Return the time of the slots that start on the civil days `first` to `last`, before `limit`.

    Slots lie on the UTC grid of their length; a midnight may not.
    """
    start, end = local_day(first, zone).start, min(local_day(last, zone).end, limit)
    return Interval(start=_on_grid(start, seconds), end=_on_grid(end, seconds))


def _on_grid(at: datetime, seconds: int) -> datetime:
    step = seconds * 1000
    return from_ms(-(-to_ms(at) // step) * step)


def look(
    conn: Connection,
    supply: Supply,
    usage_points: Sequence[UsagePointId],
    installed: Mapping[UsagePointId, Sequence[Installed]],
    span: Interval,
    *,
    seconds: int,
    zone: ZoneInfo,
) -> Seen:
    """Return the usage points on the slots of `span`, which lies on their borders."""
    slots = (to_ms(span.end) - to_ms(span.start)) // (seconds * 1000)
    frame = frame_of(to_ms(span.start), slots, seconds, zone)
    raw = supply.raw(conn, usage_points, span, seconds)
    grid = placed(
        frame, len(usage_points), series=raw.point, start_ms=raw.start_ms,
        seconds=np.full(len(raw.point), seconds, dtype=np.int64), wh=raw.wh,
        state=State.MEASURED, status=raw.status,
    )  # fmt: skip
    edited, cancelled = (np.zeros(grid.wh.shape, dtype=np.bool_) for _ in range(2))
    said = overlay(conn, usage_points, span)
    slot, on = frame.slot_of(said.start_ms)
    for kind, mask in ((OverlayKind.EDIT, edited), (OverlayKind.CANCEL, cancelled)):
        mine = (said.kind == kind) & (said.seconds == seconds) & on
        mask[said.point[mine], slot[mine]] = True
        if kind is OverlayKind.EDIT:
            grid.wh[said.point[mine], slot[mine]] = said.wh[mine]
            grid.status[said.point[mine], slot[mine]] = 0
    grid.state[edited] = State.EDITED
    grid.state[cancelled], grid.wh[cancelled] = State.MISSING, 0
    facts = facts_of(usage_points, installed)
    reads = reads_said(conn, raw, usage_points, span)
    return Seen(
        observed=Observed(grid=grid, facts=facts, reads=reads),
        expected=_expected(frame, usage_points, installed, seconds),
        edited=edited, cancelled=cancelled,
    )  # fmt: skip


def borders_of(seen: Seen) -> list[list[int]]:
    """Return per usage point the slot borders at which a register was read, sorted."""
    reads, frame = seen.observed.reads, seen.observed.grid.frame
    slot, on = frame.slot_of(reads.at_ms)
    on &= (slot >= 0) & (slot <= len(frame))
    found: list[list[int]] = [[] for _ in range(len(seen.expected))]
    for row, border in zip(reads.series[on].tolist(), slot[on].tolist(), strict=True):
        found[row].append(border)
    return found


def facts_of(
    usage_points: Sequence[UsagePointId], installed: Mapping[UsagePointId, Sequence[Installed]]
) -> Facts:
    """Return what is known of the usage points beforehand: what each may draw."""
    capacity = [_capacity(installed.get(point, ())) for point in usage_points]
    return replace(plain_facts(len(usage_points)), capacity_w=np.array(capacity, dtype=np.int64))


def reads_said(
    conn: Connection, raw: Supplied, usage_points: Sequence[UsagePointId], span: Interval
) -> Reads:
    """Return the registers that nobody doubts, those that people said in place of the others."""
    end = span.end + timedelta(milliseconds=1)
    said = register_overlay(conn, usage_points, Interval(start=span.start, end=end))
    person = np.isin(said.kind, (OverlayKind.EDIT, OverlayKind.CANCEL))
    sound = (raw.read_status & int(DOUBTFUL)) == 0
    point = np.concatenate((raw.read_point[sound], said.point[person]))
    at_ms = np.concatenate((raw.read_at_ms[sound], said.at_ms[person]))
    wh = np.concatenate((raw.read_wh[sound], said.wh[person]))
    kind = np.concatenate((np.zeros(int(sound.sum()), dtype=np.int64), said.kind[person]))
    order = np.lexsort((kind, at_ms, point))
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = (np.diff(point[order]) != 0) | (np.diff(at_ms[order]) != 0)
    order = order[last]
    order = order[kind[order] != OverlayKind.CANCEL]
    return reads_of(point[order], np.zeros(len(order), dtype=np.int64), at_ms[order], wh[order])


def _expected(
    frame: Frame,
    usage_points: Sequence[UsagePointId],
    installed: Mapping[UsagePointId, Sequence[Installed]],
    seconds: int,
) -> Bool:
    start = frame.start_ms + np.arange(len(frame)) * frame.step_s * 1000
    expected = np.zeros((len(usage_points), len(frame)), dtype=np.bool_)
    for row, point in enumerate(usage_points):
        spans: list[tuple[int, int]] = []
        for item in installed.get(point, ()):
            if item.meter.interval_seconds != seconds:
                continue
            removed = item.installation.removed_at
            since = to_ms(item.installation.installed_at)
            until = to_ms(removed) if removed else _NEVER
            if spans and spans[-1][1] >= since:
                # meters changed without a break: the slot of the change is expected too
                since = spans.pop()[0]
            spans.append((since, until))
        for since, until in spans:
            expected[row] |= (start >= since) & (start <= until - frame.step_s * 1000)
    return expected


def _capacity(installed: Sequence[Installed]) -> int:
    return (installed[-1].usage_point.capacity_w or 0) if installed else 0
