"""DL/T 645 meters through the whole loop: read, stored, cut by handshake, closed by hand."""

import asyncio
import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from cloud.assets import service as assets
from cloud.store.db import Database
from cloud.usage import agent as ingest_agent
from cloud.usage.agent import IngestConfig
from edge.config import config_from_json
from edge.run import run as run_edge
from meterloop.demo.seed import assets_of, edge_keys, edge_meters
from protocols.identity import ConcentratorId
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Go, Verb
from protocols.mqtt.uplink import Stage
from protocols.reading import RelayState
from protocols.timeline import TimeScale, to_ms
from simulators.endpoints import allocate, free_port
from simulators.fleet import make_fleet
from simulators.run import SimulatorConfig
from simulators.run import run as run_simulator
from simulators.truth import TruthFile
from tests.integration.edge_harness import Cloud, cloud
from tests.unit.edge.edge_kit import KEY, command

SPEED = 600
ORIGIN = datetime(2026, 3, 2, tzinfo=UTC)
ALLOWED_WALL = 4
HERE = ConcentratorId("C-01")
DEADLINE = 60.0


@contextlib.asynccontextmanager
async def running(part: Any) -> Any:
    """Run a part of the house until the block ends; a part that dies ends the block."""
    stop, up = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(part(stop=stop, ready=up.set, status={}))
    waiting = asyncio.create_task(up.wait())
    await asyncio.wait((task, waiting), timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    assert up.is_set()
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, DEADLINE)


