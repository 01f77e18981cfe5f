"""
What was wrong is billed anew, never edited: cancel, correct, ad hoc, refund, supplement.

A correction reverses the old bill and issues another in one transaction, linked both ways, and
every later bill of the agreement that was built on it is priced anew with it.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from billing.bills import store
from billing.bills.model import (
    METERED,
    Agreement,
    Bill,
    BillId,
    BillKind,
    CancelKind,
    Gate,
    Item,
    ItemState,
    Line,
    NewBill,
    Refusal,
    Run,
    RunId,
    Stage,
)
from billing.bills.rules import gate as hilow
from billing.bills.rules.inputs import in_force
from billing.bills.rules.pinned import Priced, canonical_usage, input_hash, price_pinned
from billing.bills.rules.rebill import Anew, corrected, overlaps
from billing.bills.service import documents, inputs, posting
from billing.bills.store import ending as endings
from billing.customers.model import Refusal as CustomerRefusal
from billing.rating.rules import kernel
from billing.tariffs import service as tariffs
from billing.tariffs.rules import read_usage
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError

NO_RUN = RunId(0)
"""No run has this number."""
TRUED = CancelKind.TRUEUP
"""Why an estimate no longer stands when a real reading priced its days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Who wants it and why; `approver` is the second person where one is needed."""

    reason: str
    actor: str
    approver: str = ""


def cancel(db: Database, bill: int, *, kind: CancelKind, order: Order, now: datetime) -> None:
    """
    Take a bill back (G19); special needs two people.

    Only the newest bill of metered time goes back without another in its place.
    Raises: RefusedError `bills.bill_unknown`, `bills.cancelled_already`, `bills.not_newest`,
    `bills.same_person`, `bills.reason_missing`.
    """
    check(order, two=kind is CancelKind.SPECIAL)
    with db.transaction() as conn:
        found = _locked(conn, bill)
        _need_open_time(conn, found)
        later = _later(conn, found)
        if found.kind in METERED and later:
            raise RefusedError(
                Refusal.NOT_NEWEST,
                f"bill {later[0].id} was built on bill {bill}",
                fix="correct the bill: later ones are priced anew with it",
            )
        posting.withdraw(
            conn, found, kind, reason=order.reason, actor=order.actor, approver=order.approver,
            now=now,
        )  # fmt: skip
        _note(conn, "bills.cancel", found.id, order, now, after={"kind": kind.value})


def correct(
    db: Database, bill: int, *, kind: BillKind, wh: int, order: Order, now: datetime
) -> list[BillId]:
    """
    Replace a bill for a reading or a meter error, and every later one that it changes (G20).

    `wh` is the right register at the end, or the right energy. A bill that is itself a correction
    is corrected again only by two people. Returns the new bills, oldest period first.
    Raises: RefusedError `bills.rebill_of_rebill`, and as `cancel`.
    """
    with db.transaction() as conn:
        _need_open_time(conn, _locked(conn, bill))
        return correct_in(conn, bill, kind=kind, wh=wh, order=order, now=now)


def correct_in(
    conn: Connection, bill: int, *, kind: BillKind, wh: int, order: Order, now: datetime,
    drawn: bool | None = None,
) -> list[BillId]:  # fmt: skip
    """Do what `correct` does in the caller's transaction; `drawn` says it where it is known."""
    check(order, two=bool(order.approver))
    found = _locked(conn, bill)
    if found.corrects is not None and not order.approver:
        raise RefusedError(
            Refusal.REBILL_OF_REBILL,
            f"bill {bill} is itself in the place of bill {found.corrects}",
            fix="let a second person approve: state approver",
        )
    if found.kind not in METERED:
        raise RefusedError(
            Refusal.UNMETERED, f"bill {bill} is a {found.kind}", fix="cancel it instead"
        )
    later = _later(conn, found)
    versions = inputs.versions_of(
        conn, [digest for each in [found, *later] for digest in each.versions]
    )
    anew = corrected(found, later, versions, kind=kind, wh=wh)
    drafts = []
    for each in anew:
        posting.withdraw(
            conn, each.bill, CancelKind.CORRECTIVE, reason=order.reason, actor=order.actor,
            approver=order.approver, now=now,
        )  # fmt: skip
        priced = price_pinned(each.usage, each.bill.versions, versions)
        drafts.append(_again(each, order, now, lines=priced.lines, total=priced.total_micros))
    told = [each.total_micros != each.posted_micros if drawn is None else drawn for each in drafts]
    ids = posting.issue(conn, drafts, drawn=told, now=now)
    documents.write(conn, store.bills_by_id(conn, ids), zone=_zone(conn, found), now=now)
    _note(conn, "bills.correct", found.id, order, now, after={"kind": kind.value, "bills": ids})
    return ids


