"""
Everything wrong at once: one agent, one good meter, and beside it all that a field can hold.

Each bad meter ends in a typed error that names what to do, the agent lives, the good meter is read
all the while, and of the bad ones nothing is told that they did not say. A disk that is full is in
`test_edge_disk.py`, a certificate that is revoked or expired in `test_edge_tls.py`, a baud rate
that is wrong and an object that is not there in `test_probe.py`, one that a program has by hand in
`test_field_verbs.py`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.config import config_from_json
from edge.probe.causes import cause_of
from edge.run import run as run_edge
from meterloop.cli import app
from protocols.errors import PeerError
from protocols.events import EventCode
from protocols.identity import ConcentratorId
from protocols.mqtt import topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Verb, sign
from protocols.mqtt.uplink import Stage
from protocols.timeline import to_ms
from simulators.faults import Fault
from simulators.fleet import SimMeter, make_fleet
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.truth import TruthLedger
from simulators.world import World
from tests.integration.edge_harness import Cloud, cloud
from tests.integration.edge_orders import order
from tests.unit.edge.edge_kit import KEY, STRANGER

CONCENTRATOR = "C-bad"
FLEET = make_fleet(seed=7, customers=60, origin=datetime.now(UTC) - timedelta(hours=1))
LLS = [m for m in FLEET.customers if m.protocol == "dlms" and m.authentication == "lls"]
HLS = [m for m in FLEET.customers if m.protocol == "dlms" and m.authentication == "hls5"]


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A meter with something wrong: in its row, in its keys or in itself; and how that is told."""

    spec: SimMeter
    codes: frozenset[str]
    fix: str
    row: dict[str, Any] | None = None
    key: str = ""
    fault: Fault | None = None


BAD = {
    "wrong password": Bad(
        spec=LLS[1], key="password", codes=frozenset({"dlms.rejected"}), fix="--authentication",
    ),
    "wrong encryption key": Bad(
        spec=HLS[1], key="encryption_key", fix="key",
        codes=frozenset({"dlms.rejected", "dlms.exception", "dlms.tag_mismatch"}),
    ),
    "wrong authentication key": Bad(
        spec=HLS[2], key="authentication_key", fix="key",
        codes=frozenset({"dlms.rejected", "dlms.exception", "dlms.tag_mismatch"}),
    ),
    "wrong client address": Bad(
        spec=LLS[2], row={"client_sap": 99}, fix="--client-sap",
        codes=frozenset({"dlms.rejected", "dlms.exception"}),
    ),
    "wrong server address": Bad(
        spec=LLS[3], row={"server_sap": 9}, fix="-sap",
        codes=frozenset({"dlms.rejected", "dlms.exception", "dlms.address"}),
    ),
    "meter swapped": Bad(
        spec=LLS[4], fault=Fault.FOREIGN, codes=frozenset({"dlms.foreign"}), fix="swapped",
    ),
    "another link": Bad(
        spec=LLS[5], row={"link": "hdlc-tcp"}, fix="another protocol",
        codes=frozenset({"link.closed"}),
    ),
}  # fmt: skip
GOOD = LLS[6]


def row(spec: SimMeter, port: int, **changes: Any) -> dict[str, Any]:
    return {
        "meter": spec.meter, "usage_point": spec.usage_point, "protocol": "dlms",
        "host": "127.0.0.1", "port": port, "authentication": spec.authentication,
        "interval_seconds": spec.interval_seconds, "has_relay": True, "timeout_seconds": 2.0,
        "history_from": FLEET.history_from.isoformat(),
    } | changes  # fmt: skip


def keys_of(spec: SimMeter, wrong: str = "") -> dict[str, str]:
    found = {
        name: getattr(spec, name)
        for name in ("password", "authentication_key", "encryption_key")
        if getattr(spec, name)
    }
    if wrong:
        found[wrong] = bytes((found[wrong][0] ^ 1,)) + found[wrong][1:]
    return {name: octets.hex() for name, octets in found.items()}


@contextlib.asynccontextmanager
async def street(folder: Path) -> AsyncIterator[dict[str, int]]:
    """Serve every meter; yields the port of each."""
    ledger = TruthLedger(folder / "truth.sqlite", FLEET)
    world = World(FLEET, ledger, now_ms=lambda: to_ms(datetime.now(UTC)))
    servers = {}
    for spec in (GOOD, *(bad.spec for bad in BAD.values())):
        servers[spec.meter] = DlmsMeterServer(world.meters[spec.meter])
        await servers[spec.meter].start("127.0.0.1", 0)
    for bad in BAD.values():
        if bad.fault:
            world.meters[bad.spec.meter].switch_fault(bad.fault, on=True)
    try:
        yield {meter: server.port for meter, server in servers.items()}
    finally:
        for server in servers.values():
            await server.close()
        await asyncio.sleep(0)
        ledger.close()


