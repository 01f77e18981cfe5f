"""Documents of bills: made once in the customer's language, told by message, printed on demand."""

import hashlib
from datetime import datetime, time
from zoneinfo import ZoneInfo

from billing.bills import store
from billing.bills.model import Bill, Progress, Refusal, Run
from billing.bills.rules import content
from billing.bills.service import means, page
from billing.bills.service.inputs import versions_of
from billing.bills.store import means as outgoing
from billing.customers import service as customers
from billing.customers.model import LANGUAGES, AccountId
from cloud.messages import service as messages
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError

CHUNK = 2_000
DEFAULT_LANGUAGE = "en"


def make(db: Database, run: Run, *, now: datetime, progress: Progress) -> bool:
    """Write and tell of every bill of a run that has no document yet."""
    after, done = 0, 0
    while True:
        with db.transaction() as conn:
            store.lock_run(conn, run.id)
            ids = store.undocumented_bills(conn, run.id, after=after, limit=CHUNK)
            if not ids:
                return True
            write(conn, store.bills_by_id(conn, ids), zone=run.zone, now=now)
            after, done = ids[-1], done + len(ids)
        progress("document", done, done)


def write(conn: Connection, bills: list[Bill], *, zone: ZoneInfo, now: datetime) -> None:
    """Keep what each bill says and put its message into the outbox, in the caller's transaction."""
    versions = versions_of(conn, [digest for bill in bills for digest in bill.versions])
    accounts = sorted({bill.account for bill in bills})
    cards, chosen = customers.cards_of(conn, accounts), outgoing.of_accounts(conn, accounts)
    sent, wanted = [], []
    replaced = {
        bill.id: bill.number
        for bill in store.bills_by_id(conn, [b.corrects for b in bills if b.corrects is not None])
    }
    rows = []
    for bill in bills:
        card = cards[AccountId(bill.account)]
        language = card.language if card.language in LANGUAGES else DEFAULT_LANGUAGE
        text = content.content_of(
            bill, versions, language=language, customer=card.name,
            replaces=replaced[bill.corrects] if bill.corrects is not None else "",
        )  # fmt: skip
        rows.append((bill.id, language, text, hashlib.sha256(text.encode()).digest()))
        choice = chosen[bill.account]
        sent.append((bill.id, bill.account, choice))
        due_at = datetime.combine(bill.due_on, time(0), zone)
        wanted.append(means.message_of(bill, choice, due_at=due_at))
    store.insert_documents(conn, rows, now)
    outgoing.insert_sent(conn, sent, now)
    messages.enqueue_many(conn, [each for each in wanted if each is not None], now=now)


def kept_text(conn: Connection, bill: int) -> str:
    """Return what a bill says. Raises: RefusedError `bills.bill_unknown`."""
    found = store.document_of(conn, bill)
    if found is None:
        raise RefusedError(
            Refusal.BILL_UNKNOWN, f"bill {bill} has no document", fix="finish its run first"
        )
    return found[1]


def pdf_of(conn: Connection, bill: int) -> bytes:
    """Return a bill's page. Raises: RefusedError `bills.bill_unknown`."""
    return page.pdf_of(kept_text(conn, bill))


def duplicate(db: Database, bill: int, *, actor: str, now: datetime) -> bytes:
    """Print a bill again, free of charge: the same octets, and who asked is noted (G17)."""
    with db.transaction() as conn:
        octets = pdf_of(conn, bill)
        audit.record(
            conn, at=now, actor=actor, action="bills.duplicate", entity="bill",
            entity_id=str(bill), after={"sha256": hashlib.sha256(octets).hexdigest()},
        )  # fmt: skip
        return octets
