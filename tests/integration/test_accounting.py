"""Arrears of any past moment, books that agree day by day, exceptions with who and why."""

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import pytest

from billing.accounting import service as accounting
from billing.accounting.model import CollectedBy, Event, OwedBy, Source, State
from billing.bills.model import Stage
from billing.bills.service import run as runs
from billing.customers.model import AccountId, CustomerKind
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind
from billing.ledger.model import Event as Booked
from billing.payments import service as payments
from billing.payments.model import Adjustment, FileRow, PaymentOrder
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.timeline import Interval
from tests.integration.billing_kit import YUAN, rows
from tests.integration.bills_kit import FEB, JAN, MAR, ZONE, book, household, read

MINUTE = timedelta(minutes=1)
START = datetime.combine(FEB, time(8), UTC)
PEOPLE = 4
DUE_LONG = datetime.combine(MAR, time(8), UTC)


def account(number: int) -> AccountId:
    return AccountId(f"AC-{number:06}")


def owed_now(db: Database) -> int:
    """Return what all owe by the accounts' own rows: the slow, plain way."""
    total = 0
    with db.transaction() as conn:
        for number in range(1, PEOPLE + 1):
            found = ledger.owed(conn, account(number))
            due = sum(micros for kind, micros in found.items() if kind is not AccountKind.AR_PLAN)
            total += max(0, due - ledger.balance_of(conn, account(number)))
    return total


def pay(db: Database, number: int, txn: str, yuan: int, now: datetime, *, there: bool = False,
        office: str = "", channel: str = "bank", to: str = "") -> None:  # fmt: skip
    order = PaymentOrder(
        channel=channel, peer_txn_id=txn, account=AccountId(to or account(number)),
        amount_micros=yuan * YUAN, currency="CNY", peer_time=now, actor="peer:bank",
        already_collected=there, office=office,
    )  # fmt: skip
    payments.pay(db, order, now=now)


@pytest.fixture
def billed(db: Database) -> Database:
    """Return four accounts of one book with January billed, the fourth a company's."""
    people = [household(number) for number in range(1, PEOPLE)]
    book(db, *people, household(PEOPLE, kind=CustomerKind.LEGAL))
    for number in range(1, PEOPLE + 1):
        read(db, number, FEB, 1_000 + 100 * number)
    run = runs.open_run(db, start=JAN, end=FEB, zone=ZONE, actor="user:reza", now=START)
    moved = runs.advance(db, run.id, now=START, until=Stage.POSTED)
    assert moved.states == {"billed": PEOPLE}
    return db


@pytest.mark.req("S30")
def test_arrears_of_any_past_moment_are_what_they_were_then(billed: Database) -> None:
    chance, now = random.Random(7), START
    seen = [(now, owed_now(billed))]
    for step in range(40):
        now += MINUTE * chance.randrange(1, 9)
        number, yuan = 1 + chance.randrange(PEOPLE), 1 + chance.randrange(90)
        match chance.randrange(4):
            case 0:
                change = Adjustment(
                    key=f"a{step}", account=account(number), amount_micros=-yuan * YUAN,
                    reason="meter", actors=("user:lin", "user:reza"),
                )  # fmt: skip
                payments.adjust(billed, change, now=now)
            case 1 if step:
                try:
                    payments.void(billed, "bank", f"p{step - 1}", reason="5", actor="peer:bank",
                                  now=now)  # fmt: skip
                except RefusedError:
                    pay(billed, number, f"p{step}", yuan, now)
            case _:
                pay(billed, number, f"p{step}", yuan, now)
        seen.append((now, owed_now(billed)))
    assert len({micros for _, micros in seen}) > 10, "the story has too little in it"
    with billed.transaction() as conn:
        for at, wanted in seen:
            groups = accounting.owed(conn, OwedBy.KIND, moment=at, zone=ZONE, now=now)
            assert sum(group.owed_micros for group in groups) == wanted
            one_by_one = list(accounting.owed_accounts(conn, moment=at, zone=ZONE, now=now))
            assert sum(each.owed_micros for each in one_by_one) == wanted
            assert len(one_by_one) == sum(group.accounts for group in groups)
        before = accounting.owed(conn, OwedBy.KIND, moment=START - MINUTE, zone=ZONE, now=now)
        assert not before, "nobody owed anything before the first bill"
        with pytest.raises(RefusedError, match=r"accounting\.moment"):
            accounting.owed(conn, OwedBy.KIND, moment=now + MINUTE, zone=ZONE, now=now)


