"""Calculation exceptions counted by who looks after them, by day and by reading section (C11)."""

from collections import Counter
from zoneinfo import ZoneInfo

from billing.prepaid import store
from billing.prepaid.model import ExceptionCount, ExceptionKind, OpenException
from cloud.assets import service as assets
from cloud.store.db import Connection
from protocols.identity import UsagePointId
from protocols.timeline import Interval, local_date


def exceptions(conn: Connection) -> list[OpenException]:
    """Return calculations that could not be made or trusted and still stand (C11)."""
    return store.standing_exceptions(conn)


def exception_counts(conn: Connection, span: Interval, zone: ZoneInfo) -> list[ExceptionCount]:
    """
    Return how many exceptions began in `span`, by unit, reading section, local day and kind.

    The section is the concentrator that reads the usage point now, or read it last.
    """
    found = store.exceptions_between(conn, span)
    points = sorted({each.usage_point for each in found if each.usage_point})
    units = assets.units_of(conn, points)
    sections: dict[UsagePointId, str] = {
        each.usage_point.id: str(each.concentrator)
        for each in assets.installations_at(conn, points)
    }
    began: Counter[tuple[str, str, str, ExceptionKind]] = Counter()
    standing: Counter[tuple[str, str, str, ExceptionKind]] = Counter()
    days = {}
    for each in found:
        day = local_date(each.since, zone)
        key = (
            units.get(each.usage_point, ""), sections.get(each.usage_point, ""), day.isoformat(),
            each.kind,
        )  # fmt: skip
        days[key[2]] = day
        began[key] += 1
        standing[key] += each.closed_at is None
    return [
        ExceptionCount(
            unit=key[0], section=key[1], day=days[key[2]], kind=key[3], began=began[key],
            standing=standing[key],
        )
        for key in sorted(began)
    ]  # fmt: skip
