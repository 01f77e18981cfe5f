"""Tokens: once each, in order, never read; and what remains of commands that ended long ago."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

import edge.downlink.obey
from edge.downlink.admit import Reason
from protocols.errors import PeerError
from protocols.mqtt.downlink import Command, Verb, sign
from protocols.mqtt.receipt import AckReceipt
from protocols.mqtt.uplink import Stage
from tests.unit.edge.edge_kit import KEY, OPEN, ScriptedMeter, command
from tests.unit.edge.test_edge_obey import Agent, told


@dataclass
class Answer:
    evidence: Mapping[str, Any]


@dataclass
class TokenMeter(ScriptedMeter):
    """A scripted meter that takes tokens, or says what `answers` holds."""

    taken: list[bytes] = field(default_factory=list)
    answers: list[PeerError | None] = field(default_factory=list)
    token_kind: str = "sts"

    async def deliver_token(self, opaque: bytes) -> Answer:
        self.taken.append(opaque)
        await asyncio.sleep(0)
        error = self.answers.pop(0) if self.answers else None
        if error is not None:
            raise error
        return Answer({"result": 0, "balance_cents": 100 * len(self.taken)})


@pytest.fixture
def agent(tmp_path) -> Agent:  # type: ignore[no-untyped-def]
    class Fresh(Agent):
        def __post_init__(self) -> None:
            """Begin inside the loop, for the agent's futures belong to it."""

    return Fresh(tmp_path, meter=TokenMeter())


def token(opaque: bytes = b"12345678901234567890", kind: str = "sts") -> Command:
    return replace(command(Verb.DELIVER_TOKEN), args={"opaque": opaque, "kind": kind})


async def sent(agent: Agent, *orders: Command) -> None:
    for order in orders:
        await agent.obedience.receive(sign(order, KEY))
    await agent.obedience.idle()


@pytest.mark.req("C13")
def test_tokens_reach_the_meter_once_and_in_the_order_of_their_coming(agent: Agent) -> None:
    async def story() -> None:
        orders = [token(bytes([n]) * 20) for n in range(8)]
        await sent(agent, *orders)
        await sent(agent, *orders)
        assert agent.meter.taken == [bytes([n]) * 20 for n in range(8)]  # type: ignore[attr-defined]
        for n, order in enumerate(orders, 1):
            assert agent.stages(order) == [Stage.ACCEPTED, Stage.STARTED, Stage.DONE]
            assert agent.acks(order)[-1].evidence == {"result": 0, "balance_cents": 100 * n}

    told(agent, story)


def test_the_same_token_in_another_command_is_refused(agent: Agent) -> None:
    async def story() -> None:
        first, second = token(), token()
        await sent(agent, first, second)
        assert len(agent.meter.taken) == 1  # type: ignore[attr-defined]
        last = agent.acks(second)[-1]
        assert (last.stage, last.reason) == (Stage.REFUSED, Reason.TOKEN_REPEATED)

    told(agent, story)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("dlt645.token_refused", Reason.TOKEN_REFUSED),
        ("link.timeout", Reason.TOKEN_DOUBTFUL),
    ],
)
def test_a_token_without_a_good_answer_is_never_sent_again(
    agent: Agent, code: str, reason: Reason
) -> None:
    async def story() -> None:
        agent.meter.answers.append(PeerError(code, "no"))  # type: ignore[attr-defined]
        order = token()
        await sent(agent, order)
        await sent(agent, order)
        last = agent.acks(order)[-1]
        assert (last.stage, last.reason) == (Stage.FAILED, reason)
        assert len(agent.meter.taken) == 1  # type: ignore[attr-defined]

    told(agent, story)


@pytest.mark.parametrize(("code", "sent_again"), [("dlms.token_refused", 1), ("link.timeout", 0)])
def test_only_a_token_that_is_surely_not_in_the_meter_may_come_with_another_command(
    agent: Agent, code: str, sent_again: int
) -> None:
    async def story() -> None:
        agent.meter.answers.append(PeerError(code, "no"))  # type: ignore[attr-defined]
        first, second, third = token(), token(), token()
        await sent(agent, first)
        await sent(agent, second)
        assert len(agent.meter.taken) == 1 + sent_again  # type: ignore[attr-defined]
        await sent(agent, third)
        assert len(agent.meter.taken) == 1 + sent_again  # type: ignore[attr-defined]
        last = agent.acks(third)[-1]
        assert (last.stage, last.reason) == (Stage.REFUSED, Reason.TOKEN_REPEATED)

    told(agent, story)


