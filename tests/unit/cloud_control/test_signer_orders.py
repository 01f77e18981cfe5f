"""What the signer asks of keep-power, of its end, and of tokens."""

from dataclasses import replace
from typing import Any

import pytest

from cloud.signer.model import Cause, Order
from protocols.mqtt.downlink import Verb, body_of
from tests.unit.cloud_control.test_signer_rules import COMMAND, ORDER, judge

OCTETS = bytes(range(20))


def of_verb(verb: Verb, *, args: dict[str, Any] | None = None, **facts: Any) -> Order:
    """Return an order with nobody's approval for a cut behind it."""
    body = body_of(replace(COMMAND, verb=verb, args=args or {}))
    return replace(
        ORDER, verb=verb.value, body=body, approvers=(), request_state="", requested_by="", **facts
    )


TOKEN = of_verb(
    Verb.DELIVER_TOKEN, args={"kind": "dlt645", "opaque": OCTETS}, token=("dlt645", OCTETS)
)
END = of_verb(Verb.END_KEEP_POWER, released_by=("user:reza", "user:lin"))


@pytest.mark.req("D8")
@pytest.mark.parametrize("protected", [True, False])
def test_keep_power_is_signed_for_whoever_asks_protected_or_not(protected: bool) -> None:
    assert judge(of_verb(Verb.KEEP_POWER, protected=protected)) is None


@pytest.mark.req("D2", "D8")
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({}, None),
        ({"released_by": None}, Cause.NOT_APPROVED),
        ({"released_by": ("user:reza", "user:Reza")}, Cause.NOT_APPROVED),
        ({"released_by": ("user:reza", "system:control")}, Cause.NOT_APPROVED),
        ({"protected": True}, Cause.PROTECTED),
        ({"open": False}, Cause.STATE),
    ],
)
def test_trips_become_possible_again_by_two_people_and_never_under_protection(
    change: dict[str, Any], cause: Cause | None
) -> None:
    assert judge(replace(END, **change)) is cause


@pytest.mark.req("C13")
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({}, None),
        ({"token": None}, Cause.DIFFERS),
        ({"token": ("dlt645", OCTETS + b"\x00")}, Cause.DIFFERS),
        ({"token": ("sts", OCTETS)}, Cause.DIFFERS),
    ],
)
def test_only_the_token_that_was_taken_is_signed(
    change: dict[str, Any], cause: Cause | None
) -> None:
    assert judge(replace(TOKEN, **change)) is cause


@pytest.mark.parametrize("verb", [Verb.DISCONNECT, Verb.KEEP_POWER, Verb.READ_RELAY])
def test_an_order_that_says_more_than_its_verb_is_not_signed(verb: Verb) -> None:
    body = body_of(replace(COMMAND, verb=verb, args={"lift_only": True}))
    assert judge(replace(ORDER, verb=verb.value, body=body)) is Cause.DIFFERS
