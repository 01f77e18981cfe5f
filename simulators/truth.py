"""
The ledger of what truly happened, the oracle of every journey: one SQLite file.

Meters write into it through `simulators.meter.state.Ledger`, and what an answer tells is committed
before the answer leaves: what somebody stored is never missing here. Relay moves, clock sets,
faults and counters survive a power cut as well. After a kill the simulator reads them back and
goes on where it was.

*Units*: every `*_ms` is milliseconds since 1970; `interval.start_ms` and `served.at_ms` are
device time, all others true (business) time.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulators.fleet import Fleet

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meter (
    meter TEXT PRIMARY KEY, usage_point TEXT NOT NULL, interval_seconds INTEGER,
    has_profile INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS interval (
    meter TEXT NOT NULL, start_ms INTEGER NOT NULL, seconds INTEGER NOT NULL, wh INTEGER NOT NULL,
    PRIMARY KEY (meter, start_ms)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS relay (
    meter TEXT NOT NULL, at_ms INTEGER NOT NULL, output_closed INTEGER NOT NULL,
    control_state INTEGER NOT NULL, cause TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS served (
    meter TEXT NOT NULL, at_ms INTEGER NOT NULL, channel INTEGER NOT NULL, raw INTEGER NOT NULL,
    scaler INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS served_by_meter ON served (meter, channel, at_ms);
CREATE TABLE IF NOT EXISTS fault (
    meter TEXT NOT NULL, at_ms INTEGER NOT NULL, name TEXT NOT NULL, begins INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS progress (
    meter TEXT PRIMARY KEY, closed_until_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS clock (
    meter TEXT NOT NULL, at_ms INTEGER NOT NULL, device_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS counter (
    meter TEXT PRIMARY KEY, next INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS setting (
    meter TEXT NOT NULL, at_ms INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS logged (
    meter TEXT NOT NULL, at_ms INTEGER NOT NULL, device_ms INTEGER NOT NULL, log INTEGER NOT NULL,
    code INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS memory (
    meter TEXT NOT NULL, name TEXT NOT NULL, octets BLOB NOT NULL, PRIMARY KEY (meter, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fleet (seed INTEGER NOT NULL, fingerprint TEXT NOT NULL);
"""


