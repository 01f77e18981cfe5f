"""
The agent killed with SIGKILL at each failpoint in turn, under load, and held against the truth.

`METERLOOP_KILLS` says how often, 36 times if it is not set; `make kill-test` kills a thousand
times. Meters are polled, profiles backfilled, clocks set and switches thrown all the while.
"""

import asyncio
import os
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.failpoint import NAMES
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Verb
from protocols.mqtt.uplink import Stage
from protocols.reading import Channel
from protocols.timeline import TimeScale
from simulators.endpoints import allocate
from simulators.run import SimulatorConfig
from simulators.run import run as run_simulator
from tests.chaos.kill_kit import (
    ORIGIN,
    SPEED,
    Ledger,
    Nonces,
    Nursery,
    Switchboard,
    kill,
    listening,
    nursery,
    recorded,
    small_town,
    true_intervals,
    truth_rows,
    write_agent,
)
from tests.chaos.kill_upkeep import UpkeepBoard, serving_images

KILLS = int(os.environ.get("METERLOOP_KILLS", "36"))
SEED = 20261121
LIFE_SECONDS = 3.0
"""An agent that has not reached its failpoint by then is killed wherever it is."""
TITLE = b"MLOOP001"
OFTEN = {"edge.after_reserve", "edge.before_clock_set", "edge.before_operate", "edge.after_operate",
         "edge.after_verified", "edge.before_activate", "edge.after_activate", "edge.after_pend",
         "edge.before_promote", "edge.after_promote"}  # fmt: skip
"""Places reached a few times a life at most: killed there at the first."""


async def kill_them(cradle: Nursery, kills: int) -> Counter[str]:
    """Bear and kill so many agents; return how many died where."""
    draw = random.Random(SEED)
    places = sorted(NAMES)
    died: Counter[str] = Counter()
    for number in range(kills):
        place = places[number % len(places)]
        nth = 1 if place in OFTEN else draw.choice([1, 1, 2, 3, 5, 9])
        pid = await cradle.bear(f"{place}@{nth}")
        death = asyncio.create_task(cradle.death())
        try:
            await asyncio.wait_for(asyncio.shield(death), LIFE_SECONDS)
            died[place] += 1
        except TimeoutError:
            kill(pid)
            died["anywhere"] += 1
        if number % 100 == 99:
            print(f"{number + 1} kills", flush=True)
        assert await death == -9, "an agent ended by itself: that is a bug, not a kill"
    return died


async def until_all_is_told(ledger: Ledger, truth: Path, since: datetime) -> None:
    """Wait until every interval that is closed at this moment has come."""
    expected = set(true_intervals(truth, since=since))
    async with asyncio.timeout(120):
        while True:
            told = {
                (meter, at) for meter, channel, at, _ in ledger.rows
                if channel == Channel.IMPORT_INTERVAL_WH
            }  # fmt: skip
            if expected <= told:
                return
            await asyncio.sleep(0.2)


