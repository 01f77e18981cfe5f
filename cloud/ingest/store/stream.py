"""SQL of what an operator watches: slots by hour, batches by minute, one reading and its batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from cloud.ingest.model import QuarantineItem
from cloud.ingest.rules.packing import DAY_MS, Int, Readings, decode
from cloud.ingest.rules.tally import Tally
from cloud.ingest.store.binary import date_of, day_number
from cloud.ingest.store.quarantine import item_of
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import BatchId, ConcentratorId, MeterId
from protocols.timeline import from_ms, to_ms

_SQL = Queries(Path(__file__).parents[1] / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """
    What came in one minute of the wall clock, named by its start.

    `lag_p50_ms` and `lag_p95_ms`: from the making of a batch at the edge until it was received, in
    business time; None where no batch of the minute could be read.
    """

    at: datetime
    batches: int
    rows: int
    stored: int
    duplicates: int
    refused: int
    lag_p50_ms: int | None
    lag_p95_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one concentrator sent lately."""

    newest_wall: datetime
    batches: int
    stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """
    One reading where it is kept: as a row, or in a packed day of so many octets and readings.

    *Units*: s, Wh, status bits. `batch` is the number of the batch that brought it.
    """

    seconds: int
    wh: int
    status: int
    received_at: datetime
    batch: int
    packed_octets: int = 0
    packed_readings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """The account of one batch; `kept_octets` is None where its octets are not kept."""

    id: BatchId
    digest: bytes
    custody: str
    made_at: datetime | None
    received_at: datetime
    received_wall: datetime
    rows: int
    stored: int
    duplicates: int
    momentary: int
    quarantined: int
    kept_octets: int | None


def add_tallies(conn: Connection, names: Sequence[ConcentratorId], tally: Tally) -> None:
    """Add counted slots; `names` are the concentrators that the tally numbers."""
    conn.execute(
        _SQL["add_tallies"],
        {
            "concentrator": [names[place] for place in tally.place.tolist()],
            "day": [date_of(day) for day in tally.day.tolist()],
            "slots": tally.slots.ravel().tolist(),
        },
    )


def tallies(
    conn: Connection, first: date, last: date
) -> dict[ConcentratorId, dict[int, list[int]]]:
    """Return the slots by hour of the UTC days from `first` to `last`, by day since 1970."""
    found: dict[ConcentratorId, dict[int, list[int]]] = {}
    for concentrator, day, slots in conn.execute(_SQL["tallies"], {"first": first, "last": last}):
        found.setdefault(ConcentratorId(concentrator), {})[day_number(day)] = slots
    return found


def minutes(conn: Connection, since: datetime) -> list[Minute]:
    """Return what came since a wall instant by minute, oldest first; quiet minutes are absent."""
    return [
        Minute(
            at=from_ms(minute * 60_000), batches=batches, rows=rows, stored=stored,
            duplicates=duplicates, refused=refused, lag_p50_ms=middle, lag_p95_ms=late,
        )
        for minute, batches, rows, stored, duplicates, refused, middle, late in conn.execute(
            _SQL["minutes"], {"since": since}
        )
    ]  # fmt: skip


def heard_since(conn: Connection, since: datetime) -> dict[ConcentratorId, Heard]:
    """Return what each concentrator sent since a wall instant."""
    return {
        ConcentratorId(id_): Heard(newest_wall=newest, batches=batches, stored=stored)
        for id_, newest, batches, stored in conn.execute(_SQL["heard_since"], {"since": since})
    }


def newest_batches(
    conn: Connection, concentrators: Sequence[ConcentratorId]
) -> dict[ConcentratorId, datetime]:
    """Return when the newest batch of each concentrator named was received, on the wall."""
    rows = conn.execute(_SQL["newest_batches"], {"concentrators": list(concentrators)})
    return {ConcentratorId(id_): at for id_, at in rows}


def reading_named(conn: Connection, meter: MeterId, channel: int, at: datetime) -> Home | None:
    """Return one reading from whichever home it is in, or None."""
    asked = {"meter": meter, "channel": channel, "at": at, "day": at.astimezone(UTC).date()}
    row = conn.execute(_SQL["row_named"], asked).fetchone()
    if row is not None:
        return Home(seconds=row[0], wh=row[1], status=row[2], received_at=row[3], batch=row[4])
    for seconds, body in conn.execute(_SQL["day_named"], asked):
        found = _in_day(decode(bytes(body)), to_ms(at) % DAY_MS)
        if found is not None:
            readings, n = found
            midnight = to_ms(at) // DAY_MS * DAY_MS
            return Home(
                seconds=seconds, wh=int(readings.wh[n]), status=int(readings.status[n]),
                received_at=from_ms(midnight + int(readings.received_ms[n])),
                batch=int(readings.batch[n]), packed_octets=len(body),
                packed_readings=len(readings),
            )  # fmt: skip
    return None


def batch_numbered(conn: Connection, number: int) -> BatchRecord | None:
    """Return the account of a batch, or None where readings came before batches had numbers."""
    row = conn.execute(_SQL["batch_numbered"], {"no": number}).fetchone()
    if row is None:
        return None
    concentrator, boot, seq, digest, *others = row
    names = ("custody", "made_at", "received_at", "received_wall", "rows", "stored", "duplicates",
             "momentary", "quarantined", "kept_octets")  # fmt: skip
    return BatchRecord(
        id=BatchId(concentrator=ConcentratorId(concentrator), boot=boot, seq=seq),
        digest=bytes(digest), **dict(zip(names, others, strict=True)),
    )  # fmt: skip


def refused_readings(
    conn: Connection, meter: MeterId, at: datetime, *, limit: int
) -> list[QuarantineItem]:
    """Return what was refused of a meter at one instant, in any state, oldest first."""
    rows = conn.execute(
        _SQL["refused_readings"], {"meter": meter, "at_ms": str(to_ms(at)), "limit": limit}
    )
    return [item_of(row) for row in rows]


def _in_day(readings: Readings, at_ms: int) -> tuple[Readings, int] | None:
    places: Int = (readings.at_ms == at_ms).nonzero()[0]
    return (readings, int(places[0])) if len(places) else None
