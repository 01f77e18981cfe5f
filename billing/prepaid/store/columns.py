"""
Columns of whole numbers between PostgreSQL and numpy: states, registers and money, a range a time.

A range comes as one row of binary strings, one for each column: the server adds numbers to a
string as fast as it can read rows, and here a string is an array at once. A row for each account
would spend more time on rows than on arithmetic.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from psycopg import sql

from billing.money import IntArray
from billing.prepaid.model import Columns, ExceptionKind, FeeBlock
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parent.parent / "sql")

RANGE = 65_536
"""Numbers a range spans."""

PROBES = 16_384
"""Points that are asked for at once where few of all moved."""

_MS_UNTIL_2000 = 946_684_800_000

_BIG_ENDIAN = np.dtype(">i8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """From which transaction to look for what moved, and when every account was looked at."""

    next_moved: str
    every_account_at: datetime


def ranges(largest: int) -> list[tuple[int, int]]:
    """Return half-open ranges that cover the numbers from 1 to `largest`."""
    return [(first, first + RANGE) for first in range(1, largest + 1, RANGE)]


def exported_snapshot(conn: Connection) -> str:
    """Return a name under which readers of other connections see what this one sees."""
    row = conn.execute(_SQL["export_snapshot"]).fetchone()
    assert row is not None
    return str(row[0])


def join_snapshot(conn: Connection, name: str) -> None:
    """Read, from now to the end of the transaction, what the snapshot's owner sees."""
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    conn.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(name)))


def probe_ranges(conn: Connection) -> None:
    """Join by probing keys for the rest of the transaction: a range is small beside its tables."""
    conn.execute("SET LOCAL enable_hashjoin = off")
    conn.execute("SET LOCAL enable_mergejoin = off")
    conn.execute("SET LOCAL jit = off")


def next_moved(conn: Connection) -> str:
    """Return the transaction from which the next sweep has to look again."""
    row = conn.execute(_SQL["next_moved"]).fetchone()
    assert row is not None
    return str(row[0])


def mark(conn: Connection) -> Mark | None:
    """Return where the last sweep stopped, or None before the first."""
    row = conn.execute(_SQL["mark"]).fetchone()
    return None if row is None else Mark(next_moved=row[0], every_account_at=row[1])


def set_mark(conn: Connection, found: Mark) -> None:
    """Note where this sweep stopped."""
    conn.execute(
        _SQL["set_mark"],
        {"next_moved": found.next_moved, "every_account_at": found.every_account_at},
    )


def largest_numbers(conn: Connection) -> tuple[int, int]:
    """Return the largest point and the largest customer's ledger account."""
    row = conn.execute(_SQL["largest_numbers"]).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def number_tariffs(conn: Connection, hashes: Iterable[str]) -> dict[int, str]:
    """Give tariff versions their numbers; return every version by its number."""
    conn.execute(_SQL["number_tariffs"], {"hashes": sorted(set(hashes))})
    return dict(conn.execute(_SQL["tariff_numbers"]).fetchall())


def read_states(conn: Connection, first: int, end: int) -> Columns | None:
    """Return the states of a range of points without registers and money; None when empty."""
    found = _strings(conn, "state_columns", {"first": first, "end": end})
    if found is None:
        return None
    nothing = np.zeros(len(found[0]), dtype=np.int64)
    return _columns([*found, nothing, nothing - 1, nothing, nothing])


def moved_points(conn: Connection, since: str) -> IntArray:
    """Return the points whose register moved since a transaction, in order."""
    found = _strings(conn, "moved_points", {"since": since})
    return np.zeros(0, dtype=np.int64) if found is None else np.sort(found[0])


def read_moved(conn: Connection, points: IntArray) -> Columns | None:
    """Return the states of points, complete; None when there is none."""
    found = _strings(conn, "moved_columns", {"points": points.tolist()})
    return None if found is None else _columns(found)


def registers_by_point(conn: Connection, first: int, end: int, into: Sequence[IntArray]) -> None:
    """Put Wh, time and doubt of newest registers into three arrays, each at its point's place."""
    found = _strings(conn, "register_columns", {"first": first, "end": end})
    if found is not None:
        _scatter(found, into)


def posted_by_account(conn: Connection, first: int, end: int, into: IntArray) -> None:
    """Put posted balances into an array, each at its ledger account's place."""
    found = _strings(conn, "posted_columns", {"first": first, "end": end})
    if found is not None:
        _scatter(found, [into])


