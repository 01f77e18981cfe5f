"""Keep-power and tokens through the whole loop: control, signer, broker, agent, real meters."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from cloud.assets import service as assets
from cloud.control import service as control
from cloud.control.agent import ControlConfig
from cloud.control.model import CommandRow, KeepPower, NewToken, TokenRow
from cloud.signer.agent import SignerConfig
from cloud.signer.agent import run as run_signer
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.work.agent import run_with_control
from edge.config import config_from_json
from edge.run import run as run_edge
from meterloop.demo.seed import assets_of, edge_keys, edge_meters
from protocols.identity import ConcentratorId, UsagePointId
from protocols.mqtt import topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Command, Go, Verb, open_signed
from protocols.mqtt.uplink import Stage
from protocols.timeline import TimeScale
from simulators.endpoints import allocate
from simulators.fleet import SimMeter, make_fleet
from simulators.meter.dlt645_objects import issue_token
from simulators.meter.token_gateway import issue_sts_token
from simulators.run import SimulatorConfig
from simulators.run import run as run_simulator
from simulators.truth import TruthFile
from tests.integration.edge_harness import cloud
from tests.integration.real_agent import agent_process
from tests.integration.test_dlt645_loop import running
from tests.unit.edge.edge_kit import KEY, command

SPEED = 600
ORIGIN = datetime(2026, 3, 2, tzinfo=UTC)
HERE = ConcentratorId("C-01")
DEADLINE = 60.0
ENDED = frozenset({"done", "armed", "refused", "failed", "expired", "cancelled", "doubtful"})


@dataclass
class Wire:
    """Everything that came down to the concentrator, with what the broker was told of it."""

    heard: list[tuple[Command | Go, bytes, Any]] = field(default_factory=list)

    async def listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            order = open_signed(message.payload, KEY.public_key())
            self.heard.append((order, message.payload, message.properties))

    def of(self, verb: Verb) -> list[tuple[Command, bytes, Any]]:
        return [
            (order, payload, told)
            for order, payload, told in self.heard
            if isinstance(order, Command) and order.verb is verb
        ]


class House:
    """A DL/T 645 and a DLMS meter behind one concentrator, and the cloud that orders them."""

    def __init__(self, folder: Path, broker: BrokerAddress, dsn: str, db: Database) -> None:
        self.folder, self.broker, self.dsn, self.db = folder, broker, dsn, db
        self.scale = TimeScale(wall_origin=datetime.now(UTC), origin=ORIGIN, speed=SPEED)
        self.clock = Clock(scale=self.scale)
        self.fleet = make_fleet(seed=7, customers=25, origin=ORIGIN, dlt645=2)
        self.dlt645 = next(m for m in self.fleet.meters if m.model == "dlt645_relay")
        self.dlms = next(
            m for m in self.fleet.meters
            if m.concentrator == HERE and m.authentication == "hls5" and m.control_mode == 4
        )  # fmt: skip
        self.truth = folder / "truth.sqlite"
        places = allocate(self.fleet, folder / "fleet.json")
        self.simulator = SimulatorConfig(
            seed=7, scale=self.scale, truth=self.truth, fleet_file=folder / "fleet.json"
        )
        addresses = {meter: (place.host, place.port) for meter, place in places.items()}
        self.config = self._write_agent(addresses)
        self._register()

    def _write_agent(self, addresses: dict[Any, tuple[str, int]]) -> Path:
        names = {self.dlt645.meter, self.dlms.meter}
        keys = self.folder / "keys.json"
        keys.write_text(json.dumps(edge_keys(self.fleet, HERE)))
        keys.chmod(0o600)
        path = self.folder / "edge.json"
        path.write_text(json.dumps({
            "concentrator": HERE,
            "broker": {"host": self.broker.host, "port": self.broker.port},
            "time_scale": str(self.scale),
            "outbox": str(self.folder / "outbox.sqlite"),
            "keys_file": str(keys),
            "control_public_key": KEY.public_key().public_bytes_raw().hex(),
            "poll_seconds": 1.0,
            "meters": [
                entry for entry in edge_meters(self.fleet, HERE, addresses)
                if entry["meter"] in names
            ],
        }))  # fmt: skip
        return path

    def _register(self) -> None:
        """Register the town; its DLMS meter was bought with a token gateway."""
        town = assets_of(self.fleet)
        meters = tuple(
            replace(m, token_kind="dlms115") if m.id == self.dlms.meter else m for m in town.meters
        )
        assets.register(self.db, replace(town, meters=meters), now=ORIGIN)
        with self.db.transaction() as conn:
            for meter in (self.dlt645, self.dlms):
                control.open_supply(conn, meter.usage_point, ORIGIN)

    @contextlib.asynccontextmanager
    async def standing(self) -> AsyncIterator[Wire]:
        """Run simulator, control and signer, and listen to what goes down."""
        key_file = self.folder / "signer.key"
        key_file.write_text(KEY.private_bytes_raw().hex())
        key_file.chmod(0o600)
        name = f"control-{self.folder.name}"
        steering = ControlConfig(
            dsn=self.dsn, broker=self.broker, scale=self.scale, client_id=name, repeat_seconds=1.0
        )
        signing = SignerConfig(dsn=self.dsn, scale=self.scale, signer_key_file=str(key_file))
        client = aiomqtt.Client(
            self.broker.host, self.broker.port, identifier=f"{name}-ear",
            protocol=aiomqtt.ProtocolVersion.V5,
        )  # fmt: skip
        async with contextlib.AsyncExitStack() as house:
            await house.enter_async_context(running(lambda **k: run_simulator(self.simulator, **k)))
            await house.enter_async_context(running(lambda **k: run_with_control(steering, **k)))
            await house.enter_async_context(running(lambda **k: run_signer(signing, **k)))
            await house.enter_async_context(client)
            await client.subscribe(topics.down_command(HERE), qos=1)
            wire = Wire()
            listening = asyncio.create_task(wire.listen(client))
            try:
                yield wire
            finally:
                listening.cancel()

    async def agent(self, house: contextlib.AsyncExitStack) -> None:
        config = config_from_json(self.config.read_text())
        await house.enter_async_context(running(lambda **k: run_edge(config, **k)))

    async def until(self, look: Callable[[], Any], true: Callable[[Any], object]) -> Any:
        """Wait until what is looked at in the database is so."""
        async with asyncio.timeout(DEADLINE):
            while not true(found := await asyncio.to_thread(look)):
                await asyncio.sleep(0.1)
        return found

    async def ended(self, order: Any) -> CommandRow:
        def look() -> CommandRow:
            with self.db.transaction() as conn:
                found = control.command_of(conn, order)
            assert found is not None
            return found

        return await self.until(look, lambda row: row.ended_at is not None)

    def take(self, meter: SimMeter, opaque: bytes, *, key: str, again: bool = False) -> TokenRow:
        kind = "dlt645" if meter.protocol == "dlt645" else "dlms115"
        wanted = NewToken(
            source="bank", key=key, usage_point=meter.usage_point, kind=kind, opaque=opaque
        )
        return control.deliver_token(
            self.db, wanted, actor="system:bank", now=self.clock.now(), again=again
        )

    async def settled(self, id_: int) -> TokenRow:
        def look() -> TokenRow:
            with self.db.transaction() as conn:
                found = control.token_of(conn, id_)
            assert found is not None
            return found

        return await self.until(look, lambda row: row.ended_at is not None)

    def keeping(self, point: UsagePointId) -> KeepPower:
        with self.db.transaction() as conn:
            return control.supply_of(conn, point).keep_power

    def balances(self, meter: SimMeter) -> list[int]:
        """Return every balance that the meter ever had, from its own memory."""
        rows = TruthFile(self.truth).rows(
            "SELECT value FROM setting WHERE meter = ? AND name = 'balance_cents'", meter.meter
        )
        return [int(str(value)) for (value,) in rows]


def token_for(meter: SimMeter, *, cents: int, number: int) -> bytes:
    if meter.protocol == "dlt645":
        return issue_token(meter, cents=cents, count=number)
    return issue_sts_token(meter, cents=cents, number=number)


@pytest.fixture
def house(tmp_path: Path, mqtt_broker: BrokerAddress, database_dsn: str, db: Database) -> House:
    return House(tmp_path, mqtt_broker, database_dsn, db)


@pytest.mark.req("C13", "D8", "A11")
def test_keep_power_from_the_cloud_makes_the_meter_itself_refuse_a_trip(house: House) -> None:
    point, meter = house.dlt645.usage_point, house.dlt645.meter

    async def story() -> None:
        async with house.standing() as wire, contextlib.AsyncExitStack() as stack:
            await house.agent(stack)
            there = await stack.enter_async_context(cloud(house.broker, HERE))
            there.receipting = False
            await there.online()
            order = await asyncio.to_thread(
                lambda: control.keep_power(
                    house.db, point, actor="user:reza", reason="ventilator", now=house.clock.now()
                )
            )
            kept = await house.ended(order)
            assert (kept.state.value, house.keeping(point)) == ("done", KeepPower.ON)
            assert kept.evidence is not None
            check_told(wire, Verb.KEEP_POWER)

            # signed with the true key, past control, its gate and its database
            now = house.clock.now()
            trip = replace(
                command(Verb.DISCONNECT, id_=f"past-control-{house.folder.name}"),
                concentrator=HERE, meter=meter, not_before=now,
                expires=now + house.scale.stretch(60),
            )  # fmt: skip
            await there.order(trip)
            nonce = await there.nonce(trip)
            await there.order(Go(id=trip.id, concentrator=HERE, meter=meter, nonce=nonce))
            await there.until(lambda: Stage.FAILED in there.stages(trip), DEADLINE)

            wish = control.request_end_keep_power(
                house.db, point, actor="user:reza", reason="moved out", now=house.clock.now()
            )
            end = await asyncio.to_thread(
                lambda: control.approve_end_keep_power(
                    house.db, wish.id, actor="user:lin", now=house.clock.now()
                )
            )
            assert (await house.ended(end)).state.value == "done"
            assert house.keeping(point) is KeepPower.OFF
            look = await asyncio.to_thread(
                lambda: control.read_relay(
                    house.db, point, actor="user:reza", reason="look", now=house.clock.now()
                )
            )
            assert (await house.ended(look)).state.value == "done"

    asyncio.run(story())
    assert TruthFile(house.truth).relay_moves(meter) == [], "the switch never moved"


def check_told(wire: Wire, verb: Verb) -> None:
    """What the broker was told: where the answer goes, whose it is, how long it is good."""
    orders = wire.of(verb)
    assert orders
    for order, _, told in orders:
        assert told.ResponseTopic == topics.up_ack(HERE)
        assert told.CorrelationData == order.id.encode()
        assert 1 <= told.MessageExpiryInterval <= 60


@pytest.mark.req("C13")
@pytest.mark.parametrize("kind", ["dlt645", "dlms"])
def test_tokens_reach_the_meter_once_in_order_and_their_balance_comes_back(
    house: House, kind: str
) -> None:
    meter: SimMeter = getattr(house, kind)

    async def story() -> list[TokenRow]:
        async with house.standing() as wire, contextlib.AsyncExitStack() as stack:
            tokens = [
                house.take(meter, token_for(meter, cents=1000 * n, number=n), key=f"sale-{n}")
                for n in (1, 2, 3)
            ]
            await house.agent(stack)
            ended = [await house.settled(token.id) for token in tokens]
            check_told(wire, Verb.DELIVER_TOKEN)
            # every octet that came down comes down once more
            there = await stack.enter_async_context(cloud(house.broker, HERE))
            there.receipting = False
            for order, payload, _ in wire.of(Verb.DELIVER_TOKEN):
                await there.client.publish(topics.down_command(HERE), payload, qos=1)
                await there.until(lambda order=order: Stage.DONE in there.stages(order), DEADLINE)
            # one that the meter does not know as its own
            bad = house.take(meter, bytes(12), key="forged")
            ended.append(await house.settled(bad.id))
            return ended

    *good, bad = asyncio.run(story())
    assert [(token.state.value, token.tries) for token in good] == [("done", 1)] * 3
    assert bad.state.value == "refused", bad
    assert house.balances(meter) == [1000, 3000, 6000], "each counted once, in its order"
    assert [list((token.evidence or {}).values()).count(balance) for token, balance in
            zip(good, (1000, 3000, 6000), strict=True)] == [1, 1, 1]  # fmt: skip


@pytest.mark.req("C13", "V14")
@pytest.mark.parametrize(
    ("kind", "failpoint", "balances"),
    [
        ("dlt645", "edge.after_token", [500, 700]),
        ("dlt645", "edge.before_token", [200]),
        ("dlms", "edge.after_token", [500, 700]),
    ],
)
def test_an_agent_killed_while_it_hands_a_token_over_never_does_so_twice(
    house: House, kind: str, failpoint: str, balances: list[int]
) -> None:
    meter: SimMeter = getattr(house, kind)
    first, reached = token_for(meter, cents=500, number=1), failpoint == "edge.after_token"
    second = token_for(meter, cents=200, number=2 if reached else 1)

    async def story() -> tuple[TokenRow, TokenRow, int]:
        async with house.standing() as wire:
            taken = house.take(meter, first, key="sale-1")
            async with agent_process(house.config, failpoint) as victim:
                assert await asyncio.wait_for(victim.wait(), 60) == -9
            async with agent_process(house.config):
                doubtful = await house.settled(taken.id)
                # whoever brings it again hears of the doubt, and the meter of nothing
                again = house.take(meter, first, key="sale-1", again=True)
                assert again.state.value == "doubtful"
                later = await house.settled(house.take(meter, second, key="sale-2").id)
            orders = {
                order.id for order, _, _ in wire.of(Verb.DELIVER_TOKEN)
                if order.args["opaque"] == first
            }  # fmt: skip
            return doubtful, later, len(orders)

    doubtful, later, orders = asyncio.run(story())
    assert (doubtful.state.value, doubtful.cause, orders) == ("doubtful", "token_doubtful", 1)
    assert later.state.value == "done", later
    assert house.balances(meter) == balances
