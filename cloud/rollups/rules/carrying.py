"""How a change runs from a day to those behind it: by the register that both share."""

from collections.abc import Container, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from cloud.rollups.model import Cause, DayRollup, Mark
from protocols.identity import UsagePointId
from protocols.timeline import local_day

_ONE = timedelta(days=1)

Key = tuple[UsagePointId, date]
Changes = Mapping[Key, tuple[Mark, DayRollup | None, DayRollup]]


def joined(first: Mark, later: Mark) -> Mark:
    """
    Return two marks of one day as one: the readings of both, and who came first.

    What only looks again (a request, a validation) gives way to what brought something.
    """
    told = later if first.readings == 0 and later.readings else first
    with_readings = [each for each in (first, later) if each.readings]
    return replace(
        told,
        readings=sum(each.readings for each in with_readings),
        first_ms=min((each.first_ms for each in with_readings), default=0),
        last_ms=max((each.last_ms for each in with_readings), default=0),
    )


def moved(before: DayRollup | None, after: DayRollup) -> bool:
    """Tell whether the register that ends the day is another one now."""
    return (before.figures.closing if before else None) != after.figures.closing


def follows(mark: Mark, key: Key, changes: Changes) -> bool:
    """
    Tell whether a day has its own reason to change: told of itself, or carried by one that moved.

    Days are asked in order, so the day before stands in `changes` already if it changed.
    """
    if mark.carried_from is None:
        return True
    last = changes.get((key[0], mark.carried_from))
    return last is not None and moved(last[1], last[2])


def behind(
    changes: Changes, seen: Container[Key], *, width: int, until: datetime
) -> dict[Key, Mark]:
    """
    Return the next `width` days behind each change that moved its last register, as carried.

    Only days that ended by `until`, and not behind a day that was `seen`, for that one speaks for
    itself. A block that grows from turn to turn keeps a long walk short.
    """
    wanted: dict[Key, Mark] = {}
    for (point, day), (mark, before, after) in changes.items():
        if not moved(before, after):
            continue
        zone = ZoneInfo(after.zone)
        for n in range(1, width + 1):
            key = (point, day + n * _ONE)
            if key in seen or local_day(key[1], zone).end > until:
                break
            wanted[key] = Mark(
                cause=Cause.CARRIED, reference=mark.reference, actor=mark.actor,
                noted_at=mark.noted_at, carried_from=key[1] - _ONE,
            )  # fmt: skip
    return wanted


def ahead(changes: Changes, before: Mapping[Key, DayRollup]) -> dict[Key, Mark]:
    """
    Return the days before changed ones whose last register is not the one that these begin with.

    A register that is edited or estimated at midnight is told of the day it begins; both days read
    it. A day whose first register is read after its midnight begins the series and has none ahead.
    """
    wanted: dict[Key, Mark] = {}
    for (point, day), (mark, _, after) in changes.items():
        last, opening = before.get((point, day - _ONE)), after.figures.opening
        if last is None or last.figures.closing == opening:
            continue
        start = local_day(day, ZoneInfo(after.zone)).start
        if opening is None or opening.at <= start:
            wanted[point, day - _ONE] = replace(mark, carried_from=None)
    return wanted
