"""How an account pays and gets its bills (G10, G21): set it, list what banks are to take."""

import csv
import io
from datetime import datetime

from billing.bills.model import Bill
from billing.bills.rules import means as rules
from billing.bills.rules.means import Choice, Delivery, Means
from billing.bills.service.accounts import card_of
from billing.bills.store import means as store
from billing.bills.store.means import Debit, Sent, SentCount
from billing.money import to_text
from cloud.messages.model import Kind, Wanted
from cloud.store import audit
from cloud.store.db import Connection, Database

DEBIT_COLUMNS = ("mandate", "account", "bill", "amount", "currency", "due_on")
_EXACT = 6


def choose(
    db: Database, account: str, choice: Choice, *, actor: str, reason: str = "", now: datetime
) -> None:
    """
    Set how an account pays and gets its bills, from its next bill on.

    Raises: RefusedError `means.mandate_bad`, `customers.agreement_unknown`.
    """
    rules.check(choice)
    with db.transaction() as conn:
        card_of(conn, account)
        before = store.of_accounts(conn, [account])[account]
        store.put(conn, account, choice, actor=actor, now=now)
        audit.record(
            conn, at=now, actor=actor, action="means.choose", entity="account",
            entity_id=account, before=_plain(before), after=_plain(choice), reason=reason,
        )  # fmt: skip


def choice_of(conn: Connection, account: str) -> Choice:
    """Return what holds for an account."""
    return store.of_accounts(conn, [account])[account]


def message_of(bill: Bill, choice: Choice, *, due_at: datetime) -> Wanted | None:
    """Return what tells of a bill, in text or on paper; None when nothing is to pay."""
    if bill.posted_micros <= 0:
        return None
    debited = choice.means is Means.BANK_DEBIT
    return Wanted(
        dedupe_key=f"bill:{bill.id}", subject=bill.usage_point,
        kind=Kind.BILL_DEBITED if debited else Kind.BILL_ISSUED,
        phone="" if choice.delivery is Delivery.PAPER else None,
        variables={
            "number": bill.number, "amount_micros": bill.posted_micros,
            "currency": bill.currency, "due_at": due_at,
        },
    )  # fmt: skip


def opened(db: Database, bill: int, *, actor: str, now: datetime) -> None:
    """Note that its customer looked at a bill for the first time."""
    with db.transaction() as conn:
        store.note_opened(conn, bill, actor=actor, now=now)


def sent_of(conn: Connection, bill: int) -> Sent | None:
    """Return how a bill went out, or None for one that did not."""
    return store.sent_of(conn, bill)


def debits_of(conn: Connection, run: int) -> list[Debit]:
    """Return the bills of a run that banks are to take."""
    return store.debits_of(conn, run)


def counts_of(conn: Connection, run: int) -> list[SentCount]:
    """Return how the bills of a run went out."""
    return store.counts_of(conn, run)


def debit_file(debits: list[Debit]) -> str:
    """Return a debit list as comma-separated text, amounts exact."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(DEBIT_COLUMNS)
    for each in debits:
        writer.writerow(
            (each.mandate, each.account, each.bill, to_text(each.amount_micros, _EXACT),
             each.currency, each.due_on.isoformat())
        )  # fmt: skip
    return text.getvalue()


def _plain(choice: Choice) -> dict[str, str]:
    # a mandate is a number of somebody's bank: the log keeps whether there is one
    return {
        "means": choice.means.value, "delivery": choice.delivery.value,
        "mandate": "set" if choice.mandate else "",
    }  # fmt: skip
