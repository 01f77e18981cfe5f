"""Commands from the wire to their ends: what acts, what never does, what is told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from edge.acquire.piece import Piece
from edge.acquire.port import MeterPort
from edge.clock import EdgeClock
from edge.downlink.admit import Reason
from edge.downlink.confirm import Handshakes
from edge.downlink.execute import Limits
from edge.downlink.obey import Obedience
from edge.downlink.report import AckReporter
from edge.outbox import Outbox
from edge.outbox.stages import CommandEvent
from protocols.events import EventCode
from protocols.identity import CommandId, ConcentratorId, MeterId
from protocols.mqtt.downlink import Command, Go, Verb, sign
from protocols.mqtt.receipt import AckReceipt
from protocols.mqtt.uplink import FINAL, Ack, Stage
from tests.unit.edge.edge_kit import (
    CONCENTRATOR,
    KEY,
    METER,
    NOON,
    OPEN,
    STRANGER,
    HandClock,
    ScriptedMeter,
    command,
)

LIMITS = Limits(pause=0.0, read_back=0.0, power_falls=0.0, unknown=0.0, reach=0.0)


@dataclass
class Agent:
    """The obeying half of an agent on a file; `restart` forgets its memory."""

    path: Path
    meter: ScriptedMeter = field(default_factory=ScriptedMeter)
    hand: HandClock = field(default_factory=HandClock)
    pieces: list[Piece] = field(default_factory=list)
    valid_seconds: float = 30.0
    limits: Limits = LIMITS

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.clock: EdgeClock = self.hand.clock()
        self.outbox = Outbox(self.path / "outbox.sqlite", wall_ms=1)
        self.status: dict[str, int | str] = {}
        self.port = MeterPort(self.meter)
        self.handshakes = Handshakes(self.clock.monotonic, valid_seconds=self.valid_seconds)
        self.obedience = Obedience(
            self.outbox,
            self.clock,
            concentrator=CONCENTRATOR,
            public_key=KEY.public_key(),
            ports={METER: self.port},
            sink=self,  # type: ignore[arg-type]
            reporter=AckReporter(self.outbox, self.clock, concentrator=CONCENTRATOR),
            handshakes=self.handshakes,
            limits=self.limits,
            status=self.status,
        )

    def add(self, piece: Piece) -> None:
        self.pieces.append(piece)

    def acks(self, order: Command) -> list[Ack]:
        return self.outbox.acks.of(order.id)

    def stages(self, order: Command) -> list[Stage]:
        return [ack.stage for ack in self.acks(order)]

    async def challenged(self, order: Command) -> bytes:
        """Send a cut and return the nonce that came back."""
        await self.obedience.receive(sign(order, KEY))
        while True:
            for ack in self.acks(order):
                if ack.stage is Stage.CHALLENGE:
                    return ack.nonce
                assert ack.stage not in FINAL, ack
            await asyncio.sleep(0)

    async def go(self, order: Command, nonce: bytes) -> None:
        await self.obedience.receive(sign(go_for(order, nonce), KEY))


def go_for(order: Command, nonce: bytes) -> Go:
    return Go(id=order.id, concentrator=order.concentrator, meter=order.meter, nonce=nonce)


def told(agent: Agent, story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        agent.restart()
        await story()
        await agent.obedience.finish()
        assert not agent.obedience.broken.done(), agent.obedience.broken.exception()

    asyncio.run(whole())


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    class Fresh(Agent):
        def __post_init__(self) -> None:
            """Begin inside the loop, for the agent's futures belong to it."""

    return Fresh(tmp_path)


@pytest.mark.req("D9", "D13")
def test_a_cut_with_its_handshake_is_done_and_proven(agent: Agent) -> None:
    async def story() -> None:
        order = command()
        nonce = await agent.challenged(order)
        assert agent.meter.acts == [], "nothing acts before the go"
        await agent.go(order, nonce)
        await agent.obedience.idle()
        assert agent.stages(order) == [
            Stage.ACCEPTED, Stage.CHALLENGE, Stage.STARTED, Stage.DONE,
        ]  # fmt: skip
        assert agent.meter.acts == ["disconnect"]
        assert agent.acks(order)[-1].evidence["after"]["output_closed"] == 0
        events = [event.code for piece in agent.pieces for event in piece.events]
        assert events == [EventCode.RELAY_OPENED]

    told(agent, story)


