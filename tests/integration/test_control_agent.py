"""Control, signer and messages as processes, against a scripted edge and an SMS centre."""

import asyncio
import contextlib
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator, MutableMapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aiomqtt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.control import service as control
from cloud.control.agent import ControlConfig
from cloud.messages.agent import MessagesConfig
from cloud.messages.agent import run as run_messages
from cloud.signer.agent import KeyFileError, SignerConfig, load_key
from cloud.signer.agent import run as run_signer
from cloud.store.db import Database
from cloud.work import service as work
from cloud.work.agent import run_with_control
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Command, Go, Verb, open_signed
from protocols.mqtt.live import LiveSupply, live_from_bytes
from protocols.mqtt.receipt import AckReceipt, receipt_from_plain
from protocols.mqtt.uplink import Ack, Stage, ack_to_plain
from tests.integration.control_kit import CONCENTRATOR, approve_twice, ask, build, confirm, point

KEY = Ed25519PrivateKey.generate()


class ScriptedEdge:
    """One concentrator that obeys, or does as its script says, and repeats what has no receipt."""

    def __init__(self, client: aiomqtt.Client, *, stuck: bool = False) -> None:
        self.client = client
        self.stuck = stuck
        self.heard: list[Command | Go] = []
        self.receipts: set[tuple[str, Stage]] = set()
        self.closed = True
        self._nonce = b""
        self._known: set[str] = set()

    async def serve(self) -> None:
        await self.client.subscribe(topics.down_command(CONCENTRATOR), qos=1)
        await self.client.subscribe(topics.down_receipt(CONCENTRATOR), qos=1)
        async for message in self.client.messages:
            assert isinstance(message.payload, bytes)
            if str(message.topic) == topics.down_receipt(CONCENTRATOR):
                receipt = receipt_from_plain(envelope.decode(message.payload, envelope.CBOR))
                assert isinstance(receipt, AckReceipt)
                self.receipts.add((receipt.id, receipt.stage))
                continue
            order = open_signed(message.payload, KEY.public_key())
            self.heard.append(order)
            await self._obey(order)

    async def _obey(self, order: Command | Go) -> None:
        if isinstance(order, Go):
            assert order.nonce == self._nonce
            await self._say(order, Stage.STARTED)
            self.closed = self.stuck
            stage = Stage.FAILED if self.stuck else Stage.DONE
            await self._say(order, stage, evidence={"attempts": 3 if self.stuck else 1})
        elif order.id in self._known:
            return
        elif order.verb is Verb.DISCONNECT:
            self._known.add(order.id)
            await self._say(order, Stage.ACCEPTED)
            self._nonce = os.urandom(16)
            await self._say(order, Stage.CHALLENGE, nonce=self._nonce)
        else:
            self._known.add(order.id)
            await self._say(order, Stage.ACCEPTED)
            self.closed = True
            await self._say(order, Stage.DONE)

    async def _say(
        self,
        order: Command | Go,
        stage: Stage,
        *,
        nonce: bytes = b"",
        evidence: dict[str, int] | None = None,
    ) -> None:
        ack = Ack(
            id=order.id, meter=order.meter, stage=stage, at=datetime.now(UTC), nonce=nonce,
            evidence=evidence or {},
        )  # fmt: skip
        payload = envelope.encode(ack_to_plain(ack), envelope.CBOR)
        for _ in range(2):  # everything comes twice
            await self.client.publish(topics.up_ack(CONCENTRATOR), payload, qos=1)


def client_of(broker: BrokerAddress, name: str) -> aiomqtt.Client:
    return aiomqtt.Client(
        broker.host, broker.port, identifier=name, protocol=aiomqtt.ProtocolVersion.V5,
    )  # fmt: skip


@pytest.fixture
def centre() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """An SMS centre that is busy the first time it sees a message."""
    taken: list[dict[str, str]] = []
    seen: set[str] = set()

    class Desk(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            first = order["id"] not in seen
            seen.add(order["id"])
            if not first:
                taken.append(order)
            self.send_response(503 if first else 202)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Desk)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    server.server_close()


@contextlib.asynccontextmanager
async def running(
    dsn: str, broker: BrokerAddress, key_file: Path, gateway: str
) -> AsyncIterator[MutableMapping[str, int | str]]:
    stop = asyncio.Event()
    ready = [asyncio.Event() for _ in range(3)]
    status: MutableMapping[str, int | str] = {}
    config = ControlConfig(dsn=dsn, broker=broker, client_id=f"control-{os.urandom(3).hex()}")
    tasks = [
        asyncio.ensure_future(
            run_with_control(config, stop=stop, ready=ready[0].set, status=status)
        ),
        asyncio.ensure_future(
            run_signer(
                SignerConfig(dsn=dsn, signer_key_file=str(key_file)),
                stop=stop, ready=ready[1].set, status={},
            )
        ),
        asyncio.ensure_future(
            run_messages(
                MessagesConfig(dsn=dsn, gateway_url=gateway),
                stop=stop, ready=ready[2].set, status={},
            )
        ),
    ]  # fmt: skip
    try:
        for event in ready:
            await asyncio.wait_for(event.wait(), 30)
        yield status
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "signer.key"
    file.write_text(KEY.private_bytes_raw().hex())
    file.chmod(0o600)
    return file


