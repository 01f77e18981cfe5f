"""Many payloads in one transaction, many workers beside each other: the same as one by one."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cloud.assets import service as assets
from cloud.assets.model import Installation, Registration
from cloud.ingest import service as ingest
from cloud.ingest.service import intake, taking
from cloud.store.db import Database
from cloud.usage import service as usage
from protocols.identity import BatchId, MeterId, UsagePointId
from protocols.mqtt.uplink import DataBatch
from protocols.reading import Channel
from tests.integration.ingest_kit import (
    C1,
    C2,
    M1,
    M2,
    M3,
    ORIGIN,
    READINGS,
    SPARE,
    a_batch,
    arrival_of,
    build_network,
    payload_of,
    registers,
    send,
    slots,
    tables,
)

NOW = ORIGIN + timedelta(days=60)


@pytest.fixture(autouse=True)
def _network(db: Database) -> None:
    build_network(db)


def arrivals(*batches: DataBatch) -> list[Any]:
    return [
        arrival_of(payload_of(each), concentrator=each.id.concentrator, hint=each.id)
        for each in batches
    ]


def send_all(db: Database, *batches: DataBatch) -> list[Any]:
    return ingest.store_batches(db, arrivals(*batches), derive=usage.derive)


def test_payloads_of_many_concentrators_share_a_transaction(db: Database) -> None:
    done: list[str] = []
    first, second = a_batch(1, registers(M1, {1: 10})), a_batch(2, registers(M2, {1: 20}))
    other = a_batch(1, registers(M3, {1: 30}), concentrator=C2)
    garbage = replace(
        arrivals(first)[0], payload=b"\xff", hint=BatchId(concentrator=C1, boot=1, seq=9)
    )
    found = arrivals(first, other, second, first)
    outcomes = ingest.store_batches(
        db, [*found[:2], garbage, *found[2:]], derive=usage.derive,
        alongside=lambda conn: done.append(str(conn.execute("SELECT 1").fetchone())),
    )  # fmt: skip
    assert done == ["(1,)"]
    assert [each.account.stored for each in outcomes] == [1, 1, 0, 1, 1]
    assert [each.repeated for each in outcomes] == [False, False, False, False, True]
    assert [each.receipt.seq for each in outcomes] == [1, 1, 9, 2, 1]
    assert outcomes[2].cause == "payload.compression"
    assert {live.register_wh for each in outcomes for live in each.live} == {10, 20, 30}
    with db.transaction() as conn:
        assert ingest.totals(conn)["readings"] == 3
        assert ingest.batches_out_of_balance(conn) == []


def test_rows_of_one_batch_are_known_to_the_next_of_the_same_transaction(db: Database) -> None:
    outcomes = send_all(
        db,
        a_batch(1, registers(M1, {1: 100, 2: 200})),
        a_batch(2, registers(M1, {2: 200, 3: 150})),
        a_batch(3, registers(M1, {2: 201, 4: 400})),
    )
    assert [each.account.stored for each in outcomes] == [2, 0, 1]
    assert [each.account.duplicates for each in outcomes] == [0, 1, 0]
    assert [each.account.quarantined for each in outcomes] == [0, 1, 1]


def test_a_payload_that_breaks_the_code_harms_no_other(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = taking.take

    def take(conn: Any, entries: Any, policy: Any) -> Any:
        taken = real(conn, entries, policy)
        if any(entry.batch.id.seq == 2 for entry in entries):
            raise ZeroDivisionError("a bug of ours, after rows were written")
        return taken

    monkeypatch.setattr(intake, "take", take)
    batches = [a_batch(seq, registers(M1, {seq: 100 * seq})) for seq in (1, 2, 3)]
    outcomes = send_all(db, *batches)
    assert [each.cause for each in outcomes] == ["", "ingest.poisoned", ""]
    assert [row[3] for row in tables(db, READINGS[0])[0]] == [100, 300]
    with pytest.raises(ZeroDivisionError):
        send(db, a_batch(2, registers(M2, {2: 5}), boot=2))
    monkeypatch.undo()
    with db.transaction() as conn:
        (item,) = ingest.quarantined(conn)
    assert item.octets == len(payload_of(batches[1]))
    assert usage.redrive(db, item.id, actor="user:lin", now=NOW, wall_now=NOW) == 1
    assert [row[3] for row in tables(db, READINGS[0])[0]] == [100, 200, 300]


def test_workers_that_take_turns_never_believe_an_old_book(database_dsn: str) -> None:
    with Database(database_dsn) as one, Database(database_dsn) as two:
        send(one, a_batch(1, registers(M1, {1: 1000})))
        send(two, a_batch(2, registers(M1, {5: 5000})))
        # one's book ends at hour 1: only the stamp tells it of hour 5
        late = send(one, a_batch(3, registers(M1, {3: 6000, 4: 4000})))
        assert (late.account.stored, late.account.quarantined) == (1, 1)
        again = send(two, a_batch(4, registers(M1, {4: 4000, 3: 3000})))
        assert (again.account.duplicates, again.account.stored) == (1, 1)
        (found,) = tables(one, READINGS[0])
    assert [wh for *_, wh in found] == [1000, 3000, 4000, 5000]


def test_a_book_learns_of_what_is_hung_up_and_moved_elsewhere(db: Database) -> None:
    send(db, a_batch(1, registers(M1, {1: 10})))
    assert send(db, a_batch(2, registers(SPARE, {49: 5}))).account.quarantined == 1
    assets.exchange(
        db, usage_point=UsagePointId("UP-000003"), new_meter=SPARE, at=ORIGIN + timedelta(days=2),
        final_wh=None, initial_wh=None, actor="user:lin", now=NOW,
    )  # fmt: skip
    assert send(db, a_batch(3, registers(SPARE, {49: 5}))).account.quarantined == 1
    moved = a_batch(1, registers(SPARE, {49: 5}), concentrator=C2)
    assert send(db, moved).account.stored == 1
    # the old meter of that place now hangs below the other concentrator, and both may tell of it
    with db.transaction() as conn:
        conn.execute(
            "UPDATE assets.installation SET removed_at = %s WHERE meter = 'M-000001'",
            (ORIGIN + timedelta(days=3),),
        )
        conn.execute(
            "UPDATE assets.installation SET removed_at = %s WHERE meter = 'M-000009'",
            (ORIGIN + timedelta(days=3),),
        )
    assets.register(
        db,
        Registration(
            installations=(
                Installation(
                    meter=M1, usage_point=UsagePointId("UP-000003"), concentrator=C2,
                    installed_at=ORIGIN + timedelta(days=3),
                ),
            )
        ),
        now=NOW,
    )  # fmt: skip
    found = send_all(
        db,
        a_batch(4, registers(M1, {60: 500})),
        a_batch(2, registers(M1, {80: 700, 60: 500}), concentrator=C2),
        a_batch(5, registers(M1, {70: 600, 71: 90})),
    )
    assert [each.account.stored for each in found] == [1, 1, 1]
    assert [each.account.duplicates for each in found] == [0, 1, 0]
    assert found[2].account.quarantined == 1


def test_a_meter_without_a_known_profile_is_held_to_one_length(db: Database) -> None:
    with db.transaction() as conn:
        conn.execute("UPDATE assets.meter SET interval_seconds = NULL")
    assert send(db, a_batch(1, slots(M1, {0: 5, 1: 6}))).account.stored == 2
    hour = [(M1, Channel.IMPORT_INTERVAL_WH, ORIGIN + timedelta(hours=2), 9)]
    mixed = send(db, a_batch(2, [*hour, *slots(M1, {6: 7})], change={"seconds": 3600}))
    assert (mixed.account.stored, mixed.account.quarantined) == (0, 2)
    with db.transaction() as conn:
        assert {item.cause for item in ingest.quarantined(conn)} == {"reading.length"}
    assert send(db, a_batch(3, slots(M1, {6: 7}))).account.stored == 1


def test_an_unknown_channel_or_unit_stops_nothing(db: Database) -> None:
    odd = [(M1, 77, ORIGIN + timedelta(hours=1), 5)]
    outcome = send(db, a_batch(1, [*odd, *registers(M1, {1: 5})]))  # type: ignore[list-item]
    assert (outcome.account.stored, outcome.account.quarantined) == (1, 1)
    scaled = send(db, a_batch(2, registers(M1, {2: 1}), change={"scaler": 19}))
    assert scaled.account.quarantined == 1
    assert send(db, a_batch(3, registers(M1, {3: 6}))).account.stored == 1


def test_meters_seen_are_told_of_all_concentrators(db: Database) -> None:
    send_all(
        db,
        a_batch(1, registers(M1, {1: 10})),
        a_batch(1, registers(M3, {2: 10}), concentrator=C2),
        a_batch(2, registers(MeterId("M-777777"), {3: 1})),
    )
    with db.transaction() as conn:
        seen = {item.meter: item.last_at - ORIGIN for item in ingest.meters_seen(conn)}
    assert seen == {M1: timedelta(hours=1), M3: timedelta(hours=2)}
