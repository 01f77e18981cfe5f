"""
The screen of a sweep: every account, or those whose register moved, in columns.

Nothing is locked or written here. What it finds is looked at again under locks, so a figure that
was true a moment ago does no harm; what it must not do is to overlook a crossing for long, and the
next sweep sees what this one could not.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import numpy as np

from billing.customers import service as customers
from billing.customers.model import Terms
from billing.money import IntArray
from billing.prepaid import rules, store
from billing.prepaid.model import BoolArray, Columns, ExceptionKind, FeeBlock, Screened
from billing.prepaid.service.screen_periods import by_period
from billing.rating import service as rating
from billing.rating.model import CompiledTariff
from cloud.store.db import Connection, Database

Part = TypeVar("Part")
Found = TypeVar("Found")

FEW = 200_000
"""Points up to which one connection reads all: two are not worth their beginning."""

READERS = 2
"""Connections that read side by side, all of one snapshot."""

Progress = Callable[[int, int], None]
"""Told how many ranges of how many are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the screen found; columns of points."""

    points: int
    """Agreements priced."""
    crossed: IntArray
    moved: FeeBlock
    """Fees of those whose figures are not as the state says, crossed or not."""
    found: frozenset[tuple[int, ExceptionKind]]
    every_account: bool
    looked_at: IntArray
    """The points priced, where not every account was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Lines by tariff number, and by point where an agreement or its area has its own."""

    reminder: IntArray
    cut: IntArray
    points: IntArray
    own_reminder: IntArray
    own_cut: IntArray

    def of(self, columns: Columns) -> tuple[IntArray, IntArray]:
        """Return reminder and cut line of each row."""
        reminder, cut = self.reminder[columns.tariff_no], self.cut[columns.tariff_no]
        if self.points.size:
            at = np.minimum(np.searchsorted(self.points, columns.point), self.points.size - 1)
            own = self.points[at] == columns.point
            reminder = np.where(own, self.own_reminder[at], reminder)
            cut = np.where(own, self.own_cut[at], cut)
        return reminder, cut


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    tariffs: Mapping[int, CompiledTariff]
    marks: Marks
    now: datetime
    since: str | None
    largest_point: int
    largest_account: int
    periods: BoolArray
    """By tariff number: of those on a tariff of periods another screen tells."""
    state_pages: list[store.Pages]
    register_pages: list[store.Pages]


def screen(
    db: Database,
    conn: Connection,
    *,
    now: datetime,
    since: str | None,
    progress: Progress | None,
    chosen: IntArray | None = None,
) -> Seen:
    """
    Price every agreement, or with `since` those whose register moved from that transaction on.

    With `chosen` those points alone are priced, whether they moved or not; give `since` too.

    *Memory*: three numbers for each point and ledger account, and some columns of a range.
    """
    hashes = store.number_tariffs(conn, [])
    compiled = rating.compiled(conn, list(hashes.values()))
    tariffs = {number: compiled[digest] for number, digest in hashes.items()}
    largest_point, largest_account = store.largest_numbers(conn)
    with ExitStack() as stack:
        readers, few = [conn], largest_point <= FEW
        if not few:
            name = store.exported_snapshot(conn)
            readers = [stack.enter_context(db.transaction()) for _ in range(READERS)]
            for reader in readers:
                store.join_snapshot(reader, name)
                store.probe_ranges(reader)
        state_pages, register_pages = store.page_ranges(conn, whole=few)
        question = _Question(
            tariffs=tariffs, marks=marks_of(conn, tariffs), now=now, since=since,
            largest_point=largest_point, largest_account=largest_account,
            periods=_of_periods(tariffs), state_pages=state_pages, register_pages=register_pages,
        )  # fmt: skip
        pool = stack.enter_context(ThreadPoolExecutor(len(readers)))
        if chosen is not None:
            parts = _chosen(conn, chosen, question)
        else:
            look = _every if since is None else _moved
            parts = look(pool, readers, question, progress)
    return _joined([found for part in parts for found in part], question)


def _chosen(conn: Connection, chosen: IntArray, question: _Question) -> list[list[Screened]]:
    """Price the points named."""
    parts = (
        store.read_moved(conn, each)
        for each in store.in_order(store.registers_of_points(conn, chosen))
    )
    return [_kept(conn, columns, question) for columns in parts if columns is not None]


def _moved(
    pool: ThreadPoolExecutor,
    readers: list[Connection],
    question: _Question,
    progress: Progress | None,
) -> list[list[Screened]]:
    """Take what moved, then ask for the states and the money at those points alone."""
    since = question.since or "0"
    moved = store.moves_since(readers[0], since, most=question.largest_point // 2)

    def priced(conn: Connection, moved: store.Registers) -> list[Screened] | None:
        columns = store.read_moved(conn, moved)
        return None if columns is None else _kept(conn, columns, question)

    if moved is None:
        moved = _shared(
            pool, readers, question.register_pages,
            lambda conn, pages: store.moved_registers(conn, since, *pages), None,
        )  # fmt: skip
    if question.periods.any():
        moved = [*moved, *store.awaited_hours(readers[0])]
    return _shared(pool, readers, store.in_order(moved), priced, progress)


def _every(
    pool: ThreadPoolExecutor,
    readers: list[Connection],
    question: _Question,
    progress: Progress | None,
) -> list[list[Screened]]:
    """Share pages among the readers; first registers and money by number, then the states."""
    wh = np.zeros(question.largest_point + 1, dtype=np.int64)
    times = np.full_like(wh, -2)
    posted = np.zeros(question.largest_account + 1, dtype=np.int64)

    def priced(conn: Connection, pages: store.Pages) -> list[Screened] | None:
        columns = store.read_states(conn, *pages)
        if columns is None:
            return None
        newest_ms, doubt = store.unpacked(store.at_places(times, columns.point))
        full = replace(
            columns, newest=store.at_places(wh, columns.point), newest_ms=newest_ms, doubt=doubt,
            posted=store.at_places(posted, columns.ledger_account_id),
        )  # fmt: skip
        return _kept(conn, full, question)

    _shared(
        pool, readers, question.register_pages,
        lambda conn, pages: store.registers_by_point(conn, *pages, (wh, times)), None,
    )  # fmt: skip
    _shared(
        pool, readers, store.ranges(question.largest_account),
        lambda conn, span: store.posted_by_account(conn, *span, posted), None,
    )  # fmt: skip
    return _shared(pool, readers, question.state_pages, priced, progress)


def _shared(
    pool: ThreadPoolExecutor,
    readers: list[Connection],
    parts: list[Part],
    work: Callable[[Connection, Part], Found | None],
    progress: Progress | None,
) -> list[Found]:
    """Let each reader take every n-th part; return what was found."""

    def one(turn: int) -> list[Found]:
        kept = []
        mine = parts[turn :: len(readers)]
        for done, part in enumerate(mine, start=1):
            found = work(readers[turn], part)
            if found is not None:
                kept.append(found)
            if progress is not None and turn == 0:
                progress(done, len(mine))
        return kept

    return [found for kept in pool.map(one, range(len(readers))) for found in kept]


def _kept(conn: Connection, columns: Columns, question: _Question) -> list[Screened]:
    """Price a range and keep the rows that say something; all the rest is forgotten at once."""
    reminder, cut = question.marks.of(columns)
    found = []
    ladders = ~question.periods[columns.tariff_no]
    if not ladders.all():
        stretched = ~ladders
        found += by_period(
            conn, rules.rows_of(columns, stretched), question.tariffs, reminder=reminder[stretched],
            cut=cut[stretched], now=question.now,
        )  # fmt: skip
        columns, reminder, cut = rules.rows_of(columns, ladders), reminder[ladders], cut[ladders]
    found.append(
        rules.screened(
            columns, question.tariffs, reminder=reminder, cut=cut, now=question.now
        )
    )  # fmt: skip
    return found if question.since is not None else [_saying(part) for part in found]


def _saying(found: Screened) -> Screened:
    rows = found.moved | found.missing | found.beyond | found.below_opening | found.no_hours
    return Screened(
        rows=found.rows, fees=_rows(found.fees, rows), crossed=found.crossed[rows],
        moved=found.moved[rows], missing=found.missing[rows], beyond=found.beyond[rows],
        below_opening=found.below_opening[rows], no_hours=found.no_hours[rows],
    )  # fmt: skip


def _of_periods(tariffs: Mapping[int, CompiledTariff]) -> BoolArray:
    found = np.zeros(max(tariffs, default=0) + 1, dtype=np.bool_)
    found[[number for number, tariff in tariffs.items() if tariff.basis == "period"]] = True
    return found


def _joined(parts: list[Screened], question: _Question) -> Seen:
    def column(name: str) -> IntArray:
        found = [getattr(part.fees, name) for part in parts]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def mask(name: str) -> BoolArray:
        found = [getattr(part, name) for part in parts]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.bool_)

    every = FeeBlock(
        point=column("point"), register_wh=column("register_wh"),
        register_ms=column("register_ms"), fee_micros=column("fee_micros"),
        tariff_no=column("tariff_no"),
    )  # fmt: skip
    found = frozenset(
        (point, kind)
        for name, kind in (
            ("missing", ExceptionKind.MISSING_REGISTER),
            ("beyond", ExceptionKind.BEYOND_BOUND),
            ("below_opening", ExceptionKind.BELOW_OPENING),
            ("no_hours", ExceptionKind.MISSING_INTERVALS),
        )
        for point in every.point[mask(name)].tolist()
    )
    return Seen(
        points=sum(part.rows for part in parts),
        crossed=every.point[mask("crossed")],
        moved=_rows(every, mask("moved")), found=found, every_account=question.since is None,
        looked_at=every.point,
    )  # fmt: skip


def _rows(fees: FeeBlock, rows: BoolArray) -> FeeBlock:
    return FeeBlock(
        point=fees.point[rows], register_wh=fees.register_wh[rows],
        register_ms=fees.register_ms[rows], fee_micros=fees.fee_micros[rows],
        tariff_no=fees.tariff_no[rows],
    )  # fmt: skip


def marks_of(conn: Connection, tariffs: Mapping[int, CompiledTariff]) -> Marks:
    """Return the lines of everybody: most have their currency's, some their own."""
    numbers = sorted(tariffs)
    usual = customers.terms_of_many(conn, [("", "", tariffs[n].currency) for n in numbers])
    agreements, usage_points = customers.named_by_thresholds(conn)
    named = sorted(store.points_of(conn, agreements, usage_points), key=lambda row: row[3])
    own = customers.terms_of_many(conn, [row[:3] for row in named])
    size = max(numbers, default=0) + 1
    reminder, cut = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    reminder[numbers] = _column(usual, "reminder_micros")
    cut[numbers] = _column(usual, "cut_micros")
    return Marks(
        reminder=reminder, cut=cut,
        points=np.array([row[3] for row in named], dtype=np.int64),
        own_reminder=_column(own, "reminder_micros"), own_cut=_column(own, "cut_micros"),
    )  # fmt: skip


def _column(terms: list[Terms], name: str) -> IntArray:
    return np.array([getattr(each, name) for each in terms], dtype=np.int64)
