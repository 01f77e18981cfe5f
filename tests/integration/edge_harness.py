"""The cloud's side of the wire in a test's hands, and an agent to hold against it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.config import EdgeConfig, load_config
from edge.run import run
from protocols.identity import ConcentratorId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Command, Go, sign
from protocols.mqtt.receipt import AckReceipt, BatchReceipt, receipt_to_plain
from protocols.mqtt.uplink import Ack, DataBatch, Stage, ack_from_plain, batch_from_plain
from tests.unit.edge.edge_kit import KEY, ScriptedMeter

REPO = Path(__file__).parents[2]


@dataclass
class Cloud:
    """Hears one concentrator; receipts batches and acks while `receipting`."""

    client: aiomqtt.Client
    concentrator: ConcentratorId
    receipting: bool = True
    batches: list[DataBatch] = field(default_factory=list)
    hints: list[tuple[str, str]] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """Take everything that comes, for ever."""
        async for message in self.client.messages:
            assert isinstance(message.payload, bytes)
            topic = str(message.topic)
            if topic == topics.up_state(self.concentrator):
                self.states.append(json.loads(message.payload))
            elif topic == topics.up_data(self.concentrator):
                kind = message.properties.ContentType  # type: ignore[union-attr]
                batch = batch_from_plain(envelope.decode(message.payload, kind))
                self.hints.append(tuple(v for _, v in message.properties.UserProperty))  # type: ignore[union-attr,arg-type]
                self.batches.append(batch)
                if self.receipting:
                    await self.receipt(batch)
            elif topic == topics.up_ack(self.concentrator):
                ack = ack_from_plain(envelope.decode(message.payload, envelope.CBOR))
                self.acks.append(ack)
                if self.receipting:
                    await self._down_receipt(AckReceipt(id=ack.id, stage=ack.stage))
            self.heard.set()

    async def receipt(self, batch: DataBatch) -> None:
        """Say that a batch is stored."""
        await self._down_receipt(BatchReceipt(boot=batch.id.boot, seq=batch.id.seq))

    async def order(self, message: Command | Go) -> None:
        """Send a signed message down."""
        await self.client.publish(topics.down_command(self.concentrator), sign(message, KEY), qos=1)

    async def until(self, true: Callable[[], bool], seconds: float = 40.0) -> None:
        """Wait until something is so, looking again whenever something was heard."""
        async with asyncio.timeout(seconds):
            while not true():
                self.heard.clear()
                try:
                    await asyncio.wait_for(self.heard.wait(), 0.1)
                except TimeoutError:
                    continue

    async def still(self, measure: Callable[[], int], seconds: float = 1.0) -> int:
        """Wait until `measure` stays for so long, and return it: what was under way has ended."""
        async with asyncio.timeout(40):
            before = measure()
            while True:
                await asyncio.sleep(seconds)
                if (now := measure()) == before:
                    return now
                before = now

    async def online(self) -> None:
        """Wait until the agent is there to hear what is sent down."""
        await self.until(lambda: bool(self.states) and self.states[-1]["online"] is True)

    def stages(self, order: Command) -> list[Stage]:
        """Return the stages of a command as first told."""
        return list(dict.fromkeys(ack.stage for ack in self.acks if ack.id == order.id))

    async def nonce(self, order: Command) -> bytes:
        """Wait for the challenge of a cut."""
        await self.until(lambda: Stage.CHALLENGE in self.stages(order))
        return next(a.nonce for a in self.acks if a.id == order.id and a.stage is Stage.CHALLENGE)

    def seqs(self) -> dict[int, set[int]]:
        """Return the numbers heard, by boot."""
        found: dict[int, set[int]] = {}
        for batch in self.batches:
            found.setdefault(batch.id.boot, set()).add(batch.id.seq)
        return found

    def profile(self) -> dict[datetime, int]:
        """Return interval values by start; the same key with another value is an error."""
        found: dict[int, int] = {}
        for batch in self.batches:
            columns = batch.columns
            for at, seconds, raw in zip(
                columns["at_ms"].tolist(),
                columns["seconds"].tolist(),
                columns["raw"].tolist(),
                strict=True,
            ):
                if seconds:
                    assert found.setdefault(at, raw) == raw
        return {datetime.fromtimestamp(at / 1000, UTC): raw for at, raw in found.items()}

    async def _down_receipt(self, receipt: BatchReceipt | AckReceipt) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = envelope.CBOR
        await self.client.publish(
            topics.down_receipt(self.concentrator),
            envelope.encode(receipt_to_plain(receipt), envelope.CBOR),
            qos=1,
            properties=properties,
        )


@asynccontextmanager
async def cloud(broker: BrokerAddress, concentrator: str) -> AsyncIterator[Cloud]:
    """Listen to a concentrator at a real broker."""
    async with aiomqtt.Client(
        broker.host,
        broker.port,
        protocol=aiomqtt.ProtocolVersion.V5,
        identifier=f"cloud-{concentrator}-{os.getpid()}",
    ) as client:
        this = Cloud(client, ConcentratorId(concentrator))
        await client.subscribe(f"ami/v1/{concentrator}/up/#", qos=1)
        listening = asyncio.create_task(this.listen())
        try:
            yield this
            if listening.done():
                listening.result()
        finally:
            listening.cancel()


def written(
    folder: Path, broker: BrokerAddress, concentrator: str, **changes: Any
) -> tuple[Path, EdgeConfig]:
    """Write configuration and keys of an agent with one scripted meter."""
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"system_title": "4d4c4f4f50303031"}))
    keys.chmod(0o600)
    plain: dict[str, Any] = {
        "concentrator": concentrator,
        "broker": asdict(broker),
        "outbox": str(folder / "outbox.sqlite"),
        "keys_file": str(keys),
        "control_public_key": KEY.public_key().public_bytes_raw().hex(),
        "poll_seconds": 0.2,
        "profile_seconds": 0.3,
        "backfill_pause_seconds": 0.01,
        "meters": [
            {
                "meter": "M-000042", "usage_point": "UP-000042", "protocol": "dlms",
                "host": "127.0.0.1", "port": 4059, "interval_seconds": 1800, "has_relay": True,
                "history_from": (datetime.now(UTC) - timedelta(days=5)).isoformat(),
            }
        ],
    } | changes  # fmt: skip
    path = folder / "edge.json"
    path.write_text(json.dumps(plain))
    return path, load_config(path)


def scripted(**changes: Any) -> ScriptedMeter:
    """Return a scripted meter that lives in real time."""
    return ScriptedMeter(now=lambda: datetime.now(UTC), **changes)


@asynccontextmanager
async def agent(config: EdgeConfig, meter: ScriptedMeter) -> AsyncIterator[dict[str, int | str]]:
    """Run an agent in this process; yields its status."""
    stop, up = asyncio.Event(), asyncio.Event()
    status: dict[str, int | str] = {}
    running = asyncio.create_task(
        run(config, stop=stop, ready=up.set, status=status, build=lambda *_: meter)
    )
    waiting = asyncio.create_task(up.wait())
    await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    try:
        yield status
    finally:
        stop.set()
        await asyncio.wait_for(running, 30)


class Victim:
    """An agent in a process of its own, to be killed at a failpoint."""

    def __init__(self, config: Path, operated: Path, failpoint: str = "") -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPO)}
        environment.pop("METERLOOP_FAILPOINT", None)
        if failpoint:
            environment["METERLOOP_FAILPOINT"] = f"{failpoint}:kill"
        self._arguments = [sys.executable, __file__, str(config), str(operated)]
        self._environment = environment

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(*self._arguments, env=self._environment)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(self.process.wait(), 40)

    async def dies(self) -> None:
        """Wait for the kill."""
        code = await asyncio.wait_for(self.process.wait(), 60)
        assert code == -signal.SIGKILL, code


async def _main(config: EdgeConfig, operated: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    meter = scripted(operated=operated)
    await run(
        config,
        stop=stop,
        ready=lambda: None,
        status={},
        build=lambda *_: meter,
    )


if __name__ == "__main__":
    asyncio.run(_main(load_config(Path(sys.argv[1])), Path(sys.argv[2])))
