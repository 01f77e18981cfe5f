"""Orders in real time, for agents in tests."""

from datetime import UTC, datetime, timedelta

from protocols.identity import ConcentratorId
from protocols.mqtt.downlink import Command, Go, Verb
from tests.unit.edge.edge_kit import command


def order(
    concentrator: str, verb: Verb = Verb.DISCONNECT, *, lasts: timedelta = timedelta(seconds=60)
) -> Command:
    """Return an order to the scripted meter behind `concentrator`, valid from now."""
    now = datetime.now(UTC)
    return command(
        verb,
        id_=f"{concentrator}-{now.timestamp()}",
        concentrator=ConcentratorId(concentrator),
        not_before=now - timedelta(seconds=1),
        expires=now + lasts,
    )


def go_for(sent: Command, nonce: bytes) -> Go:
    """Return the go for an order's nonce."""
    return Go(id=sent.id, concentrator=sent.concentrator, meter=sent.meter, nonce=nonce)
