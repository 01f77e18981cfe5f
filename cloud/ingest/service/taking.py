"""From a decoded batch to rows, reports and what is refused, inside the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cloud.assets import service as assets
from cloud.assets.model import Installed
from cloud.ingest import store
from cloud.ingest.model import Arrival, BatchAccount, Stored
from cloud.ingest.rules import admission, alone
from cloud.ingest.rules.admission import Sheet
from cloud.ingest.service.terms import Policy
from cloud.store.db import Connection
from protocols.events import EndDeviceEvent
from protocols.identity import BatchId, ConcentratorId, MeterId
from protocols.mqtt.uplink import DataBatch, RelayReport
from protocols.timeline import to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a transaction made of a batch or row: its sum, the new rows, and what was refused."""

    account: BatchAccount
    stored: Stored
    refused: list[tuple[str, str, dict[str, Any]]]


def locked(
    conn: Connection, concentrator: ConcentratorId, meters: Sequence[MeterId]
) -> list[Installed]:
    """Lock every concentrator that may speak of the meters; return their installations."""
    found = assets.installations_of_meters(conn, sorted(set(meters)))
    store.lock_concentrators(conn, [concentrator, *(item.concentrator for item in found)])
    return found


def take(
    conn: Connection,
    batch: DataBatch,
    installed: Sequence[Installed],
    arrival: Arrival,
    policy: Policy,
) -> Taken:
    """Judge a batch whole and write what is believable; the caller holds the locks."""
    sheet = judged(conn, batch, installed, arrival.now, policy)
    reports = _note_reports(conn, batch, arrival.now, policy)
    account = admission.account_of(
        sheet,
        reports=len(batch.relays) + len(batch.events),
        reports_quarantined=len(reports),
    )
    return Taken(
        account=account,
        stored=write(conn, batch.id, sheet, installed),
        refused=[*admission.refused_rows(sheet), *reports],
    )


def judged(
    conn: Connection,
    batch: DataBatch,
    installed: Sequence[Installed],
    now: datetime,
    policy: Policy,
) -> Sheet:
    """Judge rows alone and beside what is stored; the caller holds the concentrators' locks."""
    meters, columns = admission.each_once(batch.meters, batch.columns)
    facts = alone.facts_of(meters, installed, batch.id.concentrator)
    verdict, value = alone.judge(columns, facts, now_ms=to_ms(now), future_ms=_ms(policy.future))
    sheet = admission.sheet_of(meters, columns, verdict, value)
    limits = admission.limits_of(facts, _ms(policy.slack))
    for registers in (True, False):
        rows = admission.believable(sheet, registers=registers)
        if not len(rows):
            continue
        fresh = admission.points_of(sheet, rows)
        groups, ids = admission.lookups(sheet, fresh)
        look_up = store.registers_around if registers else store.intervals_between
        beside = look_up(conn, groups, ids)
        admission.compare(sheet, rows, fresh, beside, limits if registers else None)
    return sheet


def write(conn: Connection, id_: BatchId, sheet: Sheet, installed: Sequence[Installed]) -> Stored:
    """Write the believable rows of a judged sheet; return what is new."""
    registers, intervals = admission.new_registers(sheet), admission.new_intervals(sheet)
    if len(registers.meter):
        store.insert_registers(
            conn,
            id_,
            {
                "meter": admission.names_of(sheet.meters, registers.meter),
                "channel": registers.channel.tolist(), "at_ms": registers.at_ms.tolist(),
                "wh": registers.wh.tolist(), "status": registers.status.tolist(),
                "received_ms": registers.received_ms.tolist(),
            },
        )  # fmt: skip
    if len(intervals.meter):
        store.insert_intervals(
            conn,
            id_,
            {
                "meter": admission.names_of(sheet.meters, intervals.meter),
                "channel": intervals.channel.tolist(), "at_ms": intervals.start_ms.tolist(),
                "seconds": intervals.seconds.tolist(), "wh": intervals.wh.tolist(),
                "status": intervals.status.tolist(),
                "received_ms": intervals.received_ms.tolist(),
            },
        )  # fmt: skip
    momentary, heard = admission.newest_momentary(sheet), admission.heard(sheet)
    if momentary["meter"]:
        store.upsert_momentary(conn, momentary)
    if heard["meter"]:
        store.upsert_meter_seen(conn, heard)
    return Stored(
        meters=sheet.meters,
        installed=tuple(installed),
        registers=registers,
        intervals=intervals,
        heard=frozenset(heard["meter"]),
    )


def _note_reports(
    conn: Connection, batch: DataBatch, now: datetime, policy: Policy
) -> list[tuple[str, str, dict[str, Any]]]:
    """Store switch reports and events of the box and its meters; return the others as refused."""
    reports: list[RelayReport | EndDeviceEvent] = [*batch.relays, *batch.events]
    if not reports:
        return []
    named = sorted({report.meter for report in reports})
    mine = {
        item.meter.id
        for item in assets.installations_of_meters(conn, named)
        if item.concentrator == batch.id.concentrator
    }
    refused: list[tuple[str, str, dict[str, Any]]] = []
    relays: list[RelayReport] = []
    for report in reports:
        # a concentrator is a device too, and may tell of itself; it has no switch
        itself = report.meter == MeterId(batch.id.concentrator) and isinstance(
            report, EndDeviceEvent
        )
        cause = ""
        if report.meter not in mine and not itself:
            cause = "report.foreign_meter"
        elif report.at > now + policy.future:
            cause = "report.time"
        if cause:
            refused.append((cause, f"{report.meter}: not believed", _plain(report)))
        elif isinstance(report, RelayReport):
            relays.append(report)
        else:
            store.note_event(conn, report, now)
    store.note_relays(conn, relays)
    return refused


def _plain(report: RelayReport | EndDeviceEvent) -> dict[str, Any]:
    common = {"meter": report.meter, "at_ms": to_ms(report.at)}
    if isinstance(report, RelayReport):
        return {
            **common, "output_closed": report.relay.output_closed,
            "control_state": int(report.relay.control_state),
            "control_mode": report.relay.control_mode,
        }  # fmt: skip
    return {**common, "event": report.code.value, "origin": report.origin, "detail": report.detail}


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
