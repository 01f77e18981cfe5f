"""The outbox: numbering, release by receipt, coverage with its batch, counters, commands."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from edge.acquire.driver import EventMark
from edge.acquire.plan import Coverage, Gap
from edge.outbox import Outbox, OutboxError
from edge.outbox.batches import Encoded
from edge.outbox.stages import CommandEvent
from protocols.errors import PeerError
from protocols.identity import CommandId
from protocols.mqtt.downlink import Verb, sign
from protocols.mqtt.uplink import Ack, Stage
from tests.unit.edge.edge_kit import KEY, METER, NOON, command


def build(boot: int, seq: int) -> Encoded:
    return Encoded(rows=1, content_type="x", payload=f"{boot}/{seq}".encode())


def opened(tmp_path: Path, wall_ms: int = 1000) -> Outbox:
    return Outbox(tmp_path / "outbox.sqlite", wall_ms=wall_ms)


def ack(id_: str, stage: Stage, nonce: bytes = b"") -> Ack:
    return Ack(id=CommandId(id_), meter=METER, stage=stage, at=NOON, nonce=nonce)


def test_numbers_have_no_gap_even_when_a_batch_could_not_be_made(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    assert outbox.batches.append(build, {}).seq == 1

    def broken(boot: int, seq: int) -> Encoded:
        raise KeyError(seq)

    with pytest.raises(KeyError):
        outbox.batches.append(broken, {METER: Coverage(mark=NOON)})
    assert outbox.coverage.of(METER) is None
    assert outbox.batches.append(build, {}).seq == 2
    assert outbox.batches.waiting == 2


def test_a_row_leaves_on_its_receipt_only_and_once(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    first = outbox.batches.append(build, {})
    assert not outbox.batches.release(first.boot, 99)
    assert not outbox.batches.release(first.boot + 1, first.seq)
    assert outbox.batches.waiting == 1
    assert outbox.batches.release(*first.key)
    assert not outbox.batches.release(*first.key)
    assert outbox.batches.waiting == 0


def test_a_boot_goes_on_while_batches_wait_and_is_new_and_higher_otherwise(tmp_path: Path) -> None:
    first = opened(tmp_path)
    kept = first.batches.append(build, {})
    first.close()
    second = opened(tmp_path, wall_ms=9000)
    assert second.batches.boot == 1000
    assert second.batches.append(build, {}).key == (1000, 2)
    for seq in (1, 2):
        second.batches.release(1000, seq)
    second.close()
    third = opened(tmp_path, wall_ms=500)
    assert third.batches.boot == 1001, "a wall clock that went back must not repeat a boot"
    assert third.batches.append(build, {}).key == (1001, 1)
    assert kept.key == (1000, 1)


def test_the_newest_go_first_and_the_oldest_are_not_starved(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    for _ in range(20):
        outbox.batches.append(build, {})
    chosen = [batch.seq for batch in outbox.batches.choose(8, {(1000, 20), (1000, 1)})]
    assert chosen == [19, 18, 17, 16, 15, 14, 2, 3]
    assert outbox.batches.choose(0, set()) == []
    assert {batch.seq for batch in outbox.batches.choose(50, set())} == set(range(1, 21))


def test_the_same_octets_come_back_every_time(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    stored = outbox.batches.append(build, {})
    outbox.close()
    assert opened(tmp_path).batches.choose(1, set()) == [stored]


def test_coverage_is_kept_with_its_batch(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    hour = timedelta(hours=1)
    coverage = Coverage(
        mark=NOON,
        gaps=(
            Gap(start=NOON - 9 * hour, end=NOON - 8 * hour, tries=2),
            Gap(start=NOON - 5 * hour, end=NOON - hour),
        ),
    )
    outbox.batches.append(build, {METER: coverage})
    outbox.close()
    assert opened(tmp_path).coverage.of(METER) == coverage


@pytest.mark.req("D9")
def test_counters_never_repeat_over_restarts_and_connections(tmp_path: Path) -> None:
    title = b"MLOOP001"
    boxes = [opened(tmp_path) for _ in range(3)]
    taken: list[int] = []

    def reserve(outbox: Outbox) -> None:
        for _ in range(20):
            taken.extend(outbox.counters.reserve(title, "M-1.unicast", 5))

    threads = [threading.Thread(target=reserve, args=(outbox,)) for outbox in boxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outbox in boxes:
        outbox.close()
    assert len(taken) == len(set(taken)) == 300
    again = opened(tmp_path).counters.reserve(title, "M-1.unicast", 1)
    assert again[0] == max(taken) + 1


def test_counters_are_apart_by_key_only_go_up_and_end_loudly(tmp_path: Path) -> None:
    counters = opened(tmp_path).counters
    assert counters.reserve(b"A" * 8, "k", 4) == range(1, 5)
    assert counters.reserve(b"B" * 8, "k", 1) == range(1, 2)
    counters.raise_to(b"A" * 8, "k", 3)
    assert counters.reserve(b"A" * 8, "k", 1)[0] == 5
    counters.raise_to(b"A" * 8, "k", 2**32 - 2)
    assert counters.reserve(b"A" * 8, "k", 2) == range(2**32 - 2, 2**32)
    with pytest.raises(PeerError, match="counter_exhausted"):
        counters.reserve(b"A" * 8, "k", 1)
    with pytest.raises(ValueError, match="block"):
        counters.reserve(b"A" * 8, "k", 0)


def test_a_command_is_entered_once_and_moves_only_along_its_table(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    payload = sign(command(id_="a"), KEY)
    accepted = ack("a", Stage.ACCEPTED)
    book = outbox.commands
    assert book.enter(payload, Verb.DISCONNECT, CommandEvent.ADMIT, accepted)
    assert not book.enter(payload, Verb.DISCONNECT, CommandEvent.ADMIT, accepted)
    assert not book.advance(CommandEvent.GO, ack("a", Stage.STARTED))
    assert not book.advance(CommandEvent.BEGIN, ack("a", Stage.STARTED))
    assert book.advance(CommandEvent.CHALLENGE, ack("a", Stage.CHALLENGE, b"n" * 16))
    assert book.advance(CommandEvent.GO, ack("a", Stage.STARTED))
    assert not book.advance(CommandEvent.GO, ack("a", Stage.STARTED))
    assert not book.advance(CommandEvent.GO, ack("unknown", Stage.STARTED))
    assert [item.id for item in book.still_open()] == ["a"]
    assert book.advance(CommandEvent.SUCCEED, ack("a", Stage.DONE))
    assert book.still_open() == []
    stages = [item.stage for item in outbox.acks.of(CommandId("a"))]
    assert stages == [Stage.ACCEPTED, Stage.CHALLENGE, Stage.STARTED, Stage.DONE]


def test_an_ack_is_told_until_its_receipt_and_again_when_asked(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.commands.enter(b"p", Verb.RECONNECT, CommandEvent.ADMIT, ack("a", Stage.ACCEPTED))
    outbox.commands.advance(CommandEvent.BEGIN, ack("a", Stage.STARTED))
    assert len(outbox.acks.unreceipted()) == 2
    assert outbox.acks.release(CommandId("a"), Stage.ACCEPTED)
    assert not outbox.acks.release(CommandId("a"), Stage.ACCEPTED)
    assert not outbox.acks.release(CommandId("b"), Stage.ACCEPTED)
    outbox.acks.release(CommandId("a"), Stage.STARTED)
    assert outbox.acks.unreceipted() == []
    outbox.commands.tell_again(CommandId("a"))
    assert len(outbox.acks.unreceipted()) == 1


def test_a_disk_that_refuses_is_an_error_of_its_own_and_changes_nothing(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    outbox.batches.append(build, {})
    with outbox.batches._database.read() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")

    def huge(boot: int, seq: int) -> Encoded:
        return Encoded(rows=1, content_type="x", payload=b"\0" * 1_000_000)

    with pytest.raises(OutboxError, match="full"):
        outbox.batches.append(huge, {METER: Coverage(mark=NOON)})
    assert outbox.batches.waiting == 1
    assert outbox.coverage.of(METER) is None
    with outbox.batches._database.read() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    assert outbox.batches.append(huge, {}).seq == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutboxError, match="outbox.sqlite"):
        Outbox(tmp_path / "file" / "outbox.sqlite", wall_ms=1)


def test_it_is_durable_before_it_returns(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    with outbox.batches._database.read() as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,), "2 is FULL"
    assert (tmp_path / "outbox.sqlite").stat().st_mode & 0o077 == 0


def test_the_mark_of_a_log_is_stored_with_its_batch_or_not_at_all(tmp_path: Path) -> None:
    mark = EventMark(device_at=NOON, read_at=NOON + timedelta(seconds=7), alarms=(8192, 0, 1))
    outbox = opened(tmp_path)

    def broken(boot: int, seq: int) -> Encoded:
        raise KeyError(seq)

    with pytest.raises(KeyError):
        outbox.batches.append(broken, {}, {METER: mark})
    assert outbox.event_marks.of(METER) is None
    outbox.batches.append(build, {}, {METER: mark})
    outbox.close()
    again = opened(tmp_path)
    assert again.event_marks.of(METER) == mark
    later = EventMark(device_at=NOON, read_at=NOON + timedelta(hours=1))
    again.batches.append(build, {}, {METER: later})
    assert again.event_marks.of(METER) == later
