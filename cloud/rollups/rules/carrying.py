"""How a change runs from a day to those behind it: by the register that both share."""

from collections.abc import Container, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from cloud.rollups.model import Cause, Mark
from protocols.identity import UsagePointId
from protocols.timeline import local_day

_ONE = timedelta(days=1)

Key = tuple[UsagePointId, date]


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


def behind(
    moved: Mapping[Key, tuple[Mark, str]], seen: Container[Key], *, width: int, until: datetime
) -> dict[Key, Mark]:
    """
    Return the next `width` days behind each that `moved` its last register, as carried, by zone.

    Only days that ended by `until`, and not behind a day that was `seen`, for that one speaks for
    itself. A block that grows from turn to turn keeps a long walk short.
    """
    wanted: dict[Key, Mark] = {}
    ended: dict[tuple[str, date], bool] = {}
    for (point, day), (mark, zone) in moved.items():
        for n in range(1, width + 1):
            key, named = (point, day + n * _ONE), (zone, day + n * _ONE)
            if named not in ended:
                ended[named] = local_day(key[1], ZoneInfo(zone)).end <= until
            if key in seen or not ended[named]:
                break
            wanted[key] = Mark(
                cause=Cause.CARRIED, reference=mark.reference, actor=mark.actor,
                noted_at=mark.noted_at, carried_from=key[1] - _ONE,
            )  # fmt: skip
    return wanted
