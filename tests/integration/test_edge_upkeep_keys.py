"""New keys for a meter from afar: sealed, proven by the meter's answer, settled after any kill."""

import asyncio
import logging
import os
from datetime import timedelta
from pathlib import Path

import pytest

from edge.config import ConfigError, KeyRing, MeterKeys
from edge.outbox import Outbox
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Command, Verb
from protocols.mqtt.upkeep import NewKeys, seal_keys
from protocols.mqtt.uplink import FINAL, Ack, Stage
from simulators.faults import Fault
from tests.integration.edge_harness import Cloud, cloud
from tests.integration.edge_upkeep_kit import upkeep_order
from tests.integration.edge_upkeep_meter import (
    SPEC,
    TRANSPORT,
    RealVictim,
    agent_of,
    configured,
    simulated,
)

NEW = NewKeys(encryption_key=b"E" * 16, authentication_key=b"A" * 16)


def rekey(
    name: str,
    keys: NewKeys = NEW,
    *,
    transport: bytes = TRANSPORT,
    lasts: timedelta = timedelta(seconds=60),
) -> Command:
    """Return an order to change the meter's keys."""
    bare = upkeep_order(name, Verb.REKEY, {}, meter=SPEC.meter)
    args = seal_keys(
        keys, transport, nonce=os.urandom(12), concentrator=bare.concentrator, meter=bare.meter
    )
    return upkeep_order(name, Verb.REKEY, dict(args), meter=SPEC.meter, lasts=lasts)


async def end_of(there: Cloud, order: Command) -> Ack:
    """Wait for the one end of an order."""
    await there.until(lambda: bool(FINAL & set(there.stages(order))), 40)
    (stage,) = FINAL & set(there.stages(order))
    return next(ack for ack in there.acks if ack.id == order.id and ack.stage is stage)


@pytest.mark.req("D9")
def test_new_keys_hold_once_the_meter_answered_and_over_a_restart(
    mqtt_broker: BrokerAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def story() -> None:
        async with simulated(tmp_path) as server, cloud(mqtt_broker, "C-key") as there:
            _, config = configured(tmp_path, mqtt_broker, "C-key", server.port)
            async with agent_of(config) as status:
                await there.online()
                order = rekey("C-key")
                await there.order(order)
                end = await end_of(there, order)
                assert end.stage is Stage.DONE, end
                assert server.key_store.current().encryption == NEW.encryption_key
                reads = int(status["reads"])
                await there.until(lambda: int(status["reads"]) > reads + 2)
            async with agent_of(config) as status:
                await there.until(lambda: int(status.get("reads", 0)) > 2)
                assert "failures" not in status
                # the same keys once more, in another order: done, without a second change
                again = rekey("C-key")
                await there.order(again)
                assert (await end_of(there, again)).stage is Stage.DONE

    asyncio.run(story())
    octets = (tmp_path / "outbox.sqlite").read_bytes()
    told = caplog.text.encode() + octets
    for key in (NEW.encryption_key, NEW.authentication_key):
        assert key not in told, "a key stands open on disk or in the log"
        assert key.hex().encode() not in told


@pytest.mark.req("D9")
def test_keys_that_cannot_be_opened_or_are_not_taken_leave_the_old_ones(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    async def story() -> None:
        async with simulated(tmp_path) as server, cloud(mqtt_broker, "C-old") as there:
            _, config = configured(tmp_path, mqtt_broker, "C-old", server.port)
            old = server.key_store.current()
            async with agent_of(config) as status:
                await there.online()
                foreign = rekey("C-old", transport=bytes(32))
                await there.order(foreign)
                end = await end_of(there, foreign)
                assert (end.stage, end.reason) == (Stage.REFUSED, "upkeep_shape")
                server.key_store.stubborn = True
                order = rekey("C-old")
                await there.order(order)
                end = await end_of(there, order)
                assert (end.stage, end.reason) == (Stage.FAILED, "keys_unchanged")
                assert server.key_store.current() == old
                reads = int(status["reads"])
                await there.until(lambda: int(status["reads"]) > reads + 2)

    asyncio.run(story())


@pytest.mark.req("D9")
@pytest.mark.parametrize(
    "failpoint", ["edge.after_pend", "edge.before_promote", "edge.after_promote"]
)
def test_an_agent_killed_over_new_keys_finds_out_which_the_meter_has(
    failpoint: str, mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    name = "C-" + failpoint.split(".")[1]

    async def story() -> None:
        async with simulated(tmp_path) as server, cloud(mqtt_broker, name) as there:
            path, config = configured(tmp_path, mqtt_broker, name, server.port)
            order = rekey(name)
            async with RealVictim(path, failpoint) as victim:
                await there.online()
                await there.order(order)
                await victim.dies()
            sent = failpoint != "edge.after_pend"
            assert (server.key_store.current().encryption == NEW.encryption_key) is sent
            async with agent_of(config) as status:
                end = await end_of(there, order)
                await there.until(lambda: int(status.get("reads", 0)) > 2)
            if sent:
                assert end.stage is Stage.DONE
            else:
                assert (end.stage, end.reason) == (Stage.FAILED, "keys_unchanged")

    asyncio.run(story())


def test_a_vault_opens_with_its_own_transport_key_alone(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", wall_ms=1)
    ring = KeyRing(
        system_title=bytes(8), meters={SPEC.meter: MeterKeys(encryption_key=bytes(16))},
        transport_key=TRANSPORT,
    )  # fmt: skip
    vault = outbox.vault(TRANSPORT)
    vault.pend(SPEC.meter, NEW)
    assert vault.undecided() == [SPEC.meter]
    assert vault.over(ring) == ring, "what is pending does not hold"
    vault.promote(SPEC.meter, NEW)
    assert vault.undecided() == []
    assert vault.over(ring).of(SPEC.meter).encryption_key == NEW.encryption_key
    with pytest.raises(ConfigError, match="put the earlier one back"):
        outbox.vault(bytes(32)).over(ring)
    outbox.close()


@pytest.mark.req("D9")
def test_keys_of_a_meter_that_falls_silent_are_doubtful_and_settled_when_it_is_back(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    async def story() -> None:
        async with simulated(tmp_path) as server, cloud(mqtt_broker, "C-doubt") as there:
            _, config = configured(
                tmp_path, mqtt_broker, "C-doubt", server.port, meter={"timeout_seconds": 0.5}
            )
            path = tmp_path / "edge.json"
            order = rekey("C-doubt", lasts=timedelta(seconds=6))
            async with RealVictim(path, "edge.before_promote") as victim:
                await there.online()
                await there.order(order)
                await victim.dies()
            # the meter has the new keys, the agent knows both, and nobody answers
            server.meter.switch_fault(Fault.SILENT, on=True)
            async with agent_of(config) as status:
                end = await end_of(there, order)
                assert (end.stage, end.reason) == (Stage.FAILED, "keys_doubtful")
                server.meter.switch_fault(Fault.SILENT, on=False)
                await there.until(lambda: int(status.get("reads", 0)) > 2, 60)
            outbox = Outbox(config.outbox, wall_ms=1)
            vault = outbox.vault(TRANSPORT)
            assert vault.undecided() == []
            assert vault.current(SPEC.meter) == NEW
            outbox.close()

    asyncio.run(story())
