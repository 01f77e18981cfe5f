"""What a simulator remembers over a kill, and what its truth file says."""

from datetime import UTC, datetime

import pytest

from protocols.dlms.classes.disconnect import Trigger
from protocols.reading import Channel
from protocols.timeline import to_ms
from simulators.faults import Fault
from simulators.fleet import make_fleet
from simulators.truth import TruthFile, TruthLedger, TruthMismatchError
from simulators.world import World

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=80, origin=ORIGIN)
HOUR = 3_600_000


class Life:
    """One run of the simulator's core on a truth file, at instants the test chooses."""

    def __init__(self, path, now):
        self.now = now
        self.ledger = TruthLedger(path, FLEET)
        self.world = World(FLEET, self.ledger, now_ms=lambda: self.now)

    def meter(self, name):
        return self.world.meters[FLEET.planted(name).meter]

    def flush(self):
        return self.world.close_intervals()


def seen(meter):
    rows = meter.profile()
    columns = [column.tolist() for column in (rows.ends_ms, rows.wh, rows.status)]
    return meter.snapshot(), set(meter.faults), columns


@pytest.fixture
def path(tmp_path):
    return tmp_path / "truth.sqlite"


def test_a_killed_simulator_comes_back_the_same(path):
    first = Life(path, to_ms(ORIGIN))
    first.flush()
    first.now += 5 * HOUR
    first.meter("story").remote(Trigger.REMOTE_DISCONNECT)
    first.meter("stuck_relay").switch_fault(Fault.STUCK_RELAY, on=False)
    first.meter("race").set_clock(first.now + 90_000)
    first.now += 2 * HOUR
    first.meter("arms").remote(Trigger.REMOTE_DISCONNECT)
    first.meter("arms").remote(Trigger.REMOTE_RECONNECT)
    left = {name: seen(meter) for name, meter in first.world.meters.items()}
    # killed here: nothing is closed, the last thing written was before the last answer
    second = Life(path, first.now)
    assert {name: seen(meter) for name, meter in second.world.meters.items()} == left
    assert second.meter("arms").control_state == 2


def test_truth_intervals_are_the_profile_and_come_once(path):
    life = Life(path, to_ms(ORIGIN))
    written = life.flush()
    life.now += 7 * HOUR
    life.meter("story").remote(Trigger.REMOTE_DISCONNECT)
    written += life.flush()
    life.now += 9 * HOUR
    again = Life(path, life.now)
    written += again.flush()
    assert again.flush() == 0
    truth = TruthFile(path)
    total = 0
    for name, meter in again.world.meters.items():
        rows = meter.profile()
        starts = (rows.ends_ms - rows.seconds * 1000).tolist()
        assert truth.intervals(name) == dict(zip(starts, rows.wh.tolist(), strict=True))
        total += len(rows)
    assert written == total > 3000


def test_what_a_profile_tells_is_in_the_truth_before_it_is_told(path):
    life = Life(path, to_ms(ORIGIN))
    meter = life.meter("story")
    told = meter.profile()
    starts = (told.ends_ms - told.seconds * 1000).tolist()
    truth = TruthFile(path)
    assert truth.intervals(meter.spec.meter) == dict(zip(starts, told.wh.tolist(), strict=True))
    life.now += 3 * HOUR
    more = meter.profile(first_end_ms=int(told.ends_ms[-1]) + 1)
    assert len(more) > 0
    assert len(truth.intervals(meter.spec.meter)) == len(told) + len(more)


def test_served_values_relay_moves_and_faults_are_readable_beside_the_writer(path):
    life = Life(path, to_ms(ORIGIN))
    meter = life.meter("story")
    snapshot = meter.snapshot()
    meter.note_served(snapshot, Channel.IMPORT_WH, snapshot.register_wh, 0)
    meter.remote(Trigger.REMOTE_DISCONNECT)
    meter.switch_fault(Fault.SILENT, on=True)
    truth = TruthFile(path)
    name = meter.spec.meter
    assert truth.rows("SELECT * FROM served") == [
        (name, snapshot.device_ms, 1, snapshot.register_wh, 0)
    ]
    moves = truth.relay_moves(name)
    assert [(move.output, move.cause) for move in moves] == [(False, "remote_disconnect")]
    assert truth.rows("SELECT name, begins FROM fault") == [("silent", 1)]
    assert truth.rows("SELECT count(*), sum(has_profile) FROM meter") == [
        (len(FLEET.meters), sum(m.interval_seconds is not None for m in FLEET.meters))
    ]


def test_frame_counters_are_never_given_twice(path):
    first = TruthLedger(path, FLEET)
    given = [*first.reserve_counters("M-000001", 10), *first.reserve_counters("M-000001", 5)]
    second = TruthLedger(path, FLEET)  # the first was killed
    given += [*second.reserve_counters("M-000001", 10), *second.reserve_counters("M-000002", 1)]
    assert given[:25] == list(range(1, 26))
    assert given[25] == 1


def test_only_what_must_outlive_a_power_cut_waits_for_the_disk(path):
    fleet = make_fleet(seed=1, customers=12, origin=ORIGIN)
    ledger, meter = TruthLedger(path, fleet), fleet.meters[0].meter
    told = []
    ledger._connection.set_trace_callback(told.append)
    ledger.reserve_counters(meter, 10)
    ledger.served(meter, 1, Channel.IMPORT_WH, 7, 0)
    ledger.served(meter, 2, Channel.IMPORT_WH, 8, 0)
    ledger.reserve_counters(meter, 10)
    ledger.close()
    commits = ("PRAGMA", "COMMIT", "INSERT INTO served")
    steps = [line for line in told if line.startswith(commits)]
    assert [step.split(" VALUES")[0] for step in steps] == [
        "PRAGMA synchronous=FULL", "COMMIT",
        "PRAGMA synchronous=NORMAL", "INSERT INTO served", "INSERT INTO served",
        "PRAGMA synchronous=FULL", "COMMIT",
    ]  # fmt: skip


def test_a_truth_file_of_another_fleet_is_refused(path):
    TruthLedger(path, FLEET).close()
    other = make_fleet(seed=8, customers=80, origin=ORIGIN)
    with pytest.raises(TruthMismatchError, match="another truth file"):
        TruthLedger(path, other)


def test_a_missing_truth_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="was the simulator started"):
        TruthFile(tmp_path / "none")
