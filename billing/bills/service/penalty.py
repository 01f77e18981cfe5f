"""
Late-payment penalties: accrue by day, say what they are as of now, forgive or return by two people.

A penalty is a function of bills, money, documents and the day. Accrual charges what that function
is above what was charged before, bill by bill, in pages: killed and started again it goes on, and
the same day twice charges nothing. Where it is below (a bill was cancelled, money came with an
older day), nothing is taken back in silence: a refund is proposed and approved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from billing.bills.model import Progress
from billing.bills.rules import penalty
from billing.bills.rules.penalty import Debt, Flow, Late, Relief, Terms
from billing.bills.rules.penalty_documents import (
    Paper,
    PaperAct,
    PaperState,
    PenaltyKind,
    PenaltyRefusal,
    Proposal,
    check,
    moved,
)
from billing.bills.service.asking import bill_of
from billing.bills.store import penalty as store
from billing.bills.store.penalty import Accrual
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Event
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError

RULES = penalty.parse(
    (Path(__file__).parents[1] / "penalty_rules.json").read_text(encoding="utf-8")
)
"""What is in force where nobody names other terms."""
PAGE = 500
"""Accounts accrued in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One bill's penalty as of a day. *Units*: micros."""

    bill: int
    due_on: date | None
    """None when the bill was cancelled: it bears no penalty any more."""
    open_micros: int
    days: int
    penalty_micros: int
    """What the days up to now come to."""
    charged_micros: int
    """What accruals booked, less refunds."""
    waived_micros: int
    upto: date | None
    paid: bool

    @property
    def to_charge_micros(self) -> int:
        """Return what is not booked yet."""
        return max(0, self.penalty_micros - self.charged_micros)

    @property
    def over_micros(self) -> int:
        """Return what was booked beyond what is due and can be given back."""
        beyond = self.charged_micros - self.penalty_micros
        return max(0, min(beyond, self.charged_micros - self.waived_micros))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What an account owes for lateness if it pays today."""

    account: str
    currency: str
    as_of: date
    bills: tuple[Standing, ...]
    papers: tuple[Paper, ...]
    booked_micros: int
    """What stands on its penalty receivable."""

    @property
    def due_micros(self) -> int:
        """Return what is booked and unpaid, and what today adds."""
        return self.booked_micros + sum(each.to_charge_micros for each in self.bills)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accrued:
    """What one accrual did; accounts without terms are counted, not charged."""

    accounts: int
    bills: int
    charged_micros: int
    without_terms: int


def accrue(
    db: Database, *, upto: date, today: date, actor: str, now: datetime,
    progress: Progress | None = None, rules: penalty.PenaltyRules = RULES,
) -> Accrued:  # fmt: skip
    """
    Charge every late bill up to a day that is over.

    Raises: RefusedError `penalty.day_not_over`.
    """
    if upto >= today:
        raise RefusedError(
            PenaltyRefusal.DAY_OPEN, f"{upto} is not over: money may still come",
            fix="accrue up to yesterday at most",
        )  # fmt: skip
    accounts = bills = micros = without = 0
    after = ""
    while True:
        with db.transaction() as conn:
            page = store.accounts_to_accrue(conn, upto, after=after, limit=PAGE)
            if not page:
                break
            store.lock_accounts(conn, page)
            done, lacking = _accrue_page(conn, page, upto=upto, actor=actor, now=now, rules=rules)
        after = page[-1]
        accounts, without = accounts + len(page), without + lacking
        bills += sum(1 for each in done if each.amount_micros)
        micros += sum(each.amount_micros for each in done)
        if progress is not None:
            progress("accrue", accounts, accounts)
    return Accrued(accounts=accounts, bills=bills, charged_micros=micros, without_terms=without)


def quote(
    conn: Connection, account: str, *, as_of: date, rules: penalty.PenaltyRules = RULES
) -> Quote:
    """
    Return what an account owes for lateness as of a day, this day counted.

    Raises: RefusedError `penalty.terms_missing` for an unknown account or one without terms.
    """
    kinds = store.account_kinds(conn, [account])
    if account not in kinds or _terms(rules, kinds[account]) is None:
        raise RefusedError(
            PenaltyRefusal.NO_TERMS, f"no penalty terms fit account {account!r}",
            fix=f"name an account in {rules.currency} of a class in {sorted(rules.classes)}",
        )  # fmt: skip
    found = _standings(conn, [account], kinds, upto=as_of, rules=rules)[account]
    return Quote(
        account=account, currency=kinds[account][0], as_of=as_of, bills=tuple(found),
        papers=tuple(store.papers_of(conn, [account])),
        booked_micros=ledger.owed(conn, account).get(AccountKind.AR_PENALTY, 0),
    )  # fmt: skip


def propose(db: Database, proposal: Proposal, *, today: date, now: datetime) -> Paper:
    """
    Ask for a waiver, deferral, refund or dispute; nothing changes until another person approves.

    Raises: RefusedError `penalty.reason_missing`, `penalty.amount_bad`, `penalty.days_bad`,
    `penalty.bill_not_owed`, `bills.bill_unknown`.
    """
    check(proposal)
    with db.transaction() as conn:
        account = bill_of(conn, proposal.bill).account
        store.lock_accounts(conn, [account])
        _check_bounds(conn, account, proposal, today)
        number = store.insert_paper(conn, proposal, now)
        paper = _locked(conn, number)
        _note(conn, f"penalty.{proposal.kind}.propose", paper, proposal.actor, now)
        return paper


def decide(
    db: Database, number: int, act: PaperAct, *, actor: str, today: date, now: datetime
) -> Paper:
    """
    Approve, refuse or withdraw a document; approval books waiver and refund.

    Raises: RefusedError `penalty.document_unknown`, `penalty.document_state`,
    `penalty.same_person`, `penalty.not_the_proposer`, `penalty.amount_bad`.
    """
    with db.transaction() as conn:
        paper = _locked(conn, number)
        state = moved(paper, act, actor)
        store.lock_accounts(conn, [paper.account])
        entry = None
        if state is PaperState.APPROVED:
            _check_bounds(conn, paper.account, paper, today)
            entry = _book(conn, paper, actor, today, now)
        store.decide_paper(conn, paper.id, state, actor=actor, entry=entry, now=now)
        decided = _locked(conn, number)
        _note(conn, f"penalty.{paper.kind}.{act}", decided, actor, now)
        return decided


def _accrue_page(
    conn: Connection, page: Sequence[str], *, upto: date, actor: str, now: datetime,
    rules: penalty.PenaltyRules,
) -> tuple[list[Accrual], int]:  # fmt: skip
    kinds = store.account_kinds(conn, page)
    standings = _standings(conn, page, kinds, upto=upto, rules=rules)
    late = [
        (account, each)
        for account in standings
        for each in standings[account]
        if each.due_on is not None and each.due_on < upto and not each.paid
        and (each.upto is None or each.upto < upto)
    ]  # fmt: skip
    events = [
        Event(
            kind="penalty", key=f"penalty:{each.bill}:{upto}", value_date=upto, actor=actor,
            currency=rules.currency, owners={"account": account}, reason=rules.rule,
            source_ref=f"bill:{each.bill}", amounts={"amount": each.to_charge_micros},
        )
        for account, each in late
        if each.to_charge_micros
    ]  # fmt: skip
    posted = iter(ledger.book_many(conn, events, now=now))
    done = [
        Accrual(
            bill=each.bill, amount_micros=each.to_charge_micros, open_micros=each.open_micros,
            entry_id=next(posted).entry_id if each.to_charge_micros else None,
        )
        for _, each in late
    ]  # fmt: skip
    store.insert_accruals(conn, done, upto=upto, rule=rules.rule, now=now)
    if events:
        audit.record(
            conn, at=now, actor=actor, action="penalty.accrue", entity="penalty",
            entity_id=str(upto), reason=rules.rule,
            after={"bills": len(events), "micros": sum(each.amount_micros for each in done)},
        )  # fmt: skip
    return done, len(page) - len(standings)


def _standings(
    conn: Connection, accounts: Sequence[str], kinds: dict[str, tuple[str, str]], *,
    upto: date, rules: penalty.PenaltyRules,
) -> dict[str, list[Standing]]:  # fmt: skip
    """Return the penalties of accounts that have terms, by account, oldest due first."""
    owed, flows = store.owed_bills(conn, accounts), store.money_flows(conn, accounts)
    charged, papers = store.charged(conn, accounts), store.papers_of(conn, accounts)
    approved = [each for each in papers if each.state is PaperState.APPROVED]
    found = {}
    for account in accounts:
        terms = _terms(rules, kinds[account]) if account in kinds else None
        if terms is None:
            continue
        debts = [each for each in owed.get(account, []) if each.amount_micros > 0]
        money = flows.get(account, []) + [
            Flow(on=each.due_on, amount_micros=-each.amount_micros)
            for each in owed.get(account, []) if each.amount_micros < 0
        ]  # fmt: skip
        own = [each for each in approved if each.account == account]
        late = _late_by_bill(debts, money, own, terms, upto)
        found[account] = [
            _standing(debt.bill, debt, late[debt.bill], charged.get(debt.bill), own)
            for debt in debts
        ]
    named = {each.bill for standings in found.values() for each in standings}
    for bill in sorted(charged.keys() - named):
        account = bill_of(conn, bill).account
        if account in found:
            own = [each for each in approved if each.bill == bill]
            gone = Late(open_micros=0, days=0, penalty_micros=0)
            found[account].append(_standing(bill, None, gone, charged[bill], own))
    return found


def _late_by_bill(
    debts: Sequence[Debt], money: Sequence[Flow], papers: Sequence[Paper],
    terms: Sequence[Terms], upto: date,
) -> dict[int, Late]:  # fmt: skip
    found = {}
    for debt in debts:
        reliefs = [
            Relief(from_on=p.from_on, until_on=p.until_on, amount_micros=p.amount_micros)
            for p in papers
            if p.bill == debt.bill and p.from_on is not None and p.until_on is not None
        ]
        found[debt.bill] = penalty.late_of(debt, debts, money, reliefs, terms, upto=upto)
    return found


def _standing(
    bill: int, debt: Debt | None, late: Late, charged: store.Charged | None,
    papers: Sequence[Paper],
) -> Standing:  # fmt: skip
    booked = charged.amount_micros if charged else 0
    return Standing(
        bill=bill, due_on=debt.due_on if debt else None, open_micros=late.open_micros,
        days=late.days, penalty_micros=late.penalty_micros,
        charged_micros=booked - _sum(papers, bill, PenaltyKind.REFUND),
        waived_micros=_sum(papers, bill, PenaltyKind.WAIVER),
        upto=charged.upto if charged else None,
        paid=charged.paid if charged else False,
    )  # fmt: skip


def _sum(papers: Sequence[Paper], bill: int, kind: PenaltyKind) -> int:
    return sum(p.amount_micros or 0 for p in papers if p.bill == bill and p.kind is kind)


def _terms(rules: penalty.PenaltyRules, kind: tuple[str, str]) -> Sequence[Terms] | None:
    currency, customer = kind
    return rules.classes.get(customer) if currency == rules.currency else None


def _check_bounds(conn: Connection, account: str, asked: Proposal, today: date) -> None:
    ledger.owed(conn, account, lock=True)
    found = quote(conn, account, as_of=today)
    bill = next((each for each in found.bills if each.bill == asked.bill), None)
    if bill is None:
        raise RefusedError(
            PenaltyRefusal.BILL, f"bill {asked.bill} bears no penalty",
            fix="look at `bill penalty show` for the account's bills",
        )  # fmt: skip
    if asked.kind is PenaltyKind.WAIVER:
        limit = min(found.booked_micros, bill.charged_micros - bill.waived_micros)
    elif asked.kind is PenaltyKind.REFUND:
        limit = bill.over_micros
    else:
        return
    assert asked.amount_micros is not None
    if asked.amount_micros > limit:
        raise RefusedError(
            PenaltyRefusal.AMOUNT, f"a {asked.kind} of bill {asked.bill} is {limit} micros at most",
            fix="ask for less; accrue first what is to be waived",
        )  # fmt: skip


def _book(conn: Connection, paper: Paper, actor: str, today: date, now: datetime) -> int | None:
    """Book a waiver or a refund; a refund lowers what is unpaid first, the rest is prepayment."""
    if paper.kind not in (PenaltyKind.WAIVER, PenaltyKind.REFUND):
        return None
    assert paper.amount_micros is not None
    amounts, kind = {"amount": paper.amount_micros}, "penalty_waived"
    if paper.kind is PenaltyKind.REFUND:
        booked = ledger.owed(conn, paper.account, lock=True).get(AccountKind.AR_PENALTY, 0)
        unpaid = min(paper.amount_micros, booked)
        amounts = {
            "total": paper.amount_micros, "unpaid": unpaid, "paid": paper.amount_micros - unpaid,
        }  # fmt: skip
        kind = "penalty_refunded"
    event = Event(
        kind=kind, key=f"penalty_document:{paper.id}", value_date=today, actor=actor,
        currency=RULES.currency, owners={"account": paper.account}, amounts=amounts,
        reason=paper.reason, source_ref=f"bill:{paper.bill}",
    )  # fmt: skip
    return ledger.book(conn, event, now=now).entry_id


def _locked(conn: Connection, number: int) -> Paper:
    paper = store.paper_for_update(conn, number)
    if paper is None:
        raise RefusedError(
            PenaltyRefusal.UNKNOWN, f"there is no document {number}",
            fix="`bill penalty show` lists an account's documents",
        )  # fmt: skip
    return paper


def _note(conn: Connection, action: str, paper: Paper, actor: str, now: datetime) -> None:
    audit.record(
        conn, at=now, actor=actor, on_behalf=paper.actor if actor != paper.actor else "",
        action=action, entity="penalty_document", entity_id=str(paper.id), reason=paper.reason,
        after={
            "bill": paper.bill, "state": paper.state.value, "micros": paper.amount_micros,
            "from": str(paper.from_on or ""), "until": str(paper.until_on or ""),
        },
    )  # fmt: skip
