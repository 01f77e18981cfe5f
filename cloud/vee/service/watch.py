"""Use cases of validation: note gaps as intervals come, look for meters that fell silent."""

from collections import Counter
from collections.abc import Mapping
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
    points = {item.meter.id: item.usage_point.id for item in stored.installed}
    spans = _spans(stored)
    meters = [stored.meters[n] for n in np.unique(fresh.meter).tolist()]
    known, gaps = store.coverage_of(conn, meters), store.open_gaps(conn, meters)
    reach: dict[Series, Coverage] = {}
    for n, channel in np.unique(np.stack((fresh.meter, fresh.channel)), axis=1).T.tolist():
        meter = stored.meters[n]
        rows = (fresh.meter == n) & (fresh.channel == channel)
        before = known.get((meter, channel))
        open_before = gaps.get((meter, channel), [])
        if before is not None:
            before = Coverage(
                first=before.first, newest=before.newest, step=before.step,
                missing=tuple((gap.start, gap.end) for gap in open_before),
            )  # fmt: skip
        step = before.step if before else int(fresh.seconds[rows][0]) * 1000
        after = rules.extend(before, fresh.start_ms[rows], step)
        reach[meter, channel] = after
        missing = rules.clip(after.missing, spans[meter])
        _write_gaps(
            conn, (meter, channel), points[meter], before=open_before, missing=missing, now=now
        )
    store.upsert_coverage(conn, reach)


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


def _write_gaps(
    conn: Connection,
    series: Series,
    usage_point: UsagePointId,
    *,
    before: list[OpenGap],
    missing: rules.Ranges,
    now: datetime,
) -> None:
    unused = {gap.id: gap for gap in before}
    resized, opened = [], []
    for start, end in missing:
        gap = next((gap for gap in unused.values() if gap.start < end and start < gap.end), None)
        if gap is None:
            opened.append(
                NewException(
                    kind=ExceptionKind.GAP, meter=series[0], usage_point=usage_point,
                    channel=series[1], start=start, end=end,
                )
            )  # fmt: skip
            continue
        del unused[gap.id]
        if (gap.start, gap.end) != (start, end):
            resized.append((gap.id, start, end))
    if unused:
        store.close_exceptions(conn, list(unused), now)
    for id_, start, end in resized:
        store.resize_gap(conn, id_, start, end)
    if opened:
        store.insert_exceptions(conn, opened, now)


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
