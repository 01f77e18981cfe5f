"""The octets of an errand that the signer judges and the edge gets."""

from datetime import datetime
from typing import Any

from cloud.upkeep.model import Errand, Image, Kind, Rollout
from protocols.mqtt.downlink import Command, Verb, body_of
from protocols.mqtt.upkeep import (
    ConfigOrder,
    FirmwareOrder,
    activation_args,
    config_body,
    firmware_args,
)

VERB_OF = {
    Kind.FIRMWARE: Verb.FIRMWARE,
    Kind.ACTIVATION: Verb.ACTIVATE_FIRMWARE,
    Kind.REKEY: Verb.REKEY,
}


def settings_body(rollout: Rollout, errand: Errand, revision: int, *, issued_at: datetime) -> bytes:
    """Return the octets of an order of settings."""
    return config_body(
        ConfigOrder(
            id=errand.id, concentrator=errand.concentrator, revision=revision,
            issued_at=issued_at, expires=rollout.until, issuer=rollout.requested_by,
            settings=rollout.settings or {},
        )
    )  # fmt: skip


def command_body(
    rollout: Rollout, errand: Errand, image: Image | None, *, not_before: datetime
) -> bytes:
    """Return the octets of a command to a meter."""
    return body_of(
        Command(
            id=errand.id, concentrator=errand.concentrator, meter=errand.meter,
            verb=VERB_OF[errand.kind], not_before=not_before, expires=rollout.until,
            issuer=rollout.requested_by, epoch=0, args=_args(rollout, errand, image),
        )
    )  # fmt: skip


def _args(rollout: Rollout, errand: Errand, image: Image | None) -> dict[str, Any]:
    if errand.kind is Kind.REKEY:
        return {"sealed": errand.sealed}
    if errand.kind is Kind.ACTIVATION:
        assert errand.source is not None, f"{errand.id} needs the errand that brought the image"
        return activation_args(errand.source)
    assert image is not None, f"{errand.id} needs an image"
    return firmware_args(
        FirmwareOrder(
            image=image.sha256, size=image.octets, identifier=image.identifier,
            block=image.block_octets, activate=rollout.activate, activate_at=rollout.activate_at,
        )
    )  # fmt: skip
