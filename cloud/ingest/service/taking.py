"""From decoded batches to rows, packed days, reports and what is refused, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from cloud.assets import service as assets
from cloud.ingest.model import Arrival, BatchAccount, Stored, Verdict
from cloud.ingest.rules import admission
from cloud.ingest.rules.admission import Sheet
from cloud.ingest.rules.beside import Limits
from cloud.ingest.rules.book import Book, Roster, note_heard, note_series, note_stored, roster_of
from cloud.ingest.rules.homes import Cells, after_midnight, cells_of, homes_of
from cloud.ingest.rules.packing import DAY_MS, Readings, encode, encode_ragged, joined
from cloud.ingest.rules.tally import tally_of
from cloud.ingest.service import books as shelves
from cloud.ingest.service.terms import Policy, to_whole_ms
from cloud.ingest.store import books as book_store
from cloud.ingest.store import readings as store
from cloud.ingest.store import reports as report_store
from cloud.ingest.store import retention as retention_store
from cloud.ingest.store import stream as stream_store
from cloud.ingest.store.binary import day_number
from cloud.store.db import Connection
from protocols.events import EndDeviceEvent
from protocols.identity import ConcentratorId, MeterId
from protocols.mqtt.uplink import DataBatch, RelayReport
from protocols.timeline import to_ms

_NEAR_DAYS = 4
"""Up to so many days apart the days between are taken to be there too: looking would cost more."""

_NEVER_DROPPED_DAYS = 27
"""Younger months are never let go: the database itself keeps a whole month behind the newest."""

Refused = tuple[str, str, dict[str, Any]]
"""Cause, detail and content of a row or report that goes to quarantine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A batch that is to be taken, under its number, with a good book of its concentrator."""

    arrival: Arrival
    batch: DataBatch
    digest: bytes
    no: int
    book: Book


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a round came to: per entry its sum and what was refused; and what is new."""

    accounts: list[BatchAccount]
    refused: list[list[Refused]]
    stored: Stored


