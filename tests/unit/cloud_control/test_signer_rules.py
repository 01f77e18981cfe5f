"""The signer's own judgement: what it compares, what it refuses, what it counts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.signer import rules
from cloud.signer.model import Cause, Counts, Limits, Order, Part
from protocols.identity import CommandId, ConcentratorId, MeterId, UsagePointId
from protocols.mqtt.downlink import Command, Go, Verb, body_of

NOW = datetime(2026, 6, 2, 10, 30, tzinfo=UTC)
EXPIRES = NOW + timedelta(seconds=60)
LONGEST = timedelta(seconds=600)
LIMITS = Limits(max_cuts_per_hour=5, max_cuts_per_day=10)
FEW = Counts(hour=0, day=0)
COMMAND = Command(
    id=CommandId("CM-1"), concentrator=ConcentratorId("C-01"), meter=MeterId("M-1"),
    verb=Verb.DISCONNECT, not_before=NOW, expires=EXPIRES, issuer="system:control", epoch=3,
)  # fmt: skip
GO = Go(id=COMMAND.id, concentrator=COMMAND.concentrator, meter=COMMAND.meter, nonce=b"n" * 16)
ORDER = Order(
    part=Part.COMMAND, id=COMMAND.id, usage_point=UsagePointId("UP-1"), meter=COMMAND.meter,
    concentrator=COMMAND.concentrator, verb="disconnect", epoch=3, body=body_of(COMMAND),
    nonce=b"", expires=EXPIRES, open=True, request_state="ordered", requested_by="system:billing",
    approvers=("user:reza", "user:lin"), protected=False, supply_epoch=3, halted=False,
    signed_before=False,
)  # fmt: skip
GO_ORDER = replace(ORDER, part=Part.GO, body=body_of(GO), nonce=GO.nonce, signed_before=True)
RECONNECT = replace(
    ORDER, verb="reconnect", body=body_of(replace(COMMAND, verb=Verb.RECONNECT)), approvers=(),
    request_state="", requested_by="",
)  # fmt: skip


def judge(order: Order, counts: Counts = FEW) -> Cause | None:
    return rules.refuse_signature(order, LIMITS, counts, now=NOW, longest=LONGEST)


@pytest.mark.parametrize("order", [ORDER, GO_ORDER, RECONNECT])
def test_what_is_in_order_is_signed(order: Order) -> None:
    assert judge(order) is None


@pytest.mark.req("D2", "D8")
@pytest.mark.parametrize("order", [ORDER, GO_ORDER])
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"protected": True}, Cause.PROTECTED),
        ({"supply_epoch": 4}, Cause.EPOCH),
        ({"approvers": ("user:reza",)}, Cause.NOT_APPROVED),
        ({"approvers": ("user:reza", "user:REZA")}, Cause.NOT_APPROVED),
        ({"approvers": ("user:reza", "system:x")}, Cause.NOT_APPROVED),
        ({"requested_by": "user:lin"}, Cause.NOT_APPROVED),
        ({"request_state": "rechecked"}, Cause.STATE),
        ({"halted": True}, Cause.HALTED),
        ({"open": False}, Cause.STATE),
        ({"expires": NOW}, Cause.EXPIRED),
        ({"expires": NOW + LONGEST + timedelta(seconds=1)}, Cause.TOO_LONG),
        ({"meter": MeterId("M-2")}, Cause.DIFFERS),
        ({"concentrator": ConcentratorId("C-02")}, Cause.DIFFERS),
        ({"id": CommandId("CM-2")}, Cause.DIFFERS),
        ({"body": b"\xa0"}, Cause.MALFORMED),
        ({"body": ORDER.body + b"\x00"}, Cause.MALFORMED),
    ],
)
def test_each_fault_is_refused(order: Order, change: dict[str, Any], cause: Cause) -> None:
    assert judge(replace(order, **change)) is cause


def test_octets_that_say_something_else_than_the_row_are_refused() -> None:
    for other in (
        replace(COMMAND, verb=Verb.RECONNECT), replace(COMMAND, epoch=4),
        replace(COMMAND, expires=EXPIRES + timedelta(hours=1)),
    ):  # fmt: skip
        assert judge(replace(ORDER, body=body_of(other))) is Cause.DIFFERS
    # a cut dressed up as a reconnect, whose octets cut
    assert judge(replace(ORDER, verb="reconnect")) is Cause.DIFFERS
    assert judge(replace(ORDER, body=body_of(GO))) is Cause.NO_NONCE
    assert judge(replace(GO_ORDER, body=body_of(COMMAND))) is Cause.DIFFERS
    assert judge(replace(GO_ORDER, nonce=b"m" * 16)) is Cause.NO_NONCE
    assert judge(replace(GO_ORDER, signed_before=False)) is Cause.NOT_SIGNED


@pytest.mark.parametrize(("counts", "signed"), [((4, 9), True), ((5, 5), False), ((0, 10), False)])
def test_its_own_limits_stop_cuts_and_nothing_else(counts: tuple[int, int], signed: bool) -> None:
    found = Counts(hour=counts[0], day=counts[1])
    assert judge(ORDER, found) is (None if signed else Cause.LIMIT)
    assert judge(RECONNECT, found) is None
    assert judge(GO_ORDER, found) is None


def test_a_reconnect_is_signed_whatever_stands_against_a_cut() -> None:
    assert judge(replace(RECONNECT, protected=True, halted=True, supply_epoch=9)) is None


@given(st.binary(max_size=200))
def test_any_octets_are_judged_and_nothing_escapes(body: bytes) -> None:
    assert judge(replace(ORDER, body=body)) is not None