def bill_now(
    db: Database, agreement: str, *, end: date, zone: ZoneInfo, order: Order, now: datetime,
    gate: Gate | None = None,
) -> BillId:  # fmt: skip
    """
    Issue an ordinary ad-hoc bill up to a day, from registers, outside any cycle (G18).

    Raises: RefusedError with the code that would park the account in a run, or with the doubt that
    would hold it, unless a second person approves.
    """
    limits = gate or Gate()
    check(order, two=bool(order.approver))
    with db.transaction() as conn:
        store.lock_agreement(conn, agreement)
        store.lock_open_runs(conn)
        known = _agreement(conn, agreement)
        bills = store.metered_bills(conn, [agreement], end - inputs.HISTORY).get(agreement, [])
        start = bills[-1].period_end if bills else known.started_at.astimezone(zone).date()
        run = Run(
            id=NO_RUN, book="", period_start=start, period_end=end, seq=0, zone=zone,
            stage=Stage.OPENED, gate=limits, opened_by=order.actor,
        )  # fmt: skip
        item = inputs.freeze(conn, run, [known])[0]
        doubts = hilow.doubts(
            energy_wh=item.energy_wh, start=item.period_start, end=item.period_end,
            quality=item.quality, history=bills, gate=limits,
        )  # fmt: skip
        if item.state is ItemState.PARKED or (doubts and not order.approver):
            code = item.reasons[0] if item.reasons else doubts[0].value
            raise RefusedError(
                Refusal.ITEM_STATE, f"{agreement}: {code} {item.detail}".strip(),
                fix="mend the cause; a doubt may be approved by a second person",
            )  # fmt: skip
        versions = inputs.versions_of(conn, item.versions)
        priced = price_pinned(item.usage, item.versions, versions)
        for credited in store.bills_by_id(conn, item.credits):
            posting.withdraw(
                conn, credited, CancelKind.TRUEUP, reason=order.reason, actor=order.actor, now=now
            )
        draft = replace(
            posting.new_bill(
                replace(item, lines=priced.lines, total_micros=priced.total_micros), run,
                seq=1, now=now,
            ),
            run=None, kind=BillKind.ADHOC, reason=order.reason, actor=order.actor,
        )  # fmt: skip
        return _issue_one(conn, draft, order, now, drawn=item.drawn_micros is not None)


