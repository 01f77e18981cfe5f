"""
Columns of whole numbers between PostgreSQL and numpy: states, registers and money, a range a time.

A range comes as one string: the octets that stand ready in each row, one after another, which here
are columns at once. A row for each account would spend more time on rows than on arithmetic.
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
from billing.prepaid.rules.stretches import Stretches, stretches_of, width_of
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parent.parent / "sql")

RANGE = 32_768
"""Numbers a range spans."""

PAGES = 512
"""Pages of a table a range spans, in their own order; what they hold fits the nearer caches."""

PROBES = 8_192
"""Points that are asked for at once where few of all moved."""

_STATE, _REGISTER, _MONEY = 12, 3, 2
"""Numbers in the octets of a row."""

_LAST_PAGE = 2**32 - 1

_MS_UNTIL_2000 = 946_684_800_000

_BIG_ENDIAN = np.dtype(">i8")


Pages = tuple[int, int]
"""First page of a table and the page after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """Newest registers as columns. *Units*: Wh and ms; doubt is 0 or 1."""

    point: IntArray
    wh: IntArray
    at_ms: IntArray
    doubt: IntArray

    def rows(self, at: IntArray) -> "Registers":
        """Return the rows named, in that order."""
        return Registers(
            point=self.point[at], wh=self.wh[at], at_ms=self.at_ms[at], doubt=self.doubt[at]
        )


