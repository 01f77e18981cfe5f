"""
The life of an announced payment, one table.

    state     | post      taken     void      expire
    ----------+----------------------------------------
    held      | POSTED    POSTED    RELEASED  EXPIRED
    posted    | same      same      REVERSED  same
    suspense  | same      same      refused   same
    released  | refused   SUSPENSE  same      same
    expired   | refused   SUSPENSE  same      same
    reversed  | refused   refused   same      same

`same` is a repeat: the answer is given again and nothing moves. Whoever acts on a hold lets it
expire first when its time has run out. `taken` comes from a peer that holds the customer's money:
after the end of a hold it is kept in suspense, for two people to assign or return. A reversal of a
posted payment is refused when the money is spent or the channel's day is closed.
"""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from billing.payments.model import Channel, Hold, HoldEvent, HoldState, Refusal
from protocols.errors import RefusedError
from protocols.timeline import local_date

_S, _E = HoldState, HoldEvent
_MOVES: dict[tuple[HoldState, HoldEvent], HoldState] = {
    (_S.HELD, _E.POST): _S.POSTED,
    (_S.HELD, _E.TAKEN): _S.POSTED,
    (_S.HELD, _E.VOID): _S.RELEASED,
    (_S.HELD, _E.EXPIRE): _S.EXPIRED,
    (_S.POSTED, _E.VOID): _S.REVERSED,
    (_S.RELEASED, _E.TAKEN): _S.SUSPENSE,
    (_S.EXPIRED, _E.TAKEN): _S.SUSPENSE,
}
_REFUSED: dict[tuple[HoldState, HoldEvent], tuple[Refusal, str]] = {
    (_S.EXPIRED, _E.POST): (Refusal.EXPIRED, "announce the payment again under a new id"),
    (_S.RELEASED, _E.POST): (Refusal.ENDED, "announce the payment again under a new id"),
    (_S.REVERSED, _E.POST): (Refusal.ENDED, "announce the payment again under a new id"),
    (_S.REVERSED, _E.TAKEN): (Refusal.ENDED, "let two people settle it at reconciliation"),
    (_S.SUSPENSE, _E.VOID): (Refusal.ENDED, "two people return or assign money in suspense"),
}


def next_state(state: HoldState, event: HoldEvent) -> HoldState:
    """
    Return where an event leads; the same state for a repeat.

    Raises: RefusedError `payments.expired` or `payments.ended` where the table says refused.
    """
    refused = _REFUSED.get((state, event))
    if refused is not None:
        raise RefusedError(refused[0], f"{event.value}: the payment is {state.value}",
                           fix=refused[1])  # fmt: skip
    return _MOVES.get((state, event), state)


def is_over(hold: Hold, now: datetime) -> bool:
    """Tell whether a hold's time has run out."""
    return hold.state is HoldState.HELD and now >= hold.expires_at


def business_day(channel: Channel, instant: datetime) -> date:
    """Return the peer's own day of an instant: it begins at the channel's cut-over."""
    past = timedelta(hours=channel.cutover.hour, minutes=channel.cutover.minute)
    return local_date(instant - past, ZoneInfo(channel.zone))


def check_day_open(channel: Channel, posted_at: datetime, now: datetime) -> None:
    """Refuse to reverse what belongs to a closed day. Raises: RefusedError."""
    if business_day(channel, posted_at) != business_day(channel, now):
        raise RefusedError(
            Refusal.DAY_CLOSED,
            "the channel's day of this payment is closed",
            fix="settle it at reconciliation, by two people",
        )