def test_a_token_interrupted_by_a_crash_is_doubtful_and_not_sent_again(agent: Agent) -> None:
    async def story() -> None:
        order = token()
        never = asyncio.Event()

        async def hangs(_opaque: bytes) -> Answer:
            await never.wait()
            return Answer({})

        agent.meter.deliver_token = hangs  # type: ignore[attr-defined]
        await agent.obedience.receive(sign(order, KEY))
        while Stage.STARTED not in agent.stages(order):
            await asyncio.sleep(0)
        await agent.obedience.finish()
        agent.restart()
        await agent.obedience.resume()
        await agent.obedience.idle()
        last = agent.acks(order)[-1]
        assert (last.stage, last.reason) == (Stage.FAILED, Reason.TOKEN_DOUBTFUL)
        assert agent.meter.taken == []  # type: ignore[attr-defined]

    told(agent, story)


@pytest.mark.parametrize(
    "order",
    [token(b""), token(b"x" * 257), token(kind="gold"), token(kind="dlt645"),
     replace(token(), args={})],
)  # fmt: skip
def test_what_is_no_token_for_this_meter_is_refused(agent: Agent, order: Command) -> None:
    async def story() -> None:
        await sent(agent, order)
        last = agent.acks(order)[-1]
        assert (last.stage, last.reason) == (Stage.REFUSED, Reason.TOKEN_SHAPE)
        assert agent.meter.taken == []  # type: ignore[attr-defined]

    told(agent, story)


def test_a_meter_that_takes_none_is_not_asked(agent: Agent) -> None:
    agent.meter = ScriptedMeter()

    async def story() -> None:
        order = token()
        await sent(agent, order)
        last = agent.acks(order)[-1]
        assert (last.stage, last.reason) == (Stage.REFUSED, Reason.NO_TOKENS)

    told(agent, story)


@pytest.mark.req("D9")
def test_old_commands_shrink_and_their_replays_are_still_answered_and_never_obeyed(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.downlink.obey, "_KEPT_WHOLE", 2)

    async def story() -> None:
        orders = []
        for _ in range(6):
            agent.meter.relay = OPEN
            orders.append(command(Verb.RECONNECT))
            await sent(agent, orders[-1])
            for ack in agent.acks(orders[-1]):
                agent.outbox.acks.release(ack.id, ack.stage)
        agent.meter.relay = OPEN
        last = command(Verb.RECONNECT)
        await sent(agent, last)
        assert agent.stages(orders[0]) == [Stage.DONE], "only its end is kept"
        assert agent.stages(last) == [Stage.ACCEPTED, Stage.STARTED, Stage.DONE]
        kept = agent.outbox.commands.find(orders[0].id)
        assert kept is not None
        assert len(kept.payload) < 64
        acts = len(agent.meter.acts)
        agent.meter.relay = OPEN
        agent.outbox.acks.release(last.id, Stage.DONE)
        await sent(agent, orders[0])
        assert len(agent.meter.acts) == acts
        assert (
            b"".join(a.payload for a in agent.outbox.acks.unreceipted()).count(
                orders[0].id.encode()
            )
            == 1
        ), "a replay is answered with the stored result"
        await sent(agent, replace(orders[0], epoch=99))
        assert len(agent.meter.acts) == acts, "other octets under an old id are not obeyed"

    told(agent, story)


def test_what_the_cloud_has_not_receipted_stays_whole(agent: Agent) -> None:
    async def story() -> None:
        agent.meter.relay = OPEN
        order = command(Verb.RECONNECT)
        await sent(agent, order)
        assert agent.outbox.commands.prune(0) == 0
        for stage in agent.stages(order):
            await agent.obedience._reporter.receipted(AckReceipt(id=order.id, stage=stage))
        assert agent.outbox.commands.prune(0) == 1
        assert agent.outbox.commands.prune(0) == 0

    told(agent, story)
