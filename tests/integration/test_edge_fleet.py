"""Real drivers against simulated meters over real sockets: what is told is what was true."""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge.config import EdgeConfig, config_from_json
from edge.run import run as run_edge
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Go, Verb
from protocols.mqtt.uplink import Stage
from protocols.reading import Channel
from protocols.timeline import TimeScale, to_ms
from simulators.endpoints import Endpoint, allocate
from simulators.fleet import Fleet, SimMeter, make_fleet
from simulators.run import SimulatorConfig
from simulators.run import run as run_simulator
from tests.integration.edge_harness import Cloud, cloud
from tests.unit.edge.edge_kit import KEY, command

SPEED = 4320
ORIGIN = datetime(2026, 3, 2, tzinfo=UTC)


def edge_config(
    folder: Path, broker: BrokerAddress, meters: list[SimMeter], places: dict[Any, Endpoint],
    fleet: Fleet, scale: TimeScale,
) -> EdgeConfig:  # fmt: skip
    keys = folder / "keys.json"
    plain_keys: dict[str, Any] = {
        m.meter: {
            "password": m.password.hex(),
            "authentication_key": m.authentication_key.hex(),
            "encryption_key": m.encryption_key.hex(),
        }
        for m in meters
    }
    keys.write_text(json.dumps({"system_title": "4d4c4f4f50303031", **plain_keys}))
    keys.chmod(0o600)
    rows = [
        {
            "meter": m.meter, "usage_point": m.usage_point, "protocol": m.protocol,
            "host": places[m.meter].host, "port": places[m.meter].port,
            "authentication": m.authentication, "interval_seconds": m.interval_seconds,
            "has_relay": m.has_relay, "history_from": fleet.history_from.isoformat(),
            "unit": m.modbus_unit, "model": m.model, "serial": m.serial, "timeout_seconds": 2.0,
        }
        for m in meters
    ]  # fmt: skip
    return config_from_json(
        json.dumps(
            {
                "concentrator": "C-fleet",
                "broker": {"host": broker.host, "port": broker.port},
                "time_scale": str(scale),
                "outbox": str(folder / "outbox.sqlite"),
                "keys_file": str(keys),
                "control_public_key": KEY.public_key().public_bytes_raw().hex(),
                "poll_seconds": 1.0,
                "profile_seconds": 1.0,
                "meters": rows,
            }
        )
    )


def chosen(fleet: Fleet) -> list[SimMeter]:
    """Return some of every kind: heads, both register maps, both authentications, the silent."""
    kinds: dict[tuple[Any, ...], SimMeter] = {}
    for meter in fleet.meters:
        kind = (meter.kind, meter.protocol, meter.model, meter.authentication, meter.planted)
        kinds.setdefault(kind, meter)
    return [m for m in kinds.values() if m.planted not in {"stuck_relay"}]


def told_intervals(there: Cloud) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    for batch in there.batches:
        names = [batch.meters[i] for i in batch.columns["meter"].tolist()]
        for meter, channel, at, raw, scaler in zip(
            names, *(batch.columns[c].tolist() for c in ("channel", "at_ms", "raw", "scaler")),
            strict=True,
        ):  # fmt: skip
            if channel == Channel.IMPORT_INTERVAL_WH:
                found[(meter, at)] = raw * 10**scaler
    return found


def truth_of(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as ledger:
        return ledger.execute(query).fetchall()


@pytest.mark.req("A1", "A5", "D9")
def test_a_fleet_is_read_and_cut_as_it_truly_is(mqtt_broker: BrokerAddress, tmp_path: Path) -> None:
    scale = TimeScale(wall_origin=datetime.now(UTC), origin=ORIGIN, speed=SPEED)
    fleet = make_fleet(seed=7, origin=ORIGIN)
    fleet_file, truth = tmp_path / "fleet.json", tmp_path / "truth.sqlite"
    places = allocate(fleet, fleet_file)
    meters = chosen(fleet)
    config = edge_config(tmp_path, mqtt_broker, meters, places, fleet, scale)
    simulator = SimulatorConfig(seed=7, scale=scale, truth=truth, fleet_file=fleet_file)
    talking = {m.meter for m in meters if m.planted != "silent"}
    profiled = {m.meter for m in meters if m.interval_seconds and m.planted in {"", "story"}}
    story = next(m for m in meters if m.planted == "story")

    def order(verb: Verb, name: str) -> Any:
        now = scale.at(datetime.now(UTC))
        return replace(
            command(verb, id_=name),
            concentrator=config.concentrator,
            meter=story.meter,
            not_before=now,
            expires=now + scale.stretch(60),
        )

    async def whole() -> None:
        stop, up = asyncio.Event(), asyncio.Event()
        status: dict[str, int | str] = {}
        simulating = asyncio.create_task(
            run_simulator(simulator, stop=stop, ready=up.set, status={})
        )
        await asyncio.wait_for(up.wait(), 60)
        async with cloud(mqtt_broker, "C-fleet") as there:
            reading = asyncio.create_task(
                run_edge(config, stop=stop, ready=lambda: None, status=status)
            )
            await there.online()
            await there.until(lambda: talking <= {m for b in there.batches for m in b.meters}, 60)
            noon = to_ms(ORIGIN) - 12 * 3_600_000
            await there.until(
                lambda: profiled <= {m for m, at in told_intervals(there) if at < noon}, 60
            )
            cut = order(Verb.DISCONNECT, "fleet-cut")
            await there.order(cut)
            nonce = await there.nonce(cut)
            await there.order(
                Go(id=cut.id, concentrator=cut.concentrator, meter=cut.meter, nonce=nonce)
            )
            await there.until(lambda: Stage.DONE in there.stages(cut), 60)
            restore = order(Verb.RECONNECT, "fleet-restore")
            await there.order(restore)
            await there.until(lambda: Stage.DONE in there.stages(restore), 60)
            stop.set()
            await asyncio.wait_for(asyncio.gather(reading, simulating), 60)
        check(there)

    def check(there: Cloud) -> None:
        true = {(m, at): wh for m, at, wh in truth_of(truth, "SELECT meter, start_ms, wh "
                                                       "FROM interval")}  # fmt: skip
        told = told_intervals(there)
        assert {key: true.get(key) for key in told} == told
        states = truth_of(
            truth, f"SELECT output_closed FROM relay WHERE meter = '{story.meter}' ORDER BY at_ms"
        )
        assert [state for (state,) in states][-2:] == [0, 1]
        silent = {e.meter for b in there.batches for e in b.events if e.code == "meter.silent"}
        assert silent <= {m.meter for m in meters if m.planted == "silent"}

    asyncio.run(whole())
