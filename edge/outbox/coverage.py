"""How far each meter's profile has been read, and which intervals are missing."""

import sqlite3

from edge.acquire.plan import Coverage, Gap
from edge.outbox.database import OutboxDatabase
from protocols.identity import MeterId
from protocols.timeline import from_ms, to_ms


class CoverageBook:
    """Reads the marks and gaps; they are written together with the batch they belong to."""

    def __init__(self, database: OutboxDatabase) -> None:
        """Read from `database`."""
        self._database = database

    def of(self, meter: MeterId) -> Coverage | None:
        """Return what is known of `meter`, None when it was never read."""
        with self._database.read() as db:
            row = db.execute("SELECT mark_ms FROM mark WHERE meter = ?", (meter,)).fetchone()
            if row is None:
                return None
            gaps = db.execute(
                "SELECT start_ms, end_ms, tries FROM gap WHERE meter = ? ORDER BY start_ms",
                (meter,),
            ).fetchall()
        return Coverage(
            mark=from_ms(row[0]),
            gaps=tuple(
                Gap(start=from_ms(start), end=from_ms(end), tries=tries)
                for start, end, tries in gaps
            ),
        )


def write_coverage(db: sqlite3.Connection, meter: MeterId, coverage: Coverage) -> None:
    """Replace what is known of `meter`, within the caller's transaction."""
    db.execute(
        "INSERT INTO mark (meter, mark_ms) VALUES (?, ?)"
        " ON CONFLICT (meter) DO UPDATE SET mark_ms = excluded.mark_ms",
        (meter, to_ms(coverage.mark)),
    )
    db.execute("DELETE FROM gap WHERE meter = ?", (meter,))
    db.executemany(
        "INSERT INTO gap (meter, start_ms, end_ms, tries) VALUES (?, ?, ?, ?)",
        [(meter, to_ms(gap.start), to_ms(gap.end), gap.tries) for gap in coverage.gaps],
    )
