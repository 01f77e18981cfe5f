"""An agent against a real broker and a real outbox: custody, commands, presence, back-pressure."""

import asyncio
import tempfile
from pathlib import Path

import aiomqtt
import pytest

import edge.downlink.report
import edge.uplink.publish
from edge.outbox import Outbox
from meterloop.embedded.broker import EmbeddedBroker, LocalBroker, free_port
from protocols.events import EventCode
from protocols.identity import MeterId
from protocols.mqtt import envelope, topics
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.downlink import Verb, Watch, watch_to_plain
from protocols.mqtt.uplink import Stage
from protocols.reading import Channel, RelayState
from tests.integration.edge_harness import agent, cloud, scripted, written
from tests.integration.edge_orders import go_for, order
from tests.unit.edge.edge_kit import OPEN, READY


@pytest.mark.req("A1", "A8", "A11")
def test_readings_arrive_and_leave_the_outbox_on_their_receipt(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    _, config = written(tmp_path, mqtt_broker, "C-arrive")

    async def story() -> None:
        async with cloud(mqtt_broker, "C-arrive") as there:
            async with agent(config, scripted()) as status:
                await there.until(lambda: len(there.profile()) >= 5 * 48 - 1)
                await there.until(lambda: int(status.get("receipts", 0)) >= 3)
                assert there.states[-1]["online"] is True
            await there.until(lambda: there.states[-1]["online"] is False)
            (boot,) = there.seqs()
            assert there.seqs()[boot] == set(range(1, max(there.seqs()[boot]) + 1))
            assert there.hints[0] == (str(boot), str(there.batches[0].id.seq))
            channels = {c for b in there.batches for c in b.columns["channel"].tolist()}
            assert channels == {Channel.IMPORT_WH, Channel.POWER_W, Channel.IMPORT_INTERVAL_WH}
            relays = [r for b in there.batches for r in b.relays]
            assert relays[-1].relay.control_state is RelayState.CONNECTED

    asyncio.run(story())


@pytest.mark.req("A8")
def test_a_batch_without_receipt_is_sent_again_as_it_was_and_stays(
    mqtt_broker: BrokerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.uplink.publish, "RESEND_SECONDS", 0.3)
    _, config = written(tmp_path, mqtt_broker, "C-again")

    async def story() -> None:
        async with cloud(mqtt_broker, "C-again") as there:
            there.receipting = False
            async with agent(config, scripted()) as status:
                first = lambda: [b for b in there.batches if b.id.seq == 1]  # noqa: E731
                await there.until(lambda: len(first()) >= 3)
                one, two = first()[:2]
                assert envelope.encode(one.columns["raw"].tolist()) == envelope.encode(
                    two.columns["raw"].tolist()
                )
                assert int(status["waiting"]) > 0
                assert "receipts" not in status
                under_way = {b.id.seq for b in there.batches}
                assert len(under_way) <= edge.uplink.publish.WINDOW
                there.receipting = True
                await there.until(lambda: int(status["waiting"]) <= 1)

    asyncio.run(story())


@pytest.mark.req("D9", "D13")
def test_a_cut_and_a_restore_over_the_wire(mqtt_broker: BrokerAddress, tmp_path: Path) -> None:
    _, config = written(tmp_path, mqtt_broker, "C-cut")

    async def story() -> None:
        meter = scripted()
        async with cloud(mqtt_broker, "C-cut") as there, agent(config, meter):
            await there.online()
            cut = order("C-cut")
            await there.order(cut)
            nonce = await there.nonce(cut)
            assert meter.acts == []
            await there.order(go_for(cut, nonce))
            await there.until(lambda: Stage.DONE in there.stages(cut))
            assert there.stages(cut) == [
                Stage.ACCEPTED, Stage.CHALLENGE, Stage.STARTED, Stage.DONE,
            ]  # fmt: skip
            await there.until(
                lambda: (
                    any(r.relay == OPEN for b in there.batches for r in b.relays)
                    and any(
                        e.code is EventCode.RELAY_OPENED for b in there.batches for e in b.events
                    )
                )
            )
            restore = order("C-cut", Verb.RECONNECT)
            await there.order(restore)
            await there.until(lambda: Stage.DONE in there.stages(restore))
            await there.order(go_for(cut, nonce))
            await there.order(cut)
            await asyncio.sleep(0.5)
            assert meter.acts == ["disconnect", "reconnect"]

    asyncio.run(story())


@pytest.mark.req("D9")
def test_a_stuck_relay_fails_and_a_ready_one_is_armed(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    _, config = written(tmp_path, mqtt_broker, "C-stuck")

    async def story() -> None:
        meter = scripted(stuck=True)
        async with cloud(mqtt_broker, "C-stuck") as there, agent(config, meter):
            await there.online()
            cut = order("C-stuck")
            await there.order(cut)
            await there.order(go_for(cut, await there.nonce(cut)))
            await there.until(lambda: Stage.FAILED in there.stages(cut), 30)
            assert meter.acts == ["disconnect"] * 3
            meter.stuck, meter.arms, meter.relay = False, True, OPEN
            restore = order("C-stuck", Verb.RECONNECT)
            await there.order(restore)
            await there.until(lambda: Stage.ARMED in there.stages(restore))
            assert meter.relay == READY

    asyncio.run(story())


def test_acks_are_told_until_their_receipt(
    mqtt_broker: BrokerAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.downlink.report, "RESEND_SECONDS", 0.3)
    _, config = written(tmp_path, mqtt_broker, "C-acks")

    async def story() -> None:
        async with cloud(mqtt_broker, "C-acks") as there, agent(config, scripted(relay=OPEN)):
            there.receipting = False
            await there.online()
            restore = order("C-acks", Verb.RECONNECT)
            await there.order(restore)
            mine = lambda: [a.stage for a in there.acks if a.id == restore.id]  # noqa: E731
            await there.until(lambda: mine().count(Stage.DONE) >= 3)
            there.receipting = True
            settled = await there.still(lambda: len(mine()))
            await there.order(restore)
            await there.until(lambda: len(mine()) == settled + 1)
            assert mine()[-1] is Stage.DONE, "a replay is answered with the stored result"

    asyncio.run(story())


@pytest.mark.req("A8")
def test_at_the_high_water_mark_polling_stops_is_told_once_and_goes_on_by_itself(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    _, config = written(tmp_path, mqtt_broker, "C-full", outbox_max_batches=4)

    async def story() -> None:
        meter = scripted()
        async with cloud(mqtt_broker, "C-full") as there, agent(config, meter) as status:
            there.receipting = False
            full = lambda: [  # noqa: E731
                e for b in {str(b.id): b for b in there.batches}.values() for e in b.events
                if e.code is EventCode.OUTBOX_FULL
            ]  # fmt: skip
            await there.until(lambda: int(status.get("waiting", 0)) >= 5 and len(full()) == 1)
            before = await there.still(lambda: len(meter.calls))
            assert len(full()) == 1
            there.receipting = True
            for batch in list(there.batches):
                await there.receipt(batch)
            await there.until(lambda: len(meter.calls) > before + 3)
            await there.until(
                lambda: all(
                    found == set(range(1, max(found) + 1)) for found in there.seqs().values()
                )
            )

    asyncio.run(story())


@pytest.mark.req("A8")
def test_a_broker_that_goes_away_with_its_memory_loses_nothing(tmp_path: Path) -> None:
    port = free_port()

    async def story() -> None:
        meter = scripted()
        with tempfile.TemporaryDirectory(prefix="ml-mqtt-") as one:
            broker = EmbeddedBroker(LocalBroker(folder=Path(one), port=port))
            broker.start()
            _, config = written(tmp_path, broker.address, "C-away")
            async with agent(config, meter) as status:
                try:
                    async with cloud(broker.address, "C-away") as first:
                        await first.until(lambda: len(first.batches) >= 2)
                        first.receipting = False
                        try:
                            await asyncio.to_thread(broker.stop)
                            await first.until(lambda: False, 1.0)
                        except TimeoutError:
                            pass
                except aiomqtt.MqttError:
                    pass
                before = int(status["waiting"])
                # it goes on reading into the outbox
                await first.until(lambda: int(status["waiting"]) > before)
                with tempfile.TemporaryDirectory(prefix="ml-mqtt-") as two:
                    with EmbeddedBroker(LocalBroker(folder=Path(two), port=port)) as again:
                        async with cloud(again.address, "C-away") as second:
                            await second.until(
                                lambda: int(status["waiting"]) <= 1 and len(second.batches) > 5
                            )
                            heard = lambda: {  # noqa: E731
                                b.id.seq for b in [*first.batches, *second.batches]
                            }
                            await second.until(lambda: heard() == set(range(1, max(heard()) + 1)))

    asyncio.run(story())


def test_a_watched_meter_is_read_faster(mqtt_broker: BrokerAddress, tmp_path: Path) -> None:
    _, config = written(
        tmp_path, mqtt_broker, "C-watch", poll_seconds=60, watched_seconds=0.1, profile_seconds=60
    )

    async def story() -> None:
        meter = scripted()
        async with cloud(mqtt_broker, "C-watch") as there, agent(config, meter):
            await there.online()
            await there.until(lambda: "read_now" in meter.calls)
            before = await there.still(lambda: meter.calls.count("read_now"), 0.5)
            await there.client.publish(
                topics.down_watch(there.concentrator),
                envelope.encode(
                    watch_to_plain(Watch(meter=MeterId("M-000042"), wall_seconds=30)),
                    envelope.CBOR,
                ),
                qos=1,
            )
            await there.client.publish(topics.down_watch(there.concentrator), b"junk", qos=1)
            await there.client.publish(topics.down_receipt(there.concentrator), b"junk", qos=1)
            await there.until(lambda: meter.calls.count("read_now") >= before + 5)

    asyncio.run(story())


def test_an_agent_that_dies_is_announced_by_its_will_and_a_second_start_goes_on(
    mqtt_broker: BrokerAddress, tmp_path: Path
) -> None:
    _, config = written(tmp_path, mqtt_broker, "C-twice")

    async def story() -> None:
        async with cloud(mqtt_broker, "C-twice") as there:
            async with agent(config, scripted()):
                await there.until(lambda: len(there.profile()) >= 200)
            asked = scripted()
            async with agent(config, asked):
                await there.until(lambda: len(asked.calls) > 4)
            profile = [call for call in asked.calls if call.startswith("read_profile")]
            assert len(profile) <= 1, "what is stored is not asked for again"

    asyncio.run(story())
    boots = Outbox(config.outbox, wall_ms=1)
    assert boots.batches.waiting >= 0
    boots.close()
