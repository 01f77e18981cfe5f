"""Mutual TLS against a real, strict broker: who gets in, who does not and why, who reaches what."""

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiomqtt
import pytest

from edge.links.broker_tls import context_of, diagnose
from meterloop.embedded.broker import free_port
from protocols.mqtt.broker import BrokerAddress
from tests.integration.edge_harness import agent, scripted, written
from tests.integration.tls_kit import DAY, NOW, Authority, Pair, address, strict_broker


@dataclass
class Town:
    """A strict broker and everybody's certificates."""

    port: int
    authority: Authority
    foreign: Authority
    pairs: dict[str, Pair]

    def address(self, who: str) -> BrokerAddress:
        return address(self.port, self.authority, self.pairs.get(who))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder / "authority")
    foreign = Authority(folder / "foreign", "Another authority")
    pairs = {
        "good": authority.issue("C-tls"),
        "neighbour": authority.issue("C-other"),
        "ingest": authority.issue("meterloop_ingest"),
        "expired": authority.issue("C-expired", ends=NOW - DAY),
        "revoked": authority.issue("C-revoked"),
        "foreign": foreign.issue("C-foreign"),
    }
    server = authority.issue("broker")
    revoked = authority.revoke(pairs["revoked"])
    with strict_broker(folder / "broker", authority, server, revoked) as port:
        yield Town(port, authority, foreign, pairs)


def client(broker: BrokerAddress, name: str) -> aiomqtt.Client:
    return aiomqtt.Client(
        broker.host, broker.port, identifier=name, protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=context_of(broker), timeout=20,
    )  # fmt: skip


@pytest.mark.req("A5")
def test_a_good_certificate_gets_in_and_readings_flow(town: Town, tmp_path: Path) -> None:
    _, config = written(tmp_path, town.address("good"), "C-tls")

    async def story() -> None:
        async with client(town.address("ingest"), "ingest") as cloud:
            await cloud.subscribe("ami/v1/+/up/data", qos=1)
            async with agent(config, scripted()) as status:
                async with asyncio.timeout(30):
                    message = await anext(aiter(cloud.messages))
                assert str(message.topic) == "ami/v1/C-tls/up/data"
                assert (status["broker"], status["broker_fault"]) == ("connected", "")

    asyncio.run(story())


BAD = {
    "revoked": ("broker.certificate_revoked", "new certificate"),
    "expired": ("broker.certificate_expired", "new certificate"),
    "foreign": ("broker.certificate_unknown", "authority in the broker's cafile"),
    "nobody": ("broker.certificate_missing", "tls_cert and tls_key"),
}


@pytest.mark.req("A5")
def test_a_bad_certificate_is_named_with_what_to_do(town: Town, tmp_path: Path) -> None:
    """All of them at once: a session that is refused is known for dead after ten seconds."""

    async def story(who: str, code: str, fix: str) -> None:
        broker = town.address(who)
        fault = await asyncio.to_thread(diagnose, broker, now=datetime.now(UTC))
        assert fault is not None, who
        assert (fault.code, fix in fault.message) == (code, True), fault.message
        (tmp_path / who).mkdir()
        _, config = written(tmp_path / who, broker, f"C-{who}")
        meter = scripted()
        async with agent(config, meter) as status, asyncio.timeout(60):
            while status.get("broker_fault") != code:
                await asyncio.sleep(0.05)
            before = len(meter.calls)
            while len(meter.calls) <= before:  # it goes on reading into its outbox
                await asyncio.sleep(0.05)
            assert status["broker"] == "away"

    async def stories() -> None:
        async with asyncio.TaskGroup() as group:
            for who, (code, fix) in BAD.items():
                group.create_task(story(who, code, fix))

    asyncio.run(stories())


def test_the_broker_itself_says_that_a_certificate_has_expired(town: Town) -> None:
    early = NOW - 5 * DAY
    fault = diagnose(town.address("expired"), now=early)
    assert fault is not None
    assert fault.code == "broker.certificate_expired"
    assert "the broker says" in fault.message


def test_a_broker_that_is_not_ours_is_not_spoken_to(town: Town) -> None:
    broker = address(town.port, town.foreign, town.pairs["good"])
    fault = diagnose(broker, now=datetime.now(UTC))
    assert fault is not None
    assert fault.code == "broker.server_unknown"


def test_wrong_files_and_wrong_places_are_named(town: Town, tmp_path: Path) -> None:
    good = town.address("good")

    def code(**changes: object) -> str:
        fault = diagnose(BrokerAddress(**{**asdict(good), **changes}), now=datetime.now(UTC))  # type: ignore[arg-type]
        assert fault is not None
        assert "Fix: " in fault.message
        return fault.code

    empty = tmp_path / "empty.crt"
    empty.write_text("")
    assert code(tls_cert=str(tmp_path / "none.crt")) == "broker.file"
    assert code(tls_ca=str(empty)) == "broker.file"
    assert code(tls_key=str(town.pairs["neighbour"].key)) == "broker.key_mismatch"
    assert code(port=free_port()) == "broker.unreachable"
    assert diagnose(good, now=datetime.now(UTC)) is None
    fault = diagnose(good, now=NOW - 40 * DAY)
    assert fault is not None
    assert fault.code == "broker.certificate_early"


@pytest.mark.req("A5")
def test_a_concentrator_reaches_its_own_branch_alone(town: Town) -> None:
    async def story() -> list[str]:
        heard: list[str] = []
        async with (
            client(town.address("ingest"), "ingest-acl") as cloud,
            client(town.address("good"), "one") as one,
            client(town.address("neighbour"), "two") as two,
        ):
            await cloud.subscribe("ami/v1/+/up/data", qos=1)
            await two.subscribe("ami/v1/C-tls/#", qos=1)
            for topic in (
                "ami/v1/C-other/up/data", "ami/v1/C-tls/down/cmd", "ami/v1/live/UP-1/reading",
                "ami/v1/C-tls/up/data",
            ):  # fmt: skip
                try:
                    await one.publish(topic, f"from one to {topic}", qos=1)
                except aiomqtt.MqttError:
                    continue

            async def listen(who: str, ears: aiomqtt.Client) -> None:
                async for message in ears.messages:
                    heard.append(f"{who} {message.topic}")

            listening = [
                asyncio.create_task(listen("cloud", cloud)),
                asyncio.create_task(listen("two", two)),
            ]
            async with asyncio.timeout(30):
                while not heard:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(1.0)  # what must not come would come now
            for task in listening:
                task.cancel()
        return heard

    assert asyncio.run(story()) == ["cloud ami/v1/C-tls/up/data"]