class TruthMismatchError(Exception):
    """The truth file tells of another fleet; starting on it would make two histories of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayMove:
    """One row of `relay`."""

    meter: str
    at_ms: int
    output: bool
    control_state: int
    cause: str


class TruthLedger:
    """Writes the truth file; one writer, the simulator. Satisfies `state.Ledger`."""

    def __init__(self, path: Path, fleet: Fleet) -> None:
        """
        Open or make the file for `fleet`.

        Raises: TruthMismatchError when it tells of another fleet.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._durable: bool | None = None
        self._connection.executescript(_SCHEMA)
        self._bind(path, fleet)
        with self._transaction():
            self._connection.executemany(
                "INSERT OR IGNORE INTO meter VALUES (?, ?, ?, ?)",
                [
                    (
                        m.meter,
                        m.usage_point,
                        m.interval_seconds,
                        int(m.interval_seconds is not None),
                    )
                    for m in fleet.meters
                ],
            )

    def relay(
        self, meter: str, at_ms: int, *, output: bool, control_state: int, cause: str
    ) -> None:
        """Keep a relay move; durable when this returns."""
        with self._transaction(durable=True):
            self._connection.execute(
                "INSERT INTO relay VALUES (?, ?, ?, ?, ?)",
                (meter, at_ms, int(output), control_state, cause),
            )

    def clock_set(self, meter: str, at_ms: int, device_ms: int) -> None:
        """Keep a clock set; durable when this returns."""
        with self._transaction(durable=True):
            self._connection.execute(
                "INSERT INTO clock VALUES (?, ?, ?)", (meter, at_ms, device_ms)
            )

    def fault(self, meter: str, at_ms: int, name: str, *, on: bool) -> None:
        """Keep the start or the end of a fault; durable when this returns."""
        with self._transaction(durable=True):
            self._connection.execute(
                "INSERT INTO fault VALUES (?, ?, ?, ?)", (meter, at_ms, name, int(on))
            )

    def setting(self, meter: str, at_ms: int, name: str, value: int) -> None:
        """Keep what the meter was told to remember; durable when this returns."""
        with self._transaction(durable=True):
            self._connection.execute(
                "INSERT INTO setting VALUES (?, ?, ?, ?)", (meter, at_ms, name, value)
            )

    def logged(self, meter: str, at_ms: int, device_ms: int, log: int, code: int) -> None:
        """Keep an entry of a meter's own log; durable when this returns."""
        with self._transaction(durable=True):
            self._connection.execute(
                "INSERT INTO logged VALUES (?, ?, ?, ?, ?)", (meter, at_ms, device_ms, log, code)
            )

    def keep(self, meter: str, name: str, octets: bytes) -> None:
        """Keep octets under a name in place of those before; durable when this returns."""
        with self._transaction(durable=True):
            self._connection.execute(
                "INSERT OR REPLACE INTO memory VALUES (?, ?, ?)", (meter, name, octets)
            )

    def forget(self, meter: str, prefix: str) -> None:
        """Forget all octets whose names begin so; durable when this returns."""
        with self._transaction(durable=True):
            self._connection.execute(
                "DELETE FROM memory WHERE meter = ? AND substr(name, 1, ?) = ?",
                (meter, len(prefix), prefix),
            )

    def served(self, meter: str, at_ms: int, channel: int, raw: int, scaler: int) -> None:
        """
        Keep an energy register value that is about to be answered.

        Never by an fsync: thousands of answers a second would wait for it, one after the other.
        """
        self._sync(durable=False)
        self._connection.execute(
            "INSERT INTO served VALUES (?, ?, ?, ?, ?)", (meter, at_ms, channel, raw, scaler)
        )

    def intervals(
        self, meter: str, seconds: int, starts_ms: NDArray[np.int64], wh: NDArray[np.int64]
    ) -> None:
        """Keep intervals that closed, in order; each comes once, or it is a bug that shows."""
        starts = starts_ms.tolist()
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO interval VALUES (?, ?, ?, ?)",
                [
                    (meter, start, seconds, amount)
                    for start, amount in zip(starts, wh.tolist(), strict=True)
                ],
            )
            self._connection.execute(
                "INSERT OR REPLACE INTO progress VALUES (?, ?)",
                (meter, starts[-1] + seconds * 1000),
            )

    def reserve_counters(self, meter: str, block: int) -> range:
        """Return the next `block` frame counters, never given before; durable on return."""
        with self._transaction(durable=True):
            row = self._connection.execute(
                "INSERT INTO counter VALUES (?, ?) "
                "ON CONFLICT (meter) DO UPDATE SET next = next + ? RETURNING next",
                (meter, 1 + block, block),
            ).fetchone()
        return range(row[0] - block, row[0])

    def closed_until(self) -> dict[str, int]:
        """Return up to which device time the intervals of each meter are written."""
        return dict(self._connection.execute("SELECT meter, closed_until_ms FROM progress"))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Commit all that is written within the block at once."""
        with self._transaction():
            yield

    def relay_moves(self) -> Iterator[RelayMove]:
        """Yield every relay move in the order it happened."""
        for meter, at_ms, output, state, cause in self._connection.execute(
            "SELECT meter, at_ms, output_closed, control_state, cause FROM relay ORDER BY rowid"
        ):
            yield RelayMove(
                meter=meter, at_ms=at_ms, output=bool(output), control_state=state, cause=cause
            )

    def clock_sets(self) -> list[tuple[str, int, int]]:
        """Return (meter, at_ms, device_ms) of every clock set, in order."""
        return self._connection.execute(
            "SELECT meter, at_ms, device_ms FROM clock ORDER BY rowid"
        ).fetchall()

    def faults(self) -> list[tuple[str, int, str, int]]:
        """Return (meter, at_ms, name, begins) of every fault change, in order."""
        return self._connection.execute(
            "SELECT meter, at_ms, name, begins FROM fault ORDER BY rowid"
        ).fetchall()

    def settings(self) -> list[tuple[str, str, int]]:
        """Return (meter, name, value) of everything that meters were told to remember, in order."""
        return self._connection.execute(
            "SELECT meter, name, value FROM setting ORDER BY rowid"
        ).fetchall()

    def logs(self) -> list[tuple[str, int, int, int]]:
        """Return (meter, log, code, device_ms) of all entries in meters' logs, in order."""
        return self._connection.execute(
            "SELECT meter, log, code, device_ms FROM logged ORDER BY rowid"
        ).fetchall()

    def kept(self) -> list[tuple[str, str, bytes]]:
        """Return (meter, name, octets) of all that meters keep by name."""
        return self._connection.execute("SELECT meter, name, octets FROM memory").fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _bind(self, path: Path, fleet: Fleet) -> None:
        mark = f"{fleet.history_from.isoformat()}/{len(fleet.meters)}"
        with self._transaction():
            found = self._connection.execute("SELECT seed, fingerprint FROM fleet").fetchone()
            if found is None:
                self._connection.execute("INSERT INTO fleet VALUES (?, ?)", (fleet.seed, mark))
            elif found != (fleet.seed, mark):
                raise TruthMismatchError(
                    f"{path} tells of seed {found[0]} ({found[1]}), not {fleet.seed} ({mark}); "
                    "give another truth file or remove this one"
                )

    def _sync(self, *, durable: bool) -> None:
        """Say how the next commit goes to disk; within a transaction it was said at its begin."""
        if durable is self._durable or self._connection.in_transaction:
            return
        # NORMAL outlives a killed process at no cost, FULL a power cut at the price of an fsync
        self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self._durable = durable

    @contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[None]:
        connection = self._connection
        if connection.in_transaction:
            yield
            return
        self._sync(durable=durable)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


class TruthFile:
    """Reads a truth file, also while the simulator writes it; for oracles and the audit."""

    def __init__(self, path: Path) -> None:
        """Raises: FileNotFoundError when there is no such file."""
        if not path.exists():
            raise FileNotFoundError(f"no truth file at {path}; was the simulator started?")
        self._path = path

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return all rows of a SELECT over the tables of the module text."""
        with closing(sqlite3.connect(self._path, timeout=10)) as connection:
            connection.execute("PRAGMA query_only=ON")
            return connection.execute(query, values).fetchall()

    def intervals(self, meter: str) -> dict[int, int]:
        """Return start_ms -> Wh of every interval that the meter's profile holds."""
        with closing(sqlite3.connect(self._path, timeout=10)) as connection:
            return dict(
                connection.execute("SELECT start_ms, wh FROM interval WHERE meter = ?", (meter,))
            )

    def relay_moves(self, meter: str) -> list[RelayMove]:
        """Return the relay moves of a meter in the order they happened."""
        with closing(sqlite3.connect(self._path, timeout=10)) as connection:
            return [
                RelayMove(meter=meter, at_ms=at, output=bool(out), control_state=state, cause=cause)
                for at, out, state, cause in connection.execute(
                    "SELECT at_ms, output_closed, control_state, cause FROM relay "
                    "WHERE meter = ? ORDER BY rowid",
                    (meter,),
                )
            ]