def bill_usage(
    db: Database, agreement: str, *, usage: bytes, order: Order, now: datetime,
    due_days: int = 15,
) -> BillId:  # fmt: skip
    """
    Issue a special ad-hoc bill from a usage file, by two people (G18).

    It stands beside the cycle's bills and covers no time of theirs.
    Raises: RefusedError `bills.period_overlaps`, `usage.*`, `tariffs.*`.
    """
    check(order, two=True)
    with db.transaction() as conn:
        store.lock_agreement(conn, agreement)
        store.lock_open_runs(conn)
        known = _agreement(conn, agreement)
        stated = read_usage(usage)
        span = stated.period
        bills = store.metered_bills(conn, [agreement], span.start).get(agreement, [])
        if any(overlaps(each, span.start, span.end) for each in bills):
            raise RefusedError(
                Refusal.OVERLAP, f"days from {span.start} to {span.end} are billed already",
                fix="correct that bill, or state days that no bill covers",
            )  # fmt: skip
        named = in_force(tariffs.versions(conn, known.tariff_code), span.start, span.end)
        digests = tuple(digest for digest, _ in named)
        text = canonical_usage(json.loads(usage))
        priced = price_pinned(text, digests, inputs.versions_of(conn, digests))
        draft = _plain(
            known, BillKind.ADHOC_SPECIAL, (span.start, span.end), order, now, lines=priced.lines
        )  # fmt: skip
        draft = replace(
            draft, usage=text, versions=digests, input_hash=input_hash(text, digests),
            quality=stated.quality, energy_wh=priced.energy_wh,
            due_on=now.date() + timedelta(days=due_days),
        )  # fmt: skip
        return _issue_one(conn, draft, order, now)


def adjust(
    db: Database, agreement: str, *, kind: BillKind, amount_micros: int, start: date, end: date,
    order: Order, now: datetime,
) -> BillId:  # fmt: skip
    """
    Refund or charge an amount by an approved document, for the days it concerns (G8, G14).

    Raises: RefusedError `bills.amount_bad`, `bills.same_person`, `bills.reason_missing`.
    """
    check(order, two=True)
    if amount_micros <= 0 or kind not in (BillKind.REFUND, BillKind.SUPPLEMENT):
        raise RefusedError(
            Refusal.AMOUNT, f"{amount_micros} micros as a {kind}",
            fix="state a positive amount, as refund or supplement",
        )  # fmt: skip
    total = -amount_micros if kind is BillKind.REFUND else amount_micros
    with db.transaction() as conn:
        store.lock_agreement(conn, agreement)
        store.lock_open_runs(conn)
        known = _agreement(conn, agreement)
        line = Line(
            tariff="", line=kind.value, ledger_code="revenue_energy", energy_wh=0,
            amount_micros=total,
        )  # fmt: skip
        draft = _plain(known, kind, (start, end), order, now, lines=(line,))
        return _issue_one(conn, draft, order, now)


def final_bill(item: Item, priced: Priced, run: Run, order: Order, now: datetime) -> NewBill:
    """Return the bill of an agreement's last days."""
    whole = replace(item, lines=priced.lines, total_micros=priced.total_micros)
    return replace(
        posting.new_bill(whole, run, seq=1, now=now), run=None, kind=BillKind.FINAL,
        reason=order.reason, actor=order.actor,
    )  # fmt: skip


def _again(
    anew: Anew, order: Order, now: datetime, *, lines: tuple[Line, ...], total: int
) -> NewBill:
    old = anew.bill
    drawn = old.total_micros - old.posted_micros
    return NewBill(
        run=None, agreement=old.agreement, account=old.account, usage_point=old.usage_point,
        currency=old.currency, period_start=old.period_start, period_end=old.period_end,
        kind=anew.kind, seq=1, usage=anew.usage, versions=old.versions,
        input_hash=input_hash(anew.usage, old.versions), kernel_version=kernel.VERSION,
        quality=anew.quality, method="" if anew.quality == "actual" else old.method,
        start_wh=anew.start_wh, end_wh=anew.end_wh, energy_wh=anew.energy_wh, lines=lines,
        total_micros=total, posted_micros=total - drawn, corrects=old.id, reason=order.reason,
        issued_at=now, due_on=max(old.due_on, now.date()), actor=order.actor,
    )  # fmt: skip


