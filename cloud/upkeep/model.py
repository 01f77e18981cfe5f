"""
Facts of upkeep and its two state machines.

A rollout asks for one thing for many targets (drawn by `ROLLOUT_MOVES`):

    asked -> first -> rest -> finished
      |        |        |
      |        +--------+--> halted (too few succeeded, the signer's no, somebody stopped it)
      +--> withdrawn, lapsed

An errand is the part of one target in it (drawn by `ERRAND_MOVES`):

    waiting -> issued -> dispatched -> accepted -> started -> done | refused | failed
    each open state -> expired, and -> cancelled before anything was sent
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from protocols.identity import CommandId, ConcentratorId, MeterId

RolloutId = NewType("RolloutId", str)
BLOCK_OCTETS = 8192
"""Octets of a stored block, which is also what an agent fetches at a time."""
LONGEST_HOURS = 168


class Refusal(StrEnum):
    """Why something asked of upkeep is refused; the code that an operator sees."""

    UNKNOWN_ROLLOUT = "upkeep.unknown_rollout"
    UNKNOWN_IMAGE = "upkeep.unknown_image"
    UNKNOWN_TARGET = "upkeep.unknown_target"
    NO_TARGETS = "upkeep.no_targets"
    IMAGE_DIFFERS = "upkeep.image_differs"
    IMAGE_SIZE = "upkeep.image_size"
    OTHER_MODEL = "upkeep.other_model"
    NOT_BROUGHT = "upkeep.image_not_in_meter"
    NO_FIRMWARE = "upkeep.takes_no_firmware"
    NO_KEYS = "upkeep.takes_no_keys"
    SETTING = "upkeep.setting"
    STAGES = "upkeep.stages"
    NO_REASON = "upkeep.no_reason"
    ACTIVATION = "upkeep.activation"
    BUSY = "upkeep.target_busy"
    SAME_PERSON = "upkeep.same_person"
    NOT_A_PERSON = "upkeep.not_a_person"
    NO_APPROVAL_NEEDED = "upkeep.no_approval_needed"
    WRONG_STATE = "upkeep.wrong_state"
    EXPIRED = "upkeep.expired"
    BACKSTOP = "upkeep.database_refused"


class Kind(StrEnum):
    """What is rolled out."""

    CONFIGURATION = "configuration"
    FIRMWARE = "firmware"
    ACTIVATION = "activation"
    """Activate firmware that an earlier rollout brought and left for later."""
    REKEY = "rekey"


TWO_PEOPLE = frozenset({Kind.FIRMWARE, Kind.ACTIVATION, Kind.REKEY})
"""Kinds that a second person must approve: they can make a meter useless."""


class RolloutState(StrEnum):
    """How far a rollout has come."""

    ASKED = "asked"
    FIRST = "first"
    REST = "rest"
    FINISHED = "finished"
    HALTED = "halted"
    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"


class RolloutEvent(StrEnum):
    """What may happen to a rollout."""

    START = "start"
    SPREAD = "spread"
    FINISH = "finish"
    HALT = "halt"
    WITHDRAW = "withdraw"
    LAPSE = "lapse"


ROLLOUT_MOVES: Mapping[tuple[RolloutState, RolloutEvent], RolloutState] = {
    (RolloutState.ASKED, RolloutEvent.START): RolloutState.FIRST,
    (RolloutState.ASKED, RolloutEvent.WITHDRAW): RolloutState.WITHDRAWN,
    (RolloutState.ASKED, RolloutEvent.LAPSE): RolloutState.LAPSED,
    (RolloutState.FIRST, RolloutEvent.SPREAD): RolloutState.REST,
    (RolloutState.FIRST, RolloutEvent.FINISH): RolloutState.FINISHED,
    (RolloutState.FIRST, RolloutEvent.HALT): RolloutState.HALTED,
    (RolloutState.REST, RolloutEvent.FINISH): RolloutState.FINISHED,
    (RolloutState.REST, RolloutEvent.HALT): RolloutState.HALTED,
}
RUNNING = frozenset({RolloutState.FIRST, RolloutState.REST})


class ErrandState(StrEnum):
    """How far one target has come."""

    WAITING = "waiting"
    ISSUED = "issued"
    DISPATCHED = "dispatched"
    ACCEPTED = "accepted"
    STARTED = "started"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class ErrandEvent(StrEnum):
    """What may happen to an errand; those of the edge bear the names of ack stages."""

    ISSUE = "issue"
    DISPATCH = "dispatch"
    ACCEPTED = "accepted"
    STARTED = "started"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCEL = "cancel"


OPEN_ERRAND = frozenset(
    {
        ErrandState.WAITING, ErrandState.ISSUED, ErrandState.DISPATCHED, ErrandState.ACCEPTED,
        ErrandState.STARTED,
    }
)  # fmt: skip
FINAL_ERRAND = frozenset(ErrandState) - OPEN_ERRAND
UNSENT = frozenset({ErrandState.WAITING, ErrandState.ISSUED})
TAKEN = frozenset({ErrandState.ACCEPTED, ErrandState.STARTED})
"""The edge has it and works on it."""

_ENDS = (ErrandEvent.DONE, ErrandEvent.REFUSED, ErrandEvent.FAILED, ErrandEvent.EXPIRED)

ERRAND_MOVES: Mapping[tuple[ErrandState, ErrandEvent], ErrandState] = {
    (ErrandState.WAITING, ErrandEvent.ISSUE): ErrandState.ISSUED,
    (ErrandState.ISSUED, ErrandEvent.DISPATCH): ErrandState.DISPATCHED,
    (ErrandState.DISPATCHED, ErrandEvent.ACCEPTED): ErrandState.ACCEPTED,
    (ErrandState.DISPATCHED, ErrandEvent.STARTED): ErrandState.STARTED,
    (ErrandState.ACCEPTED, ErrandEvent.STARTED): ErrandState.STARTED,
    **{(state, ErrandEvent.CANCEL): ErrandState.CANCELLED for state in UNSENT},
    **{(state, ErrandEvent.REFUSED): ErrandState.REFUSED for state in UNSENT},
    **{(state, ErrandEvent.EXPIRED): ErrandState.EXPIRED for state in UNSENT},
    **{
        (state, event): ErrandState(event.value)
        for state in (ErrandState.DISPATCHED, *sorted(TAKEN))
        for event in _ENDS
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Firmware of one model; `sha256` names it, `identifier` is what the meter calls it."""

    sha256: bytes
    model: str
    version: str
    identifier: bytes
    octets: int
    block_octets: int
    uploaded_by: str
    uploaded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """
    How a rollout spreads: `first` targets, then the rest if enough of them succeeded.

    `success_permille` is the share that must have ended as done, of those that have ended;
    `most_open` bounds how many are on their way at once.
    """

    first: int = 1
    success_permille: int = 1000
    most_open: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A meter, or a concentrator under its own name; `sealed` are new keys as they travel."""

    concentrator: ConcentratorId
    meter: MeterId
    sealed: bytes | None = field(default=None, repr=False)
    source: CommandId | None = None
    """The errand that brought the image which is to be activated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for, before anybody has approved it."""

    kind: Kind
    requested_by: str
    reason: str
    until: datetime
    stages: Stages
    targets: tuple[Target, ...]
    settings: Mapping[str, int | float] | None = None
    image: bytes | None = None
    activate: bool = False
    activate_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A wish on its way."""

    id: RolloutId
    kind: Kind
    state: RolloutState
    cause: str
    requested_by: str
    reason: str
    requested_at: datetime
    approved_by: str | None
    until: datetime
    stages: Stages
    settings: Mapping[str, int | float] | None
    image: bytes | None
    activate: bool
    activate_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One target of a rollout; `position` counts from 0 in the order in which they go."""

    id: CommandId
    rollout: RolloutId
    position: int
    kind: Kind
    concentrator: ConcentratorId
    meter: MeterId
    sealed: bytes | None = field(repr=False)
    source: CommandId | None
    revision: int | None
    state: ErrandState
    expires: datetime | None
    progress: Mapping[str, object] | None
    ended_at: datetime | None
    end_reason: str
    evidence: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a rollout does next: errands to issue, or an event, or neither."""

    issue: tuple[CommandId, ...] = ()
    event: RolloutEvent | None = None
    cause: str = ""
