"""Ten real homes, replayed through meters, agents and ingest: every Wh as it was recorded."""

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest

from cloud.assets import service as assets
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.config import ConcentratorSection, Installation, TimeSection, write_private
from meterloop.demo import seed
from meterloop.stack import Stack
from protocols.timeline import TimeScale, to_ms
from simulators.endpoints import allocate
from simulators.replay import load_replay, replay_fleet

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "nsw10_halfhourly.parquet"
_HOUR = 3_600_000
_UTC_PLUS_10 = timedelta(hours=10)


def recording() -> Path:
    if not RECORDED.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{RECORDED.name} must be there when CI runs")
        pytest.skip(f"needs {RECORDED.name} beside the checkout")
    return RECORDED


def recorded_wh(file: Path) -> dict[str, dict[int, int]]:
    """Return what the file says, read apart from the product: customer -> start ms -> Wh."""
    table = pq.read_table(file)
    starts = table["t"].to_numpy().astype("datetime64[ms]").astype(np.int64)
    starts = starts - int(_UTC_PLUS_10.total_seconds() * 1000)
    wh = np.rint(table["kwh"].to_numpy() * 1000).astype(np.int64)
    homes: dict[str, dict[int, int]] = {}
    for customer, start, energy in zip(
        table["customer_id"].to_pylist(), starts.tolist(), wh.tolist(), strict=True
    ):
        homes.setdefault(str(customer), {})[start] = energy
    return homes


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.req("A1", "A2", "B14")
def test_every_stored_interval_equals_the_recorded_one(tmp_path: Path) -> None:
    file = recording()
    replay = load_replay(file)
    fleet = replay_fleet(replay, seed=1)
    endpoints = allocate(fleet, tmp_path / "simulator" / "fleet.json")
    addresses = {str(meter): (found.host, found.port) for meter, found in endpoints.items()}
    scale = TimeScale(wall_origin=datetime.now(UTC), origin=replay.origin, speed=1)
    sections = []
    for name in seed.concentrators(fleet):
        meters, keys = tmp_path / f"{name}.meters.json", tmp_path / f"{name}.keys.json"
        write_private(meters, json.dumps(seed.edge_meters(fleet, name, addresses)))
        write_private(keys, json.dumps(seed.edge_keys(fleet, name)))
        sections.append(
            ConcentratorSection(
                id=name, meters_file=str(meters), keys_file=str(keys), profile_seconds=0.5,
                settings={"backfill_days": 62, "backfill_pause_seconds": 0.0},
            )
        )  # fmt: skip
    installation = Installation(
        name="replay",
        data=tmp_path / "data",
        services=("ingest",),
        time=TimeSection(scale=str(scale)),
        concentrator=tuple(sections),
        simulator={
            "seed": 1, "truth": str(tmp_path / "simulator" / "truth.sqlite"),
            "fleet_file": str(tmp_path / "simulator" / "fleet.json"), "replay": str(file),
        },
    )  # fmt: skip
    homes = recorded_wh(file)
    wanted = sum(len(home) for home in homes.values())

    async def scene() -> dict[str, dict[int, int]]:
        async with Stack(installation) as stack:
            with Database(stack.dsn, application="test", size=1) as owner:
                clock = Clock(scale=scale)
                await asyncio.to_thread(
                    assets.register, owner, seed.assets_of(fleet), now=clock.now()
                )
            await stack.start_simulator()
            await asyncio.gather(stack.start_services(), stack.start_edges())
            async with asyncio.timeout(300):
                while await asyncio.to_thread(stored_count, stack.dsn) < wanted:
                    await asyncio.sleep(1)
            await asyncio.sleep(2)  # were there more than recorded, they would come now
            return await asyncio.to_thread(stored, stack.dsn)

    found = asyncio.run(scene())
    sources = {meter.meter: meter.source for meter in fleet.meters}
    by_source = {sources[meter]: rows for meter, rows in found.items()}  # type: ignore[index]
    assert by_source.keys() == homes.keys()
    for customer, home in homes.items():
        assert by_source[customer] == home, customer
    gaps = sum((max(home) - min(home)) // (_HOUR // 2) + 1 - len(home) for home in homes.values())
    assert gaps > 0, "the recording has gaps, and gaps must stay gaps"


def stored_count(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM ingest.interval_reading").fetchone()
    assert row is not None
    return int(row[0])


def stored(dsn: str) -> dict[str, dict[int, int]]:
    homes: dict[str, dict[int, int]] = {}
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT meter, start, wh FROM ingest.interval_reading").fetchall()
    for meter, start, wh in rows:
        homes.setdefault(meter, {})[to_ms(start)] = wh
    return homes
