"""What the signer looks at before it signs an errand of upkeep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from protocols.identity import CommandId, ConcentratorId, MeterId


class Cause(StrEnum):
    """Why the signer will not sign; shown to operators."""

    MALFORMED = "body_does_not_parse"
    DIFFERS = "body_differs_from_rollout"
    NOT_APPROVED = "not_approved_by_two"
    NOT_RUNNING = "rollout_does_not_run"
    IMAGE = "image_octets_differ"
    SETTING = "setting_out_of_range"
    EXPIRED = "expired"
    TOO_LONG = "valid_for_too_long"
    LIMIT = "signer_limit"
    STATE = "not_waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedImage:
    """The image of a rollout; `whole` when its stored blocks have its digest and its size."""

    sha256: bytes
    size: int
    identifier: bytes
    block: int
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """An errand that waits for a signature, with what its rollout says, read by the signer."""

    id: CommandId
    kind: str
    concentrator: ConcentratorId
    meter: MeterId
    sealed: bytes | None = field(repr=False)
    revision: int | None
    body: bytes = field(repr=False)
    expires: datetime
    rollout_kind: str
    rollout_state: str
    requested_by: str
    approved_by: str
    until: datetime
    settings: Mapping[str, int | float] | None
    activate: bool
    activate_at: datetime | None
    image: OrderedImage | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How many of one kind this signer signs in a day, and how many it has signed."""

    most: int
    signed: int
