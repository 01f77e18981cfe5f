"""Upkeep from wish to meter: database, signer, broker, agent, DLMS meter; killed on the way."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import psycopg
import pytest

from cloud.assets import service as assets
from cloud.assets.model import (
    Concentrator,
    Installation,
    Meter,
    PointKind,
    Registration,
    Transformer,
    UsagePoint,
)
from cloud.control.agent import ControlConfig
from cloud.signer.agent import SignerConfig
from cloud.signer.agent import run as run_signer
from cloud.store.broker import typed
from cloud.store.db import Database
from cloud.upkeep import service as upkeep
from cloud.upkeep.model import Errand, ErrandState, Kind, RolloutId, RolloutState, Stages, Wish
from cloud.work.agent import run_with_control
from edge.acquire.drivers import build_driver
from edge.clock import EdgeClock
from edge.config import EdgeConfig, load_keys
from edge.outbox import Outbox
from protocols.dlms.obis import obis
from protocols.dlms.reference import Attribute
from protocols.identity import ConcentratorId, TransformerId, UsagePointId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.upkeep import (
    NONCE_OCTETS,
    Fetch,
    NewKeys,
    block_from_plain,
    fetch_to_plain,
    seal_keys,
)
from protocols.timeline import to_ms
from simulators.meter.dlms_care import sealed_image
from tests.integration.edge_upkeep_meter import (
    SPEC,
    TRANSPORT,
    RealVictim,
    agent_of,
    configured,
    simulated,
)
from tests.unit.edge.edge_kit import KEY

BLOB, SHORT = sealed_image(os.urandom(100_000)), sealed_image(os.urandom(30_000))
ASKER, OTHER = "user:reza", "user:lin"
_VERSION = Attribute(class_id=1, name=obis("1-0:0.2.0"), index=2)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "signer.key"
    file.write_text(KEY.private_bytes_raw().hex())
    file.chmod(0o600)
    return file


@contextlib.asynccontextmanager
async def cloud_of(
    dsn: str, broker: BrokerAddress, key_file: Path
) -> AsyncIterator[MutableMapping[str, int | str]]:
    """Run the control process and the signer under their own roles."""
    stop, ready = asyncio.Event(), [asyncio.Event(), asyncio.Event()]
    status: MutableMapping[str, int | str] = {}
    config = ControlConfig(dsn=dsn, broker=broker, client_id=f"control-{os.urandom(3).hex()}")
    signing = SignerConfig(dsn=dsn, signer_key_file=str(key_file))
    tasks = [
        asyncio.ensure_future(
            run_with_control(config, stop=stop, ready=ready[0].set, status=status)
        ),
        asyncio.ensure_future(run_signer(signing, stop=stop, ready=ready[1].set, status={})),
    ]
    try:
        for event in ready:
            await asyncio.wait_for(event.wait(), 30)
        yield status
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)


def registered(db: Database, concentrator: str) -> None:
    """Register the simulated meter behind a concentrator."""
    now = datetime.now(UTC)
    point = UsagePoint(
        id=UsagePointId("UP-1"), kind=PointKind.CUSTOMER, transformer=TransformerId("T-01"),
        zone="UTC",
    )  # fmt: skip
    meter = Meter(
        id=SPEC.meter, model="sim", protocol="dlms", has_relay=SPEC.has_relay,
        can_close_remotely=SPEC.has_relay,
    )  # fmt: skip
    installed = Installation(
        meter=SPEC.meter, usage_point=point.id, concentrator=ConcentratorId(concentrator),
        installed_at=now - timedelta(days=1),
    )  # fmt: skip
    assets.register(
        db,
        Registration(
            transformers=(Transformer(id=TransformerId("T-01")),), usage_points=(point,),
            concentrators=(Concentrator(id=ConcentratorId(concentrator)),), meters=(meter,),
            installations=(installed,),
        ),
        now=now,
    )  # fmt: skip


def asked(db: Database, kind: Kind, **content: object) -> RolloutId:
    """Ask for something for the meter, unless other targets are given."""
    now = datetime.now(UTC)
    if "targets" not in content:
        with db.transaction() as conn:
            content["targets"] = upkeep.targets_of(conn, [SPEC.meter])
    wish = Wish(
        kind=kind, requested_by=ASKER, reason="care", stages=Stages(),
        until=now + timedelta(hours=1), **content,  # type: ignore[arg-type]
    )  # fmt: skip
    return upkeep.ask(db, wish, now=now)


def firmware(db: Database, version: str, blob: bytes = SHORT) -> RolloutId:
    """Ask for the image under a version, approved by another person."""
    now = datetime.now(UTC)
    image = upkeep.upload_image(
        db, blob, model="sim", version=version, identifier=version.encode(), actor=ASKER, now=now
    )
    rollout = asked(db, Kind.FIRMWARE, image=image.sha256, activate=True)
    upkeep.approve(db, rollout, actor=OTHER, now=now)
    return rollout


def only(db: Database, rollout: RolloutId) -> Errand:
    with db.transaction() as conn:
        [errand] = upkeep.errands_of(conn, rollout)
    return errand


async def ended(db: Database, rollout: RolloutId, seconds: float = 60) -> Errand:
    """Wait for the end of the rollout; return its one errand."""

    def over() -> bool:
        with db.transaction() as conn:
            return upkeep.rollout_of(conn, rollout).ended_at is not None

    await until(over, seconds)
    return only(db, rollout)


async def until(true: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(true):
            await asyncio.sleep(0.05)


async def version_of(config: EdgeConfig) -> bytes:
    """Ask the meter itself which firmware runs, with the counters of the agent that has ended."""
    clock = EdgeClock(config.time_scale)
    outbox = Outbox(config.outbox, wall_ms=to_ms(clock.wall_now()))
    keys = load_keys(config.keys_file)
    driver = build_driver(config.meters[0], keys, outbox.counters, clock)
    try:
        await driver.read_now()
        told = await driver._session.get_one(_VERSION)  # type: ignore[attr-defined]
        assert isinstance(told.content, bytes)
        return told.content
    finally:
        await driver.close()
        outbox.close()


@pytest.mark.req("A5")
def test_an_image_of_100_kb_reaches_the_meter_runs_and_is_read_back(
    db: Database, database_dsn: str, mqtt_broker: BrokerAddress, key_file: Path, tmp_path: Path
) -> None:  # fmt: skip
    registered(db, "C-whole")

    async def story() -> None:
        async with simulated(tmp_path) as server:
            _, config = configured(tmp_path, mqtt_broker, "C-whole", server.port)
            async with cloud_of(database_dsn, mqtt_broker, key_file) as status:
                async with agent_of(config):
                    rollout = await asyncio.to_thread(firmware, db, "fw-2.1", BLOB)
                    errand = await ended(db, rollout)
                    assert errand.state is ErrandState.DONE, errand
                    assert errand.evidence is not None
                    assert errand.evidence["activated"] is True
                    assert status["upkeep_blocks"] == -(-len(BLOB) // 8192)
                assert server.images.active == BLOB
                assert await version_of(config) == b"fw-2.1"

    asyncio.run(story())
    with db.transaction() as conn:
        [rollout] = upkeep.rollouts(conn)
    assert rollout.state is RolloutState.FINISHED
    with psycopg.connect(database_dsn) as owner:
        rows = owner.execute(
            "SELECT (SELECT count(*) FROM control.stray_ack), (SELECT count(*) FROM control.ack),"
            " (SELECT count(*) FROM upkeep.stray_ack)"
        ).fetchone()
    assert rows == (0, 0, 0), "each answer is taken by the one whose order it answers"


@pytest.mark.req("A5")
@pytest.mark.parametrize("failpoint", ["edge.after_block@2", "edge.after_send@6"])
def test_killed_in_the_middle_it_goes_on(
    db: Database, database_dsn: str, mqtt_broker: BrokerAddress, key_file: Path, tmp_path: Path,
    failpoint: str,
) -> None:  # fmt: skip
    name = "C-" + failpoint.replace("@", "-").replace(".", "-")
    registered(db, name)

    async def story() -> None:
        async with simulated(tmp_path) as server:
            path, config = configured(tmp_path, mqtt_broker, name, server.port)
            async with cloud_of(database_dsn, mqtt_broker, key_file):
                async with RealVictim(path, failpoint) as victim:
                    rollout = await asyncio.to_thread(firmware, db, "fw-2.2")
                    await victim.dies()
            assert only(db, rollout).ended_at is None
            # the cloud's processes were away too, and come back knowing all of it
            async with cloud_of(database_dsn, mqtt_broker, key_file), RealVictim(path):
                errand = await ended(db, rollout)
            assert errand.state is ErrandState.DONE, errand
            assert server.images.active == SHORT
            assert server.images.received == -(-len(SHORT) // 128), "each block was sent once"
            assert await version_of(config) == b"fw-2.2"

    asyncio.run(story())


@pytest.mark.req("A5")
def test_settings_reach_an_agent_that_was_away_and_are_told_done(
    db: Database, database_dsn: str, mqtt_broker: BrokerAddress, key_file: Path, tmp_path: Path
) -> None:  # fmt: skip
    registered(db, "C-set")
    targets = upkeep.concentrators_as_targets([ConcentratorId("C-set")])

    async def story() -> None:
        async with simulated(tmp_path) as server, cloud_of(database_dsn, mqtt_broker, key_file):
            _, config = configured(tmp_path, mqtt_broker, "C-set", server.port)
            rollout = await asyncio.to_thread(
                lambda: asked(
                    db, Kind.CONFIGURATION, targets=targets, settings={"poll_seconds": 0.5}
                )
            )
            await until(lambda: only(db, rollout).state is ErrandState.DISPATCHED)
            async with agent_of(config) as status:
                errand = await ended(db, rollout)
                assert errand.state is ErrandState.DONE
                assert errand.evidence == {"revision": 1}
                assert status["settings_done"] == 1

    asyncio.run(story())


async def fetched(broker: BrokerAddress, image: bytes, *, by: str, reply: str) -> tuple[str, str]:
    """Ask for a block as `by`; return where the answer came and its reason."""
    async with aiomqtt.Client(
        broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5, identifier=f"thief-{by}"
    ) as client:
        await client.subscribe("ami/v1/+/down/fw", qos=1)
        properties = typed(envelope.CBOR)
        properties.ResponseTopic = reply
        plain = fetch_to_plain(Fetch(image=image, index=0, block=8192))
        await client.publish(
            topics.up_fetch(ConcentratorId(by)), envelope.encode(plain, envelope.CBOR), qos=1,
            properties=properties,
        )  # fmt: skip
        message = await asyncio.wait_for(anext(aiter(client.messages)), 20)
        assert isinstance(message.payload, bytes)
        block = block_from_plain(envelope.decode(message.payload, envelope.CBOR))
        assert block.octets == b""
        return str(message.topic), block.reason


def test_a_concentrator_gets_no_image_that_it_was_not_ordered_to_fetch(
    db: Database, database_dsn: str, mqtt_broker: BrokerAddress, key_file: Path
) -> None:
    registered(db, "C-own")

    async def story() -> None:
        async with cloud_of(database_dsn, mqtt_broker, key_file):
            rollout = await asyncio.to_thread(firmware, db, "fw-2.3")
            await until(lambda: only(db, rollout).state is ErrandState.DISPATCHED)
            with db.transaction() as conn:
                image = upkeep.rollout_of(conn, rollout).image
            assert image is not None
            found = await fetched(
                mqtt_broker,
                image,
                by="C-thief",
                reply=topics.down_firmware(ConcentratorId("C-own")),
            )
            assert found == ("ami/v1/C-thief/down/fw", "not_ordered")

    asyncio.run(story())


def sealed_wish(db: Database, keys: NewKeys, name: str) -> RolloutId:
    """Ask for new keys, sealed for their concentrator, and approve as another person."""
    args = seal_keys(
        keys, TRANSPORT, nonce=os.urandom(NONCE_OCTETS), concentrator=ConcentratorId(name),
        meter=SPEC.meter,
    )  # fmt: skip
    with db.transaction() as conn:
        targets = upkeep.targets_of(conn, [SPEC.meter], sealed={SPEC.meter: args["sealed"]})
    rollout = asked(db, Kind.REKEY, targets=targets)
    upkeep.approve(db, rollout, actor=OTHER, now=datetime.now(UTC))
    return rollout


@pytest.mark.req("A5")
@pytest.mark.parametrize("stubborn", [False, True], ids=["takes them", "keeps its old ones"])
def test_new_keys_reach_the_meter_or_the_old_ones_stay(
    db: Database, database_dsn: str, mqtt_broker: BrokerAddress, key_file: Path, tmp_path: Path,
    stubborn: bool,
) -> None:  # fmt: skip
    name = f"C-key-{stubborn}"
    registered(db, name)
    keys = NewKeys(encryption_key=os.urandom(16), authentication_key=os.urandom(16))

    async def story() -> None:
        async with simulated(tmp_path) as server:
            server.key_store.stubborn = stubborn
            _, config = configured(tmp_path, mqtt_broker, name, server.port)
            async with cloud_of(database_dsn, mqtt_broker, key_file), agent_of(config) as status:
                rollout = await asyncio.to_thread(sealed_wish, db, keys, name)
                errand = await ended(db, rollout)
                wanted = ErrandState.FAILED if stubborn else ErrandState.DONE
                assert errand.state is wanted, errand
                found = server.key_store.current().encryption
                assert (found == keys.encryption_key) is not stubborn
                reads = int(status["reads"])
                await until(lambda: int(status["reads"]) > reads + 1)

    asyncio.run(story())
    with db.transaction() as conn:
        [rollout] = upkeep.rollouts(conn)
    assert rollout.state is (RolloutState.HALTED if stubborn else RolloutState.FINISHED)
    with psycopg.connect(database_dsn) as owner:
        rows = owner.execute("SELECT e::text FROM upkeep.errand AS e").fetchall()
    assert keys.encryption_key.hex() not in str(rows), "the database never sees a key"
