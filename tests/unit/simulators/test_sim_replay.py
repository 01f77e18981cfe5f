"""Recorded series drive meters to the watt-hour, gaps staying gaps."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from protocols.timeline import to_ms
from simulators.replay import RING_SLOTS, ReplayError, load_replay, replay_curves, replay_fleet
from simulators.truth import TruthFile, TruthLedger
from simulators.world import World

START = datetime(2013, 5, 1)
HALF = timedelta(minutes=30)
RECORDED = Path(__file__).parents[4] / "shared" / "data" / "nsw10_halfhourly.parquet"


def write(path, rows, names=("customer_id", "t", "kwh")):
    customers, starts, kwh = zip(*rows, strict=True)
    table = pa.table({names[0]: list(customers), names[1]: list(starts), names[2]: list(kwh)})
    pq.write_table(table, path)
    return path


def world_of(replay, truth, later=timedelta(0)):
    fleet = replay_fleet(replay, seed=1)
    now = to_ms(replay.origin + later)
    ledger = TruthLedger(truth, fleet)
    return World(
        fleet, ledger, now_ms=lambda: now, curve=replay_curves(replay), profile_slots=RING_SLOTS
    )


def test_a_profile_holds_the_series_with_its_gaps_and_zeros(tmp_path):
    kept = [0, 1, 2, 5, 6, 9]
    rows = [("a", START + n * HALF, 0.1 * n) for n in kept]
    rows += [("b", START + n * HALF, 0.25) for n in range(10)]
    replay = load_replay(write(tmp_path / "two.parquet", rows[::-1]))
    world = world_of(replay, tmp_path / "truth")
    meter = world.meters["M-000001"]
    profile = meter.profile()
    first = to_ms((START - timedelta(hours=10)).replace(tzinfo=UTC))
    assert (profile.ends_ms - 1_800_000).tolist() == [first + n * 1_800_000 for n in kept]
    assert profile.wh.tolist() == [100 * n for n in kept]
    register = meter.snapshot().register_wh - meter.spec.opening_register_wh
    assert register == sum(100 * n for n in kept)


def test_a_replay_forgets_nothing_however_long_time_runs_on(tmp_path):
    rows = [("a", START + n * HALF, 0.1) for n in range(10)]
    replay = load_replay(write(tmp_path / "one.parquet", rows))
    at_once = world_of(replay, tmp_path / "truth")
    late = world_of(replay, tmp_path / "other", later=timedelta(days=700))
    kept = [world.meters["M-000001"].profile().ends_ms.tolist() for world in (at_once, late)]
    assert kept[0] == kept[1]
    assert len(kept[0]) == 10
    assert late.meters["M-000001"].snapshot().power_w == 0


def test_zoned_stamps_and_the_other_column_names_are_taken(tmp_path):
    start = datetime(2013, 5, 1, tzinfo=UTC)
    rows = [("a", start + n * HALF, 0.001 * n) for n in range(4)]
    replay = load_replay(write(tmp_path / "z.parquet", rows, ("customer", "start", "kwh")))
    assert replay.first_ms == to_ms(start)
    assert replay.origin == start + 4 * HALF


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", START, 0.0005)], "whole watt-hours"),
        ([("a", START, float("nan"))], "whole watt-hours"),
        ([("a", START, -0.1)], "negative"),
        ([("a", START, 0.1), ("a", START, 0.1)], "a slot twice"),
        ([("a", START + timedelta(minutes=7), 0.1)], "off the half-hour grid"),
        ([("a", START, 0.1), ("a", START + timedelta(days=200 * 365), 0.1)], "slots"),
    ],
)
def test_a_series_that_cannot_be_replayed_is_refused_in_words(tmp_path, rows, message):
    with pytest.raises(ReplayError, match=message):
        load_replay(write(tmp_path / "bad.parquet", rows))


def test_a_file_without_the_columns_is_refused_in_words(tmp_path):
    path = write(tmp_path / "c.parquet", [("a", START, 0.1)], ("customer_id", "t", "energy"))
    with pytest.raises(ReplayError, match="no column kwh"):
        load_replay(path)
    (tmp_path / "text.parquet").write_text("customer,start,kwh")
    with pytest.raises(ReplayError, match="cannot be read as Parquet"):
        load_replay(tmp_path / "text.parquet")


@pytest.mark.skipif(
    not RECORDED.exists() and not os.environ.get("CI"), reason=f"{RECORDED.name} is not here"
)
def test_ten_real_homes_are_in_profile_and_truth_to_the_watt_hour(tmp_path):
    table = pq.read_table(RECORDED)
    customers = np.array(table["customer_id"].to_pylist())
    starts = table["t"].to_numpy().astype("datetime64[ms]").astype(np.int64) - 36_000_000
    wh = np.rint(table["kwh"].to_numpy() * 1000).astype(np.int64)
    world = world_of(load_replay(RECORDED), tmp_path / "truth")
    assert world.close_intervals() == table.num_rows == 293_874
    truth = TruthFile(tmp_path / "truth")
    for name, meter in world.meters.items():
        mine = customers == meter.spec.source
        order = np.argsort(starts[mine])
        profile = meter.profile()
        assert (profile.ends_ms - 1_800_000).tolist() == starts[mine][order].tolist()
        assert profile.wh.tolist() == wh[mine][order].tolist()
        assert meter.snapshot().register_wh == meter.spec.opening_register_wh + wh[mine].sum()
        assert truth.intervals(name) == dict(
            zip(starts[mine].tolist(), wh[mine].tolist(), strict=True)
        )
