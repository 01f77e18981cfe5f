"""
What a worker remembers of one concentrator, as columns: a batch needs no query to be judged.

A book holds, per meter that ever hung on the concentrator (its place), the facts of the assets, the
numbers of its series and the newest value of each. It is good only under the concentrator's lock
and while the stamp in the database is the one it was left with: whoever stores readings of the
concentrator writes a new stamp. The newest values of a meter that hung on another concentrator too
are not believed: that one stores readings without touching this stamp.

A roster is what several books say of the meters that one round of batches names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, TypeVar

import numpy as np

from cloud.assets.model import Installed
from cloud.ingest.model import Hung
from cloud.ingest.rules.alone import NEVER, Bool, Int, MeterFacts, facts_of
from protocols.identity import ConcentratorId, MeterId
from protocols.mqtt.uplink import DataBatch

Column = TypeVar("Column", Int, Bool)

KEPT = 5
"""Channels 1..4 are kept for ever; their code is the column of a place."""

NONE = -1
"""No value yet: before every instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """A series as the database knows it. *Units*: s, ms, Wh; `at_ms` NONE where it is empty."""

    no: int
    meter: MeterId
    channel: int
    seconds: int
    at_ms: int
    wh: int


class Book:
    """
    Columns by place; changed only by `note`, inside the transaction that stores the same.

    *Shape*: m meters; series, seconds, newest_ms, newest_wh are (m, KEPT), the rest (m,).
    """

    def __init__(
        self,
        concentrator: ConcentratorId,
        installed: Sequence[Installed],
        *,
        revision: int,
        stamp: int,
    ) -> None:
        """Begin with installations of every meter that ever hung here, oldest first."""
        self.concentrator, self.revision, self.stamp = concentrator, revision, stamp
        self.meters = tuple(sorted({item.meter.id for item in installed}))
        self.place = {meter: n for n, meter in enumerate(self.meters)}
        by_meter: list[list[Installed]] = [[] for _ in self.meters]
        for item in installed:
            by_meter[self.place[item.meter.id]].append(item)
        self.installed = [tuple(items) for items in by_meter]
        self.facts = facts_of(self.meters, installed, concentrator)
        self.kin = {item.concentrator for item in installed} - {concentrator}
        size = len(self.meters)
        self.shared = np.array(
            [any(item.concentrator != concentrator for item in items) for items in by_meter],
            dtype=np.bool_,
        ).reshape(size)
        self.series, self.seconds = (np.zeros((size, KEPT), dtype=np.int64) for _ in range(2))
        self.newest_ms = np.full((size, KEPT), NONE, dtype=np.int64)
        self.newest_wh = np.zeros((size, KEPT), dtype=np.int64)
        self.last_ms, self.received_ms = (np.full(size, NONE, dtype=np.int64) for _ in range(2))
        self.meters_written: tuple[MeterId, ...] | None = None
        self.kept: dict[str, Any] = {}
        """What those who derive from readings remember beside: it is good as long as the book."""
        self._named: tuple[tuple[MeterId, ...], Int] = (), np.zeros(0, dtype=np.int64)

    def places_of(self, meters: tuple[MeterId, ...]) -> Int:
        """Return the place of each meter, NONE where it has none; most often as the last time."""
        if meters != self._named[0]:
            found = np.fromiter(map(self.place.get, meters, repeat(NONE)), np.int64, len(meters))
            self._named = meters, found
        return self._named[1].copy()

    def learn(self, found: Sequence[Newest]) -> None:
        """Write in what the database knows of the series; of several lengths the latest counts."""
        for item in sorted(found, key=lambda each: each.no):
            key = self.place[item.meter], item.channel
            self.series[key], self.seconds[key] = item.no, item.seconds
            self.newest_ms[key], self.newest_wh[key] = item.at_ms, item.wh

    def recall(self, meters: Sequence[MeterId], last_ms: Int, received_ms: Int) -> None:
        """Write in when each meter was last heard of, as it was written before."""
        for meter, last, received in zip(meters, last_ms, received_ms, strict=True):
            place = self.place.get(meter)
            if place is not None:
                self.last_ms[place], self.received_ms[place] = last, received
        self.meters_written = tuple(meters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """
    The meters that a round names, each once, those of one book side by side; strangers last.

    *Shape*: u meters; `bounds` has the first meter of each book, then of the strangers.
    """

    books: tuple[Book, ...]
    meters: tuple[MeterId, ...]
    place: Int
    bounds: Int
    facts: MeterFacts
    shared: Bool
    series: Int
    seconds: Int
    newest_ms: Int
    newest_wh: Int

    def hung(self) -> tuple[Hung, ...]:
        """Return which meters hang on which concentrator, with the installations of each."""
        return tuple(
            Hung(
                concentrator=book.concentrator, first=int(self.bounds[n]),
                place=self.place[self.bounds[n] : self.bounds[n + 1]], installed=book.installed,
                kept=book.kept,
            )
            for n, book in enumerate(self.books)
        )  # fmt: skip


def roster_of(
    books: Sequence[Book],
    batches: Sequence[tuple[int, DataBatch]],
    strangers: Mapping[MeterId, bool],
) -> tuple[Roster, list[Int]]:
    """
    Return the roster of a round, and per batch which meter of the roster each of its meters is.

    `batches` are pairs of a book's index and a batch; `strangers` says of each meter in no book
    whether any other concentrator ever had it.
    """
    sizes = np.array([len(book.meters) for book in books], dtype=np.int64)
    first = np.cumsum(sizes) - sizes
    total = int(sizes.sum())
    odd = {meter: total + n for n, meter in enumerate(strangers)}
    named = [books[n].places_of(batch.meters) for n, batch in batches]
    used = np.zeros(total + len(odd), dtype=np.bool_)
    for (n, batch), places in zip(batches, named, strict=True):
        unknown = np.flatnonzero(places == NONE)
        np.add(places, first[n], out=places)
        for k in unknown.tolist():
            places[k] = odd[batch.meters[k]]
        used[places] = True
    index = np.cumsum(used) - 1
    chosen = [np.flatnonzero(used[a : a + size]) for a, size in zip(first, sizes, strict=True)]
    counts = [0, *(len(places) for places in chosen)]
    names = [
        book.meters if len(places) == len(book.meters)
        else tuple(book.meters[n] for n in places.tolist())
        for book, places in zip(books, chosen, strict=True)
    ]  # fmt: skip
    extra = [meter for meter, n in odd.items() if used[n]]
    roster = Roster(
        books=tuple(books),
        meters=tuple(chain(*names, extra)),
        place=np.concatenate([*chosen, np.zeros(len(extra), dtype=np.int64)]),
        bounds=np.cumsum(np.array(counts, dtype=np.int64)),
        facts=_facts(books, chosen, [strangers[meter] for meter in extra]),
        shared=_all([_at(b.shared, p) for b, p in zip(books, chosen, strict=True)], len(extra), 0),
        series=_all([_at(b.series, p) for b, p in zip(books, chosen, strict=True)], len(extra), 0),
        seconds=_all(
            [_at(b.seconds, p) for b, p in zip(books, chosen, strict=True)], len(extra), 0
        ),
        newest_ms=_all(
            [_at(b.newest_ms, p) for b, p in zip(books, chosen, strict=True)], len(extra), NONE
        ),
        newest_wh=_all(
            [_at(b.newest_wh, p) for b, p in zip(books, chosen, strict=True)], len(extra), 0
        ),
    )
    return roster, [index[places] for places in named]


def note_heard(roster: Roster, at_ms: Int, received_ms: Int) -> None:
    """Write the newest instants of the roster's meters into its books; NONE changes nothing."""
    for n, book in enumerate(roster.books):
        part = slice(int(roster.bounds[n]), int(roster.bounds[n + 1]))
        places = roster.place[part]
        book.last_ms[places] = np.maximum(book.last_ms[places], at_ms[part])
        book.received_ms[places] = np.maximum(book.received_ms[places], received_ms[part])


def note_stored(roster: Roster, key: tuple[Int, Int], at_ms: Int, wh: Int) -> None:
    """
    Write the newest value per series into the books.

    *Shape*: `key` is (meter of the roster, channel), each pair once, ordered by meter.
    """
    meter, channel = key
    for n, book in enumerate(roster.books):
        rows = slice(*np.searchsorted(meter, roster.bounds[n : n + 2]).tolist())
        where = roster.place[meter[rows]], channel[rows]
        later = at_ms[rows] > book.newest_ms[where]
        places = where[0][later], where[1][later]
        book.newest_ms[places], book.newest_wh[places] = at_ms[rows][later], wh[rows][later]


def note_series(roster: Roster, found: Sequence[Newest]) -> None:
    """Write new numbers of series into the roster and its books."""
    index = {meter: n for n, meter in enumerate(roster.meters)}
    for item in found:
        n = index[item.meter]
        book = roster.books[int(np.searchsorted(roster.bounds, n, side="right")) - 1]
        roster.series[n, item.channel], roster.seconds[n, item.channel] = item.no, item.seconds
        where = int(roster.place[n]), item.channel
        book.series[where], book.seconds[where] = item.no, item.seconds


def _facts(books: Sequence[Book], chosen: Sequence[Int], known: Sequence[bool]) -> MeterFacts:
    pairs = list(zip(books, chosen, strict=True))
    depth = max((len(book.facts.layers) for book in books), default=0)
    layers = []
    for n in range(depth):
        halves = []
        for side, absent in ((0, NEVER), (1, NONE)):
            halves.append(
                _all(
                    [
                        _at(book.facts.layers[n][side], places) if n < len(book.facts.layers)
                        else np.full(len(places), absent, dtype=np.int64)
                        for book, places in pairs
                    ],
                    len(known), absent,
                )
            )  # fmt: skip
        layers.append((halves[0], halves[1]))
    extra = len(known)
    return MeterFacts(
        known=np.concatenate(
            [
                *(_at(book.facts.known, places) for book, places in pairs),
                np.array(known, dtype=np.bool_),
            ]
        ),
        mine=_all([_at(book.facts.mine, places) for book, places in pairs], extra, 0),
        max_w=_all([_at(book.facts.max_w, places) for book, places in pairs], extra, 0),
        rollover_wh=_all([_at(book.facts.rollover_wh, places) for book, places in pairs], extra, 0),
        step_s=_all([_at(book.facts.step_s, places) for book, places in pairs], extra, 0),
        layers=tuple(layers),
    )


def _at(column: Column, places: Int) -> Column:
    """Return the places of a column, itself where these are all of it."""
    return column if len(places) == len(column) else column[places]


def _all(parts: list[Column], extra: int, absent: int) -> Column:
    """Return the parts one below the other, and `extra` rows of `absent` after them."""
    if len(parts) == 1 and not extra:
        # a copy: the book changes while the round is judged
        return parts[0].copy()
    tail = np.full((extra, *parts[0].shape[1:]), absent, dtype=parts[0].dtype)
    return np.concatenate([*parts, tail])
