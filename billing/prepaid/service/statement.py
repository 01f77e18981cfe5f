"""The monthly statement of a balance: from the ledger alone, beside what its days were used for."""

from datetime import date

from billing.ledger import service as ledger
from billing.prepaid.rules.statement import MonthStatement, statement_from
from cloud.store.db import Connection

_ENTRIES = 100_000
"""More than any account has; it is walked as a whole, so that nothing is left out."""


def statement_of(conn: Connection, account: str, *, first: date, last: date) -> MonthStatement:
    """Return what stood before the days, what came and went in them, what stands after."""
    return statement_from(ledger.statement(conn, account, limit=_ENTRIES), first, last)
