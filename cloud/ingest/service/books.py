"""The books of a process: what it remembers of concentrators, and when that is to be forgotten."""

import secrets
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from datetime import date

from cloud.assets import service as assets
from cloud.ingest.rules.book import Book
from cloud.ingest.store import books as store
from cloud.ingest.store.books import State
from cloud.store.db import Connection, Database
from protocols.identity import ConcentratorId

MOST_METERS = 2_000_000
"""Of how many meters a process remembers; a meter takes about 900 octets."""


class Shelf:
    """
    Books by concentrator; the one not used for longest leaves first.

    Threads may share a shelf: a book is read and changed only under its concentrator's lock.
    """

    def __init__(self, most_meters: int = MOST_METERS) -> None:
        """Begin empty."""
        self._books: OrderedDict[ConcentratorId, Book] = OrderedDict()
        self._most, self._meters = most_meters, 0
        self._guard = threading.Lock()
        self.opened_until: date | None = None
        """The last day that is known to be open for rows, or past being opened."""

    def get(self, concentrator: ConcentratorId) -> Book | None:
        """Return what is remembered, whether or not it is still good."""
        with self._guard:
            book = self._books.get(concentrator)
            if book is not None:
                self._books.move_to_end(concentrator)
            return book

    def put(self, book: Book) -> None:
        """Remember a book."""
        with self._guard:
            self._drop(book.concentrator)
            self._books[book.concentrator] = book
            self._meters += len(book.meters)
            while self._meters > self._most and len(self._books) > 1:
                self._drop(next(iter(self._books)))

    def forget(self, concentrators: Sequence[ConcentratorId]) -> None:
        """Forget what a failed transaction may have written into these books."""
        with self._guard:
            for concentrator in concentrators:
                self._drop(concentrator)

    def _drop(self, concentrator: ConcentratorId) -> None:
        book = self._books.pop(concentrator, None)
        if book is not None:
            self._meters -= len(book.meters)


_SHELVES: "weakref.WeakKeyDictionary[Database, Shelf]" = weakref.WeakKeyDictionary()


def shelf_of(db: Database) -> Shelf:
    """Return the shelf of everybody who uses this pool."""
    return _SHELVES.setdefault(db, Shelf())


def load(conn: Connection, concentrator: ConcentratorId) -> Book:
    """Return a book as the database has it now; good if the caller holds the lock."""
    revision = assets.revisions(conn, [concentrator])[concentrator]
    state = store.states(conn, [concentrator]).get(concentrator)
    book = Book(
        concentrator, assets.ever_installed_at(conn, concentrator), revision=revision,
        stamp=state.stamp if state else 0,
    )  # fmt: skip
    if book.meters:
        book.learn(store.newest(conn, book.meters))
    if state is not None and state.meters is not None:
        book.recall(state.meters, state.last_ms, state.received_ms)
    return book


def good_books(
    conn: Connection, shelf: Shelf, concentrators: Sequence[ConcentratorId]
) -> dict[ConcentratorId, Book]:
    """Return books that are good, loading those that are not; the caller holds the locks."""
    stamps = store.stamps(conn, concentrators)
    revisions = assets.revisions(conn, concentrators)
    found = {}
    for concentrator in concentrators:
        book = shelf.get(concentrator)
        if book is None or (book.stamp, book.revision) != (
            stamps.get(concentrator, 0), revisions[concentrator],
        ):  # fmt: skip
            book = load(conn, concentrator)
            shelf.put(book)
        found[concentrator] = book
    return found


def write_down(conn: Connection, books: Sequence[Book]) -> None:
    """Stamp the books and write them, in the transaction that stored what they tell."""
    states = []
    for book in books:
        # a stamp that no other worker, and no restored database, can have written
        book.stamp = secrets.randbits(62)
        states.append(
            State(
                concentrator=book.concentrator, stamp=book.stamp,
                meters=None if book.meters_written == book.meters else book.meters,
                last_ms=book.last_ms, received_ms=book.received_ms,
            )
        )  # fmt: skip
        book.meters_written = book.meters
    store.write_states(conn, states)
