"""The run: stages that repeat, people where there is doubt, totals that are the ledger's."""

from dataclasses import replace
from datetime import timedelta

import pytest

from billing.bills import store
from billing.bills.model import Decision, Gate, ItemState, Run, Stage
from billing.bills.service import documents, review
from billing.bills.service import run as runs
from billing.ledger import service as ledger
from cloud.store.db import Database
from protocols.errors import RefusedError
from tests.integration.billing_kit import YUAN, rows
from tests.integration.bills_kit import FEB, JAN, MAR, NOW, ZONE, book, household, read


def opened(db: Database, start=JAN, end=FEB, **changes) -> Run:
    return runs.open_run(
        db, start=start, end=end, zone=ZONE, actor="user:reza", now=NOW,
        gate=replace(Gate(), **changes),
    )  # fmt: skip


def finished(db: Database, start=JAN, end=FEB, **changes) -> Run:
    run = opened(db, start, end, **changes)
    runs.advance(db, run.id, now=NOW)
    runs.close(db, run.id, actor="user:reza", now=NOW)
    return run


@pytest.mark.req("G5", "B6", "G21")
def test_a_cycle_goes_from_registers_to_a_closed_run_whose_totals_are_the_ledgers(
    db: Database,
) -> None:
    book(db, *[household(n) for n in range(1, 4)])
    for number, kwh in ((1, 1_100), (2, 1_600), (3, 1_000)):
        read(db, number, FEB, kwh)
    run = opened(db)
    moved = runs.advance(db, run.id, now=NOW)
    assert moved.run.stage is Stage.TOTALLED
    assert moved.states == {"billed": 3}
    sheet = runs.close(db, run.id, actor="user:reza", now=NOW)
    # 100 kWh: 52 + 3 + 7.15; 600 kWh: 260 + 82 + 3 + 44.85; 0 kWh: 3 + 0.39
    with db.transaction() as conn:
        totals = {
            bill.account: bill.total_micros
            for bill in store.bills_of_run(conn, run.id, after=0, limit=9)
        }
    assert totals == {"AC-000001": 62_150_000, "AC-000002": 389_850_000, "AC-000003": 3_390_000}
    assert sheet.equal
    assert sheet.billed == {
        "revenue_energy CNY": 394 * YUAN, "revenue_energy:standing CNY": 9 * YUAN,
        "vat_payable CNY": 52_390_000,
    }  # fmt: skip
    told = rows(db, "SELECT text FROM messages.message WHERE subject = 'UP-000001'")
    assert "62.15 CNY" in told[0][0]
    owed = rows(
        db, "SELECT sum(posted_dr - posted_cr) FROM ledger.account WHERE kind = 'ar_energy'"
    )
    assert owed == [(sum(totals.values()),)]
    again = runs.advance(db, run.id, now=NOW + timedelta(days=1))
    assert again.run.stage is Stage.CLOSED
    assert rows(db, "SELECT count(*) FROM bills.bill") == [(3,)]


@pytest.mark.req("B5")
def test_use_beyond_belief_is_held_until_a_person_decides(db: Database) -> None:
    book(db, household(1), household(2), household(3))
    for number in (1, 2, 3):
        read(db, number, FEB, 1_100)
    finished(db)
    for number, kwh in ((1, 1_900), (2, 1_100), (3, 1_200)):
        read(db, number, MAR, kwh)
    run = opened(db, FEB, MAR)
    moved = runs.advance(db, run.id, now=NOW)
    assert (moved.run.stage, moved.waiting) == (Stage.PRICED, "held")
    with db.transaction() as conn:
        held = {item.agreement: item.reasons for item in review.queue(conn, run.id)}
    assert held == {"SA-000001": ("hilow.high",), "SA-000002": ("hilow.zero",)}
    review.decide(
        db, run.id, "SA-000001", Decision.ESTIMATE, actor="user:li", reason="no one home",
        now=NOW,
    )  # fmt: skip
    with pytest.raises(RefusedError, match="bills.reason_missing"):
        review.decide(
            db, run.id, "SA-000002", Decision.ACCEPT, actor="user:li", reason=" ", now=NOW
        )
    review.decide(db, run.id, "SA-000002", Decision.ACCEPT, actor="user:li", reason="away", now=NOW)
    assert runs.advance(db, run.id, now=NOW).states == {"billed": 3}
    with db.transaction() as conn:
        bill = store.bills_of_account(conn, "AC-000001", 1)[0]
    assert (bill.quality, bill.method) == ("estimated", "own_profile")
    assert bill.energy_wh == 90_300  # 3225 Wh a day in January, for 28 days
    assert "估算" in rows(db, "SELECT content FROM bills.document WHERE bill = %s", [bill.id])[0][0]


