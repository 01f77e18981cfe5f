"""
Pure decisions of credit: which policy holds, when a cut may begin, who may borrow, what is repaid.

Three kinds of help that are kept apart: *friendly hours* only move a cut to the next window, the
debt of those hours accrues; *emergency credit* is a loan that the next money repays first; *old
debt* is taken out of the balance and comes back as a share of each top-up.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from billing.prepaid.model import BalanceQuality
from protocols.errors import RefusedError

_MONTH = 31
"""Days ahead in which a window must open; a policy without one in a month is refused."""

_PERMILLE = 1000


class Refusal(StrEnum):
    """Why credit, or a policy about it, was refused."""

    BAD_POLICY = "credit.policy_bad"
    NOT_OFFERED = "credit.not_offered"
    NOT_NEEDED = "credit.not_needed"
    OUTSTANDING = "credit.outstanding"
    TOO_DEEP = "credit.debt_too_large"
    UNSURE = "credit.balance_unsure"
    NO_DEBT = "credit.no_such_debt"
    ENDED = "credit.debt_ended"
    SAME_PERSON = "credit.same_person"
    NOT_WATCHED = "credit.not_watched"


class Level(StrEnum):
    """Where a policy is set, from the widest to the nearest; the nearest that speaks wins (C10)."""

    DEFAULT = "default"
    """Target is a currency."""
    GROUP = "group"
    """Target is a group of customers."""
    LINE = "line"
    TRANSFORMER = "transformer"
    AGREEMENT = "agreement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    How fee control treats an account, every level applied.

    *Units*: micros of the account's currency; hours and weekdays (Monday is 1) of the supply's own
    zone. `cut_from_hour` to `cut_until_hour` of `cut_weekdays` is when a cut may begin; everything
    else is friendly. With `spare_eves` it is no such day either when the next day is none.
    """

    cut_weekdays: str = "1234567"
    cut_from_hour: int = 0
    cut_until_hour: int = 24
    spare_eves: bool = False
    emergency_micros: int = 0
    """The loan; 0: none is offered."""
    emergency_auto: bool = False
    """Given by itself when the balance falls below zero; else the customer asks for it."""
    emergency_from_micros: int = 0
    """The loan may be taken while less than this is available."""
    recovery_permille: int = 0
    """The share of each top-up that pays old debt, after a loan was repaid."""
    recovery_cap_micros: int = 0
    """The most of one top-up that pays old debt; 0: no cap."""
    horizon_days: int = 1
    """Whose next line is nearer than so many average days is looked at each `unseen_minutes`."""
    unseen_minutes: int = 60
    """How long a crossed line may stay unseen at most, counted from its register."""
    limit_minutes: int = 1440
    """Every account is calculated again after this, whatever it uses (C3)."""
    watch_days: int = 3
    """Days without supply, or in debt without use, after which somebody is asked to look."""


HOUSE = Policy()
"""What holds where no level says anything: nothing is offered, cuts follow control's own hours."""