def days_of(batches: Sequence[DataBatch]) -> list[int]:
    """Return the UTC days since 1970 that believable rows of the batches can lie in."""
    days: set[int] = set()
    for batch in batches:
        if len(batch):
            at_ms = np.asarray(batch.columns["at_ms"])
            first, last = int(at_ms.min()) // DAY_MS, int(at_ms.max()) // DAY_MS
            near = last - first < _NEAR_DAYS
            days.update(range(first, last + 1) if near else np.unique(at_ms // DAY_MS).tolist())
    # beyond these an instant is impossible: see rules.alone
    return sorted(day for day in days if 10_000 < day < 50_000)


def take(conn: Connection, entries: Sequence[Entry], policy: Policy) -> Taken:
    """
    Judge a round of batches and write what is believable; the caller holds locks and days.

    No batch is twice in a round, and no two concentrators of a round share a meter.
    """
    books = list({entry.book.concentrator: entry.book for entry in entries}.values())
    place = {book.concentrator: n for n, book in enumerate(books)}
    pairs = [(place[entry.book.concentrator], entry.batch) for entry in entries]
    roster, named = roster_of(books, pairs, _strangers(conn, entries))
    sheet = admission.sheet_of(
        roster,
        [entry.batch for entry in entries],
        named,
        now_ms=[to_ms(entry.arrival.now) for entry in entries],
        future_ms=to_whole_ms(policy.future),
    )
    _refuse_dropped(conn, sheet, entries)
    kept = _compared(conn, sheet, roster, policy)
    if len(kept.verdict):
        now = max(entry.arrival.now for entry in entries)
        cells = _write(conn, kept, roster, numbers=[entry.no for entry in entries], now=now)
        _count(conn, kept, cells, [entry.book.concentrator for entry in entries])
    momentary = admission.newest_momentary(sheet)
    if len(momentary.meter):
        report_store.upsert_momentary(conn, roster.meters, momentary)
    at_ms, received_ms = admission.heard(sheet)
    note_heard(roster, at_ms, received_ms)
    reports = _note_reports(conn, entries, policy)
    refused = reports
    for n, cause, detail, row in admission.refused_rows(sheet):
        refused[n].append((cause, detail, row))
    accounts = [
        replace(
            account,
            reports=len(entry.batch.relays) + len(entry.batch.events),
            reports_quarantined=len(refused[n]) - account.quarantined,
        )
        for n, (account, entry) in enumerate(
            zip(admission.accounts_of(sheet, len(entries)), entries, strict=True)
        )
    ]
    shelves.write_down(conn, books)
    return Taken(
        accounts=accounts,
        refused=refused,
        stored=Stored(
            meters=roster.meters,
            hung=roster.hung(),
            registers=admission.new_registers(kept),
            intervals=admission.new_intervals(kept),
            momentaries=momentary,
            heard=at_ms >= 0,
        ),
    )


def _refuse_dropped(conn: Connection, sheet: Sheet, entries: Sequence[Entry]) -> None:
    """Ask what months were let go only where a row is as old as one that could be."""
    newest = to_ms(max(entry.arrival.now for entry in entries))
    if not len(sheet.at_ms) or int(sheet.at_ms.min()) > newest - _NEVER_DROPPED_DAYS * DAY_MS:
        return
    kept_from = retention_store.kept_from(conn)
    if kept_from is not None:
        admission.refuse_dropped(sheet, day_number(kept_from) * DAY_MS)


def _strangers(conn: Connection, entries: Sequence[Entry]) -> dict[MeterId, bool]:
    """Return meters that no book of the round has, and whether any other concentrator does."""
    strange = {
        meter
        for entry in entries
        # a batch names most often just what its concentrator has
        if entry.batch.meters != entry.book.meters
        for meter in entry.batch.meters
        if meter not in entry.book.place
    }
    if not strange:
        return {}
    known = {item.meter.id for item in assets.installations_of_meters(conn, sorted(strange))}
    return {meter: meter in known for meter in sorted(strange)}


def _compared(conn: Connection, sheet: Sheet, roster: Roster, policy: Policy) -> Sheet:
    """
    Judge rows beside what is stored: by the books where they suffice, else by query.

    Returns the rows that are to be stored, by meter, channel and instant.
    """
    kept, rows = admission.believable(sheet)
    if not len(kept.verdict):
        return kept
    limits: Limits = admission.limits_of(roster.facts, to_whole_ms(policy.slack))
    doubt = np.flatnonzero(admission.doubtful(kept, roster, limits))
    if not len(doubt):
        return kept
    asked = np.sort(doubt if rows is None else rows[doubt])
    points = admission.points_of(sheet.take(asked))
    columns, ids, seconds = admission.lookups(roster, points)
    admission.compare(sheet, asked, store.points_around(conn, columns, ids, seconds), limits)
    kept = kept if rows is None else sheet.take(rows)
    return kept.take(kept.verdict == Verdict.STORED)


def _write(
    conn: Connection,
    sheet: Sheet,
    roster: Roster,
    *,
    numbers: Sequence[int],
    now: datetime,
) -> Cells:
    meter, channel, seconds = sheet.meter, sheet.channel, sheet.seconds
    series = roster.series[meter, channel]
    if not series.all():
        fresh = {
            (int(meter[n]), int(channel[n])): int(seconds[n])
            for n in np.flatnonzero(series == 0).tolist()
        }
        wanted = [(roster.meters[m], c, length) for (m, c), length in fresh.items()]
        note_series(roster, book_store.new_series(conn, wanted))
        series = roster.series[meter, channel]
    readings = Readings(
        at_ms=sheet.at_ms,
        wh=sheet.value,
        status=sheet.status,
        received_ms=sheet.received_ms,
        batch=np.array(numbers, dtype=np.int64)[sheet.batch],
    )
    cells = cells_of(series, readings.at_ms, seconds)
    _put(conn, series, readings, cells, now)
    last = np.append(cells.series[1:] != cells.series[:-1], values=True)
    ends = (cells.first + cells.size - 1)[last]
    note_stored(roster, (meter[ends], channel[ends]), readings.at_ms[ends], readings.wh[ends])
    return cells


def _count(conn: Connection, sheet: Sheet, cells: Cells, senders: Sequence[ConcentratorId]) -> None:
    """Count the new interval slots of each batch's sender."""
    names = sorted(set(senders))
    place = np.array([names.index(name) for name in senders], dtype=np.int64)[sheet.batch]
    counted = tally_of(
        cells, place=place, channel=sheet.channel, at_ms=sheet.at_ms, seconds=sheet.seconds
    )
    if len(counted.day):
        stream_store.add_tallies(conn, names, counted)


def _put(conn: Connection, series: Any, readings: Readings, cells: Cells, now: datetime) -> None:
    """Bring every cell to its home."""
    opened, newest = store.open_days(conn)
    homes = homes_of(cells, opened)
    if len(homes.rows.series):
        some = homes.rows.rows() if len(homes.rows.series) < len(cells.series) else slice(None)
        store.copy_readings(conn, series[some], readings.take(some))
    if len(homes.whole.series) + len(homes.grown.series):
        days = np.unique(np.concatenate((homes.whole.day, homes.grown.day)))
        # a day of rows that lies ahead of every day known could be opened: it never is any more
        ahead = [
            day for day in np.unique(homes.grown.day).tolist() if newest is None or day > newest
        ]
        store.ready_packed(conn, days, now, ahead=ahead)
    if len(homes.whole.series):
        store.copy_days(conn, _packed(readings, homes.whole))
    if len(homes.grown.series):
        _grow(conn, readings, homes.grown)


def _grow(conn: Connection, readings: Readings, cells: Cells) -> None:
    """Add readings to packed days that are there, and pack the others."""
    there = store.days_named(conn, cells.series, cells.day)
    known = np.zeros(len(cells.series), dtype=np.bool_)
    known[list(there)] = True
    if not known.all():
        store.copy_days(conn, _packed(readings, cells.take(~known)))
    grown = []
    for n, before in there.items():
        only = np.arange(len(known)) == n
        after = joined([before, after_midnight(readings, cells.take(only))])
        grown.append((int(cells.series[n]), int(cells.day[n]), encode(after)))
    if grown:
        store.upsert_days(conn, grown)


def _packed(readings: Readings, cells: Cells) -> list[tuple[Any, Any, Any]]:
    return [
        (cells.series[places], cells.day[places], bodies)
        for places, bodies in encode_ragged(cells.size, after_midnight(readings, cells))
    ]


def _note_reports(
    conn: Connection, entries: Sequence[Entry], policy: Policy
) -> list[list[Refused]]:
    """Store switch reports and events of each box and its meters; return the others by entry."""
    refused: list[list[Refused]] = []
    relays: list[RelayReport] = []
    events: list[tuple[EndDeviceEvent, datetime]] = []
    for entry in entries:
        mine, now = entry.book, entry.arrival.now
        others: list[Refused] = []
        reports: list[RelayReport | EndDeviceEvent] = [*entry.batch.relays, *entry.batch.events]
        for report in reports:
            place = mine.place.get(report.meter)
            # a concentrator is a device too, and may tell of itself; it has no switch
            itself = report.meter == MeterId(mine.concentrator) and isinstance(
                report, EndDeviceEvent
            )
            if (place is None or not mine.facts.mine[place]) and not itself:
                others.append(("report.foreign_meter", _unbelieved(report), _plain(report)))
            elif report.at > now + policy.future:
                others.append(("report.time", _unbelieved(report), _plain(report)))
            elif isinstance(report, RelayReport):
                relays.append(report)
            else:
                events.append((report, now))
        refused.append(others)
    if events:
        report_store.note_events(conn, events)
    report_store.note_relays(conn, relays)
    return refused


def _unbelieved(report: RelayReport | EndDeviceEvent) -> str:
    return f"{report.meter}: not believed"


def _plain(report: RelayReport | EndDeviceEvent) -> dict[str, Any]:
    common = {"meter": report.meter, "at_ms": to_ms(report.at)}
    if isinstance(report, RelayReport):
        return {
            **common, "output_closed": report.relay.output_closed,
            "control_state": int(report.relay.control_state),
            "control_mode": report.relay.control_mode,
        }  # fmt: skip
    return {**common, "event": report.code.value, "origin": report.origin, "detail": report.detail}
