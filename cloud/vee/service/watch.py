"""Use cases of validation: note gaps as intervals come, look for meters that fell silent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from cloud.assets import service as assets
from cloud.assets.model import Installed
from cloud.ingest import service as ingest
from cloud.ingest.model import Stored
from cloud.store.db import Connection, Database
from cloud.vee import rules
from cloud.vee.model import Acquisition, ExceptionKind, Statistic, VeeException, WatchPolicy
from cloud.vee.rules import Coverage
from cloud.vee.rules.arrived import Arrived, joins, series_of
from cloud.vee.rules.grid import Int
from cloud.vee.service.rounds import mark_late
from cloud.vee.store import exceptions as store
from cloud.vee.store.exceptions import NewException, OpenGap, Series
from protocols.identity import MeterId, UsagePointId
from protocols.timeline import Interval, to_ms

_DAY_MS = 86_400_000
_NEVER = np.iinfo(np.int64).max


def note_intervals(conn: Connection, stored: Stored, now: datetime) -> None:
    """
    Open, resize and close gap exceptions for the intervals that a transaction adds.

    What is missing depends on the set of intervals stored, not on the order in which they came.
    Days before the frontier of validation that get readings are marked to be looked at again.
    """
    mark_late(conn, stored, now)
    fresh = stored.intervals
    if not len(fresh.meter):
        return
    series = series_of(fresh.meter, fresh.channel, fresh.start_ms, fresh.seconds)
    meters = [stored.meters[n] for n in series.meter.tolist()]
    channels = series.channel.tolist()
    first, newest, step, known = store.coverage_of(conn, meters, channels)
    gaps = store.open_gaps(conn, sorted(set(meters)))
    torn = np.array([each in gaps for each in zip(meters, channels, strict=True)], dtype=np.bool_)
    plain = joins(series, first, newest, step, known != 0) & ~torn
    step = np.where(known != 0, step, series.step)
    if not plain.all():
        _note_gaps(
            conn, stored, series, rows=np.flatnonzero(~plain), reach=(first, newest, step, known),
            gaps=gaps, now=now,
        )  # fmt: skip
    store.upsert_coverage(
        conn, meters, channels, step=step,
        first=np.where(known != 0, np.minimum(first, series.low), series.low),
        newest=np.where(known != 0, np.maximum(newest, series.high), series.high),
    )  # fmt: skip


def _note_gaps(
    conn: Connection,
    stored: Stored,
    series: Arrived,
    *,
    rows: Int,
    reach: tuple[Int, Int, Int, Int],
    gaps: Mapping[Series, list[OpenGap]],
    now: datetime,
) -> None:
    """Open, resize and close the gaps of series of which something lacks or lacked."""
    points = {item.meter.id: item.usage_point.id for item in stored.installed}
    spans, moves = _spans(stored), _Moves(closed=[], resized=[], opened=[])
    for n in rows.tolist():
        meter, channel = stored.meters[int(series.meter[n])], int(series.channel[n])
        first, newest, step, known = (int(column[n]) for column in reach)
        open_before = gaps.get((meter, channel), [])
        before = None
        if known:
            before = Coverage(
                first=first, newest=newest, step=step,
                missing=tuple((gap.start, gap.end) for gap in open_before),
            )  # fmt: skip
        after = rules.extend(before, series.starts_of(n), step)
        missing = rules.clip(after.missing, spans[meter])
        moves.note((meter, channel), points[meter], open_before, missing)
    if moves.closed:
        store.close_exceptions(conn, moves.closed, now)
    if moves.resized:
        store.resize_gaps(conn, moves.resized)
    if moves.opened:
        store.insert_exceptions(conn, moves.opened, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moves:
    """What becomes of gaps: numbers to close, (number, start, end) to resize, new ones. In ms."""

    closed: list[int]
    resized: list[tuple[int, int, int]]
    opened: list[NewException]

    def note(
        self, series: Series, point: UsagePointId, before: Sequence[OpenGap], missing: rules.Ranges
    ) -> None:
        """Note how the open gaps of one series become what is missing of it now."""
        unused = {gap.id: gap for gap in before}
        for start, end in missing:
            gap = next((g for g in unused.values() if g.start < end and start < g.end), None)
            if gap is None:
                self.opened.append(
                    NewException(
                        kind=ExceptionKind.GAP, meter=series[0], usage_point=point,
                        channel=series[1], start=start, end=end,
                    )
                )  # fmt: skip
                continue
            del unused[gap.id]
            if (gap.start, gap.end) != (start, end):
                self.resized.append((gap.id, start, end))
        self.closed.extend(unused)


def sweep(db: Database, *, policy: WatchPolicy, now: datetime) -> None:
    """Open and close exceptions of meters that are silent or whose registers are missing (E1)."""
    with db.transaction() as conn:
        installed = assets.installed_now(conn)
        heard = {seen.meter: to_ms(seen.last_received) for seen in ingest.meters_seen(conn)}
        registers = ingest.last_register_times(conn, [item.meter.id for item in installed])
        read = {meter: to_ms(at) for meter, at in registers.items()}
        silent = _overdue(installed, heard, policy.silent_after_ms, ExceptionKind.SILENT, now)
        missing = _overdue(
            installed, read, policy.missing_days * _DAY_MS, ExceptionKind.MISSING_REGISTERS, now
        )
        _replace(conn, ExceptionKind.SILENT, silent, now)
        _replace(conn, ExceptionKind.MISSING_REGISTERS, missing, now)


def open_exceptions(
    conn: Connection,
    kind: ExceptionKind | None = None,
    *,
    usage_point: UsagePointId | None = None,
) -> list[VeeException]:
    """Return open findings, oldest first; None means any."""
    return store.open_exceptions(conn, kind, usage_point)


def statistics(conn: Connection, span: Interval) -> list[Statistic]:
    """Return findings opened in `span` by unit, UTC day and kind (C11)."""
    found = store.exceptions_opened(conn, span)
    units = assets.units_of(conn, sorted({item.usage_point for item in found}))
    opened: Counter[tuple[str, date, ExceptionKind]] = Counter()
    still: Counter[tuple[str, date, ExceptionKind]] = Counter()
    for item in found:
        key = (units[item.usage_point], item.opened_at.astimezone(UTC).date(), item.kind)
        opened[key] += 1
        still[key] += item.closed_at is None
    return [
        Statistic(unit=unit, day=day, kind=kind, opened=n, still_open=still[unit, day, kind])
        for (unit, day, kind), n in sorted(opened.items())
    ]


def acquisition(conn: Connection, *, now: datetime, within: timedelta) -> Acquisition:
    """Return how many installed meters were heard `within` that time, and slots that came (A8)."""
    installed = {item.meter.id for item in assets.installed_now(conn)}
    heard = sum(
        seen.meter in installed and now - seen.last_received <= within
        for seen in ingest.meters_seen(conn)
    )
    expected, missing = store.slot_totals(conn)
    return Acquisition(
        installed=len(installed),
        heard=heard,
        coverage_permille=rules.permille(heard, len(installed)),
        slots_expected=expected,
        slots_present=expected - missing,
        success_permille=rules.permille(expected - missing, expected),
    )


def _spans(stored: Stored) -> dict[MeterId, list[tuple[int, int]]]:
    spans: dict[MeterId, list[tuple[int, int]]] = {}
    for item in stored.installed:
        removed = item.installation.removed_at
        spans.setdefault(item.meter.id, []).append(
            (to_ms(item.installation.installed_at), to_ms(removed) if removed else _NEVER)
        )
    return spans


def _overdue(
    installed: list[Installed],
    last: Mapping[MeterId, int],
    limit_ms: int,
    kind: ExceptionKind,
    now: datetime,
) -> dict[MeterId, NewException]:
    found = {}
    now_ms = to_ms(now)
    for item in installed:
        meter = item.meter.id
        since = max(last.get(meter, 0), to_ms(item.installation.installed_at))
        if now_ms - since >= limit_ms > 0:
            found[meter] = NewException(
                kind=kind, meter=meter, usage_point=item.usage_point.id, channel=0, start=since,
                end=now_ms, detail="" if meter in last else "never heard of",
            )  # fmt: skip
    return found


def _replace(
    conn: Connection, kind: ExceptionKind, found: Mapping[MeterId, NewException], now: datetime
) -> None:
    standing = {item.meter: item.id for item in store.open_exceptions(conn, kind, None)}
    over = [id_ for meter, id_ in standing.items() if meter not in found]
    fresh = [item for meter, item in found.items() if meter not in standing]
    if over:
        store.close_exceptions(conn, over, now)
    if fresh:
        store.insert_exceptions(conn, fresh, now)