FIELDS = tuple(field.name for field in fields(Policy))


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPart:
    """What one level says; fields that it does not name are inherited."""

    level: Level
    target: str
    says: dict[str, int | bool | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """
    Whether a cut may begin now; `opens_at` is the next time it may, `closes_at` when no more.

    `closes_at` is None where no window closes within a month.
    """

    open: bool
    opens_at: datetime
    closes_at: datetime | None


def effective(parts: Iterable[PolicyPart | None]) -> Policy:
    """Return the policy that holds, given parts from the widest level to the nearest."""
    found = HOUSE
    for part in parts:
        if part is not None:
            # what a level says is known by name at run time only; `check_part` has looked at it
            found = replace(found, **part.says)  # type: ignore[arg-type]
    return found


def check_part(part: PolicyPart) -> None:
    """
    Refuse a part of a policy that cannot hold, alone or together with what the house says.

    Raises: RefusedError `credit.policy_bad`.
    """
    unknown = sorted(set(part.says) - set(FIELDS))
    if unknown or not part.target:
        raise _bad(f"a policy says nothing of {unknown or 'nobody'}", f"use {', '.join(FIELDS)}")
    policy = effective([part])
    if not policy.cut_weekdays or set(policy.cut_weekdays) - set("1234567"):
        raise _bad(f"{policy.cut_weekdays!r} are no weekdays", "write them as 12345, Monday is 1")
    if not 0 <= policy.cut_from_hour < policy.cut_until_hour <= 24:
        raise _bad("the hours of cuts are not in order", "give hours such as 8 to 15")
    if policy.spare_eves and not _working_days(policy.cut_weekdays):
        raise _bad("every day is the eve of a day without cuts", "allow cuts on two days in a row")
    if policy.emergency_micros < 0 or policy.recovery_cap_micros < 0:
        raise _bad("an amount is negative", "give zero or more")
    if not 0 <= policy.recovery_permille <= _PERMILLE:
        raise _bad("a share is more than the whole", "give 0 to 1000 permille")
    if policy.unseen_minutes < 1 or policy.watch_days < 1 or policy.horizon_days < 0:
        raise _bad("a time is less than the smallest", "give 1 or more")
    if not policy.unseen_minutes <= policy.limit_minutes <= 1440:
        raise _bad("the limit is over a day or under the time unseen", "use up to 1440 minutes")


def window_at(
    policy: Policy, *, zone: ZoneInfo, rest_days: frozenset[date], now: datetime
) -> Window:
    """
    Return whether a cut may begin at `now`, and the bounds of the window it lies in or waits for.

    Days and hours are local; a rest day has no window and, with `spare_eves`, neither has its eve.
    Raises: RefusedError `credit.policy_bad` when no window opens within a month.
    """
    today = now.astimezone(zone).date()
    for ahead in range(_MONTH):
        day = today + timedelta(days=ahead)
        if not _may(policy, day, rest_days):
            continue
        start, end = _instant(day, policy.cut_from_hour, zone), _instant(
            day, policy.cut_until_hour, zone
        )  # fmt: skip
        if now < end:
            closes = _closes(policy, day, rest_days, zone=zone)
            return Window(open=start <= now, opens_at=max(start, now), closes_at=closes)
    raise _bad("no window opens within a month", "allow cuts on some day that is no rest day")


def refuse_emergency(
    policy: Policy, *, available_micros: int, outstanding_micros: int, quality: BalanceQuality
) -> RefusedError | None:
    """
    Return why a loan may not be given now, or None.

    It must bring the balance above zero, for else it would restore nothing, and there is one at a
    time. A balance behind missing registers says too little to lend on.
    """
    if policy.emergency_micros <= 0:
        return RefusedError(
            Refusal.NOT_OFFERED, "no emergency credit is offered here", fix="pay at any counter"
        )
    if outstanding_micros > 0:
        return RefusedError(
            Refusal.OUTSTANDING, "the last emergency credit is not repaid", fix="top up first"
        )
    if quality is BalanceQuality.MISSING:
        return RefusedError(
            Refusal.UNSURE, "registers are missing, so the balance is not known",
            fix="wait for a reading, or have the meter read",
        )  # fmt: skip
    if available_micros >= policy.emergency_from_micros:
        return RefusedError(
            Refusal.NOT_NEEDED, "the balance is still above the line of emergency credit",
            fix="ask again when it is lower",
        )  # fmt: skip
    if available_micros + policy.emergency_micros <= 0:
        return RefusedError(
            Refusal.TOO_DEEP, "the debt is larger than the emergency credit",
            fix="pay a part, or ask for instalments",
        )  # fmt: skip
    return None


def recovery_of(policy: Policy, *, amount_micros: int, repaid_micros: int, debt_micros: int) -> int:
    """
    Return what of a top-up pays old debt: a share of what a loan left of it, up to the cap.

    *Units*: micros; the share is rounded down, to the customer's good.
    """
    share = max(0, amount_micros - repaid_micros) * policy.recovery_permille // _PERMILLE
    if policy.recovery_cap_micros:
        share = min(share, policy.recovery_cap_micros)
    return min(share, max(0, debt_micros))


def _may(policy: Policy, day: date, rest_days: frozenset[date]) -> bool:
    if day in rest_days or str(day.isoweekday()) not in policy.cut_weekdays:
        return False
    after = day + timedelta(days=1)
    rests = after in rest_days or str(after.isoweekday()) not in policy.cut_weekdays
    return not (policy.spare_eves and rests)


def _closes(
    policy: Policy, day: date, rest_days: frozenset[date], *, zone: ZoneInfo
) -> datetime | None:
    """Return when the window that opens on `day` closes: days that touch are one window."""
    if policy.cut_from_hour > 0 or policy.cut_until_hour < 24:
        return _instant(day, policy.cut_until_hour, zone)
    for ahead in range(_MONTH):
        if not _may(policy, day + timedelta(days=ahead), rest_days):
            return _instant(day + timedelta(days=ahead), 0, zone)
    return None


def _working_days(weekdays: str) -> bool:
    """Tell whether some day's morrow is in the week's days of cuts too."""
    return any(str(int(day) % 7 + 1) in weekdays for day in weekdays)


def _instant(day: date, hour: int, zone: ZoneInfo) -> datetime:
    whole = day if hour < 24 else day + timedelta(days=1)
    return datetime.combine(whole, time(hour % 24), tzinfo=zone).astimezone(UTC)


def _bad(message: str, fix: str) -> RefusedError:
    return RefusedError(Refusal.BAD_POLICY, message, fix=fix)