def configured(folder: Path, broker: BrokerAddress, ports: dict[str, int]) -> Any:
    keys = {"system_title": "4d4c4f4f50303032", GOOD.meter: keys_of(GOOD)}
    rows = [row(GOOD, ports[GOOD.meter])]
    for bad in BAD.values():
        keys[bad.spec.meter] = keys_of(bad.spec, bad.key)
        rows.append(row(bad.spec, ports[bad.spec.meter], **(bad.row or {})))
    path = folder / "keys.json"
    path.write_text(json.dumps(keys))
    path.chmod(0o600)
    plain = {
        "concentrator": CONCENTRATOR, "broker": {"host": broker.host, "port": broker.port},
        "outbox": str(folder / "outbox.sqlite"), "keys_file": str(path),
        "control_public_key": KEY.public_key().public_bytes_raw().hex(),
        "poll_seconds": 0.3, "profile_seconds": 1.0, "meters": rows,
    }  # fmt: skip
    return config_from_json(json.dumps(plain))


def told_of(there: Cloud, meter: str) -> dict[str, str]:
    """Return what events say of a meter: the code of each, and its detail."""
    events = [event for batch in there.batches for event in batch.events]
    return {event.code: event.detail for event in events if event.meter == meter}


def cause_told(there: Cloud, bad: Bad) -> str:
    """Return the code of the error that the agent told for a bad meter, empty before it has."""
    told = told_of(there, bad.spec.meter)
    if EventCode.FOREIGN_ANSWER in told:
        return "dlms.foreign"
    detail = told.get(EventCode.PROTOCOL_BROKEN) or told.get(EventCode.METER_SILENT, "")
    return detail.split(":")[0]


def read_of(there: Cloud) -> set[str]:
    """Return the meters of which any value was told."""
    return {
        batch.meters[index] for batch in there.batches for index in batch.columns["meter"].tolist()
    }


@pytest.mark.req("A1", "A5", "A10", "D9")
def test_an_agent_lives_among_bad_meters_and_tells_what_to_do(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    async def whole() -> None:
        stop, status = asyncio.Event(), {}
        async with street(tmp_path) as ports, cloud(mqtt_broker, CONCENTRATOR) as there:
            config = configured(tmp_path, mqtt_broker, ports)
            reading = asyncio.create_task(
                run_edge(config, stop=stop, ready=lambda: None, status=status)
            )
            await there.online()
            await there.until(
                lambda: reading.done() or all(cause_told(there, bad) for bad in BAD.values()), 60
            )
            heard = len(there.batches)
            await there.until(
                lambda: any(GOOD.meter in batch.meters for batch in there.batches[heard:])
            )
            await orders(there)
            assert not reading.done(), "the agent lives"
            stop.set()
            await asyncio.wait_for(reading, 40)
        for name, bad in BAD.items():
            code = cause_told(there, bad)
            assert code in bad.codes, f"{name}: {told_of(there, bad.spec.meter)}"
            assert bad.fix in cause_of(PeerError(code, "as told")).fix, name
        assert read_of(there) == {GOOD.meter}, "of the bad ones no value is told"

    asyncio.run(whole())


async def orders(there: Cloud) -> None:
    """A foreign order is as if it had never come; an expired one ends, and nothing moves."""
    mine = replace(order(CONCENTRATOR, Verb.RECONNECT), meter=GOOD.meter)
    foreign = replace(mine, id="bad-foreign")
    await there.client.publish(
        topics.down_command(ConcentratorId(CONCENTRATOR)), sign(foreign, STRANGER), qos=1
    )
    elsewhere = replace(mine, id="bad-elsewhere", concentrator=ConcentratorId("C-other"))
    await there.order(elsewhere)
    past = datetime.now(UTC) - timedelta(minutes=5)
    late = replace(mine, id="bad-late", not_before=past, expires=past + timedelta(minutes=1))
    await there.order(late)
    await there.until(lambda: Stage.EXPIRED in there.stages(late))
    assert Stage.STARTED not in there.stages(late)
    known = replace(mine, id="bad-none-of-it")
    await there.order(known)
    await there.until(lambda: Stage.DONE in there.stages(known), 60)
    assert there.stages(foreign) == there.stages(elsewhere) == []


SHIPPED = (files("protocols.modbus") / "meters" / "sdm630.yaml").read_bytes()
MAPS = {
    "no yaml": (b"model: [", "street.yaml"),
    "unknown key": (SHIPPED + b"\ncolour: red\n", "colour"),
    "wrong type": (SHIPPED.replace(b"f32", b"f31"), "one of the values named"),
    "no points": (b"model: mine\npoints: []\n", "street.yaml"),
    "not text": (b"\xff\xfe\x00", "street.yaml"),
}


@pytest.mark.req("A6")
@pytest.mark.parametrize("name", MAPS)
def test_a_malformed_map_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    octets, word = MAPS[name]
    path = tmp_path / "street.yaml"
    path.write_bytes(octets)
    done = CliRunner().invoke(
        app,
        ["read", "M-1", "--host", "127.0.0.1", "--port", "1", "--protocol", "modbus",
         "--map-file", str(path), "--json"],
    )  # fmt: skip
    assert done.exit_code != 0
    assert not isinstance(done.exception, AssertionError | KeyError | UnicodeError | TypeError)
    assert word in done.output
    assert "fix" in done.output