@pytest.mark.req("A8", "V14", "D9")
@pytest.mark.timeout(180 + 4 * KILLS)
def test_whatever_is_killed_nothing_is_lost_doubled_or_reused(
    mqtt_broker: BrokerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = small_town(SEED)
    scale = TimeScale(wall_origin=datetime.now(UTC), origin=ORIGIN, speed=SPEED)
    truth = tmp_path / "truth.sqlite"
    places = allocate(fleet, tmp_path / "fleet.json")
    config = write_agent(tmp_path, mqtt_broker, fleet, places, scale)
    simulator = SimulatorConfig(
        seed=SEED, scale=scale, truth=truth, fleet_file=tmp_path / "fleet.json"
    )
    switched = [m for m in fleet.meters if m.control_mode == 4][:4]

    cared_for = next(m for m in fleet.meters if m.authentication == "hls5" and m not in switched)

    async def story(nonces: Nonces) -> tuple[Ledger, Switchboard, UpkeepBoard, Counter[str]]:
        stop, up = asyncio.Event(), asyncio.Event()
        town = asyncio.create_task(run_simulator(simulator, stop=stop, ready=up.set, status={}))
        await asyncio.wait_for(up.wait(), 60)
        async with (
            listening(mqtt_broker) as ledger,
            serving_images(mqtt_broker),
            nursery(config) as cradle,
        ):
            board = Switchboard(ledger, switched, scale)
            ordering = asyncio.create_task(board.run())
            upkeep = UpkeepBoard(ledger, cared_for, scale)
            caring = asyncio.create_task(upkeep.run())
            died = await kill_them(cradle, KILLS)
            pid = await cradle.bear()
            board.closing.set()
            upkeep.closing.set()
            await asyncio.wait_for(ordering, 120)
            await asyncio.wait_for(caring, 120)
            await until_all_is_told(ledger, truth, fleet.history_from)
            os.kill(pid, 15)
            assert await cradle.death() == 0
        stop.set()
        await asyncio.wait_for(town, 60)
        return ledger, board, upkeep, died

    with recorded(monkeypatch) as nonces:
        ledger, board, upkeep, died = asyncio.run(story(nonces))
    assert sum(died.values()) == KILLS
    check_readings(ledger, truth)
    check_switches(board, truth)
    check_upkeep(upkeep)
    ours = nonces.of(TITLE)
    assert len({key for key, _ in ours}) >= 3, "ciphered meters were spoken to"
    assert [pair for pair, times in ours.items() if times > 1] == [], "a nonce was used twice"
    print(f"\n{KILLS} kills {dict(died)}; {len(ledger.digests)} batches, {len(ledger.rows)} rows, "
          f"{len(ours)} nonces, {len(board.ended)} orders "
          f"{dict(Counter(s.value for _, _, s in board.ended))}, "
          f"{len(truth_rows(truth, 'SELECT 1 FROM clock'))} clock sets, "
          f"upkeep {dict(upkeep.ended)}")  # fmt: skip


def check_readings(ledger: Ledger, truth: Path) -> None:
    """Everything true was told (the wait saw to that), once, and nothing but the truth."""
    assert ledger.altered == []
    assert [row for row, times in ledger.rows.items() if times > 1] == [], "told twice"
    true = true_intervals(truth, since=ORIGIN.replace(year=2000))
    served = {
        (meter, at, raw)
        for meter, at, raw in truth_rows(
            truth, "SELECT meter, at_ms, raw FROM served WHERE channel = ?", int(Channel.IMPORT_WH)
        )
    }
    modbus = {meter for (meter,) in truth_rows(truth, "SELECT meter FROM meter WHERE NOT "
                                                      "has_profile")}  # fmt: skip
    for meter, channel, at, raw in ledger.rows:
        if channel == Channel.IMPORT_INTERVAL_WH:
            assert true[meter, at] == raw
        elif meter not in modbus:
            assert (meter, at, raw) in served
    for boot in {boot for boot, _ in ledger.digests}:
        numbers = {seq for at, seq in ledger.digests if at == boot}
        assert numbers == set(range(1, max(numbers) + 1)), f"a batch of boot {boot} is missing"


def check_upkeep(board: UpkeepBoard) -> None:
    """Settings and firmware always arrive; keys too, or the meter surely has the ones before."""
    ends = {(kind, stage, reason) for kind, stage, reason in board.ended}
    assert {kind for kind, _, _ in ends} == {"settings", "firmware", "keys"}
    assert ends <= {
        ("settings", "done", ""), ("firmware", "done", ""), ("keys", "done", ""),
        ("keys", "failed", "keys_unchanged"),
    }  # fmt: skip


def check_switches(board: Switchboard, truth: Path) -> None:
    """Each order that ended well moved its switch once, each other one never."""
    for meter in {meter for meter, _, _ in board.ended}:
        moves = [
            bool(closed)
            for (closed,) in truth_rows(
                truth, "SELECT output_closed FROM relay WHERE meter = ? ORDER BY rowid", meter
            )
        ]
        well = [
            verb is Verb.RECONNECT
            for who, verb, stage in board.ended
            if who == meter and stage is Stage.DONE
        ]
        assert moves == well
