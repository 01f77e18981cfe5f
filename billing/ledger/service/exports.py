"""The book as text for other programs, in one state and page by page, however long it is."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from enum import StrEnum

from billing.ledger import store
from billing.ledger.model import AccountSum, BookedEntry
from billing.ledger.rules import exports as rules
from billing.ledger.service.evidence import Progress
from cloud.store.db import Connection, Database

_AT_ONCE = 2_000


class ExportFormat(StrEnum):
    """What can be written."""

    BEANCOUNT = "beancount"
    CSV = "csv"


def export(
    db: Database,
    write: Callable[[str], object],
    *,
    form: ExportFormat,
    start: date | None = None,
    end: date | None = None,
    progress: Progress = lambda _done, _all: None,
) -> int:
    """
    Write the entries whose value date lies in `[start, end)`; return how many.

    Beancount gets balances brought forward at the head and, at the foot, what every account must
    hold: its own check then proves the sums a second time.
    """
    with db.transaction() as conn:
        store.freeze(conn)
        first, last, total = store.value_span(conn, start or date.min, end or date.max)
        since = start or first or date(1970, 1, 1)
        until = end or (last + timedelta(days=1) if last else since)
        if form is ExportFormat.CSV:
            write(rules.csv_lines(None))
        else:
            opening = store.sums_before(conn, since)
            closing = store.sums_before(conn, until)
            for line in rules.beancount_head(closing, day=since, opening=opening):
                write(line)
        done = 0
        for entry in _entries(conn, since, until):
            write(
                rules.csv_lines(entry) if form is ExportFormat.CSV else rules.beancount_entry(entry)
            )
            done += 1
            progress(done, total)
        if form is ExportFormat.BEANCOUNT:
            for line in rules.beancount_foot(closing, day=until):
                write(line)
    return done


def trial_balance(conn: Connection) -> list[AccountSum]:
    """Return debits and credits of every account; hot ones from sums per minute."""
    return store.account_sums(conn)


def _entries(conn: Connection, start: date, end: date) -> Iterator[BookedEntry]:
    after = (start, 0)
    while page := store.entries_page(conn, start, end, after=after, limit=_AT_ONCE):
        found = store.booked(conn, [entry for _, entry in page])
        yield from (found[entry] for _, entry in page)
        after = page[-1]
