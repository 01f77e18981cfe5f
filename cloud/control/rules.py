"""Decisions about the switch; the caller holds the row lock, every fact is an argument."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cloud.control.model import (
    COMMAND_MOVES,
    REQUEST_MOVES,
    CommandEvent,
    CommandState,
    DisconnectRequest,
    KeepPower,
    KeepRelease,
    Policy,
    Refusal,
    RequestEvent,
    RequestState,
    SupplyState,
    TokenState,
    Verdict,
)

# the words of the edge for what decides here, see `edge.downlink.admit`
DID_NOT_MOVE = "relay_did_not_move"
TOKEN_REPEATED = "token_repeated"  # noqa: S105
TOKEN_REFUSED = "token_refused"  # noqa: S105

_VERDICTS = {
    Refusal.PROTECTED_CUSTOMER: Verdict.CANCEL,
    Refusal.KEEPS_POWER: Verdict.CANCEL,
    Refusal.PAYMENT_REGISTERED: Verdict.CANCEL,
    Refusal.NOT_APPROVED: Verdict.REFUSE,
    Refusal.REQUEST_EXPIRED: Verdict.CANCEL,
    Refusal.ON_HOLD: Verdict.CANCEL,
    Refusal.RECHECK_STALE: Verdict.RECHECK,
    Refusal.HALTED: Verdict.WAIT,
    Refusal.COMMAND_OPEN: Verdict.WAIT,
    Refusal.LIMIT_REACHED: Verdict.WAIT,
    Refusal.OUTSIDE_WINDOW: Verdict.WAIT,
}


def refuse_disconnect(
    request: DisconnectRequest, supply: SupplyState, policy: Policy, *, now: datetime
) -> Refusal | None:
    """
    Return the first reason not to cut, or None when the command may be issued.

    Order is severity: a protected customer outranks anything an approver said. `epoch` is the
    fencing token: every registered payment raises it, so an older request can no longer pass.
    What only delays (halt, limits, hours) comes last, so that it never hides what forbids.
    """
    if supply.protected:
        return Refusal.PROTECTED_CUSTOMER
    if supply.keep_power is not KeepPower.OFF:
        return Refusal.KEEPS_POWER
    if request.epoch != supply.epoch:
        return Refusal.PAYMENT_REGISTERED
    if not two_people(request.requested_by, request.approved_by):
        return Refusal.NOT_APPROVED
    if request.expires_at <= now:
        return Refusal.REQUEST_EXPIRED
    if supply.held:
        return Refusal.ON_HOLD
    if not _recheck_fresh(request, policy, now=now):
        return Refusal.RECHECK_STALE
    if supply.halted:
        return Refusal.HALTED
    if supply.open_command is not None:
        return Refusal.COMMAND_OPEN
    if supply.cuts_left < 1:
        return Refusal.LIMIT_REACHED
    if not in_window(policy, now=now):
        return Refusal.OUTSIDE_WINDOW
    return None


def refuse_go(
    request: DisconnectRequest, supply: SupplyState, *, challenged_for: timedelta, limit: timedelta
) -> Refusal | None:
    """
    Return the first reason not to let an ordered cut proceed, or None.

    This is the gate passed again when the edge has answered with its nonce. Hours, limits and the
    age of the recheck were judged at issue and a handshake lasts seconds, so what is asked anew is
    what may have changed since: protection, payment, hold, halt, and the handshake's own time.
    """
    if supply.protected:
        return Refusal.PROTECTED_CUSTOMER
    if supply.keep_power is not KeepPower.OFF:
        return Refusal.KEEPS_POWER
    if request.epoch != supply.epoch:
        return Refusal.PAYMENT_REGISTERED
    if not two_people(request.requested_by, request.approved_by):
        return Refusal.NOT_APPROVED
    if request.state is not RequestState.ORDERED:
        return Refusal.WRONG_STATE
    if supply.held:
        return Refusal.ON_HOLD
    if supply.halted:
        return Refusal.HALTED
    if challenged_for > limit:
        return Refusal.REQUEST_EXPIRED
    return None


def refuse_request(
    supply: SupplyState, *, has_relay: bool, has_open_request: bool
) -> Refusal | None:
    """Return the first reason not even to ask for a cut, or None."""
    if supply.protected:
        return Refusal.PROTECTED_CUSTOMER
    if supply.keep_power is not KeepPower.OFF:
        return Refusal.KEEPS_POWER
    if supply.held:
        return Refusal.ON_HOLD
    if not has_relay:
        return Refusal.NO_SWITCH
    if supply.cut_for_arrears:
        return Refusal.ALREADY_CUT
    if has_open_request:
        return Refusal.REQUEST_OPEN
    return None


def refuse_approval(
    request: DisconnectRequest, supply: SupplyState, *, actor: str, now: datetime
) -> Refusal | None:
    """
    Return the first reason why `actor` may not approve, or None.

    People are told apart without regard to case, so that `user:Lin` is not a second `user:lin`.
    """
    if not actor.startswith("user:") or actor == "user:":
        return Refusal.NOT_A_PERSON
    if request.state not in {RequestState.REQUESTED, RequestState.APPROVED_1}:
        return Refusal.WRONG_STATE
    others = {name.casefold() for name in (request.requested_by, *request.approved_by)}
    if actor.casefold() in others:
        return Refusal.SAME_PERSON
    if supply.protected:
        return Refusal.PROTECTED_CUSTOMER
    if request.epoch != supply.epoch:
        return Refusal.PAYMENT_REGISTERED
    if request.expires_at <= now:
        return Refusal.REQUEST_EXPIRED
    if supply.held:
        return Refusal.ON_HOLD
    return None


def refuse_keep_release(release: KeepRelease, *, actor: str, now: datetime) -> Refusal | None:
    """Return the first reason why `actor` may not be the second to let a meter trip again."""
    if not is_person(actor):
        return Refusal.NOT_A_PERSON
    if release.closed_at is not None or release.approved_by:
        return Refusal.WRONG_STATE
    if actor.casefold() == release.requested_by.casefold():
        return Refusal.SAME_PERSON
    return Refusal.REQUEST_EXPIRED if release.expires_at <= now else None


def keep_power_after(before: KeepPower, *, on: bool, result: str, reason: str) -> KeepPower:
    """
    Return what is known of a meter's keep-power after an order to keep or to end it has ended.

    Whatever leaves it open whether the meter obeyed locks cuts on: in doubt power stays on.
    """
    if result == CommandState.DONE:
        return KeepPower.ON if on else KeepPower.OFF
    if not on or before is KeepPower.ON:
        return before
    surely_not = result == CommandState.REFUSED or reason == DID_NOT_MOVE
    return KeepPower.OFF if surely_not else KeepPower.UNKNOWN


def token_after(
    before: TokenState, *, result: str, reason: str, began: bool, still_good: bool
) -> TokenState | None:
    """
    Return where a token stands after a command that carried it has ended; None for no change.

    `began` tells that the concentrator told of the start: from then on a token without an answer
    is doubtful and never handed over again. One that surely did not begin waits for its next turn.
    """
    if before is TokenState.DONE:
        return None
    if result == CommandState.DONE:
        return TokenState.DONE
    if before is not TokenState.ORDERED:
        return None
    if result == CommandState.REFUSED:
        # a concentrator that knows the token has handed it over, or tried to
        return TokenState.DOUBTFUL if reason == TOKEN_REPEATED else TokenState.REFUSED
    if result == CommandState.FAILED:
        return TokenState.REFUSED if reason == TOKEN_REFUSED else TokenState.DOUBTFUL
    if began:
        return TokenState.DOUBTFUL
    return TokenState.WAITING if still_good else TokenState.EXPIRED


def is_person(actor: str) -> bool:
    """Tell whether an actor is somebody and not a system."""
    return actor.startswith("user:") and actor != "user:"


def two_people(requested_by: str, approved_by: tuple[str, ...]) -> bool:
    """Tell whether two different users approved, neither of them the one who asked."""
    people = {name.casefold() for name in approved_by if name.startswith("user:")}
    return len(people - {requested_by.casefold()}) >= 2


def in_window(policy: Policy, *, now: datetime) -> bool:
    """Tell whether cuts may begin at `now`: local hour and weekday of the policy."""
    local = now.astimezone(ZoneInfo(policy.zone))
    return (
        local.isoweekday() in policy.weekdays
        and policy.window_start_hour <= local.hour < policy.window_end_hour
    )


def verdict_of(refusal: Refusal) -> Verdict:
    """Return what a refusal of the gate does to the request: wait, recheck, cancel or refuse."""
    return _VERDICTS.get(refusal, Verdict.CANCEL)


def move_request(state: RequestState, event: RequestEvent) -> RequestState | None:
    """Return the state after `event`, or None where the table has no such move."""
    return REQUEST_MOVES.get((state, event))


def move_command(state: CommandState, event: CommandEvent) -> CommandState | None:
    """Return the state after `event`, or None where nothing changes (late, repeated, ended)."""
    return COMMAND_MOVES.get((state, event))


def after_failed_cut(*, result: str, tries: int, policy: Policy) -> RequestEvent:
    """
    Return whether a cut that did not come about is tried again or becomes a job for a crew.

    `tries` counts what the edge tried plus the commands nobody answered (D14: several failed
    remote cuts). An edge that refuses will refuse again, so that fails at once.
    """
    if result == CommandState.REFUSED or tries >= policy.cut_tries:
        return RequestEvent.FAIL
    return RequestEvent.RETRY


def _recheck_fresh(request: DisconnectRequest, policy: Policy, *, now: datetime) -> bool:
    limit = timedelta(hours=policy.recheck_valid_hours)
    over = request.recheck_until is not None and request.recheck_until <= now
    return request.rechecked_at is not None and now - request.rechecked_at <= limit and not over