class Town:
    """A fleet with a DL/T 645 meter of each kind; only these two are behind the agent."""

    def __init__(self, folder: Any, broker: BrokerAddress) -> None:
        self.scale = TimeScale(wall_origin=datetime.now(UTC), origin=ORIGIN, speed=SPEED)
        self.fleet = make_fleet(
            seed=7, customers=25, origin=ORIGIN, dlt645=2,
            close_allowed_seconds=ALLOWED_WALL * SPEED,
        )  # fmt: skip
        self.relay, self.pilot = (m for m in self.fleet.meters if m.protocol == "dlt645")
        self.names = {self.relay.meter, self.pilot.meter}
        fleet_file, self.truth = folder / "fleet.json", folder / "truth.sqlite"
        places = allocate(self.fleet, fleet_file)
        self.hands = free_port()
        self.simulator = SimulatorConfig(
            seed=7, scale=self.scale, truth=self.truth, fleet_file=fleet_file,
            hands_port=self.hands,
        )  # fmt: skip
        keys = folder / "keys.json"
        keys.write_text(json.dumps(edge_keys(self.fleet, HERE)))
        keys.chmod(0o600)
        addresses = {meter: (place.host, place.port) for meter, place in places.items()}
        meters = edge_meters(self.fleet, HERE, addresses)
        self.edge = config_from_json(json.dumps({
            "concentrator": HERE,
            "broker": {"host": broker.host, "port": broker.port},
            "time_scale": str(self.scale),
            "outbox": str(folder / "outbox.sqlite"),
            "keys_file": str(keys),
            "control_public_key": KEY.public_key().public_bytes_raw().hex(),
            "poll_seconds": 0.3,
            "profile_seconds": 0.5,
            "meters": [entry for entry in meters if entry["meter"] in self.names],
        }))  # fmt: skip

    def order(self, verb: Verb, meter: str) -> Any:
        now = self.scale.at(datetime.now(UTC))
        return replace(
            command(verb, id_=f"{meter}-{verb.value}-{to_ms(now)}"),
            concentrator=HERE, meter=meter, not_before=now,
            expires=now + self.scale.stretch(60),
        )  # fmt: skip

    async def hand(self, client: httpx.AsyncClient, meter: str, what: str = "") -> dict[str, Any]:
        address = f"http://127.0.0.1:{self.hands}/meters/{meter}{what}"
        answer = await (client.post(address) if what else client.get(address))
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def stored(db: Database, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with db.transaction() as conn:
        return conn.execute(query, values).fetchall()  # type: ignore[arg-type]


@pytest.mark.req("A1", "A9", "C13", "D6", "D8", "D9", "D10", "D11", "D12", "D16", "D17")
def test_read_stored_cut_by_handshake_and_closed_by_hand(
    database_dsn: str, db: Database, mqtt_broker: BrokerAddress, tmp_path: Any
) -> None:
    town = Town(tmp_path, mqtt_broker)
    assets.register(db, assets_of(town.fleet), now=ORIGIN)
    ingest = IngestConfig(
        dsn=database_dsn, broker=mqtt_broker, scale=town.scale, client_id="ingest-dlt645"
    )

    def switch(meter: str) -> RelayState | None:
        rows = stored(db, "SELECT control_state FROM ingest.relay_report WHERE meter = %s", meter)
        return RelayState(rows[0][0]) if rows else None

    def recorded(meter: str) -> int:
        rows = stored(
            db,
            "SELECT coalesce(sum(seconds), 0) FROM ingest.interval_reading"
            " WHERE meter = %s AND channel = 3",
            meter,
        )
        return int(rows[0][0])

    async def until(true: Any) -> None:
        async with asyncio.timeout(DEADLINE):
            while not true():
                await asyncio.sleep(0.05)

    async def cut(there: Cloud, meter: str, end: Stage = Stage.DONE) -> None:
        order = town.order(Verb.DISCONNECT, meter)
        await there.order(order)
        nonce = await there.nonce(order)
        await there.order(Go(id=order.id, concentrator=HERE, meter=order.meter, nonce=nonce))
        await there.until(lambda: end in there.stages(order), DEADLINE)
        assert there.stages(order) == [Stage.ACCEPTED, Stage.CHALLENGE, Stage.STARTED, end]
        if end is Stage.DONE:
            await until(lambda: switch(meter) is not RelayState.CONNECTED)

    async def ended(there: Cloud, meter: str, verb: Verb = Verb.RECONNECT) -> Stage:
        order = town.order(verb, meter)
        await there.order(order)
        ends = {Stage.DONE, Stage.ARMED, Stage.FAILED}
        await there.until(lambda: bool(ends & set(there.stages(order))), DEADLINE)
        return there.stages(order)[-1]

    async def story() -> None:
        pilot, relay = town.pilot.meter, town.relay.meter
        async with contextlib.AsyncExitStack() as house:
            await house.enter_async_context(running(lambda **k: ingest_agent.run(ingest, **k)))
            await house.enter_async_context(running(lambda **k: run_simulator(town.simulator, **k)))
            there = await house.enter_async_context(cloud(mqtt_broker, HERE))
            there.receipting = False  # ingest alone says what is stored
            await house.enter_async_context(running(lambda **k: run_edge(town.edge, **k)))
            client = await house.enter_async_context(httpx.AsyncClient())
            await there.online()
            # two days of history, but for what a lagging clock has not closed yet
            await until(lambda: min(recorded(meter) for meter in town.names) > 2 * 86_400 - 7200)
            await until(lambda: switch(pilot) is switch(relay) is RelayState.CONNECTED)

            await cut(there, pilot)
            tripped = await town.hand(client, pilot)
            assert tripped["output_closed"] is False
            assert (await town.hand(client, pilot, "/press"))["moved"] is False
            await until(lambda: switch(pilot) is RelayState.ARMED)
            assert await ended(there, pilot) is Stage.ARMED
            assert (await town.hand(client, pilot))["output_closed"] is False
            assert (await town.hand(client, pilot, "/press"))["moved"] is True
            await until(lambda: switch(pilot) is RelayState.CONNECTED)

            await cut(there, relay)
            assert switch(relay) is RelayState.DISCONNECTED
            assert await ended(there, relay) is Stage.DONE
            await until(lambda: switch(relay) is RelayState.CONNECTED)

            # a protected supply: the meter itself refuses even what was signed and let go
            assert await ended(there, relay, Verb.KEEP_POWER) is Stage.DONE
            await cut(there, relay, Stage.FAILED)
            assert (await town.hand(client, relay))["output_closed"] is True
            assert await ended(there, relay, Verb.END_KEEP_POWER) is Stage.DONE

    asyncio.run(story())
    truth = TruthFile(town.truth)
    causes = {m: [move.cause for move in truth.relay_moves(m)] for m in town.names}
    assert causes == {
        town.pilot.meter: ["remote_disconnect", "close_allowed", "manual_reconnect"],
        town.relay.meter: ["remote_disconnect", "remote_reconnect"],
    }
    for meter in town.names:
        rows = stored(
            db, "SELECT start, wh FROM ingest.interval_reading WHERE meter = %s AND channel = 3",
            meter,
        )  # fmt: skip
        true = truth.intervals(meter)
        assert {to_ms(start): wh for start, wh in rows} == {
            to_ms(start): true[to_ms(start)] for start, _ in rows
        }
    assert stored(db, "SELECT count(*) FROM ingest.quarantine") == [(0,)]
