"""Batches on a real database: stored once, quarantined with bytes and cause, never lost."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cloud.ingest import service as ingest
from cloud.ingest.model import QuarantineState, Refusal
from cloud.store.db import Database
from cloud.usage import service as usage
from protocols.errors import RefusedError
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import BatchId, MeterId
from protocols.mqtt import envelope
from protocols.mqtt.receipt import Custody
from protocols.mqtt.uplink import RelayReport, batch_to_plain, columns_of
from protocols.reading import Channel, RelayReading, RelayState
from tests.integration.ingest_kit import (
    C1,
    C2,
    M1,
    M2,
    M3,
    ORIGIN,
    READINGS,
    UP1,
    a_batch,
    build_network,
    payload_of,
    registers,
    send,
    send_octets,
    slots,
    tables,
    usage_rows,
)

GOOD = [*registers(M1, {1: 1000, 2: 1400}), *slots(M1, {0: 100, 1: 150})]


@pytest.fixture(autouse=True)
def _network(db: Database) -> None:
    build_network(db)


def in_quarantine(db: Database) -> list[Any]:
    with db.transaction() as conn:
        return ingest.quarantined(conn)


@pytest.mark.req("A1", "A2")
def test_a_batch_becomes_readings_usage_and_a_live_reading(db: Database) -> None:
    momentary = [
        (M1, Channel.POWER_W, ORIGIN + timedelta(hours=2), 640),
        (M1, Channel.VOLTAGE_L1_MV, ORIGIN + timedelta(hours=2), 229_400),
        (M1, Channel.CURRENT_L1_MA, ORIGIN + timedelta(hours=2), 2790),
    ]
    outcome = send(db, a_batch(1, [*GOOD, *momentary]))
    assert outcome.receipt is not None
    assert (outcome.receipt.boot, outcome.receipt.seq) == (1, 1)
    assert outcome.receipt.custody is Custody.STORED
    account = outcome.account
    assert (account.rows, account.stored, account.momentary) == (7, 4, 3)
    (live,) = outcome.live
    assert (live.usage_point, live.register_wh, live.power_w) == (UP1, 1400, 640)
    assert (live.voltage_mv, live.current_ma, live.quality) == (229_400, 2790, "valid")
    registers_found, intervals = tables(db, *READINGS)
    assert registers_found[-1] == (M1, 1, ORIGIN + timedelta(hours=2), 1400)
    assert [row[-1] for row in intervals] == [100, 150]
    with db.transaction() as conn:
        latest = usage.latest_registers(conn)
        assert (latest.usage_points, latest.cumulative_wh.tolist()) == ([UP1], [1400])
        assert latest.quality.tolist() == ["valid"]


def test_the_same_batch_again_gets_the_same_receipt_and_changes_nothing(db: Database) -> None:
    first = send(db, a_batch(1, GOOD))
    before = [*tables(db, *READINGS), *usage_rows(db)]
    second = send(db, a_batch(1, GOOD))
    assert second.repeated
    assert second.receipt == first.receipt
    assert [*tables(db, *READINGS), *usage_rows(db)] == before


def test_the_same_rows_in_another_batch_are_counted_as_duplicates(db: Database) -> None:
    send(db, a_batch(1, GOOD))
    before = [*tables(db, *READINGS), *usage_rows(db)]
    again = send(db, a_batch(2, [*GOOD, *GOOD]))
    assert (again.account.rows, again.account.duplicates, again.account.stored) == (8, 8, 0)
    assert [*tables(db, *READINGS), *usage_rows(db)] == before
    assert in_quarantine(db) == []


BAD_ROWS: dict[str, tuple[Any, dict[str, Any]]] = {
    "meter.unknown": (registers(MeterId("M-777777"), {3: 5}), {}),
    "meter.foreign_concentrator": (registers(M3, {3: 5}), {}),
    "reading.channel": ([(M1, 99, ORIGIN + timedelta(hours=3), 5)], {}),
    "reading.length": (slots(M1, {4: 5}), {"seconds": 900}),
    "reading.time": (registers(M1, {24 * 300: 1500}), {}),
    "reading.not_installed": (registers(M1, {-1: 900}), {}),
    "reading.value": (registers(M1, {3: 10**17}), {}),
    "reading.negative": (slots(M1, {4: -1}), {}),
    "interval.grid": (
        [(M1, Channel.IMPORT_INTERVAL_WH, ORIGIN + timedelta(seconds=1801), 5)],
        {},
    ),
    "reading.conflict": (registers(M1, {2: 1401}), {}),
    "register.step": (registers(M1, {3: 1399}), {}),
}


@pytest.mark.req("B12")
@pytest.mark.parametrize("cause", BAD_ROWS)
def test_a_bad_row_is_quarantined_with_bytes_and_cause_and_the_others_stay(
    db: Database, cause: str
) -> None:
    send(db, a_batch(1, GOOD))
    rows, change = BAD_ROWS[cause]
    bad = a_batch(2, rows, change=change)
    good = a_batch(2, registers(M2, {1: 70}))
    merged = merge(good, bad)
    outcome = send(db, merged, now=ORIGIN + timedelta(days=60))
    account = outcome.account
    assert (account.rows, account.stored, account.quarantined) == (2, 1, 1)
    assert outcome.receipt is not None
    assert outcome.receipt.custody is Custody.STORED
    (item,) = in_quarantine(db)
    assert item.cause == cause
    assert item.row["meter"] == rows[0][0]
    assert item.row["raw"] == rows[0][3]
    assert item.octets == len(payload_of(merged))
    with db.transaction() as conn:
        kept = conn.execute("SELECT octets FROM ingest.payload").fetchall()
        assert [bytes(octets) for (octets,) in kept] == [payload_of(merged)]
        totals = ingest.totals(conn)
        assert ingest.batches_out_of_balance(conn) == []
    assert totals["rows"] == totals["stored"] + totals["duplicates"] + totals["quarantined"]
    assert totals["readings"] == totals["stored"] == 5


def merge(first: Any, second: Any) -> Any:
    """Two batches as one: every row of both."""
    from dataclasses import replace

    shift = len(first.meters)
    columns = {
        name: [*first.columns[name], *(number + shift * (name == "meter") for number in column)]
        for name, column in second.columns.items()
    }
    return replace(first, meters=(*first.meters, *second.meters), columns=columns_of(columns))


def the_plain(change: dict[str, Any]) -> bytes:
    return envelope.encode({**batch_to_plain(a_batch(7, GOOD)), **change})


def too_many() -> bytes:
    return the_plain({"columns": {
        name: [0] * 20_001
        for name in ("meter", "channel", "at_ms", "seconds", "received_ms", "raw", "scaler",
                     "status")
    }})  # fmt: skip


BAD_PAYLOADS: dict[str, tuple[bytes, str]] = {
    "garbage": (b"\xff\x00garbage" * 9, "payload.compression"),
    "truncated": (payload_of(a_batch(7, GOOD))[:40], "payload.syntax"),
    "version": (the_plain({"v": 99}), "batch.version"),
    "rows": (too_many(), "batch.rows"),
    "octets": (bytes((1 << 20) + 1), "payload.too_big"),
    "foreign": (the_plain({"concentrator": "C-02"}), "batch.foreign_concentrator"),
    "meter": (the_plain({"meters": ["no/id"]}), "batch.shape"),
}


@pytest.mark.parametrize("name", BAD_PAYLOADS)
def test_a_payload_that_is_no_batch_is_kept_whole_and_receipted(db: Database, name: str) -> None:
    payload, cause = BAD_PAYLOADS[name]
    hint = BatchId(concentrator=C1, boot=1, seq=7)
    for repeated in (False, True):
        outcome = send_octets(db, payload, hint=hint)
        assert outcome.receipt is not None
        assert outcome.receipt.custody is Custody.QUARANTINED
        assert (outcome.receipt.boot, outcome.receipt.seq) == (1, 7)
        assert outcome.repeated is repeated
    (item,) = in_quarantine(db)
    assert (item.cause, item.row, item.octets) == (cause, None, len(payload))
    assert tables(db, *READINGS) == [[], []]


def test_garbage_without_a_name_is_kept_but_cannot_be_receipted(db: Database) -> None:
    for _ in range(2):
        outcome = send_octets(db, b"\x00" * 30, content_type=envelope.CBOR)
        assert outcome.receipt is None
    (item,) = in_quarantine(db)
    assert (item.boot, item.seq) == (None, None)


def test_a_batch_number_used_twice_quarantines_the_second_content(db: Database) -> None:
    send(db, a_batch(1, GOOD))
    before = tables(db, *READINGS)
    outcome = send(db, a_batch(1, registers(M1, {5: 2000})))
    assert outcome.cause == "batch.id_reused"
    assert tables(db, *READINGS) == before
    assert [item.cause for item in in_quarantine(db)] == ["batch.id_reused"]


def test_readings_cannot_be_altered_or_deleted_even_by_the_owner(db: Database) -> None:
    send(db, a_batch(1, GOOD))
    for statement in (
        "UPDATE ingest.reading SET wh = 0",
        "DELETE FROM ingest.reading",
        "TRUNCATE ingest.reading",
        "DELETE FROM ingest.day",
        "TRUNCATE ingest.day",
    ):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation), db.transaction() as conn:
            conn.execute(statement)  # type: ignore[arg-type]


def test_the_database_refuses_a_batch_whose_sum_is_wrong(db: Database) -> None:
    send(db, a_batch(1, GOOD))
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction() as conn:
        conn.execute("UPDATE ingest.batch SET stored = stored - 1")


@pytest.mark.req("B12")
def test_redrive_stores_the_row_once_its_cause_is_mended(db: Database) -> None:
    from cloud.assets import service as assets
    from cloud.assets.model import Installation, Meter, PointKind, Registration, UsagePoint
    from protocols.identity import TransformerId, UsagePointId

    newcomer, place = MeterId("M-000777"), UsagePointId("UP-000777")
    now = ORIGIN + timedelta(days=60)
    send(db, a_batch(1, registers(newcomer, {1: 50})))
    (item,) = in_quarantine(db)
    with pytest.raises(RefusedError) as refused:
        usage.redrive(db, item.id, actor="user:lin", now=now, wall_now=now)
    assert refused.value.refusal is Refusal.STILL_WRONG
    assets.register(
        db,
        Registration(
            usage_points=(UsagePoint(id=place, kind=PointKind.CUSTOMER,
                                     transformer=TransformerId("T-01"), zone="UTC"),),
            meters=(Meter(id=newcomer, model="x", protocol="dlms", has_relay=False,
                          can_close_remotely=False),),
            installations=(Installation(meter=newcomer, usage_point=place, concentrator=C1,
                                        installed_at=ORIGIN),),
        ),
        now=now,
    )  # fmt: skip
    assert usage.redrive(db, item.id, actor="user:lin", now=now, wall_now=now) == 1
    with db.transaction() as conn:
        found = usage.first_register(conn, place)
        assert found is not None
        assert found.cumulative_wh == 50
        assert ingest.quarantined(conn) == []
        assert [i.id for i in ingest.quarantined(conn, state=QuarantineState.REDRIVEN)] == [item.id]
    with pytest.raises(RefusedError) as refused:
        usage.redrive(db, item.id, actor="user:lin", now=now, wall_now=now)
    assert refused.value.refusal is Refusal.SETTLED


def test_a_quarantined_payload_is_redriven_into_its_own_batch(db: Database) -> None:
    # an old decoder refused it; the payload itself is sound
    batch = a_batch(3, GOOD)
    now = ORIGIN + timedelta(days=60)
    from tests.integration.ingest_kit import arrival_of

    ingest.quarantine_payload(
        db, arrival_of(payload_of(batch), hint=batch.id), cause="batch.version", detail="",
        concentrator=C1,
    )  # fmt: skip
    (item,) = in_quarantine(db)
    assert usage.redrive(db, item.id, actor="user:lin", now=now, wall_now=now) == 4
    assert send(db, batch).repeated
    with db.transaction() as conn:
        assert ingest.totals(conn)["rows"] == 4
        assert ingest.batches_out_of_balance(conn) == []


def test_dismissed_things_leave_the_open_list(db: Database) -> None:
    send(db, a_batch(1, registers(MeterId("M-777777"), {3: 5})))
    (item,) = in_quarantine(db)
    ingest.dismiss(db, item.id, actor="user:lin", reason="test meter on the bench", now=ORIGIN)
    assert in_quarantine(db) == []
    with pytest.raises(RefusedError):
        ingest.dismiss(db, item.id, actor="user:lin", reason="again", now=ORIGIN)


def relay(meter: MeterId, hours: float, *, closed: bool) -> RelayReport:
    state = RelayState.CONNECTED if closed else RelayState.DISCONNECTED
    return RelayReport(
        meter=meter, at=ORIGIN + timedelta(hours=hours),
        relay=RelayReading(output_closed=closed, control_state=state, control_mode=4),
    )  # fmt: skip


def test_switch_reports_keep_the_newest_and_every_change(db: Database) -> None:
    reports = [relay(M1, 1, closed=True), relay(M1, 2, closed=True), relay(M1, 3, closed=False)]
    send(db, a_batch(1, [], relays=tuple(reports)))
    send(db, a_batch(2, [], relays=(relay(M1, 2.5, closed=True),)))
    with db.transaction() as conn:
        (newest,) = ingest.relay_reports(conn)
        assert (newest.at, newest.output_closed) == (ORIGIN + timedelta(hours=3), False)
        changes = ingest.relay_changes(conn, M1)
        assert [change.output_closed for change in changes] == [False, True]


def test_reports_of_meters_that_hang_elsewhere_are_not_believed(db: Database) -> None:
    event = EndDeviceEvent(
        meter=M3, code=EventCode.METER_SILENT, at=ORIGIN, detail="half\ud800 \x00 \\u0000"
    )
    late = relay(M1, 24 * 400, closed=True)
    batch = a_batch(1, [], relays=(relay(M3, 1, closed=False), late), events=(event,))
    payload = envelope.encode(batch_to_plain(batch), envelope.JSON)
    outcome = send_octets(db, payload, content_type=envelope.JSON)
    assert (outcome.account.reports, outcome.account.reports_quarantined) == (3, 3)
    assert sorted(item.cause for item in in_quarantine(db)) == [
        "report.foreign_meter", "report.foreign_meter", "report.time",
    ]  # fmt: skip
    with db.transaction() as conn:
        assert ingest.relay_reports(conn) == []
        assert ingest.batches_out_of_balance(conn) == []


def test_events_are_kept_once(db: Database) -> None:
    event = EndDeviceEvent(
        meter=M1, code=EventCode.CLOCK_DRIFT, at=ORIGIN, origin="0-0:99.98.0", detail="421000 ms"
    )
    send(db, a_batch(1, [], events=(event, event)))
    send(db, a_batch(2, [], events=(event,)))
    with db.transaction() as conn:
        assert ingest.events_of(conn, M1) == [event]


def test_entries_of_two_logs_that_mean_the_same_at_one_instant_are_two_events(
    db: Database,
) -> None:
    twins = [
        EndDeviceEvent(meter=M1, code=EventCode.WRONG_PASSWORD, at=ORIGIN, origin=origin)
        for origin in ("idis/99.98.1/46", "idis/99.98.1/46#2", "idis/99.98.4/46")
    ]
    send(db, a_batch(1, [], events=tuple(twins)))
    send(db, a_batch(2, [], events=tuple(reversed(twins))))
    with db.transaction() as conn:
        kept = ingest.events_of(conn, M1)
    assert sorted(event.origin for event in kept) == [twin.origin for twin in twins]


def test_a_concentrator_may_tell_of_itself_but_of_no_other_and_has_no_switch(db: Database) -> None:
    full = EndDeviceEvent(meter=MeterId(C1), code=EventCode.OUTBOX_FULL, at=ORIGIN)
    other = EndDeviceEvent(meter=MeterId(C2), code=EventCode.OUTBOX_FULL, at=ORIGIN)
    switch = relay(MeterId(C1), 1, closed=False)
    outcome = send(db, a_batch(1, [], relays=(switch,), events=(full, other)))
    assert outcome.account.reports_quarantined == 2
    with db.transaction() as conn:
        assert ingest.events_of(conn, MeterId(C1)) == [full]
        assert ingest.relay_reports(conn) == []


def test_missing_batch_numbers_are_counted(db: Database) -> None:
    for seq in (1, 2, 5):
        send(db, a_batch(seq, []))
    with db.transaction() as conn:
        assert ingest.missing_batches(conn) == {(C1, 1): 2}


def test_the_ingest_role_may_do_its_work_and_no_more(database_dsn: str) -> None:
    with Database(database_dsn, user="meterloop_ingest") as db:
        outcome = send(db, a_batch(1, [*GOOD, *registers(MeterId("M-777777"), {1: 5})]))
        assert (outcome.account.stored, outcome.account.quarantined) == (4, 1)
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction() as conn:
            conn.execute("DELETE FROM ingest.reading")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction() as conn:
            conn.execute("UPDATE assets.meter SET max_w = 1000")


def test_a_meter_named_twice_in_one_batch_is_one_meter(db: Database) -> None:
    merged = merge(a_batch(1, registers(M1, {1: 10})), a_batch(1, registers(M1, {1: 10, 2: 12})))
    assert merged.meters == (M1, M1)
    outcome = send(db, merged)
    assert (outcome.account.stored, outcome.account.duplicates) == (2, 1)


def test_times_keep_their_milliseconds(db: Database) -> None:
    at = ORIGIN + timedelta(hours=1, milliseconds=123)
    send(db, a_batch(1, [(M1, Channel.IMPORT_WH, at, 5)]))
    assert tables(db, READINGS[0])[0][0][2] == at


def test_another_concentrator_speaks_for_its_own_meters(db: Database) -> None:
    outcome = send(db, a_batch(1, registers(M3, {1: 7}), concentrator=C2))
    assert outcome.account.stored == 1
