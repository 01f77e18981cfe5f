"""
One bill for all supplies of a company (G22).

It books nothing: the bills it goes over have booked each supply's account already, and each can
still be corrected alone. It is a document with a sum, and after a correction it is issued anew.
"""

from datetime import date, datetime

from billing.bills import store as bill_store
from billing.bills.model import Bill, Refusal
from billing.bills.rules.collective import CollectiveBill, content_of_collective, gathered
from billing.bills.service import inputs, page
from billing.bills.store import collective as store
from billing.customers import service as customers
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError


def issue(
    db: Database, collective: str, *, start: date, end: date, actor: str, now: datetime
) -> CollectiveBill:
    """
    Issue one bill over the bills of every member whose days end in `(start, end]`.

    The same bills again give the same document; after a correction another is issued.
    Raises: RefusedError `customers.collective_unknown`, `bills.collective_incomplete`.
    """
    with db.transaction() as conn:
        company = customers.lock_collective(conn, collective)
        numbers = store.standing_bills(conn, company.accounts, start, end)
        standing: dict[str, list[Bill]] = {}
        for bill in bill_store.bills_by_id(conn, numbers):
            standing.setdefault(bill.account, []).append(bill)
        bills = gathered(company, standing, end)
        known = [
            one
            for one in store.bills_of(conn, collective)
            if (one.period_start, one.period_end) == (start, end)
        ]
        if known and set(known[0].bills) == {bill.id for bill in bills}:
            return known[0]
        new = store.NewCollectiveBill(
            collective=collective, currency=company.currency, start=start, end=end,
            seq=len(known) + 1, bills=[bill.id for bill in bills],
            total_micros=sum(bill.total_micros for bill in bills),
            posted_micros=sum(bill.posted_micros for bill in bills),
            due_on=max(bill.due_on for bill in bills),
        )  # fmt: skip
        number = store.insert(conn, new, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="bills.collective", entity="collective",
            entity_id=collective,
            after={"bill": number, "bills": list(new.bills), "total_micros": new.total_micros},
        )  # fmt: skip
        return store.bills_of(conn, collective, number)[0]


def bills_of(conn: Connection, collective: str) -> list[CollectiveBill]:
    """Return a company's bills, newest first."""
    return store.bills_of(conn, collective)


def parts_of(conn: Connection, found: CollectiveBill) -> list[Bill]:
    """Return the bills that one bill goes over, in its order."""
    held = {bill.id: bill for bill in bill_store.bills_by_id(conn, found.bills)}
    return [held[number] for number in found.bills]


def bill_of(conn: Connection, collective: str, bill: int) -> CollectiveBill:
    """Return one bill of a company. Raises: RefusedError `bills.bill_unknown`."""
    found = store.bills_of(conn, collective, bill)
    if not found:
        raise RefusedError(
            Refusal.BILL_UNKNOWN, f"{collective} has no bill {bill}", fix="bill company --show"
        )
    return found[0]


def pdf_of(conn: Connection, collective: str, bill: int) -> bytes:
    """Return a company's bill as a page, the same octets each time. Raises: as `bill_of`."""
    found = bill_of(conn, collective, bill)
    bills = parts_of(conn, found)
    digests = [digest for each in bills for digest in each.versions]
    versions = inputs.versions_of(conn, digests)
    minor = max((tariff.minor_units for tariff, _ in versions.values()), default=2)
    company = customers.collective_of(conn, collective)
    return page.pdf_of(content_of_collective(found, bills, company, minor=minor))