def _plain(
    known: Agreement, kind: BillKind, span: tuple[date, date], order: Order, now: datetime, *,
    lines: tuple[Line, ...],
) -> NewBill:  # fmt: skip
    """Return a bill of given lines that prices no registers."""
    total = sum(line.amount_micros for line in lines)
    return NewBill(
        run=None, agreement=known.agreement, account=known.account,
        usage_point=known.usage_point, currency=known.currency, period_start=span[0],
        period_end=span[1], kind=kind, seq=1, usage="", versions=(),
        input_hash=hashlib.sha256(order.reason.encode()).digest(), kernel_version=kernel.VERSION,
        quality="actual", method="", start_wh=None, end_wh=None, energy_wh=0, lines=lines,
        total_micros=total, posted_micros=total, reason=order.reason, issued_at=now,
        due_on=now.date(), actor=order.actor,
    )  # fmt: skip


def _issue_one(
    conn: Connection, draft: NewBill, order: Order, now: datetime, *, drawn: bool = False
) -> BillId:
    bill = posting.issue(conn, [draft], drawn=[drawn], now=now)[0]
    found = store.bills_by_id(conn, [bill])
    documents.write(conn, found, zone=_zone(conn, found[0]), now=now)
    _note(conn, f"bills.{draft.kind}", bill, order, now, after={"total_micros": draft.total_micros})
    return bill


def check(order: Order, *, two: bool) -> None:
    """Refuse an order without reason, or by one person where two are needed."""
    if not order.reason.strip():
        raise RefusedError(Refusal.REASON, "a correction needs a reason", fix="say why")
    if two and order.approver in ("", order.actor):
        raise RefusedError(
            Refusal.SAME_PERSON, f"{order.actor} cannot approve alone",
            fix="name another person as approver",
        )  # fmt: skip


def _locked(conn: Connection, bill: int) -> Bill:
    """Return a bill that stands, its agreement locked."""
    found = store.bills_by_id(conn, [bill])
    if not found:
        raise RefusedError(Refusal.BILL_UNKNOWN, f"there is no bill {bill}", fix="bill show")
    store.lock_agreement(conn, found[0].agreement)
    store.lock_open_runs(conn)
    again = store.bills_by_id(conn, [bill])[0]
    if again.cancelled:
        raise RefusedError(
            Refusal.CANCELLED, f"bill {bill} was cancelled ({again.cancelled})",
            fix="bill show names the bill that took its place",
        )  # fmt: skip
    return again


def _need_open_time(conn: Connection, bill: Bill) -> None:
    """Refuse what would take the last bill of an ended agreement past its settlement."""
    ended = endings.for_update(conn, bill.agreement)
    if ended is not None and bill.kind in METERED and bill.period_end >= ended.ended_on:
        raise RefusedError(
            Refusal.ENDED, f"bill {bill.id} is the last of {bill.agreement}, which has ended",
            fix="bill final correct settles what a correction changes",
        )  # fmt: skip


def _later(conn: Connection, bill: Bill) -> list[Bill]:
    standing = store.metered_bills(conn, [bill.agreement], bill.period_end)
    return [
        each
        for each in standing.get(bill.agreement, [])
        if each.period_start >= bill.period_end and each.id != bill.id
    ]


def _agreement(conn: Connection, agreement: str) -> Agreement:
    found = store.agreements_named(conn, [agreement])
    if not found:
        raise RefusedError(
            CustomerRefusal.UNKNOWN_AGREEMENT, f"no open agreement {agreement}",
            fix="check its number",
        )  # fmt: skip
    return found[0]


def _zone(conn: Connection, bill: Bill) -> ZoneInfo:
    if not bill.versions:
        return ZoneInfo("UTC")
    return inputs.versions_of(conn, bill.versions[:1])[bill.versions[0]][0].zone_info


def _note(
    conn: Connection, action: str, bill: BillId, order: Order, now: datetime, *,
    after: dict[str, object],
) -> None:  # fmt: skip
    audit.record(
        conn, at=now, actor=order.actor, on_behalf=order.approver, action=action, entity="bill",
        entity_id=str(bill), after=after, reason=order.reason,
    )  # fmt: skip
