"""The signer's own judgement of upkeep: each way in which octets may differ from the wish."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cloud.signer.model import Allowance, Errand, OrderedImage, UpkeepCause
from cloud.signer.rules.upkeep import refuse_errand
from protocols.identity import CommandId, ConcentratorId, MeterId
from protocols.mqtt.downlink import Command, Verb, body_of
from protocols.mqtt.upkeep import (
    ConfigOrder,
    FirmwareOrder,
    activation_args,
    config_body,
    firmware_args,
)

NOW = datetime(2026, 6, 2, 10, 0, tzinfo=UTC)
UNTIL = NOW + timedelta(hours=24, microseconds=700)
PLENTY = Allowance(most=10, signed=9)
ID, WHERE, METER = CommandId("upkeep-1"), ConcentratorId("C-01"), MeterId("M-1")
IMAGE = OrderedImage(sha256=bytes(32), size=9, identifier=b"2", block=8192, whole=True)
ORDER = FirmwareOrder(image=bytes(32), size=9, identifier=b"2", block=8192, activate=True)
COMMAND = Command(
    id=ID, concentrator=WHERE, meter=METER, verb=Verb.FIRMWARE, not_before=NOW, expires=UNTIL,
    issuer="user:reza", epoch=0, args=firmware_args(ORDER),
)  # fmt: skip
SETTINGS = ConfigOrder(
    id=ID, concentrator=WHERE, revision=3, issued_at=NOW, expires=UNTIL, issuer="user:reza",
    settings={"poll_seconds": 60},
)  # fmt: skip
FIRMWARE = Errand(
    id=ID, kind="firmware", concentrator=WHERE, meter=METER, sealed=None, source=None,
    revision=None, body=body_of(COMMAND), expires=UNTIL, rollout_kind="firmware",
    rollout_state="first", requested_by="user:reza", approved_by="user:lin", until=UNTIL,
    settings=None, activate=True, activate_at=None, image=IMAGE, source_fits=False,
)  # fmt: skip
REKEY = replace(
    FIRMWARE, kind="rekey", rollout_kind="rekey", sealed=b"new keys", image=None,
    body=body_of(replace(COMMAND, verb=Verb.REKEY, args={"sealed": b"new keys"})),
)  # fmt: skip
ACTIVATION = replace(
    FIRMWARE, kind="activation", rollout_kind="activation", source=CommandId("upkeep-0"),
    source_fits=True, body=body_of(
        replace(COMMAND, verb=Verb.ACTIVATE_FIRMWARE, args=activation_args(CommandId("upkeep-0")))
    ),
)  # fmt: skip
CONFIGURATION = replace(
    FIRMWARE, kind="configuration", rollout_kind="configuration", meter=MeterId("C-01"),
    approved_by="", revision=3, settings={"poll_seconds": 60}, image=None,
    body=config_body(SETTINGS),
)  # fmt: skip


def with_command(**changes: object) -> Errand:
    return replace(FIRMWARE, body=body_of(replace(COMMAND, **changes)))  # type: ignore[arg-type]


def with_settings(**changes: object) -> Errand:
    return replace(CONFIGURATION, body=config_body(replace(SETTINGS, **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize("errand", [FIRMWARE, REKEY, ACTIVATION, CONFIGURATION])
def test_what_was_asked_and_approved_is_signed(errand: Errand) -> None:
    assert refuse_errand(errand, PLENTY, now=NOW) is None
    assert refuse_errand(errand, Allowance(most=9, signed=9), now=NOW) is UpkeepCause.LIMIT


@pytest.mark.parametrize("errand", [FIRMWARE, REKEY, ACTIVATION])
@pytest.mark.parametrize("approved_by", ["", "user:", "user:reza", "user:Reza", "system:control"])
def test_without_a_second_person_only_settings_are_signed(errand: Errand, approved_by: str) -> None:
    unapproved = replace(errand, approved_by=approved_by)
    assert refuse_errand(unapproved, PLENTY, now=NOW) is UpkeepCause.NOT_APPROVED
    machine = replace(CONFIGURATION, requested_by="system:control")
    assert refuse_errand(machine, PLENTY, now=NOW) is UpkeepCause.NOT_APPROVED


@pytest.mark.parametrize(
    ("errand", "cause"),
    [
        (replace(FIRMWARE, rollout_state="asked"), UpkeepCause.NOT_RUNNING),
        (replace(FIRMWARE, rollout_state="halted"), UpkeepCause.NOT_RUNNING),
        (replace(FIRMWARE, rollout_kind="configuration"), UpkeepCause.NOT_RUNNING),
        (replace(FIRMWARE, expires=NOW), UpkeepCause.EXPIRED),
        (replace(FIRMWARE, until=NOW), UpkeepCause.TOO_LONG),
        (replace(FIRMWARE, expires=NOW + timedelta(days=8)), UpkeepCause.TOO_LONG),
        (replace(FIRMWARE, body=b""), UpkeepCause.MALFORMED),
        (replace(FIRMWARE, body=FIRMWARE.body + b"\x00"), UpkeepCause.MALFORMED),
        (replace(FIRMWARE, body=CONFIGURATION.body), UpkeepCause.MALFORMED),
        (replace(FIRMWARE, image=None), UpkeepCause.DIFFERS),
        (replace(FIRMWARE, image=replace(IMAGE, whole=False)), UpkeepCause.IMAGE),
        (replace(FIRMWARE, image=replace(IMAGE, sha256=b"x" * 32)), UpkeepCause.DIFFERS),
        (replace(FIRMWARE, activate=False), UpkeepCause.DIFFERS),
        (with_command(verb=Verb.DISCONNECT), UpkeepCause.DIFFERS),
        (with_command(verb=Verb.RECONNECT), UpkeepCause.DIFFERS),
        (with_command(meter=MeterId("M-2")), UpkeepCause.DIFFERS),
        (with_command(concentrator=ConcentratorId("C-02")), UpkeepCause.DIFFERS),
        (with_command(id=CommandId("upkeep-2")), UpkeepCause.DIFFERS),
        (with_command(expires=UNTIL + timedelta(hours=1)), UpkeepCause.DIFFERS),
        (with_command(issuer="user:eve"), UpkeepCause.DIFFERS),
        (with_command(args={}), UpkeepCause.DIFFERS),
        (replace(REKEY, sealed=b"others"), UpkeepCause.DIFFERS),
        (replace(ACTIVATION, source_fits=False), UpkeepCause.DIFFERS),
        (replace(ACTIVATION, source=CommandId("upkeep-9")), UpkeepCause.DIFFERS),
        (replace(CONFIGURATION, body=b"\xa0"), UpkeepCause.MALFORMED),
        (replace(CONFIGURATION, body=FIRMWARE.body), UpkeepCause.MALFORMED),
        (replace(CONFIGURATION, revision=2), UpkeepCause.DIFFERS),
        (replace(CONFIGURATION, meter=METER), UpkeepCause.DIFFERS),
        (with_settings(settings={"poll_seconds": 61}), UpkeepCause.DIFFERS),
        (with_settings(issuer="user:eve"), UpkeepCause.DIFFERS),
        (with_settings(concentrator=ConcentratorId("C-02")), UpkeepCause.DIFFERS),
        (with_settings(expires=UNTIL + timedelta(hours=1)), UpkeepCause.DIFFERS),
        (
            replace(with_settings(settings={"outbox": 1}), settings={"outbox": 1}),
            UpkeepCause.SETTING,
        ),
    ],
)
def test_what_differs_is_not_signed(errand: Errand, cause: UpkeepCause) -> None:
    assert refuse_errand(errand, PLENTY, now=NOW) is cause
