"""
Facts of control and its two state machines.

A request (drawn by `REQUEST_MOVES`):

    requested -> approved_1 -> approved_2 -> rechecked -> ordered -> cut
                                   ^  stale     |  ^ retry  |
                                   +------------+  +--------+--> failed (-> cut, found out late)
    every state before cut: -> cancelled (paid, hold, protected, expired, withdrawn); the gate
    may also say -> refused

A command (drawn by `COMMAND_MOVES`):

    issued -> dispatched -> accepted -> challenged -> released -> started -> done | armed |
                                        (disconnect only)                    refused | failed
    from every open state: -> expired, and before release -> cancelled; unknown is open and has
    a deadline by which the switch is read
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

from protocols.identity import CommandId, ConcentratorId, MeterId, UsagePointId

RequestId = NewType("RequestId", str)


class Refusal(StrEnum):
    """Why a cut, an approval or a reconnect was refused; the code that an operator sees."""

    PROTECTED_CUSTOMER = "protected_customer"
    PAYMENT_REGISTERED = "payment_registered"
    NOT_APPROVED = "not_approved"
    REQUEST_EXPIRED = "request_expired"
    ON_HOLD = "on_hold"
    RECHECK_STALE = "recheck_stale"
    HALTED = "halted"
    COMMAND_OPEN = "command_open"
    LIMIT_REACHED = "limit_reached"
    OUTSIDE_WINDOW = "outside_window"
    SAME_PERSON = "same_person"
    NOT_A_PERSON = "not_a_person"
    WRONG_STATE = "wrong_state"
    REQUEST_OPEN = "request_open"
    ALREADY_CUT = "already_cut"
    NOT_CUT = "not_cut"
    NO_SWITCH = "no_switch"
    UNKNOWN_REQUEST = "unknown_request"
    UNKNOWN_SUPPLY = "unknown_supply"
    SIGNER = "signer_refused"
    BACKSTOP = "database_refused"
    KEEPS_POWER = "keeps_power"
    NO_KEEP_POWER = "no_keep_power"
    NOT_KEPT = "not_kept"
    NO_REASON = "no_reason"
    NO_TOKENS = "no_tokens"
    TOKEN_SHAPE = "token_shape"  # noqa: S105 - a reason, not a secret
    TOKEN_REPEATED = "token_repeated"  # noqa: S105
    KEY_REUSED = "key_reused"


class RelayPosition(StrEnum):
    """Where the switch of a supply stands, as last read or reported."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    ARMED = "armed"
    UNKNOWN = "unknown"


class KeepPower(StrEnum):
    """Whether the meter of a supply was told to refuse trips; anything but `off` locks a cut."""

    OFF = "off"
    ORDERED = "ordered"
    ON = "on"
    UNKNOWN = "unknown"


class TokenState(StrEnum):
    """
    How far a token has come.

        waiting -> ordered -> done | refused | doubtful
           ^          | expired without having begun, while the token is still good
           +----------+--> expired
        expired, refused -> waiting, when somebody brings its key again and says so
        every end but done -> done, where the meter's answer came late
    """

    WAITING = "waiting"
    ORDERED = "ordered"
    DONE = "done"
    REFUSED = "refused"
    DOUBTFUL = "doubtful"
    """It may be in the meter or not, and is never handed over again."""
    EXPIRED = "expired"


class RequestState(StrEnum):
    """How far a wish to cut has come."""

    REQUESTED = "requested"
    APPROVED_1 = "approved_1"
    APPROVED_2 = "approved_2"
    RECHECKED = "rechecked"
    ORDERED = "ordered"
    CUT = "cut"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"


class RequestEvent(StrEnum):
    """What may happen to a request."""

    APPROVE = "approve"
    RECHECK = "recheck"
    STALE = "stale"
    ORDER = "order"
    RETRY = "retry"
    DONE = "done"
    FAIL = "fail"
    REFUSE = "refuse"
    CANCEL = "cancel"


OPEN_REQUEST = frozenset(
    {
        RequestState.REQUESTED,
        RequestState.APPROVED_1,
        RequestState.APPROVED_2,
        RequestState.RECHECKED,
        RequestState.ORDERED,
    }
)