@pytest.mark.req("D9")
def test_a_reconnect_needs_no_handshake(agent: Agent) -> None:
    async def story() -> None:
        agent.meter.relay = OPEN
        order = command(Verb.RECONNECT)
        await agent.obedience.receive(sign(order, KEY))
        await agent.obedience.idle()
        assert agent.stages(order) == [Stage.ACCEPTED, Stage.STARTED, Stage.DONE]

    told(agent, story)


@pytest.mark.req("D9")
def test_a_meter_that_cannot_close_is_armed(agent: Agent) -> None:
    async def story() -> None:
        agent.meter.relay, agent.meter.arms = OPEN, True
        order = command(Verb.RECONNECT)
        await agent.obedience.receive(sign(order, KEY))
        await agent.obedience.idle()
        assert agent.stages(order)[-1] is Stage.ARMED

    told(agent, story)


def test_a_stuck_switch_is_a_failure_and_an_event(agent: Agent) -> None:
    async def story() -> None:
        agent.meter.stuck = True
        order = command()
        await agent.go(order, await agent.challenged(order))
        await agent.obedience.idle()
        last = agent.acks(order)[-1]
        assert (last.stage, last.reason) == (Stage.FAILED, Reason.DID_NOT_MOVE)
        assert agent.pieces[-1].events[0].code is EventCode.RELAY_FAILED

    told(agent, story)


@pytest.mark.req("D9")
def test_words_that_control_has_not_signed_do_nothing(agent: Agent) -> None:
    async def story() -> None:
        order = command()
        await agent.obedience.receive(sign(order, STRANGER))
        await agent.obedience.receive(b"\x00garbage")
        await agent.obedience.receive(b"")
        assert agent.acks(order) == []
        nonce = await agent.challenged(order)
        await agent.obedience.receive(sign(go_for(order, nonce), STRANGER))
        assert agent.status["commands_rejected"] == 4
        assert agent.meter.calls == []

    told(agent, story)


@pytest.mark.req("D9")
def test_foreign_expired_and_doubtful_commands_do_nothing(agent: Agent) -> None:
    async def story() -> None:
        elsewhere = command(concentrator=ConcentratorId("C-02"))
        other = command(meter=MeterId("M-000043"))
        stale = command(expires=NOON - timedelta(seconds=1), not_before=NOON - timedelta(hours=1))
        for order in (elsewhere, other, stale):
            await agent.obedience.receive(sign(order, KEY))
        await agent.obedience.idle()
        assert agent.stages(elsewhere) == []
        assert agent.stages(other) == [Stage.REFUSED]
        assert agent.stages(stale) == [Stage.EXPIRED]
        agent.hand.wall += timedelta(minutes=5)
        doubtful = command(expires=NOON + timedelta(hours=1))
        await agent.obedience.receive(sign(doubtful, KEY))
        assert agent.acks(doubtful)[-1].reason == Reason.CLOCK_UNTRUSTED
        assert agent.meter.calls == []

    told(agent, story)


@pytest.mark.req("D9")
def test_a_go_that_is_wrong_late_or_second_does_nothing(agent: Agent) -> None:
    async def story() -> None:
        order = command()
        nonce = await agent.challenged(order)
        await agent.go(order, bytes(16))
        await agent.go(command(id_="other"), nonce)
        assert agent.meter.acts == []
        agent.hand.passes(31)
        await agent.go(order, nonce)
        assert agent.meter.acts == []
        assert agent.status["go_ignored"] == 3
        second = command(expires=NOON + timedelta(hours=1))
        nonce = await agent.challenged(second)
        for _ in range(3):
            await agent.go(second, nonce)
        await asyncio.sleep(0)
        while agent.stages(second)[-1] not in FINAL:
            await asyncio.sleep(0)
        await agent.go(second, nonce)
        assert agent.meter.acts == ["disconnect"]

    told(agent, story)


def test_a_challenge_without_answer_expires(agent: Agent) -> None:
    async def story() -> None:
        order = command()
        await agent.challenged(order)
        await agent.obedience.idle()
        assert agent.acks(order)[-1].stage is Stage.EXPIRED
        assert agent.acks(order)[-1].reason == Reason.NO_GO
        assert agent.meter.calls == []

    agent.valid_seconds = 0.05
    told(agent, story)


