"""
The life of a day: opened for rows ahead of time, packed and dropped when it is past.

    (not known) -> open -> packed          open_days_ahead, then close_day
    (not known) -> packed                  readings came before or after the day could be opened

A day is opened only when no later day is known. `close_day` packs and drops in one transaction, so
that a day that was not closed to its end is open as before; repeating it does nothing more.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np

from cloud.ingest.model import Keeper
from cloud.ingest.rules.homes import after_midnight, cells_of
from cloud.ingest.rules.packing import encode_ragged
from cloud.ingest.store import readings as store
from cloud.ingest.store.binary import date_of, day_number
from cloud.store.db import Connection, Database
from cloud.store.failpoint import reach

_SERIES_AT_ONCE = 20_000
"""How many series are packed in one go: hundreds of megabytes with a reading a minute."""


def open_days_ahead(db: Database, *, now: datetime, ahead: int = 1) -> list[date]:
    """Open today and the days ahead for rows; return the days that are open now."""
    today = day_number(now.astimezone(UTC).date())
    for day in range(today, today + ahead + 1):
        with db.transaction() as conn:
            opened, newest = store.open_days(conn)
            if day not in opened and (newest is None or day > newest):
                store.open_day(conn, day, now)
    with db.transaction() as conn:
        return days_open(conn)


def days_open(conn: Connection) -> list[date]:
    """Return the days whose readings are rows, oldest first."""
    return [date_of(day) for day in store.open_days(conn)[0]]


def close_past_days(db: Database, *, now: datetime, keep: timedelta) -> dict[date, int]:
    """Close every open day that ended longer ago than `keep`; return how many rows each had."""
    with db.transaction() as conn:
        opened = days_open(conn)
    past = (now.astimezone(UTC) - keep).date()
    return {day: close_day(db, day, now=now) for day in opened if day < past}


def close_day(db: Database, day: date, *, now: datetime) -> int:
    """
    Pack every row of an open day and drop its rows; return how many there were, 0 if it is packed.

    Waits for transactions that write readings of that day, and they for it. Raises:
    IntegrityConstraintViolation when the packed readings are not as many as the rows: nothing
    changes then.
    """
    number = day_number(day)
    with db.transaction() as conn:
        store.lock_day(conn, number)
        opened, _ = store.open_days(conn)
        if number not in opened:
            return 0
        store.ready_packed(conn, np.array([number]), now, ahead=[])
        first = store.next_series(conn, number, 0)
        while first is not None:
            _pack(conn, number, first, first + _SERIES_AT_ONCE)
            first = store.next_series(conn, number, first + _SERIES_AT_ONCE)
        reach("ingest.day_packed")
        dropped = store.drop_day(conn, number, now)
        reach("ingest.day_dropped")
    return dropped


def _pack(conn: Connection, day: int, first: int, last: int) -> None:
    series, readings = store.rows_of_day(conn, day, first, last)
    if not len(series):
        return
    # rows may fill a day; they are packed like any others here
    cells = cells_of(series, readings.at_ms, np.zeros_like(series))
    at_midnight = after_midnight(readings, cells)
    store.copy_days(
        conn,
        [
            (cells.series[places], cells.day[places], bodies)
            for places, bodies in encode_ragged(cells.size, at_midnight)
        ],
    )


def kept_by(conn: Connection) -> Keeper:
    """Return what keeps the rows of open days: TimescaleDB or plain partitions."""
    return store.keeper(conn)


__all__: Sequence[str] = (
    "close_day", "close_past_days", "days_open", "kept_by", "open_days_ahead",
)  # fmt: skip
