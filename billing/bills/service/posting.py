"""From priced use to bills that stand: entry and bill in one transaction, by the thousands."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from billing.bills import store
from billing.bills.model import Bill, BillId, CancelKind, Item, NewBill, Refusal, Run
from billing.bills.rules import legs
from billing.ledger import service as ledger
from billing.rating.rules import kernel
from cloud.store.db import Connection
from protocols.errors import RefusedError


def new_bill(item: Item, run: Run, *, seq: int, now: datetime) -> NewBill:
    """Return the bill of a priced item."""
    assert item.total_micros is not None
    assert item.input_hash is not None
    posted = item.total_micros - (item.drawn_micros or 0)
    return NewBill(
        run=run.id, agreement=item.agreement, account=item.account, usage_point=item.usage_point,
        currency=item.currency, period_start=item.period_start, period_end=item.period_end,
        kind=item.kind, seq=seq, usage=item.usage, versions=item.versions,
        input_hash=item.input_hash, kernel_version=kernel.VERSION, quality=item.quality,
        method=item.method, start_wh=item.start_wh, end_wh=item.end_wh, energy_wh=item.energy_wh,
        lines=item.lines, total_micros=item.total_micros, posted_micros=posted, issued_at=now,
        due_on=run.period_end + timedelta(days=run.gate.due_days), actor="system:bills",
    )  # fmt: skip


def issue(
    conn: Connection, bills: Sequence[NewBill], *, drawn: Sequence[bool], now: datetime
) -> list[BillId]:
    """Book and insert bills; each gets the next free seq of its account, period and kind."""
    highest = store.highest_seqs(conn, sorted({bill.account for bill in bills}))
    numbered = []
    for bill in bills:
        key = (bill.account, bill.period_start, bill.period_end, bill.kind.value)
        highest[key] = highest.get(key, 0) + 1
        seq = highest[key]
        numbered.append(bill if bill.seq == seq else replace(bill, seq=seq))
    drafts = [
        legs.draft_of(bill, key=_entry_key(bill), drawn=prepaid)
        for bill, prepaid in zip(numbered, drawn, strict=True)
    ]
    posted = iter(ledger.post_many(conn, [each for each in drafts if each is not None], now=now))
    entries = [next(posted).entry_id if draft is not None else None for draft in drafts]
    ids = store.insert_bills(conn, numbered, entries)
    return [
        ids[bill.account, bill.period_start, bill.period_end, bill.kind.value, bill.seq]
        for bill in numbered
    ]


def withdraw(
    conn: Connection, bill: Bill, kind: CancelKind, *, reason: str, actor: str,
    approver: str = "", now: datetime,
) -> None:  # fmt: skip
    """
    Reverse a bill's entry and note that it stands no more.

    Raises: RefusedError `bills.cancelled_already`.
    """
    if bill.cancelled:
        raise RefusedError(
            Refusal.CANCELLED,
            f"bill {bill.id} was cancelled ({bill.cancelled})",
            fix="look at the bill that took its place",
        )
    entry = None
    if bill.entry_id is not None:
        entry = ledger.reverse(
            conn, bill.entry_id, key=f"cancel:{bill.id}", actor=actor, reason=reason, now=now
        ).entry_id
    store.insert_cancellation(
        conn, bill.id, kind, reason=reason, actor=actor, approver=approver, entry=entry, now=now
    )


def _entry_key(bill: NewBill) -> str:
    return f"bill:{bill.account}:{bill.period_start}:{bill.period_end}:{bill.kind}:{bill.seq}"