@pytest.mark.req("D9")
@pytest.mark.parametrize(
    ("passes", "stage", "reason"),
    [
        (lambda hand: hand.passes(31), Stage.EXPIRED, Reason.GO_LAPSED),
        (lambda hand: setattr(hand, "wall", NOON - timedelta(hours=1)), Stage.REFUSED,
         Reason.CLOCK_UNTRUSTED),
    ],
)  # fmt: skip
def test_a_cut_that_waited_for_its_meter_is_judged_anew(
    agent: Agent, passes: Callable[[HandClock], None], stage: Stage, reason: Reason
) -> None:
    async def story() -> None:
        order = command(expires=NOON + timedelta(hours=1))
        nonce = await agent.challenged(order)
        async with agent.port.lock:
            await agent.go(order, nonce)
            await asyncio.sleep(0)
            passes(agent.hand)
        await agent.obedience.idle()
        assert (agent.acks(order)[-1].stage, agent.acks(order)[-1].reason) == (stage, reason)
        assert agent.meter.acts == []

    told(agent, story)


@pytest.mark.req("D9")
def test_a_reconnect_withdraws_a_cut_that_has_no_go(agent: Agent) -> None:
    async def story() -> None:
        cut, restore = command(), command(Verb.RECONNECT)
        nonce = await agent.challenged(cut)
        await agent.obedience.receive(sign(restore, KEY))
        while agent.stages(restore)[-1] not in FINAL:
            await asyncio.sleep(0)
        await agent.go(cut, nonce)
        assert agent.acks(cut)[-1].reason == Reason.SUPERSEDED
        assert agent.stages(restore)[-1] is Stage.DONE
        assert agent.meter.acts == []

    told(agent, story)


@pytest.mark.req("D9")
def test_a_reconnect_after_a_go_acts_last(agent: Agent) -> None:
    async def story() -> None:
        cut, restore = command(), command(Verb.RECONNECT)
        nonce = await agent.challenged(cut)
        async with agent.port.lock:
            await agent.go(cut, nonce)
            await asyncio.sleep(0.01)
            await agent.obedience.receive(sign(restore, KEY))
            await asyncio.sleep(0.01)
        await agent.obedience.idle()
        assert agent.stages(restore)[-1] is Stage.DONE
        assert agent.meter.relay.output_closed
        assert agent.meter.acts[-1:] in ([], ["reconnect"])
        # how far the cut had come when the reconnect overtook it is a matter of threads
        ended, reason = agent.stages(cut)[-1], agent.acks(cut)[-1].reason
        assert ended is Stage.DONE or reason == Reason.SUPERSEDED, (ended, reason)

    told(agent, story)


@pytest.mark.req("D9", "D15")
def test_a_reconnect_ends_a_cut_that_still_waits_for_its_silent_meter(agent: Agent) -> None:
    async def story() -> None:
        agent.meter.silent = True
        agent.limits = replace(LIMITS, reach=30.0)
        agent.restart()
        cut, restore = command(), command(Verb.RECONNECT)
        await agent.go(cut, await agent.challenged(cut))
        while agent.stages(cut)[-1] is not Stage.STARTED:
            await asyncio.sleep(0)
        await agent.obedience.receive(sign(restore, KEY))
        while agent.stages(cut)[-1] not in FINAL:
            await asyncio.sleep(0)
        agent.meter.silent = False
        await agent.obedience.idle()
        assert (agent.stages(cut)[-1], agent.acks(cut)[-1].reason) == (
            Stage.FAILED, Reason.SUPERSEDED,
        )  # fmt: skip
        assert agent.meter.acts == []
        assert agent.meter.relay.output_closed

    told(agent, story)


@pytest.mark.req("D9")
def test_a_replay_answers_with_the_stored_result_and_acts_no_second_time(agent: Agent) -> None:
    async def story() -> None:
        agent.meter.relay = OPEN
        order = command(Verb.RECONNECT)
        await agent.obedience.receive(sign(order, KEY))
        await agent.obedience.idle()
        for stage in agent.stages(order):
            agent.outbox.acks.release(order.id, stage)
        agent.meter.relay = OPEN
        await agent.obedience.receive(sign(order, KEY))
        await agent.obedience.idle()
        assert agent.meter.acts == ["reconnect"]
        assert len(agent.outbox.acks.unreceipted()) == 1
        other = command(Verb.DISCONNECT, id_=order.id)
        await agent.obedience.receive(sign(other, KEY))
        await agent.obedience.idle()
        assert agent.meter.acts == ["reconnect"], "an id used again for another order is nothing"

    told(agent, story)