REQUEST_MOVES: Mapping[tuple[RequestState, RequestEvent], RequestState] = {
    (RequestState.REQUESTED, RequestEvent.APPROVE): RequestState.APPROVED_1,
    (RequestState.APPROVED_1, RequestEvent.APPROVE): RequestState.APPROVED_2,
    (RequestState.APPROVED_2, RequestEvent.RECHECK): RequestState.RECHECKED,
    (RequestState.RECHECKED, RequestEvent.STALE): RequestState.APPROVED_2,
    (RequestState.RECHECKED, RequestEvent.ORDER): RequestState.ORDERED,
    (RequestState.ORDERED, RequestEvent.RETRY): RequestState.RECHECKED,
    (RequestState.ORDERED, RequestEvent.DONE): RequestState.CUT,
    (RequestState.ORDERED, RequestEvent.FAIL): RequestState.FAILED,
    (RequestState.FAILED, RequestEvent.DONE): RequestState.CUT,
    **{(state, RequestEvent.CANCEL): RequestState.CANCELLED for state in OPEN_REQUEST},
    **{(state, RequestEvent.REFUSE): RequestState.REFUSED for state in OPEN_REQUEST},
}
"""Every move there is; a pair that is not here is refused with `WRONG_STATE`."""


class CommandState(StrEnum):
    """How far a command has come; the last six are ends."""

    ISSUED = "issued"
    DISPATCHED = "dispatched"
    ACCEPTED = "accepted"
    CHALLENGED = "challenged"
    RELEASED = "released"
    STARTED = "started"
    UNKNOWN = "unknown"
    DONE = "done"
    ARMED = "armed"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class CommandEvent(StrEnum):
    """What may happen to a command: ours (dispatch, release, expire, cancel) or the edge's acks."""

    DISPATCH = "dispatch"
    RELEASE = "release"
    CANCEL = "cancel"
    ACCEPTED = "accepted"
    CHALLENGE = "challenge"
    STARTED = "started"
    UNKNOWN = "unknown"
    DONE = "done"
    ARMED = "armed"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"


FINAL_COMMAND = frozenset(
    {
        CommandState.DONE,
        CommandState.ARMED,
        CommandState.REFUSED,
        CommandState.FAILED,
        CommandState.EXPIRED,
        CommandState.CANCELLED,
    }
)
_ORDER = (
    CommandState.ISSUED,
    CommandState.DISPATCHED,
    CommandState.ACCEPTED,
    CommandState.CHALLENGED,
    CommandState.RELEASED,
    CommandState.STARTED,
    CommandState.UNKNOWN,
)
_STEPS: Mapping[CommandEvent, CommandState] = {
    CommandEvent.DISPATCH: CommandState.DISPATCHED,
    CommandEvent.ACCEPTED: CommandState.ACCEPTED,
    CommandEvent.CHALLENGE: CommandState.CHALLENGED,
    CommandEvent.RELEASE: CommandState.RELEASED,
    CommandEvent.STARTED: CommandState.STARTED,
    CommandEvent.UNKNOWN: CommandState.UNKNOWN,
}
_ENDS: Mapping[CommandEvent, CommandState] = {
    CommandEvent.DONE: CommandState.DONE,
    CommandEvent.ARMED: CommandState.ARMED,
    CommandEvent.REFUSED: CommandState.REFUSED,
    CommandEvent.FAILED: CommandState.FAILED,
    CommandEvent.EXPIRED: CommandState.EXPIRED,
    CommandEvent.CANCEL: CommandState.CANCELLED,
}
GONE = frozenset({CommandState.RELEASED, CommandState.STARTED, CommandState.UNKNOWN})
"""A cut in one of these may already have opened the switch: it cannot be taken back."""

COMMAND_MOVES: Mapping[tuple[CommandState, CommandEvent], CommandState] = {
    # acks come late, twice and out of order: a step only ever moves a command forward
    **{
        (state, event): target
        for rank, state in enumerate(_ORDER)
        for event, target in _STEPS.items()
        if _ORDER.index(target) > rank
        and (event is not CommandEvent.RELEASE or state is CommandState.CHALLENGED)
    },
    **{
        (state, event): target
        for state in _ORDER
        for event, target in _ENDS.items()
        if not (event is CommandEvent.CANCEL and state in GONE)
    },
}