async def until(what: str, check: object, seconds: float = 40.0) -> None:
    """Wait until `check()` holds."""
    assert callable(check)
    end = asyncio.get_running_loop().time() + seconds
    while not await asyncio.to_thread(check):
        assert asyncio.get_running_loop().time() < end, f"in vain: {what}"
        await asyncio.sleep(0.05)


def request_cut(db: Database, number: int) -> str:
    now = datetime.now(UTC)
    request = ask(db, number, now=now)
    approve_twice(db, request, now=now)
    assert confirm(db, request, now=now)
    return request


def supply(db: Database, number: int) -> tuple[str, bool]:
    with db.transaction() as conn:
        found = control.supply_of(conn, point(number))
    return found.relay_state.value, found.open_command is None


@pytest.mark.req("D6", "D13", "D15", "F4")
def test_cut_and_restore_over_the_wire_with_messages(
    db: Database, database_dsn: str, mqtt_broker: BrokerAddress, key_file: Path,
    centre: tuple[str, list[dict[str, str]]],
) -> None:  # fmt: skip
    build(db, 1)
    gateway, taken = centre

    async def story() -> None:
        async with (
            running(database_dsn, mqtt_broker, key_file, gateway) as status,
            client_of(mqtt_broker, "edge-C-01") as client,
        ):
            edge = ScriptedEdge(client)
            serving = asyncio.ensure_future(edge.serve())
            await asyncio.to_thread(request_cut, db, 1)
            await until("cut", lambda: supply(db, 1) == ("disconnected", True))
            assert not edge.closed
            paid = datetime.now(UTC)
            await asyncio.to_thread(pay, db)
            await until("power", lambda: supply(db, 1) == ("connected", True))
            assert edge.closed
            await until("messages", lambda: len(taken) == 2)
            await until("receipts", lambda: len(edge.receipts) >= 6)
            assert status["acks"] >= len(edge.receipts)
            print("payment to power", datetime.now(UTC) - paid)
            async with client_of(mqtt_broker, "watcher") as watcher:
                await watcher.subscribe(topics.live(point(1), topics.Live.SUPPLY))
                message = await asyncio.wait_for(anext(aiter(watcher.messages)), 30)
                assert isinstance(message.payload, bytes)
                live = live_from_bytes(topics.Live.SUPPLY, message.payload)
                assert isinstance(live, LiveSupply)
                assert live.state == "connected"
            serving.cancel()

    asyncio.run(story())
    assert {item["to"] for item in taken} == {"+8613800000001"}
    assert ["cut" in item["text"] for item in taken] == [True, False]
    # asked for once, each at the edge; everything came twice and counted once
    with psycopg.connect(database_dsn) as owner:
        acks = owner.execute("SELECT count(*) FROM control.ack").fetchone()
        sealed = owner.execute("SELECT count(*) FROM audit.seal").fetchone()
    assert acks == (6,)
    assert sealed is not None
    assert sealed[0] > 0
    with db.transaction() as conn:
        late = datetime.now(UTC) + timedelta(hours=1)
        assert set(control.audit_violations(conn, now=late).values()) == {0}


def pay(db: Database) -> None:
    with db.transaction() as conn:
        control.payment_registered(conn, point(1), ref="P-1", restores=True, now=datetime.now(UTC))


@pytest.mark.req("D14", "E3", "E4")
def test_a_stuck_switch_sends_a_crew(
    db: Database, database_dsn: str, mqtt_broker: BrokerAddress, key_file: Path,
    centre: tuple[str, list[dict[str, str]]],
) -> None:  # fmt: skip
    build(db, 1)
    gateway, taken = centre
    work.set_crew(db, crew="aziz", phone="+998901112233", language="uz", now=datetime.now(UTC))

    async def story() -> None:
        async with (
            running(database_dsn, mqtt_broker, key_file, gateway),
            client_of(mqtt_broker, "edge-C-01") as client,
        ):
            edge = ScriptedEdge(client, stuck=True)
            serving = asyncio.ensure_future(edge.serve())
            await asyncio.to_thread(request_cut, db, 1)
            await until("message to the crew", lambda: len(taken) == 1)
            serving.cancel()

    asyncio.run(story())
    with db.transaction() as conn:
        [order] = work.orders(conn, crew="aziz")
    assert (order.kind.value, order.state.value) == ("cut_failure", "assigned")
    assert taken[0]["to"] == "+998901112233"
    assert order.id in taken[0]["text"]
    assert point(1) in taken[0]["text"]


def test_a_key_file_that_others_may_read_or_that_is_no_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "signer.key"
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_key(file)
    file.write_text("00" * 32)
    file.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_key(file)
    file.chmod(0o600)
    load_key(file)
    file.write_text("not hex")
    with pytest.raises(KeyFileError, match="64 hex digits"):
        load_key(file)
