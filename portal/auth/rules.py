"""Decisions about sign-in: throttle, session life, step-up. Pure; times are wall time."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from portal.auth.model import IDLE, STAFF_IDLE, STEP_UP_LASTS, AccessRefusal, Role

WINDOW = timedelta(minutes=15)
MAX_FAILURES_PER_LOGIN = 5
MAX_FAILURES_PER_ADDRESS = 50
"""An office shares one address, so it gets ten times the patience of one account."""


def refuse_attempt(*, login_failures: int, address_failures: int) -> AccessRefusal | None:
    """Return why no further password may be tried in this `WINDOW`, or None."""
    if login_failures >= MAX_FAILURES_PER_LOGIN or address_failures >= MAX_FAILURES_PER_ADDRESS:
        return AccessRefusal.TOO_MANY_TRIES
    return None


def idle_of(roles: Iterable[Role]) -> timedelta:
    """Return how long a session may rest: the strictest of the roles."""
    return min((IDLE.get(role, STAFF_IDLE) for role in roles), default=STAFF_IDLE)


def is_alive(
    *, seen_wall: datetime, idle: timedelta, ended_wall: datetime | None, wall_now: datetime
) -> bool:
    """Tell whether a session still holds."""
    return ended_wall is None and wall_now - seen_wall < idle


def is_stepped_up(stepped_up_wall: datetime | None, *, wall_now: datetime) -> bool:
    """Tell whether the password was given again recently enough for an approval."""
    return stepped_up_wall is not None and wall_now - stepped_up_wall < STEP_UP_LASTS