@pytest.mark.req("S30")
def test_households_companies_and_what_is_past_its_day_are_told_apart(billed: Database) -> None:
    with billed.transaction() as conn:
        fresh = accounting.owed(conn, OwedBy.KIND, moment=START, zone=ZONE, now=DUE_LONG)
        assert {(one.group, one.accounts, one.households) for one in fresh} == {
            ("household", 3, 3), ("legal", 1, 0),
        }  # fmt: skip
        assert all(one.overdue_micros == 0 < one.owed_micros for one in fresh)
        late = accounting.owed(conn, OwedBy.UNIT, moment=DUE_LONG, zone=ZONE, now=DUE_LONG)
        assert [one.overdue_micros == one.owed_micros > 0 for one in late] == [True]
        [one] = accounting.owed_accounts(
            conn, moment=DUE_LONG, zone=ZONE, now=DUE_LONG, kind="legal"
        )
    assert (one.account, one.name, one.energy_micros) == (
        account(PEOPLE), "Wang Lei 4", one.owed_micros,
    )  # fmt: skip
    pay(billed, PEOPLE, "more", 1_000, DUE_LONG)
    with billed.transaction() as conn:
        legal = accounting.owed_accounts(
            conn, moment=DUE_LONG, zone=ZONE, now=DUE_LONG, kind="legal"
        )
        assert list(legal) == [], "who paid owes nothing"


