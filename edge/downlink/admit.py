"""The first gate: is a command for us, is it in time, may it be obeyed at all. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from protocols.identity import ConcentratorId, MeterId
from protocols.mqtt.downlink import KEEPING, Command, Verb


class Reason(StrEnum):
    """Why a command came to its end without success; stable, goes into the ack."""

    FOREIGN_METER = "foreign_meter"
    NO_RELAY = "no_relay"
    NO_KEEP_POWER = "no_keep_power"
    NO_SUCH_WINDOW = "no_such_window"
    CLOCK_UNTRUSTED = "clock_untrusted"
    EXPIRED = "expired"
    NO_GO = "no_go"
    GO_LAPSED = "go_lapsed"
    SUPERSEDED = "superseded_by_reconnect"
    RESTARTED = "agent_restarted"
    METER_SILENT = "meter_silent"
    DID_NOT_MOVE = "relay_did_not_move"
    NO_TOKENS = "meter_takes_no_tokens"
    TOKEN_SHAPE = "token_shape"  # noqa: S105
    TOKEN_REPEATED = "token_repeated"  # noqa: S105
    TOKEN_REFUSED = "token_refused"  # noqa: S105
    TOKEN_DOUBTFUL = "token_doubtful"  # noqa: S105
    POWER_FLOWS = "power_flows_through_open_relay"
    NO_IMAGES = "meter_takes_no_firmware"
    NO_REKEY = "meter_takes_no_keys"
    UPKEEP_SHAPE = "upkeep_shape"
    IMAGE_UNKNOWN = "image_unknown"
    IMAGE_DAMAGED = "image_damaged"
    IMAGE_REFUSED = "image_refused"
    KEYS_UNCHANGED = "keys_unchanged"
    KEYS_DOUBTFUL = "keys_doubtful"


class Admission(StrEnum):
    """What to do with a command whose signature is good."""

    ADMIT = "admit"
    IGNORE = "ignore"
    """Meant for another concentrator: not even an answer, its own may be carrying it out."""
    REFUSE = "refuse"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Who we are and what is behind us: meter -> has it a switch; which meters take tokens."""

    concentrator: ConcentratorId
    relays: Mapping[MeterId, bool]
    tokens: frozenset[MeterId] = frozenset()
    keepers: frozenset[MeterId] = frozenset()
    """Meters that can be told to refuse trips."""
    images: frozenset[MeterId] = frozenset()
    """Meters that take firmware."""
    rekeyed: frozenset[MeterId] = frozenset()
    """Meters whose keys may be changed from here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The decision and, where it is a no, its reason."""

    admission: Admission
    reason: Reason | None = None


def judge(command: Command, scope: Scope, *, now: datetime, clock_trusted: bool) -> Judgement:
    """
    Return what to do with a command that control has signed.

    Order is scope, then freshness, then trust. A disconnect needs a clock that can be believed,
    for an expired one must never act; a reconnect does not: in doubt power stays on, so with an
    untrusted clock its expiry is not looked at either.
    """
    if command.concentrator != scope.concentrator:
        return Judgement(admission=Admission.IGNORE)
    if command.meter not in scope.relays:
        return Judgement(admission=Admission.REFUSE, reason=Reason.FOREIGN_METER)
    unable = _unable(command, scope)
    if unable is not None:
        return Judgement(admission=Admission.REFUSE, reason=unable)
    if command.not_before >= command.expires:
        return Judgement(admission=Admission.REFUSE, reason=Reason.NO_SUCH_WINDOW)
    if clock_trusted:
        if now >= command.expires:
            return Judgement(admission=Admission.EXPIRE, reason=Reason.EXPIRED)
    elif command.verb is Verb.DISCONNECT:
        return Judgement(admission=Admission.REFUSE, reason=Reason.CLOCK_UNTRUSTED)
    return Judgement(admission=Admission.ADMIT)


def _unable(command: Command, scope: Scope) -> Reason | None:
    """Return what the meter lacks for the verb."""
    meter = command.meter
    match command.verb:
        case Verb.DELIVER_TOKEN:
            return None if meter in scope.tokens else Reason.NO_TOKENS
        case Verb.FIRMWARE | Verb.ACTIVATE_FIRMWARE:
            return None if meter in scope.images else Reason.NO_IMAGES
        case Verb.REKEY:
            return None if meter in scope.rekeyed else Reason.NO_REKEY
    if not scope.relays[meter]:
        return Reason.NO_RELAY
    if command.verb in KEEPING and meter not in scope.keepers:
        return Reason.NO_KEEP_POWER
    return None