def newest_at(conn: Connection, usage_points: Sequence[str]) -> dict[str, tuple[int, int, bool]]:
    """Return (Wh, time in ms, doubt) of the newest register of each usage point that has one."""
    rows = conn.execute(_SQL["newest_at_points"], {"usage_points": list(usage_points)})
    return {point: (wh, at_ms, doubt) for point, wh, at_ms, doubt in rows}


def agreements_at(conn: Connection, points: Sequence[int]) -> dict[int, str]:
    """Return the agreements of points, in agreement order."""
    rows = conn.execute(_SQL["agreements_at_points"], {"points": list(points)})
    return {point: agreement for agreement, point in rows}


def points_of(
    conn: Connection, agreements: Sequence[str], usage_points: Sequence[str]
) -> list[tuple[str, str, str, int]]:
    """Return (agreement, usage point, currency, point) of those named by either."""
    names = {"agreements": list(agreements), "usage_points": list(usage_points)}
    return [(row[0], row[1], row[2], row[3]) for row in conn.execute(_SQL["points_of"], names)]


def agreements_over(conn: Connection, *, now: datetime, grace: datetime) -> list[str]:
    """Return agreements whose business day is to be drawn."""
    return [row[0] for row in conn.execute(_SQL["agreements_over"], {"now": now, "grace": grace})]


def standing_points(conn: Connection) -> set[tuple[int, ExceptionKind]]:
    """Return the exceptions that stand, by point."""
    return {(row[0], ExceptionKind(row[1])) for row in conn.execute(_SQL["standing_points"])}


def append_snapshot(conn: Connection, blocks: Iterable[FeeBlock], now: datetime) -> int:
    """Keep fees that were computed and not written to a state; return how many."""
    fees = 0
    for number, block in enumerate(blocks):
        fees += len(block.point)
        conn.execute(
            _SQL["append_snapshot"],
            {
                "block": number, "now": now, "first_point": int(block.point[0]),
                "last_point": int(block.point[-1]), "point": _octets(block.point),
                "register_wh": _octets(block.register_wh),
                "register_ms": _octets(block.register_ms),
                "fee_micros": _octets(block.fee_micros), "tariff_no": _octets(block.tariff_no),
            },
        )  # fmt: skip
    return fees


def snapshot_blocks(conn: Connection, limit: int) -> list[FeeBlock]:
    """Return the newest blocks of fees."""
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(_SQL["snapshot_blocks"], {"limit": limit}).fetchall()
    return [
        FeeBlock(
            point=_numbers(row[1]), register_wh=_numbers(row[2]), register_ms=_numbers(row[3]),
            fee_micros=_numbers(row[4]), tariff_no=_numbers(row[5]),
        )
        for row in rows
    ]  # fmt: skip


def _strings(conn: Connection, block: str, parameters: dict[str, Any]) -> list[IntArray] | None:
    with conn.cursor(binary=True) as cursor:
        row = cursor.execute(_SQL[block], parameters).fetchone()
    assert row is not None
    return None if row[0] is None else [_numbers(each) for each in row]


def _numbers(octets: bytes) -> IntArray:
    return np.frombuffer(octets, dtype=_BIG_ENDIAN).astype(np.int64)


def _octets(numbers: IntArray) -> bytes:
    return numbers.astype(_BIG_ENDIAN).tobytes()


def _scatter(found: Sequence[IntArray], into: Sequence[IntArray]) -> None:
    place = found[0]
    inside = place < len(into[0])
    for values, target in zip(found[1:], into, strict=True):
        target[place[inside]] = values[inside]


def _columns(found: Sequence[IntArray]) -> Columns:
    flags = found[12]
    # an instant comes as the server keeps it: microseconds since 2000
    register_ms = found[7] // 1000 + _MS_UNTIL_2000
    return Columns(
        point=found[0], ledger_account_id=found[1], tariff_no=found[2], segment_register=found[3],
        segment_year=found[4], segment_before=found[5], register=found[6], register_ms=register_ms,
        fee=found[8], drawn=found[9], available=found[10], tier=found[11],
        below_reminder=flags & 1 == 1, below_zero=flags & 2 == 2, below_cut=flags & 4 == 4,
        quality=flags >> 3, newest=found[13], newest_ms=found[14], doubt=found[15],
        posted=found[16],
    )  # fmt: skip