@pytest.mark.req("S30")
def test_collections_are_summed_by_bank_office_kind_and_day_as_they_stood(
    billed: Database,
) -> None:
    hour, day = timedelta(hours=1), timedelta(days=1)
    pay(billed, 1, "a", 10, START, office="0417")
    pay(billed, 2, "b", 20, START + hour, office="0417")
    pay(billed, 4, "c", 40, START + day, office="0099")
    pay(billed, 1, "d", 80, START + day, channel="counter")
    payments.void(billed, "bank", "b", reason="5", actor="peer:bank", now=START + 2 * hour)
    now = START + 3 * day
    span = Interval(start=START, end=now)

    def told(by: CollectedBy, moment: datetime = now, **only: str) -> dict[str, tuple[int, int]]:
        with billed.transaction() as conn:
            found = accounting.collected(conn, span, by, moment=moment, zone=ZONE, now=now, **only)
        return {one.group: (one.payments, one.net_micros // YUAN) for one in found}

    assert told(CollectedBy.CHANNEL) == {"bank": (3, 50), "counter": (1, 80)}
    assert told(CollectedBy.CHANNEL, START + hour) == {"bank": (2, 30)}
    assert told(CollectedBy.OFFICE, channel="bank") == {
        "bank 0417": (2, 10), "bank 0099": (1, 40)
    }  # fmt: skip
    assert told(CollectedBy.KIND) == {"household": (3, 90), "legal": (1, 40)}
    assert told(CollectedBy.DAY) == {"2026-02-01": (2, 10), "2026-02-02": (2, 120)}


@pytest.mark.req("G6")
def test_bills_postings_and_receipts_of_a_day_agree_and_a_forged_one_is_named(
    billed: Database,
) -> None:
    pay(billed, 1, "a", 10, START)
    pay(billed, 1, "lost", 7, START, there=True, to="AC-999999")
    pay(billed, 2, "b", 20, START)
    payments.void(billed, "bank", "b", reason="5", actor="peer:bank", now=START)
    with billed.transaction() as conn:
        ties = accounting.ties(conn, FEB, FEB, zone=ZONE)
        assert {(tie.kind, tie.documents, tie.ours_micros // YUAN) for tie in ties} >= {
            ("receipts", 4, 17)
        }
        [bills] = [tie for tie in ties if tie.kind == "bills"]
        assert (bills.documents, bills.ours_micros > 0) == (PEOPLE, True)
        assert all(tie.off_micros == 0 for tie in ties)
        assert accounting.untied(conn, FEB, FEB, zone=ZONE) == []
        ledger.book(
            conn,
            Booked(kind="payment", key="forged", value_date=FEB, actor="user:mallory",
                   currency="CNY", owners={"account": account(1), "channel": "bank"},
                   amounts={"amount": 5 * YUAN}),
            now=START,
        )  # fmt: skip
        conn.execute("ALTER TABLE bills.bill DISABLE TRIGGER bill_append_only")
        conn.execute("UPDATE bills.bill SET posted_micros = posted_micros + 1 WHERE id = 1")
        conn.execute("ALTER TABLE bills.bill ENABLE TRIGGER bill_append_only")
        off = {tie.kind: tie.off_micros for tie in accounting.ties(conn, FEB, FEB, zone=ZONE)}
        assert off == {"bills": 1, "receipts": -5 * YUAN}
        forged = accounting.untied(conn, FEB, FEB, zone=ZONE)
        assert [(one.kind, one.ours_micros) for one in forged if "entry" in one.subject] == [
            ("receipts", 0)
        ]
        assert [one.subject for one in forged if one.kind == "bills"] == ["bill 1"]
        with pytest.raises(RefusedError, match=r"accounting\.moment"):
            accounting.ties(conn, FEB, date(2025, 1, 1), zone=ZONE)


@pytest.mark.req("G7")
def test_exceptions_are_found_taken_settled_and_found_again(billed: Database) -> None:
    pay(billed, 1, "lost", 7, START, there=True, to="AC-999999")
    pay(billed, 2, "ours", 3, START)
    span = Interval(start=START - MINUTE, end=START + MINUTE)
    file = [FileRow(peer_txn_id="lost", account="AC-999999", amount_micros=7 * YUAN,
                    currency="CNY", peer_time=START)]  # fmt: skip
    payments.reconcile(billed, "bank", span, file, actor="user:reza", now=START)

    def look(now: datetime = START) -> tuple[int, int, int, int]:
        told = accounting.gather(billed, actor="system:billing", zone=ZONE, now=now)
        return told.standing, told.opened, told.reopened, told.gone

    assert look() == (2, 2, 0, 0)
    assert look() == (2, 0, 0, 0), "the same found twice is one"
    with billed.transaction() as conn:
        lost, only_ours = accounting.exceptions(conn)
        assert {lost.finding.source, only_ours.finding.source} == {
            Source.SUSPENSE, Source.DIFFERENCE,
        }  # fmt: skip
    if lost.finding.source is not Source.SUSPENSE:
        lost, only_ours = only_ours, lost

    def act(event: Event, actor: str, reason: str = "", number: int = lost.id) -> State:
        return accounting.act(billed, number, event, actor=actor, reason=reason, now=START)

    refused: list[tuple[Callable[[], State], str]] = [
        (lambda: act(Event.SETTLE, "user:lin", "x"), "accounting.step"),
        (lambda: act(Event.TAKE, "user:lin", number=999), "accounting.exception_unknown"),
    ]
    for wrong, code in refused:
        with pytest.raises(RefusedError, match=code):
            wrong()
    act(Event.TAKE, "user:lin")
    act(Event.TAKE, "user:reza", "lin is away")
    with pytest.raises(RefusedError, match=r"accounting\.step"):
        act(Event.SETTLE, "user:lin", "not hers any more")
    act(Event.SETTLE, "user:reza", "asked the bank")
    assert look() == (2, 0, 1, 0), "called settled, but the money still waits"
    act(Event.TAKE, "user:reza")
    payments.assign_suspense(billed, lost.finding.subject, account(1), reason="slip",
                             actors=("user:lin", "user:reza"), now=START)  # fmt: skip
    assert look() == (1, 0, 0, 1)
    act(Event.TAKE, "user:lin", number=only_ours.id)
    act(Event.DISMISS, "user:lin", "below the bank's own limit", number=only_ours.id)
    assert look() == (1, 0, 0, 0), "what was dismissed stays so"
    with billed.transaction() as conn:
        steps = accounting.steps_of(conn, lost.id)
        assert accounting.exceptions(conn) == []
        assert ("suspense", "gone", 1) in accounting.counts(conn)
    assert [(one.event.value, one.actor, one.reason) for one in steps] == [
        ("found", "system:billing", ""), ("take", "user:lin", ""),
        ("take", "user:reza", "lin is away"), ("settle", "user:reza", "asked the bank"),
        ("found", "system:billing", ""), ("take", "user:reza", ""),
        ("missing", "system:billing", ""),
    ]  # fmt: skip
    acts = rows(billed, "SELECT DISTINCT action FROM audit.event WHERE action LIKE 'accounting.%%'")
    assert {row[0] for row in acts} == {
        "accounting.take", "accounting.settle", "accounting.dismiss",
    }  # fmt: skip
