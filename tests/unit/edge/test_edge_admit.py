"""The first gate of a command, and the handshake of a cut."""

import asyncio
from datetime import timedelta

import pytest

from edge.downlink.admit import Admission, Reason, Scope, judge
from edge.downlink.confirm import VALID_SECONDS, Handshakes, draw_nonce
from protocols.identity import CommandId, ConcentratorId, MeterId
from protocols.mqtt.downlink import Command, Go, Verb
from tests.unit.edge.edge_kit import CONCENTRATOR, METER, NOON, HandClock, command

SCOPE = Scope(concentrator=CONCENTRATOR, relays={METER: True, MeterId("M-H01"): False})


@pytest.mark.req("D9")
@pytest.mark.parametrize(
    ("order", "trusted", "admission", "reason"),
    [
        (command(), True, Admission.ADMIT, None),
        (command(Verb.RECONNECT), True, Admission.ADMIT, None),
        (command(concentrator=ConcentratorId("C-02")), True, Admission.IGNORE, None),
        (command(meter=MeterId("M-000043")), True, Admission.REFUSE, Reason.FOREIGN_METER),
        (command(meter=MeterId("M-H01")), True, Admission.REFUSE, Reason.NO_RELAY),
        (command(expires=NOON), True, Admission.EXPIRE, Reason.EXPIRED),
        (command(Verb.RECONNECT, expires=NOON), True, Admission.EXPIRE, Reason.EXPIRED),
        (command(not_before=NOON, expires=NOON - timedelta(1)), True, Admission.REFUSE,
         Reason.NO_SUCH_WINDOW),
        (command(), False, Admission.REFUSE, Reason.CLOCK_UNTRUSTED),
        (command(expires=NOON), False, Admission.REFUSE, Reason.CLOCK_UNTRUSTED),
        (command(Verb.RECONNECT), False, Admission.ADMIT, None),
        (command(Verb.RECONNECT, expires=NOON), False, Admission.ADMIT, None),
    ],
)  # fmt: skip
def test_the_gate(
    order: Command, trusted: bool, admission: Admission, reason: Reason | None
) -> None:
    judged = judge(order, SCOPE, now=NOON, clock_trusted=trusted)
    assert (judged.admission, judged.reason) == (admission, reason)


def go_for(order: Command, nonce: bytes, **changes: str) -> Go:
    return Go(
        id=CommandId(changes.get("id", order.id)),
        concentrator=ConcentratorId(changes.get("concentrator", order.concentrator)),
        meter=MeterId(changes.get("meter", order.meter)),
        nonce=nonce,
    )


async def challenged(hand: HandClock) -> tuple[Handshakes, Go, Command]:
    handshakes = Handshakes(hand.look)
    order = command()
    return handshakes, go_for(order, handshakes.challenge(order).nonce), order


@pytest.mark.req("D9")
def test_a_go_works_once_for_its_nonce() -> None:
    async def story() -> None:
        handshakes, go, order = await challenged(HandClock())
        assert not handshakes.redeem(go_for(order, bytes(16)))
        assert not handshakes.redeem(go_for(order, go.nonce[:15]))
        assert not handshakes.redeem(go_for(order, go.nonce, id="other"))
        assert not handshakes.redeem(go_for(order, go.nonce, meter="M-000043"))
        assert not handshakes.redeem(go_for(order, go.nonce, concentrator="C-02"))
        assert handshakes.redeem(go)
        assert not handshakes.redeem(go)

    asyncio.run(story())


@pytest.mark.req("D9")
def test_a_go_after_thirty_seconds_is_nothing_whatever_the_wall_clock_says() -> None:
    async def story() -> None:
        hand = HandClock()
        handshakes, go, _ = await challenged(hand)
        hand.elapsed += VALID_SECONDS - 0.001
        hand.wall -= timedelta(hours=1)
        assert handshakes.redeem(go)
        handshakes, go, _ = await challenged(hand)
        hand.elapsed += VALID_SECONDS
        assert not handshakes.redeem(go)

    asyncio.run(story())


def test_a_go_of_another_run_or_of_a_withdrawn_command_is_nothing() -> None:
    async def story() -> None:
        handshakes, go, order = await challenged(HandClock())
        assert not Handshakes(HandClock().look).redeem(go)
        handshakes.withdraw(order.id)
        assert not handshakes.redeem(go)

    asyncio.run(story())


def test_waiting_ends_with_the_answer_or_with_the_time() -> None:
    async def story() -> None:
        hand = HandClock()
        handshakes = Handshakes(hand.look)
        order = command()
        challenge = handshakes.challenge(order)
        handshakes.redeem(go_for(order, challenge.nonce))
        assert await handshakes.answered(challenge)
        late = handshakes.challenge(order)
        hand.passes(VALID_SECONDS)
        assert not await handshakes.answered(late)
        assert not handshakes.redeem(go_for(order, late.nonce))

    asyncio.run(story())


def test_nonces_are_sixteen_octets_and_never_the_same() -> None:
    nonces = {draw_nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert {len(nonce) for nonce in nonces} == {16}
