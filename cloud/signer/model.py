"""What the signer looks at, gathered by itself from what others have written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from protocols.identity import CommandId, ConcentratorId, MeterId, UsagePointId


class Part(StrEnum):
    """Which of the two payloads of a handshake is signed."""

    COMMAND = "command"
    GO = "go"


class Cause(StrEnum):
    """Why the signer will not sign; shown to operators."""

    MALFORMED = "body_does_not_parse"
    DIFFERS = "body_differs_from_order"
    NOT_APPROVED = "not_approved_by_two"
    PROTECTED = "protected"
    EPOCH = "payment_registered"
    HALTED = "halted"
    EXPIRED = "expired"
    TOO_LONG = "valid_for_too_long"
    LIMIT = "signer_limit"
    NO_NONCE = "nonce_differs"
    NOT_SIGNED = "command_was_not_signed_here"
    STATE = "not_waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A command (or its go) that waits for a signature, with the facts that speak against it."""

    part: Part
    id: CommandId
    usage_point: UsagePointId
    meter: MeterId
    concentrator: ConcentratorId
    verb: str
    epoch: int
    body: bytes
    nonce: bytes
    expires: datetime
    open: bool
    request_state: str
    requested_by: str
    approvers: Sequence[str]
    protected: bool
    supply_epoch: int
    halted: bool
    signed_before: bool
    """Whether this signer signed the command of which this is the go."""
    token: tuple[str, bytes] | None = field(default=None, repr=False)
    """Kind and octets that were taken to be carried, for this meter."""
    released_by: tuple[str, str] | None = None
    """Who asked that the meter may trip again, and who approved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many cuts this signer signs, whatever anybody else counts."""

    max_cuts_per_hour: int
    max_cuts_per_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many cuts this signer signed in the last hour and the last day."""

    hour: int
    day: int


class UpkeepCause(StrEnum):
    """Why the signer will not sign an errand of upkeep; shown to operators."""

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
    source: CommandId | None
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
    source_fits: bool
    """Whether `source` brought this image into this meter, by what the edge told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How many of one kind this signer signs in a day, and how many it has signed."""

    most: int
    signed: int