def in_order(parts: Sequence[Registers]) -> list[Registers]:
    """Return the last register of each point in the order of points, in parts of `PROBES`."""
    if not parts:
        return []
    every = Registers(
        point=np.concatenate([each.point for each in parts]),
        wh=np.concatenate([each.wh for each in parts]),
        at_ms=np.concatenate([each.at_ms for each in parts]),
        doubt=np.concatenate([each.doubt for each in parts]),
    )
    order = np.argsort(every.point, kind="stable")
    point = every.point[order]
    order = order[np.append(point[1:] != point[:-1], True) & (every.at_ms[order] >= 0)]
    return [every.rows(order[start : start + PROBES]) for start in range(0, len(order), PROBES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """From which transaction to look for what moved, and when every account was looked at."""

    next_moved: str
    every_account_at: datetime


def ranges(largest: int) -> list[tuple[int, int]]:
    """Return half-open ranges that cover the numbers from 1 to `largest`."""
    return [(first, first + RANGE) for first in range(1, largest + 1, RANGE)]


def page_ranges(conn: Connection, *, whole: bool) -> tuple[list[Pages], list[Pages]]:
    """
    Return ranges of pages that cover the states, and such that cover the newest registers.

    Ask after the snapshot was taken that they are read by: what it sees lies on these pages. Rows
    wander between the snapshots of two statements, so without a common one take each table
    `whole`.
    """
    row = conn.execute(_SQL["page_counts"]).fetchone()
    assert row is not None
    states, registers = ([0] if whole else list(range(0, pages, PAGES)) or [0] for pages in row)
    return _half_open(states), _half_open(registers)


def _half_open(starts: list[int]) -> list[Pages]:
    return list(zip(starts, [*starts[1:], _LAST_PAGE], strict=True))


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
    # a plan made for the keys themselves weighs each of thousands, every time
    conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")


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
    """Return the states of a range of pages without registers and money; None when empty."""
    found = _records(conn, "state_columns", _pages(first, end), _STATE)
    if found is None:
        return None
    nothing = np.zeros(len(found[0]), dtype=np.int64)
    return _columns(found, newest=nothing, newest_ms=nothing - 1, doubt=nothing, posted=nothing)


def moves_since(conn: Connection, since: str, *, most: int) -> list[Registers] | None:
    """
    Return every move since a transaction, a point's newest last; None when not all are kept.

    None too when they are more than `most`: then it is quicker to look at every register.
    """
    row = conn.execute(_SQL["count_moves"], {"since": since}).fetchone()
    if row is None or row[0] > most:
        return None
    found = _records(conn, "moves", {"since": since}, _REGISTER)
    return [] if found is None else [_registers(found)]


def forget_moves(conn: Connection, before: str) -> None:
    """Let go of moves before a transaction: they were read or are not wanted."""
    conn.execute(_SQL["forget_moves"], {"before": before})


def awaited_hours(conn: Connection) -> list[Registers]:
    """Return the newest registers of those that are ahead of the hours they were priced by."""
    found = _records(conn, "awaited_hours", {}, _REGISTER)
    return [] if found is None else [_registers(found)]


def moved_registers(conn: Connection, since: str, first: int, end: int) -> Registers | None:
    """Return what moved since a transaction on a range of pages; None when nothing did."""
    found = _records(conn, "moved_registers", {**_pages(first, end), "since": since}, _REGISTER)
    return None if found is None else _registers(found)


def registers_of_points(conn: Connection, points: IntArray) -> list[Registers]:
    """Return the newest registers of the points named, those that have one; in parts."""
    found = []
    for start in range(0, len(points), PROBES):
        part = {"points": points[start : start + PROBES]}
        columns = _records(conn, "registers_of_points", part, _REGISTER)
        if columns is not None:
            found.append(_registers(columns))
    return found


def contracts_of_points(conn: Connection, points: IntArray) -> tuple[IntArray, IntArray]:
    """Return (points, contract power in W) of the points named that have a state."""
    found = _strings(conn, "contracts_of_points", {"points": points})
    nothing = np.zeros(0, dtype=np.int64)
    return (nothing, nothing) if found is None else (found[0], found[1])


def every_point(conn: Connection) -> IntArray:
    """Return the point of every agreement."""
    found = _strings(conn, "every_point", {})
    return np.zeros(0, dtype=np.int64) if found is None else found[0]


def points_of_moved_money(conn: Connection, after: int, upto: int) -> IntArray:
    """Return points whose money moved in `(after, upto]`, other than by a day drawn."""
    rows = conn.execute(_SQL["points_of_moved_money"], {"after": after, "upto": upto}).fetchall()
    return np.array([row[0] for row in rows], dtype=np.int64)


def newest_entry(conn: Connection, after: int) -> int:
    """Return the newest ledger entry before which none is still on its way."""
    row = conn.execute(_SQL["newest_entry"], {"after": after}).fetchone()
    assert row is not None
    return int(row[0])


def read_moved(conn: Connection, moved: Registers) -> Columns | None:
    """Return the states at registers, which come in order of points; None when there is none."""
    found = _records(conn, "states_at_points", {"points": moved.point}, _STATE)
    if found is None:
        return None
    accounts = np.unique(found[1])
    posted = np.zeros(len(accounts), dtype=np.int64)
    wanted = {"ledger_accounts": accounts}
    money = _records(conn, "posted_of_accounts", wanted, _MONEY)
    if money is not None:
        posted[np.searchsorted(accounts, money[0])] = money[1]
    at = np.searchsorted(moved.point, found[0])
    return _columns(
        found, newest=moved.wh[at], newest_ms=moved.at_ms[at], doubt=moved.doubt[at],
        posted=posted[np.searchsorted(accounts, found[1])],
    )  # fmt: skip


def registers_by_point(conn: Connection, first: int, end: int, into: Sequence[IntArray]) -> None:
    """Put Wh and packed times of a range of pages into arrays, each at its point's place."""
    found = _records(conn, "register_columns", _pages(first, end), _REGISTER)
    if found is not None:
        _scatter(found, into)


def unpacked(packed: IntArray) -> tuple[IntArray, IntArray]:
    """Return time in ms and doubt of packed times."""
    return packed >> 1, packed & 1


def posted_by_account(conn: Connection, first: int, end: int, into: IntArray) -> None:
    """Put posted balances into an array, each at its ledger account's place."""
    found = _records(conn, "posted_columns", {"first": first, "end": end}, _MONEY)
    if found is not None:
        _scatter(found, [into])


def at_places(values: IntArray, places: IntArray) -> IntArray:
    """Return values at places; a view where those follow one another, as they mostly do."""
    found: IntArray = values[_places(places)]
    return found


def newest_at(conn: Connection, usage_points: Sequence[str]) -> dict[str, tuple[int, int, bool]]:
    """Return (Wh, time in ms, doubt) of the newest register of each usage point that has one."""
    rows = conn.execute(_SQL["newest_at_points"], {"usage_points": list(usage_points)})
    return {point: (wh, at_ms, doubt) for point, wh, at_ms, doubt in rows}


def stretches_at(conn: Connection, points: IntArray) -> list[tuple[bool, Stretches]]:
    """Return the open stretches at points by hours or register, and by number of TouPeriods."""
    with conn.cursor(binary=True) as cursor:
        rows = cursor.execute(_SQL["stretch_columns"], {"points": points}, prepare=True).fetchall()
    return [
        (hourly, stretches_of(_numbers(octets).reshape(-1, width_of(periods)), periods))
        for hourly, periods, octets in rows
    ]


def shapes_numbered(conn: Connection, numbers: Iterable[int]) -> dict[int, str]:
    """Return the shapes of agreements that columns name by these numbers."""
    return dict(conn.execute(_SQL["shapes_numbered"], {"numbers": sorted(numbers)}).fetchall())


def usage_points_at(conn: Connection, points: IntArray) -> dict[int, str]:
    """Return the usage point that has each number."""
    return dict(conn.execute(_SQL["usage_points_at"], {"points": points.tolist()}).fetchall())


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
    return octet_columns(conn, _SQL[block], parameters)


def _records(
    conn: Connection, block: str, parameters: dict[str, Any], width: int
) -> list[IntArray] | None:
    """Return rows of `width` numbers, answered as one string, as columns; None when empty."""
    found = octet_columns(conn, _SQL[block], parameters)
    return None if found is None else list(np.ascontiguousarray(found[0].reshape(-1, width).T))


def octet_columns(
    conn: Connection, statement: Any, parameters: dict[str, Any]
) -> list[IntArray] | None:
    """Return the columns that a statement answers as strings of octets; None when empty."""
    with conn.cursor(binary=True) as cursor:
        row = cursor.execute(statement, parameters, prepare=True).fetchone()
    assert row is not None
    return None if row[0] is None else [_numbers(each) for each in row]


def _numbers(octets: bytes) -> IntArray:
    return np.frombuffer(octets, dtype=_BIG_ENDIAN).astype(np.int64)


def _octets(numbers: IntArray) -> bytes:
    return numbers.astype(_BIG_ENDIAN).tobytes()


def _pages(first: int, end: int) -> dict[str, str]:
    return {"first": f"({first},0)", "end": f"({end},0)"}


def _places(places: IntArray) -> IntArray | slice:
    if not places.size:
        return places
    first, last = int(places[0]), int(places[-1])
    in_a_row = last - first == len(places) - 1 and bool((np.diff(places) == 1).all())
    return slice(first, last + 1) if in_a_row else places


def _registers(found: Sequence[IntArray]) -> Registers:
    point, wh, packed = found
    return Registers(point=point, wh=wh, at_ms=packed >> 1, doubt=packed & 1)


def _scatter(found: Sequence[IntArray], into: Sequence[IntArray]) -> None:
    place = found[0]
    if int(place.max()) >= len(into[0]):  # came after the largest was asked for
        found = [column[place < len(into[0])] for column in found]
        place = found[0]
    for values, target in zip(found[1:], into, strict=True):
        target[_places(place)] = values


def _columns(
    found: Sequence[IntArray],
    *,
    newest: IntArray,
    newest_ms: IntArray,
    doubt: IntArray,
    posted: IntArray,
) -> Columns:
    # an instant comes as the server keeps it: microseconds since 2000
    register_ms = found[6] // 1000 + _MS_UNTIL_2000
    packed = found[10]
    return Columns(
        point=found[0], ledger_account_id=found[1], tariff_no=packed >> 32,
        segment_register=found[2], segment_year=found[3], segment_before=found[4],
        register=found[5], register_ms=register_ms, fee=found[7], drawn=found[8],
        available=found[9], tier=(packed >> 8) & 0xFF_FFFF, below_reminder=packed & 1 == 1,
        below_zero=packed & 2 == 2, below_cut=packed & 4 == 4, quality=(packed >> 3) & 3,
        open_day=found[11],
        newest=newest, newest_ms=newest_ms, doubt=doubt, posted=posted,
    )  # fmt: skip
