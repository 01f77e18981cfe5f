"""Who may be without power unseen: pure decisions about switches, debts and use that stopped."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class WatchReason(StrEnum):
    """Why somebody should look."""

    NO_SUPPLY = "no_supply"
    """The switch is open."""
    NOT_CLOSED = "not_closed"
    """Power is allowed again and nobody closed the switch."""
    NO_USE = "no_use"
    """In debt, the switch closed, readings come, and nothing is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """
    What is seen of one agreement. *Units*: micros; Wh of `used_wh` since `used_since`.

    `used_wh` is None where no register tells.
    """

    relay_state: str
    relay_at: datetime | None
    available_micros: int
    register_missing: bool
    used_wh: int | None
    used_since: datetime


def reason_to_look(
    sight: Sight, *, days: int, now: datetime
) -> tuple[WatchReason, datetime] | None:
    """
    Return why somebody should look, and since when it has been so; None where all seems well.

    A supply that is silent is no case of this list: that one is a missing register.
    """
    long_ago = now - timedelta(days=days)
    if sight.relay_state in {"disconnected", "armed"}:
        reason = (
            WatchReason.NO_SUPPLY if sight.relay_state == "disconnected" else WatchReason.NOT_CLOSED
        )
        if sight.relay_at is not None and sight.relay_at <= long_ago:
            return reason, sight.relay_at
        return None
    idle = sight.used_wh == 0 and not sight.register_missing
    if sight.available_micros < 0 and idle and sight.used_since <= long_ago:
        return WatchReason.NO_USE, sight.used_since
    return None
