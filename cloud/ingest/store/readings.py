"""
SQL of readings in both their homes: rows of open days and packed days.

What comes in goes by binary COPY of octets that numpy lays out; no reading is a Python object.

Why two homes, by `tests/benchmarks/stream_ingest.py` on two cores: a row and its key take about 116
octets, a packed reading of a 96-interval day 3.0; a raw COPY of rows into a partition with its key
runs at 180,000 to 300,000 rows a second whatever feeds it, while a whole day of a series is one row
of 270 octets. Of a reading that shares neither batch nor receipt with its neighbours (a wave) seven
a day take 22 octets each, for a packed row, its key and its head are shared by few. 35,000 readings
of one customer's year are read in 60 ms, 19,200 of a transformer's day in 40 ms.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from cloud.ingest.model import Keeper
from cloud.ingest.rules.beside import Points
from cloud.ingest.rules.packing import DAY_MS, Int, Octets, Readings, decode, joined
from cloud.ingest.store import binary
from cloud.ingest.store.binary import date_of, day_number
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import MeterId
from protocols.timeline import to_ms

_SQL = Queries(Path(__file__).parents[1] / "sql")
_CHUNK = 1 << 22


def share_days(conn: Connection, days: Sequence[int]) -> None:
    """Keep the days from being opened or closed until commit. *Units*: days since 1970."""
    conn.execute(_SQL["share_days"], {"days": [date_of(day) for day in days]})


def open_days(conn: Connection) -> tuple[list[int], int | None]:
    """Return the days whose readings are rows, and the newest day known; since 1970."""
    row = conn.execute(_SQL["open_days"]).fetchone()
    assert row is not None
    return [day_number(day) for day in row[0]], None if row[1] is None else day_number(row[1])


def open_day(conn: Connection, day: int, now: datetime) -> bool:
    """Open a day for rows; tell whether it is open now."""
    row = conn.execute(_SQL["open_day"], {"day": date_of(day), "now": now}).fetchone()
    return row is not None and bool(row[0])


def lock_day(conn: Connection, day: int) -> None:
    """Wait until nobody writes readings of the day; held until commit."""
    conn.execute(_SQL["lock_day"], {"day": date_of(day)})


def drop_day(conn: Connection, day: int, now: datetime) -> int:
    """End the rows of a day that is packed; return how many there were."""
    row = conn.execute(_SQL["drop_day"], {"day": date_of(day), "now": now}).fetchone()
    assert row is not None
    return int(row[0])


def keeper(conn: Connection) -> Keeper:
    """Return what keeps the rows of open days."""
    row = conn.execute(_SQL["has_hypertable"]).fetchone()
    assert row is not None
    return Keeper(
        hypertable=bool(row[0]), offered=row[1] or "", loaded=bool(row[2]),
        installed=row[3] or "", edition=row[4] or "",
    )  # fmt: skip


def ready_packed(conn: Connection, days: Int, now: datetime, *, ahead: Sequence[int]) -> None:
    """Prepare packed rows of the days; those `ahead` of every known day are never opened then."""
    months = sorted({date_of(day).replace(day=1) for day in days.tolist()})
    conn.execute(_SQL["ready_months"], {"days": months}).fetchall()
    if ahead:
        conn.execute(
            _SQL["insert_packed_days"], {"days": [date_of(day) for day in ahead], "now": now}
        )


def copy_readings(conn: Connection, series: Int, readings: Readings) -> None:
    """Add rows of open days."""
    _copy(conn, "copy_readings", [binary.reading_rows(series, readings)])


def copy_days(conn: Connection, packed: Sequence[tuple[Int, Int, Octets]]) -> None:
    """Add packed days, (series, day, bodies) in groups of equally long bodies."""
    _copy(conn, "copy_days", [binary.day_rows(*group) for group in packed])


def upsert_days(conn: Connection, rows: Sequence[tuple[int, int, bytes]]) -> None:
    """Write packed days (series, day, body) that may be there with fewer readings."""
    conn.execute(
        _SQL["upsert_days"],
        {
            "series": [series for series, _, _ in rows],
            "day": [date_of(day) for _, day, _ in rows],
            "body": [body for _, _, body in rows],
        },
    )


def days_named(conn: Connection, series: Int, days: Int) -> dict[int, Readings]:
    """Return the packed days that are there, by place; instants in ms after midnight."""
    rows = conn.execute(
        _SQL["days_named"],
        {"series": series.tolist(), "day": [date_of(day) for day in days.tolist()]},
    )
    return {n: decode(bytes(body)) for n, body in rows}


def points_around(conn: Connection, groups: dict[str, list[int]], ids: Int, seconds: Int) -> Points:
    """
    Return what is stored in each group's time and nearest on both sides, from both homes.

    *Shape*: `groups` has equal columns series, first_ms, last_ms; `ids` names each group and
    `seconds` says how long its values are.
    """
    days = {
        "series": groups["series"],
        "first": [date_of(ms // DAY_MS) for ms in groups["first_ms"]],
        "last": [date_of(ms // DAY_MS) for ms in groups["last_ms"]],
    }
    rows = np.array(conn.execute(_SQL["rows_around"], groups).fetchall(), dtype=np.int64)
    table = rows.reshape(-1, 3)
    parts = [(table[:, 0], table[:, 1], table[:, 2])]
    for n, day, body in conn.execute(_SQL["days_around"], days):
        readings = decode(bytes(body))
        group = np.full(len(readings), n, dtype=np.int64)
        parts.append((group, readings.at_ms + day_number(day) * DAY_MS, readings.wh))
    group, at_ms, wh = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Points(group=ids[group], at_ms=at_ms, value=wh, seconds=seconds[group])


def next_series(conn: Connection, day: int, first: int) -> int | None:
    """Return the lowest series at or above `first` that has rows of the day, None where none."""
    row = conn.execute(_SQL["next_series"], {**_span(day), "first": first}).fetchone()
    return None if row is None else int(row[0])


def rows_of_day(conn: Connection, day: int, first: int, last: int) -> tuple[Int, Readings]:
    """Return series and readings of the rows of a day and of series `[first, last)`, in order."""
    cursor = conn.cursor()
    parameters = {**_span(day), "first": first, "last": last}
    with cursor.copy(_SQL["copy_open_rows"], parameters) as copy:
        octets = b"".join(bytes(block) for block in copy)
    return binary.readings_of_rows(octets)


def series_readings(
    conn: Connection,
    meter: MeterId,
    channel: int,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Readings:
    """Return the readings of a meter's channel in `[since, until)`, oldest first; None: all."""
    found = readings_of_meters(
        conn, [meter], channel,
        since=since or datetime(1970, 1, 1, tzinfo=UTC),
        until=until or datetime(9000, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return found.get(meter, _rows([]))


def readings_of_meters(
    conn: Connection, meters: Sequence[MeterId], channel: int, *, since: datetime, until: datetime
) -> dict[MeterId, Readings]:
    """Return the readings of a channel in `[since, until)` of each meter that has any."""
    asked = {
        "meters": list(meters), "channel": channel, "since": since, "until": until,
        "first": since.astimezone(UTC).date(), "last": until.astimezone(UTC).date(),
    }  # fmt: skip
    parts: dict[MeterId, list[Readings]] = {}
    rows = conn.execute(_SQL["rows_of"], asked).fetchall()
    for meter, group in groupby(rows, key=itemgetter(0)):
        parts.setdefault(MeterId(meter), []).append(_rows([row[1:] for row in group]))
    for meter, day, body in conn.execute(_SQL["days_of"], asked):
        part = decode(bytes(body)).shifted(day_number(day) * DAY_MS)
        parts.setdefault(MeterId(meter), []).append(part)
    low, high = to_ms(since), to_ms(until)
    found = {}
    for id_, of_meter in parts.items():
        whole = joined(of_meter)
        inside = whole.take((whole.at_ms >= low) & (whole.at_ms < high))
        if len(inside):
            found[id_] = inside
    return found


def _rows(rows: Sequence[Sequence[int]]) -> Readings:
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    return Readings(
        at_ms=table[:, 0], wh=table[:, 1], status=table[:, 2], received_ms=table[:, 3],
        batch=table[:, 4],
    )  # fmt: skip


def _span(day: int) -> dict[str, datetime]:
    since = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
    return {"since": since, "until": since + timedelta(days=1)}


def _copy(conn: Connection, block: str, parts: Sequence[memoryview]) -> None:
    with conn.cursor().copy(_SQL[block]) as copy:
        copy.write(binary.HEAD)
        for octets in parts:
            for start in range(0, len(octets), _CHUNK):
                copy.write(octets[start : start + _CHUNK])
        copy.write(binary.TAIL)
