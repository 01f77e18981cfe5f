"""Meters whose clocks are off, behind an agent that may set them: what is set, when, and marked."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.run import run as run_edge
from protocols.events import EventCode
from protocols.mqtt.broker import BrokerAddress
from protocols.reading import Channel, Status
from protocols.timeline import TimeScale, to_ms
from simulators.endpoints import allocate
from simulators.fleet import Fleet, SimMeter, make_fleet
from simulators.run import SimulatorConfig
from simulators.run import run as run_simulator
from tests.integration.edge_harness import Cloud, cloud
from tests.integration.test_edge_fleet import edge_config

SPEED = 240
ORIGIN = datetime(2026, 3, 2, tzinfo=UTC)
INTERVAL_MS = 900_000
OFF = {"late": -40_000, "early": 60_000, "right": 3_000, "far": 420_000}


def town() -> tuple[Fleet, dict[str, SimMeter]]:
    """Return a fleet of which four meters have the clocks of `OFF`, and these four."""
    fleet = make_fleet(seed=7, origin=ORIGIN)
    plain = [
        m for m in fleet.meters
        if m.protocol == "dlms" and not m.planted and m.interval_seconds == 900
    ]  # fmt: skip
    chosen = {
        name: replace(meter, clock_offset_ms=off, clock_drift_ppm=0)
        for (name, off), meter in zip(OFF.items(), plain, strict=False)
    }
    changed = {meter.meter: meter for meter in chosen.values()}
    meters = tuple(changed.get(meter.meter, meter) for meter in fleet.meters)
    return replace(fleet, meters=meters), chosen


def rows(there: Cloud, meter: str) -> dict[int, tuple[int, int]]:
    """Return interval start -> (Wh, status) of a meter as told."""
    found = {}
    for batch in there.batches:
        columns = {name: column.tolist() for name, column in batch.columns.items()}
        for n, channel in enumerate(columns["channel"]):
            if channel == Channel.IMPORT_INTERVAL_WH and (
                batch.meters[columns["meter"][n]] == meter
            ):
                found[columns["at_ms"][n]] = (columns["raw"][n], columns["status"][n])
    return found


def codes(there: Cloud, meter: str) -> list[EventCode]:
    found = {(e.code, e.at): e.code for b in there.batches for e in b.events if e.meter == meter}
    return sorted(found.values())


@pytest.mark.req("A5")
def test_clocks_are_set_once_away_from_interval_ends_and_the_interval_says_so(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    fleet, chosen = town()
    scale = TimeScale(wall_origin=datetime.now(UTC), origin=ORIGIN, speed=SPEED)
    fleet_file, truth = tmp_path / "fleet.json", tmp_path / "truth.sqlite"
    places = allocate(fleet, fleet_file)
    config = replace(
        edge_config(tmp_path, mqtt_broker, list(chosen.values()), places, fleet, scale),
        clock_set=True, poll_seconds=0.2, profile_seconds=0.3, concentrator="C-clock",
    )  # fmt: skip
    simulator = SimulatorConfig(seed=7, scale=scale, truth=truth, fleet_file=fleet_file)

    def sets(name: str) -> list[tuple[int, int]]:
        with closing(sqlite3.connect(truth)) as ledger:
            return ledger.execute(
                "SELECT at_ms, device_ms FROM clock WHERE meter = ?", (chosen[name].meter,)
            ).fetchall()

    async def story() -> Cloud:
        stop, up = asyncio.Event(), asyncio.Event()
        simulating = asyncio.create_task(
            run_simulator(simulator, stop=stop, ready=up.set, status={})
        )
        await asyncio.wait_for(up.wait(), 30)
        async with cloud(mqtt_broker, "C-clock") as there:
            reading = asyncio.create_task(
                run_edge(config, stop=stop, ready=lambda: None, status={})
            )
            await there.until(lambda: bool(sets("late") and sets("early")), 30)
            touched = {name: sets(name)[0][1] // INTERVAL_MS * INTERVAL_MS for name in marked}
            await there.until(
                lambda: all(
                    touched[name] + INTERVAL_MS in rows(there, chosen[name].meter)
                    for name in marked
                ),
                40,
            )
            stop.set()
            await asyncio.wait_for(asyncio.gather(reading, simulating), 20)
        return there

    marked = ("late", "early")
    there = asyncio.run(story())
    assert sets("right") == sets("far") == []
    assert codes(there, chosen["right"].meter) == []
    assert codes(there, chosen["far"].meter) == [
        EventCode.CLOCK_DRIFT, EventCode.CLOCK_STEP_REFUSED,
    ]  # fmt: skip
    for name in marked:
        ((at, device),) = sets(name)
        assert codes(there, chosen[name].meter) == [EventCode.CLOCK_SET]
        assert abs(device - at) < abs(OFF[name]) / 2, "the clock is nearer the truth than before"
        before = at + OFF[name]
        assert before // INTERVAL_MS == device // INTERVAL_MS, "no interval's end was crossed"
        start = device // INTERVAL_MS * INTERVAL_MS
        told = rows(there, chosen[name].meter)
        assert told[start][1] & Status.CLOCK_ADJUSTED
        assert not told[start - INTERVAL_MS][1] & Status.CLOCK_ADJUSTED
        with closing(sqlite3.connect(truth)) as ledger:
            true = dict(
                ledger.execute(
                    "SELECT start_ms, wh FROM interval WHERE meter = ?", (chosen[name].meter,)
                )
            )
        assert {at: wh for at, (wh, _) in told.items()} == {at: true[at] for at in told}
        oldest = to_ms(ORIGIN - timedelta(days=1)) // INTERVAL_MS * INTERVAL_MS
        grid = range(oldest, start + 2 * INTERVAL_MS, INTERVAL_MS)
        assert set(grid) <= set(told), "no interval is missing"