def test_after_a_restart_an_accepted_cut_draws_a_new_nonce_and_the_old_go_is_nothing(
    agent: Agent,
) -> None:
    async def story() -> None:
        order = command()
        payload = sign(order, KEY)
        ack = Ack(id=order.id, meter=METER, stage=Stage.ACCEPTED, at=NOON)
        agent.outbox.commands.enter(payload, order.verb, CommandEvent.ADMIT, ack)
        agent.restart()
        await agent.obedience.resume()
        nonce = await agent.challenged(order)
        await agent.go(order, bytes(16))
        assert agent.meter.acts == []
        await agent.go(order, nonce)
        await agent.obedience.idle()
        assert agent.meter.acts == ["disconnect"]

    told(agent, story)


@pytest.mark.req("D9")
def test_a_go_replayed_after_a_restart_does_nothing(agent: Agent) -> None:
    async def story() -> None:
        order = command()
        nonce = await agent.challenged(order)
        await agent.obedience.finish()
        agent.restart()
        await agent.obedience.resume()
        await agent.go(order, nonce)
        await agent.obedience.idle()
        assert agent.meter.acts == []
        assert agent.acks(order)[-1].stage is Stage.EXPIRED
        await agent.go(order, nonce)
        assert agent.meter.acts == []

    told(agent, story)


@pytest.mark.parametrize(
    ("verb", "relay_open", "end", "acts"),
    [
        (Verb.DISCONNECT, True, Stage.DONE, []),
        (Verb.DISCONNECT, False, Stage.FAILED, []),
        (Verb.RECONNECT, False, Stage.DONE, []),
        (Verb.RECONNECT, True, Stage.DONE, ["reconnect"]),
    ],
)
@pytest.mark.req("D9")
def test_a_command_found_started_is_ended_by_reading_the_switch(
    agent: Agent, verb: Verb, relay_open: bool, end: Stage, acts: list[str]
) -> None:
    async def story() -> None:
        order = command(verb)
        step = Ack(id=order.id, meter=METER, stage=Stage.ACCEPTED, at=NOON)
        book = agent.outbox.commands
        book.enter(sign(order, KEY), verb, CommandEvent.ADMIT, step)
        path = [(CommandEvent.BEGIN, Stage.STARTED)]
        if verb is Verb.DISCONNECT:
            path = [(CommandEvent.CHALLENGE, Stage.CHALLENGE), (CommandEvent.GO, Stage.STARTED)]
        for event, stage in path:
            book.advance(event, Ack(id=order.id, meter=METER, stage=stage, at=NOON))
        if relay_open:
            agent.meter.relay = OPEN
        agent.restart()
        await agent.obedience.resume()
        await agent.obedience.idle()
        assert agent.stages(order)[-2:] == [Stage.UNKNOWN, end]
        assert agent.meter.acts == acts

    told(agent, story)


def test_an_open_command_of_a_meter_that_is_gone_still_ends(agent: Agent) -> None:
    async def story() -> None:
        for stage_events in ([], [(CommandEvent.BEGIN, Stage.STARTED)]):
            gone = command(Verb.RECONNECT, meter=MeterId("M-000099"))
            step = Ack(id=gone.id, meter=gone.meter, stage=Stage.ACCEPTED, at=NOON)
            agent.outbox.commands.enter(sign(gone, KEY), gone.verb, CommandEvent.ADMIT, step)
            for event, stage in stage_events:
                agent.outbox.commands.advance(
                    event, Ack(id=gone.id, meter=gone.meter, stage=stage, at=NOON)
                )
        await agent.obedience.resume()
        await agent.obedience.idle()
        assert agent.outbox.commands.still_open() == []

    told(agent, story)


def test_a_receipt_ends_the_telling(agent: Agent) -> None:
    async def story() -> None:
        reporter = AckReporter(agent.outbox, agent.clock, concentrator=CONCENTRATOR)
        order = command(meter=MeterId("M-000043"))
        await agent.obedience.receive(sign(order, KEY))
        receipt = AckReceipt(id=CommandId(order.id), stage=Stage.REFUSED)
        assert await reporter.receipted(receipt)
        assert not await reporter.receipted(receipt)
        assert agent.outbox.acks.unreceipted() == []

    told(agent, story)