class Verdict(StrEnum):
    """What the gate's refusal does to a request."""

    WAIT = "wait"
    RECHECK = "recheck"
    CANCEL = "cancel"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplyState:
    """
    The lock row of one supply, with what the gate needs to know beside it.

    `epoch` is the fencing token: every registered payment raises it. `cuts_left` is the smallest
    rest of the limits on cuts (hour, day, transformer); `held` tells of an open hold.
    """

    usage_point: UsagePointId
    protected: bool
    epoch: int
    cuts_left: int
    held: bool = False
    halted: bool = False
    open_command: CommandId | None = None
    relay_state: RelayPosition = RelayPosition.UNKNOWN
    state_at: datetime | None = None
    state_source: str = ""
    cut_for_arrears: bool = False
    restore_due_at: datetime | None = None
    transformer: str = ""
    keep_power: KeepPower = KeepPower.OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectRequest:
    """A wish to cut, as the gate and people see it."""

    id: RequestId
    usage_point: UsagePointId
    state: RequestState
    requested_by: str
    reason: str
    epoch: int
    created_at: datetime
    expires_at: datetime
    approved_by: tuple[str, ...] = ()
    rechecked_at: datetime | None = None
    recheck_until: datetime | None = None
    """After it the debt must be computed again: the hours of this supply's cuts are over."""
    cause: str = ""
    waits_for: str = ""
    tries: int = 0
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    Settings of the gate. *Units*: names say; `_hours` are business time, `_seconds` wall time.

    The default window is 08-15 local time, Monday to Thursday: never before a day on which
    nobody could restore the supply.
    """

    zone: str
    window_start_hour: int
    window_end_hour: int
    weekdays: tuple[int, ...]
    """ISO weekdays, Monday is 1."""
    max_cuts_per_hour: int
    max_cuts_per_day: int
    max_cuts_per_transformer_day: int
    request_valid_hours: int
    recheck_valid_hours: int
    command_ttl_seconds: int
    handshake_seconds: int
    restore_retry_seconds: int
    restore_alarm_seconds: int
    cut_tries: int
    push_keep_power: bool = False
    """Tell meters of protected supplies to refuse trips, where they can (D8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow:
    """One order to one meter and what became of it."""

    id: CommandId
    usage_point: UsagePointId
    meter: MeterId
    concentrator: ConcentratorId
    verb: str
    state: CommandState
    request: RequestId | None
    epoch: int
    issued_by: str
    issued_at: datetime
    expires: datetime | None
    ended_at: datetime | None
    end_reason: str
    evidence: Mapping[str, Any] | None
    token: int | None = None
    keep_release: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """A request that two people approved: billing computes the fee anew and answers (D5)."""

    request: RequestId
    usage_point: UsagePointId
    epoch: int
    requested_by: str
    reason: str
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    The one end of a command, or of a request that never became one; read by `seq`.

    `result` is done, armed, refused, failed, expired, cancelled; or `overdue` with verb `alarm`
    when a restoration has taken too long. `request_state` is where the request stands when read:
    a failed command of a request that is not `failed` is tried again.
    """

    seq: int
    usage_point: UsagePointId
    request: RequestId | None
    command: CommandId | None
    verb: str
    result: str
    cause: str
    at: datetime
    request_state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutRow:
    """One line of the cut board."""

    request: DisconnectRequest
    relay_state: RelayPosition
    protected: bool
    protection_reason: str
    halted: bool
    command: CommandId | None
    command_state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """A standing ban on cuts at one level of the network (D8)."""

    id: int
    level: str
    target: str
    reason: str
    actor: str
    valid_from: datetime
    valid_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltState:
    """The one switch that stops every cut."""

    halted: bool
    actor: str
    reason: str
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRelease:
    """A wish to let a meter trip again; good for one command once a second person approved."""

    id: str
    usage_point: UsagePointId
    requested_by: str
    reason: str
    requested_at: datetime
    expires_at: datetime
    approved_by: str = ""
    closed_at: datetime | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """Octets to carry to the meter of a supply; `source` and `key` name them for repeats."""

    source: str
    key: str
    usage_point: UsagePointId
    kind: str
    opaque: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A token and what became of it; its octets are shown to nobody."""

    id: int
    source: str
    key: str
    usage_point: UsagePointId
    meter: MeterId
    kind: str
    state: TokenState
    taken_at: datetime
    expires_at: datetime
    tries: int
    cause: str
    evidence: Mapping[str, Any] | None
    ended_at: datetime | None
