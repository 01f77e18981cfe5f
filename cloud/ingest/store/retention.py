"""SQL of letting the intervals of old months go."""

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import psycopg

from cloud.ingest.model import MonthCount, MonthKept, Refusal
from cloud.ingest.rules.packing import decode
from cloud.ingest.rules.retention import MonthPart, next_month
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.errors import RefusedError
from protocols.identity import MeterId

_SQL = Queries(Path(__file__).parents[1] / "sql")
_SERIES_AT_ONCE = 1000


def reached_day(conn: Connection) -> date | None:
    """Return a day that readings have reached by their own instants, None before the first."""
    return _one_date(conn, "reached_day")


def kept_from(conn: Connection) -> date | None:
    """Return the first day of which intervals are kept, None while every day is."""
    return _one_date(conn, "kept_from")


def months_kept(conn: Connection) -> list[MonthKept]:
    """Return the months whose intervals are here, oldest first."""
    return [
        MonthKept(month=month, how=how or "", evidence=evidence or "", told=readings or 0)
        for month, how, evidence, readings in conn.execute(_SQL["months_kept"])
    ]


def count_month(conn: Connection, month: date) -> MonthCount:
    """Return how many packed intervals a month has."""
    row = conn.execute(_SQL["count_month"], _span(month)).fetchone()
    assert row is not None
    return MonthCount(series_days=int(row[0]), readings=int(row[1]), octets=int(row[2]))


def parts_of_month(conn: Connection, month: date) -> Iterator[list[MonthPart]]:
    """Yield the packed intervals of a month, some series at a time, instants after midnight."""
    newest = conn.execute(_SQL["newest_series"]).fetchone()
    last = newest[0] if newest and newest[0] is not None else 0
    for first in range(0, last + 1, _SERIES_AT_ONCE):
        bounds = {**_span(month), "first": first, "last": first + _SERIES_AT_ONCE}
        yield [
            MonthPart(meter=MeterId(meter), channel=channel, seconds=seconds, day=day,
                      readings=decode(bytes(body)))
            for meter, channel, seconds, day, body in conn.execute(_SQL["days_of_month"], bounds)
        ]  # fmt: skip


def release_month(
    conn: Connection,
    month: date,
    *,
    how: str,
    evidence: str,
    readings: int,
    actor: str,
    now: datetime,
) -> None:
    """Write down somebody's word that a month may go."""
    conn.execute(
        _SQL["release_month"],
        {"month": month, "now": now, "how": how, "evidence": evidence, "readings": readings,
         "actor": actor},
    )  # fmt: skip


def drop_month(
    conn: Connection, month: date, *, keep_from: date, actor: str, now: datetime
) -> MonthCount | None:
    """
    Let the intervals of a month go; return what went, None when it had gone before.

    Raises: RefusedError KEPT with the database's own reason; BUSY when readings of it are in use.
    """
    parameters = {"month": month, "keep_from": keep_from, "actor": actor, "now": now}
    try:
        row = conn.execute(_SQL["drop_month"], parameters).fetchone()
    except psycopg.errors.IntegrityConstraintViolation as error:
        reason = (error.diag.message_primary or "").removeprefix("kept: ")
        raise RefusedError(Refusal.KEPT, reason, fix=_FIX) from error
    except psycopg.errors.LockNotAvailable as error:
        busy = f"readings of {month:%Y-%m} are being read or written"
        raise RefusedError(Refusal.BUSY, busy, fix="try again later") from error
    if row is None or row[0] is None:
        return None
    went = conn.execute(_SQL["dropped_month"], {"month": month}).fetchone()
    assert went is not None
    return MonthCount(series_days=int(went[0]), readings=int(went[1]), octets=int(went[2]))


_FIX = "see meterloop readings retain --dry-run, and meterloop readings release MONTH"


def _one_date(conn: Connection, block: str) -> date | None:
    row = conn.execute(_SQL[block]).fetchone()
    assert row is not None
    found: date | None = row[0]
    return found


def _span(month: date) -> dict[str, date]:
    return {"month": month, "until": next_month(month)}
