"""A town of real meters, a cloud that believes nothing, and agents that are killed between them."""

import asyncio
import hashlib
import json
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import protocols.dlms.security
from protocols.identity import CommandId, ConcentratorId, MeterId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Command, Go, Verb, sign
from protocols.mqtt.receipt import AckReceipt, BatchReceipt, receipt_to_plain
from protocols.mqtt.uplink import FINAL, Ack, Stage, ack_from_plain, batch_from_plain
from protocols.reading import INTERVALS, REGISTERS
from protocols.timeline import TimeScale, to_ms
from simulators.endpoints import Endpoint
from simulators.fleet import Fleet, SimMeter, make_fleet
from simulators.meter.dlms_care import master_key_of
from tests.unit.edge.edge_kit import KEY

REPO = Path(__file__).parents[2]
NAME = ConcentratorId("C-kill")
SPEED = 600
ORIGIN = datetime(2026, 3, 2, tzinfo=UTC)
CUSTOMERS = 12
RESEND_SECONDS = 0.5
TRANSPORT = bytes(range(32))
"""The key under which keys travel to the concentrator."""
RUNAWAY_PPM = 6_000
"""One meter's clock runs away, so that there is always one to be set."""


def small_town(seed: int) -> Fleet:
    """Return a dozen meters of every kind, all of which answer."""
    fleet = make_fleet(seed=seed, customers=CUSTOMERS, origin=ORIGIN)
    runaway = next(m for m in fleet.meters if m.authentication == "lls" and m.interval_seconds)
    # right at the origin, after two days of running away
    gained = (ORIGIN - fleet.history_from) * RUNAWAY_PPM // timedelta(milliseconds=1) // 1_000_000
    meters = tuple(
        replace(m, clock_drift_ppm=RUNAWAY_PPM, clock_offset_ms=-gained // 10 * 10)
        if m is runaway
        else replace(m, clock_drift_ppm=0, clock_offset_ms=0)
        for m in fleet.meters
    )
    return replace(fleet, meters=meters)


def write_agent(
    folder: Path, broker: BrokerAddress, fleet: Fleet, places: dict[MeterId, Endpoint],
    scale: TimeScale,
) -> Path:  # fmt: skip
    """Write configuration and keys of the one agent of all meters."""
    keys = folder / "keys.json"
    secrets: dict[str, Any] = {
        m.meter: {
            "password": m.password.hex(), "authentication_key": m.authentication_key.hex(),
            "encryption_key": m.encryption_key.hex(),
            "master_key": master_key_of(m).hex() if m.encryption_key else "",
        }
        for m in fleet.meters
    }  # fmt: skip
    keys.write_text(
        json.dumps(
            {"system_title": "4d4c4f4f50303031", "transport_key": TRANSPORT.hex(), **secrets}
        )
    )
    keys.chmod(0o600)
    rows = [
        {
            "meter": m.meter, "usage_point": m.usage_point, "protocol": m.protocol,
            "host": places[m.meter].host, "port": places[m.meter].port,
            "authentication": m.authentication, "interval_seconds": m.interval_seconds,
            "has_relay": m.has_relay, "history_from": fleet.history_from.isoformat(),
            "unit": m.modbus_unit, "model": m.model, "serial": m.serial, "timeout_seconds": 2.0,
            "clock": {"tolerance": 5, "step_limit": 3600, "guard": 30, "rest": 0},
        }
        for m in fleet.meters
    ]  # fmt: skip
    path = folder / "edge.json"
    path.write_text(
        json.dumps(
            {
                "concentrator": NAME, "broker": {"host": broker.host, "port": broker.port},
                "time_scale": str(scale), "outbox": str(folder / "outbox.sqlite"),
                "keys_file": str(keys), "clock_set": True, "poll_seconds": 0.2,
                "control_public_key": KEY.public_key().public_bytes_raw().hex(),
                "profile_seconds": 0.2, "backfill_pause_seconds": 0.02, "meters": rows,
            }
        )
    )  # fmt: skip
    return path


class Nursery:
    """Agents from a process that has loaded everything already."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def bear(self, failpoint: str = "-") -> int:
        """Start an agent that dies at `failpoint`; return its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{failpoint}\n".encode())
        return int((await self._line("born"))[0])

    async def death(self) -> int:
        """Wait for the end of the agent; return its status."""
        return int((await self._line("died"))[1])

    async def _line(self, kind: str) -> list[str]:
        assert self._process.stdout is not None
        word, *rest = (await self._process.stdout.readline()).decode().split()
        assert word == kind, (word, rest)
        return rest


@asynccontextmanager
async def nursery(config: Path) -> AsyncIterator[Nursery]:
    """Load the product once for all agents."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("kill_nursery.py")), str(config),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPO), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        yield Nursery(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


@dataclass
class Nonces:
    """Every (key, nonce) that the meters opened or checked for somebody else, and how often."""

    seen: Counter[tuple[bytes, bytes]] = field(default_factory=Counter)

    def of(self, title: bytes) -> Counter[tuple[bytes, bytes]]:
        """Return those of one system title."""
        return Counter({pair: n for pair, n in self.seen.items() if pair[1][:8] == title})


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nonces]:
    """
    Record what passes the meters' cipher; they live in this process, agents do not.

    A meter opens each frame of a client once and computes each GMAC of a client once to compare,
    so a nonce of the client's title seen twice under one key was used twice.
    """
    nonces = Nonces()
    real = protocols.dlms.security.Cipher

    def watched(algorithm: Any, mode: Any, *rest: Any) -> Any:
        vector = getattr(mode, "initialization_vector", None)
        if vector is not None:
            nonces.seen[bytes(algorithm.key), bytes(vector)] += 1
        return real(algorithm, mode, *rest)

    monkeypatch.setattr(protocols.dlms.security, "Cipher", watched)
    yield nonces


@dataclass
class Ledger:
    """What the cloud was told: each batch once, by its id, its octets compared with repeats."""

    client: aiomqtt.Client
    digests: dict[tuple[int, int], bytes] = field(default_factory=dict)
    altered: list[tuple[int, int]] = field(default_factory=list)
    rows: Counter[tuple[str, int, int, int]] = field(default_factory=Counter)
    """(meter, channel, at_ms, raw) of energy -> in how many batches."""
    acks: dict[str, list[Ack]] = field(default_factory=dict)

    async def listen(self) -> None:
        """Take everything and receipt it, for ever."""
        async for message in self.client.messages:
            payload = message.payload
            assert isinstance(payload, bytes)
            kind = str(message.properties.ContentType)  # type: ignore[union-attr]
            if str(message.topic) == topics.up_ack(NAME):
                ack = ack_from_plain(envelope.decode(payload, kind))
                self.acks.setdefault(ack.id, []).append(ack)
                await self._down(AckReceipt(id=ack.id, stage=ack.stage))
            else:
                await self._down(self._batch(payload, kind))

    def _batch(self, payload: bytes, kind: str) -> BatchReceipt:
        batch = batch_from_plain(envelope.decode(payload, kind))
        key, digest = (batch.id.boot, batch.id.seq), hashlib.sha256(payload).digest()
        known = self.digests.setdefault(key, digest)
        if known != digest:
            self.altered.append(key)
        elif known is digest:
            columns = {name: column.tolist() for name, column in batch.columns.items()}
            for n, channel in enumerate(columns["channel"]):
                if channel in REGISTERS | INTERVALS:
                    meter = batch.meters[columns["meter"][n]]
                    self.rows[meter, channel, columns["at_ms"][n], columns["raw"][n]] += 1
        return BatchReceipt(boot=key[0], seq=key[1])

    async def send(self, message: Command | Go) -> None:
        """Send a signed message down."""
        await self.client.publish(topics.down_command(NAME), sign(message, KEY), qos=1)

    async def _down(self, receipt: BatchReceipt | AckReceipt) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = envelope.CBOR
        await self.client.publish(
            topics.down_receipt(NAME), envelope.encode(receipt_to_plain(receipt), envelope.CBOR),
            qos=1, properties=properties,
        )  # fmt: skip


@asynccontextmanager
async def listening(broker: BrokerAddress) -> AsyncIterator[Ledger]:
    """Listen to the concentrator at a real broker."""
    async with aiomqtt.Client(
        broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5,
        identifier=f"cloud-kill-{os.getpid()}",
    ) as client:  # fmt: skip
        ledger = Ledger(client)
        await client.subscribe(topics.up_data(NAME), qos=1)
        await client.subscribe(topics.up_ack(NAME), qos=1)
        task = asyncio.create_task(ledger.listen())
        try:
            yield ledger
            if task.done():
                task.result()
        finally:
            task.cancel()


class Switchboard:
    """Cuts and restores one meter after another, as long as it lives; every order gets its end."""

    def __init__(self, ledger: Ledger, meters: list[SimMeter], scale: TimeScale) -> None:
        self._ledger = ledger
        self._meters = meters
        self._scale = scale
        self.ended: list[tuple[MeterId, Verb, Stage]] = []
        self._numbers = 0
        self.closing = asyncio.Event()
        """Set to let the last orders end and give no more."""

    async def run(self) -> None:
        """Give orders until `closing`; one at a time to each meter."""
        async with asyncio.TaskGroup() as group:
            for meter in self._meters:
                group.create_task(self._one(meter.meter))

    async def _one(self, meter: MeterId) -> None:
        verb = Verb.DISCONNECT
        while not self.closing.is_set() or verb is Verb.RECONNECT:
            stage = await self._order(meter, verb)
            self.ended.append((meter, verb, stage))
            if stage in (Stage.DONE, Stage.ARMED):
                verb = Verb.RECONNECT if verb is Verb.DISCONNECT else Verb.DISCONNECT

    async def _order(self, meter: MeterId, verb: Verb) -> Stage:
        self._numbers += 1
        now = self._scale.at(datetime.now(UTC))
        command = Command(
            id=CommandId(f"kill-{self._numbers}"), concentrator=NAME, meter=meter, verb=verb,
            not_before=now - timedelta(seconds=1), expires=now + self._scale.stretch(15),
            issuer="system:control", epoch=self._numbers,
        )  # fmt: skip
        answered: set[bytes] = set()
        sent_at = 0.0
        while True:
            if time.monotonic() - sent_at > RESEND_SECONDS:
                sent_at = time.monotonic()
                await self._ledger.send(command)
            acks = self._ledger.acks.get(command.id, [])
            for ack in acks:
                if ack.stage is Stage.CHALLENGE and ack.nonce not in answered:
                    answered.add(ack.nonce)
                    go = Go(id=command.id, concentrator=NAME, meter=meter, nonce=ack.nonce)
                    await self._ledger.send(go)
                    # a go that comes twice must find nothing the second time
                    await self._ledger.send(go)
            ends = {ack.stage for ack in acks} & FINAL
            assert len(ends) <= 1, f"{command.id} has more than one end: {ends}"
            if ends:
                return ends.pop()
            await asyncio.sleep(0.02)


def kill(pid: int) -> None:
    """Kill an agent from outside, wherever it is."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def truth_rows(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return rows of the simulator's truth."""
    with closing(sqlite3.connect(path, timeout=20)) as ledger:
        return ledger.execute(query, values).fetchall()


def true_intervals(path: Path, *, since: datetime) -> dict[tuple[str, int], int]:
    """Return (meter, start_ms) -> Wh of every interval that closed."""
    return {
        (meter, start): wh
        for meter, start, wh in truth_rows(
            path, "SELECT meter, start_ms, wh FROM interval WHERE start_ms >= ?", to_ms(since)
        )
    }