@pytest.mark.req("G6")
def test_a_large_amount_needs_two_different_people(db: Database) -> None:
    book(db, household(1))
    read(db, 1, FEB, 1_600)
    run = opened(db, two_people_micros=100 * YUAN)
    assert runs.advance(db, run.id, now=NOW).waiting == "approval"
    first = review.approve(db, run.id, "SA-000001", actor="user:li", now=NOW)
    assert first.state is ItemState.APPROVAL
    with pytest.raises(RefusedError, match="bills.same_person"):
        review.approve(db, run.id, "SA-000001", actor="user:li", now=NOW)
    review.approve(db, run.id, "SA-000001", actor="user:wu", now=NOW)
    assert runs.advance(db, run.id, now=NOW).states == {"billed": 1}


def test_a_run_that_forgot_somebody_cannot_close_and_takes_him_in_when_reopened(
    db: Database,
) -> None:
    book(db, household(1))
    read(db, 1, FEB, 1_100)
    run = opened(db)
    runs.advance(db, run.id, now=NOW)
    book(db, household(2))
    read(db, 2, FEB, 1_050)
    with pytest.raises(RefusedError, match="SA-000002") as refused:
        runs.close(db, run.id, actor="user:reza", now=NOW)
    assert refused.value.refusal == "bills.run_incomplete"
    runs.reopen(db, run.id, actor="user:reza", now=NOW)
    runs.advance(db, run.id, now=NOW)
    assert runs.close(db, run.id, actor="user:reza", now=NOW).states == {"billed": 2}


@pytest.mark.req("G7")
def test_an_account_that_cannot_be_billed_is_parked_and_billed_by_the_next_run(
    db: Database,
) -> None:
    book(db, household(1), household(2, opening_register_wh=None))
    read(db, 1, FEB, 1_100)
    read(db, 2, FEB, 1_100)
    first = finished(db)
    with db.transaction() as conn:
        left = review.parked(conn, first.id)
    assert [(item.agreement, item.reasons) for item in left] == [
        ("SA-000002", ("bills.register_missing",))
    ]
    read(db, 2, JAN, 1_040)
    second = finished(db)
    assert second.seq == 2
    assert rows(db, "SELECT account, energy_wh FROM bills.bill WHERE run = %s", [second.id]) == [
        ("AC-000002", 60_000)
    ]


def test_a_register_corrected_after_the_freeze_parks_the_bill_it_would_have_made_wrong(
    db: Database,
) -> None:
    book(db, household(1))
    read(db, 1, FEB, 1_100)
    run = opened(db)
    runs.advance(db, run.id, now=NOW, until=Stage.PRICED)
    read(db, 1, FEB, 1_090)
    assert runs.advance(db, run.id, now=NOW).states == {"parked": 1}
    runs.reopen(db, run.id, actor="user:reza", now=NOW)
    assert runs.advance(db, run.id, now=NOW).states == {"billed": 1}
    assert rows(db, "SELECT energy_wh FROM bills.bill") == [(90_000,)]


@pytest.mark.req("G9", "G17")
def test_a_duplicate_is_the_same_page_octet_by_octet(db: Database) -> None:
    book(db, household(1))
    read(db, 1, FEB, 1_100)
    finished(db)
    bill = rows(db, "SELECT id FROM bills.bill")[0][0]
    first = documents.duplicate(db, bill, actor="user:li", now=NOW)
    assert first == documents.duplicate(db, bill, actor="user:wu", now=NOW)
    assert first.startswith(b"%PDF")
    with db.transaction() as conn:
        assert ledger.audit_sums(conn).count == 0
