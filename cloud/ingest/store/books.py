"""SQL of what workers remember: states of concentrators, numbers and newest values of series."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud.ingest.rules.book import NONE, Newest
from cloud.ingest.rules.packing import DAY_MS, Int, decode, read_column, write_column
from cloud.ingest.store.binary import day_number
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import ConcentratorId, MeterId

_SQL = Queries(Path(__file__).parents[1] / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """
    What stands in the database of one concentrator. `meters` is None where the list is as before.

    *Shape*: `last_ms` and `received_ms` are as long as the list. *Units*: ms since 1970, NONE.
    """

    concentrator: ConcentratorId
    stamp: int
    meters: tuple[MeterId, ...] | None
    last_ms: Int
    received_ms: Int


def stamps(conn: Connection, concentrators: Sequence[ConcentratorId]) -> dict[str, int]:
    """Return the stamp of each concentrator that has one; the caller holds their locks."""
    rows = conn.execute(_SQL["stamps"], {"concentrators": list(concentrators)})
    return dict(rows.fetchall())


def states(conn: Connection, concentrators: Sequence[ConcentratorId]) -> dict[str, State]:
    """Return what workers left of the concentrators named."""
    rows = conn.execute(_SQL["states"], {"concentrators": list(concentrators)})
    return {
        concentrator: State(
            concentrator=ConcentratorId(concentrator), stamp=stamp, meters=tuple(meters),
            last_ms=read_column(bytes(last), 0, len(meters))[0],
            received_ms=read_column(bytes(received), 0, len(meters))[0],
        )
        for concentrator, stamp, meters, last, received in rows
    }  # fmt: skip


def write_states(conn: Connection, found: Sequence[State]) -> None:
    """Write what is remembered, before commit; one statement for those whose list is as before."""
    for state in found:
        if state.meters is not None:
            conn.execute(
                _SQL["write_state"],
                {
                    "concentrator": state.concentrator, "stamp": state.stamp,
                    "meters": list(state.meters), "last": write_column(state.last_ms),
                    "received": write_column(state.received_ms),
                },
            )  # fmt: skip
    same = [state for state in found if state.meters is None]
    if same:
        conn.execute(
            _SQL["touch_states"],
            {
                "concentrator": [state.concentrator for state in same],
                "stamp": [state.stamp for state in same],
                "last": [write_column(state.last_ms) for state in same],
                "received": [write_column(state.received_ms) for state in same],
            },
        )


def newest(
    conn: Connection, meters: Sequence[MeterId], *, channel: int | None = None
) -> list[Newest]:
    """Return the series of the meters with their newest values, wherever these are kept."""
    series = [
        row for row in conn.execute(_SQL["series_of"], {"meters": list(meters)})
        if channel in {None, row[2]}
    ]  # fmt: skip
    numbers = {"series": [row[0] for row in series]}
    found: dict[int, tuple[int, int]] = {}
    for number, day, body in conn.execute(_SQL["newest_days"], numbers):
        readings = decode(bytes(body))
        found[number] = (
            int(readings.at_ms[-1]) + day_number(day) * DAY_MS, int(readings.wh[-1])
        )  # fmt: skip
    for number, at_ms, wh in conn.execute(_SQL["newest_rows"], numbers):
        found[number] = max(found.get(number, (NONE, 0)), (at_ms, wh))
    return [
        Newest(no=number, meter=MeterId(meter), channel=code, seconds=seconds, at_ms=at, wh=wh)
        for number, meter, code, seconds in series
        for at, wh in [found.get(number, (NONE, 0))]
    ]


def new_series(conn: Connection, wanted: Sequence[tuple[MeterId, int, int]]) -> list[Newest]:
    """Give numbers to series (meter, channel, seconds) and return them, empty as they are."""
    conn.execute(
        _SQL["insert_series"],
        {
            "meter": [meter for meter, _, _ in wanted],
            "channel": [channel for _, channel, _ in wanted],
            "seconds": [seconds for _, _, seconds in wanted],
        },
    )
    asked = set(wanted)
    meters = sorted({meter for meter, _, _ in wanted})
    return [
        Newest(no=number, meter=MeterId(meter), channel=channel, seconds=seconds, at_ms=NONE, wh=0)
        for number, meter, channel, seconds in conn.execute(_SQL["series_of"], {"meters": meters})
        if (meter, channel, seconds) in asked
    ]
