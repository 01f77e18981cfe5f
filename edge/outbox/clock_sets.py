"""Which times of each meter a set of its clock has touched; their intervals are suspect."""

from edge.outbox.database import OutboxDatabase
from protocols.identity import MeterId
from protocols.timeline import Interval, from_ms, to_ms

_KEPT = 16


class ClockSets:
    """The newest sets of each meter's clock; satisfies `edge.acquire.clock_keeper.ClockBook`."""

    def __init__(self, database: OutboxDatabase) -> None:
        """Keep them in `database`."""
        self._database = database

    def note(self, meter: MeterId, touched: Interval) -> None:
        """Keep that a set moves the clock within `touched`; on disk before this returns."""
        with self._database.write() as db:
            db.execute(
                "INSERT INTO clock_set (meter, start_ms, end_ms) VALUES (?, ?, ?)"
                " ON CONFLICT (meter, start_ms) DO UPDATE SET end_ms = excluded.end_ms",
                (meter, to_ms(touched.start), to_ms(touched.end)),
            )
            db.execute(
                "DELETE FROM clock_set WHERE meter = ?1 AND start_ms NOT IN (SELECT start_ms"
                " FROM clock_set WHERE meter = ?1 ORDER BY start_ms DESC LIMIT ?2)",
                (meter, _KEPT),
            )

    def of(self, meter: MeterId) -> tuple[Interval, ...]:
        """Return what was touched, oldest first."""
        with self._database.read() as db:
            rows = db.execute(
                "SELECT start_ms, end_ms FROM clock_set WHERE meter = ? ORDER BY start_ms", (meter,)
            ).fetchall()
        return tuple(Interval(start=from_ms(start), end=from_ms(end)) for start, end in rows)
