"""Which locks a transaction takes, in which order, and the books that are good under them."""

from collections.abc import Sequence

from cloud.ingest.rules.book import Book
from cloud.ingest.service import books as shelves
from cloud.ingest.service.books import Shelf
from cloud.ingest.service.taking import days_of
from cloud.ingest.store import batches as store
from cloud.ingest.store import readings
from cloud.store.db import Connection
from protocols.identity import ConcentratorId
from protocols.mqtt.uplink import DataBatch


class MoreLocksError(Exception):
    """Another concentrator has got one of these meters meanwhile: begin the transaction anew."""


def locked_books(
    conn: Connection,
    shelf: Shelf,
    concentrators: Sequence[ConcentratorId],
    batches: Sequence[DataBatch],
) -> dict[ConcentratorId, Book]:
    """
    Lock the concentrators, all that share meters with them, and the days; return good books.

    Locks are taken in one order by everybody: concentrators by name, then days. Raises:
    MoreLocksError when the assets changed between asking and locking; nothing is written then.
    """
    wanted = set(concentrators)
    for concentrator in concentrators:
        book = shelf.get(concentrator)
        if book is None:
            book = shelves.load(conn, concentrator)
            shelf.put(book)
        wanted |= book.kin
    store.lock_concentrators(conn, sorted(wanted))
    days = days_of(batches)
    if days:
        readings.share_days(conn, days)
    found = shelves.good_books(conn, shelf, sorted(set(concentrators)))
    if any(not book.kin <= wanted for book in found.values()):
        raise MoreLocksError
    return found
