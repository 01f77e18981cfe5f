"""Asking about bills: read-only, each row from the pinned input by the kernel that priced it."""

from dataclasses import dataclass

from billing.bills import store
from billing.bills.model import Bill, Item, Refusal, Run
from billing.bills.rules.pinned import pieces_in
from billing.bills.service.inputs import versions_of
from billing.rating.model import CompiledTariff, PeriodUse, TraceLine
from billing.rating.rules.trace import trace_of
from billing.tariffs.model import Tariff
from cloud.store.db import Connection
from protocols.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A part of a bill under one tariff version: what was used and every row it gave."""

    tariff: Tariff
    compiled: CompiledTariff
    use: PeriodUse
    rows: tuple[TraceLine, ...]


def bill_of(conn: Connection, bill: int) -> Bill:
    """Return a bill. Raises: RefusedError `bills.bill_unknown`."""
    found = store.bills_by_id(conn, [bill])
    if not found:
        raise RefusedError(
            Refusal.BILL_UNKNOWN, f"there is no bill {bill}", fix="look at the account's bills"
        )
    return found[0]


def bills_of(conn: Connection, account: str, *, limit: int = 60) -> list[Bill]:
    """Return an account's bills, cancelled ones too, newest first."""
    return store.bills_of_account(conn, account, limit)


def newest_runs(conn: Connection, *, limit: int = 30) -> list[Run]:
    """Return runs, newest first."""
    return store.newest_runs(conn, limit)


def reasons_of(conn: Connection, bill: Bill) -> list[Reason]:
    """
    Return why a metered bill is what it is; rows that count add up to its total exactly.

    Empty for a bill without use: its one line is its reason.
    """
    if not bill.usage:
        return []
    versions = versions_of(conn, bill.versions)
    found = []
    for digest, piece in pieces_in(bill.usage, bill.versions, versions):
        compiled = versions[digest][1]
        found.append(
            Reason(
                tariff=piece.tariff, compiled=compiled, use=piece.use,
                rows=tuple(trace_of(compiled, piece.use)),
            )
        )  # fmt: skip
    return found


def has_document(conn: Connection, bill: int) -> bool:
    """Tell whether a bill can be printed."""
    return store.document_of(conn, bill) is not None


def approvers_of(conn: Connection, item: Item, matter: str = "amount") -> list[str]:
    """Return who agreed to an item's amount, or to another matter, of this very input."""
    return store.approvers(conn, item, matter)
