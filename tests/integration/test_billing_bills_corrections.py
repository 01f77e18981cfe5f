"""What was wrong is billed anew: reversed, linked, priced whole; the books say so to the micro."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from billing.bills import store
from billing.bills.model import BillKind, CancelKind, Decision, Stage
from billing.bills.service import corrections, replay, review
from billing.bills.service import run as runs
from billing.bills.service.corrections import Order
from cloud.store.db import Database
from protocols.errors import RefusedError
from tests.integration.billing_kit import YUAN, rows
from tests.integration.bills_kit import APR, FEB, JAN, MAR, NOW, ZONE, book, household, read
from tests.integration.test_billing_bills_run import finished, opened

ONE = Order(reason="read again", actor="user:li")
TWO = Order(reason="read again", actor="user:li", approver="user:wu")


def three_months(db: Database) -> list[int]:
    """Bill 300, 300 and 100 kWh: the step at 500 kWh is passed in the second month."""
    book(db, household(1))
    for day, kwh in ((FEB, 1_300), (MAR, 1_600), (APR, 1_700)):
        read(db, 1, day, kwh)
    for start, end in ((JAN, FEB), (FEB, MAR), (MAR, APR)):
        finished(db, start, end, high_percent=10_000, low_percent=0)
    return [row[0] for row in rows(db, "SELECT id FROM bills.bill ORDER BY id")]


def owed(db: Database) -> int:
    query = "SELECT sum(posted_dr - posted_cr)::bigint FROM ledger.account WHERE kind = %s"
    return int(rows(db, query, ["ar_energy"])[0][0])


def standing(db: Database) -> list[tuple[object, ...]]:
    query = "SELECT kind, energy_wh / 1000, total_micros, corrects FROM bills.standing"
    return rows(db, query + " ORDER BY period_start")


def charged(kwh: int, before: int = 0) -> int:
    """Return the bill of some kWh after others, worked by hand: 0.52 to 500 kWh, 0.82 beyond."""
    cheap = max(0, min(500, before + kwh) - before)
    fen = cheap * 52 + (kwh - cheap) * 82 + 300
    return (fen + (fen * 13 + 50) // 100) * 10_000


@pytest.mark.req("G20")
def test_a_reading_error_rebills_the_period_and_each_later_one_it_moved(db: Database) -> None:
    ids = three_months(db)
    assert [row[2] for row in standing(db)] == [charged(300), charged(300, 300), charged(100, 600)]
    made = corrections.correct(
        db, ids[0], kind=BillKind.CORRECTIVE_READING, wh=1_250_000, order=ONE, now=NOW
    )
    # 250 then 350: the third month starts where it started, from the same counter
    assert standing(db) == [
        ("corrective_reading", 250, charged(250), ids[0]),
        ("rerun", 350, charged(350, 250), ids[1]),
        ("cycle", 100, charged(100, 600), None),
    ]
    assert len(made) == 2
    assert owed(db) == charged(250) + charged(350, 250) + charged(100, 600)
    with db.transaction() as conn:
        assert all(not replay.replay(conn, bill).differences for bill in [*ids, *made])


@pytest.mark.req("G20")
def test_a_meter_error_changes_every_counter_of_the_ladder_year(db: Database) -> None:
    ids = three_months(db)
    corrections.correct(db, ids[0], kind=BillKind.CORRECTIVE_METER, wh=400_000, order=ONE, now=NOW)
    assert [row[:3] for row in standing(db)] == [
        ("corrective_meter", 400, charged(400)),
        ("rerun", 300, charged(300, 400)),
        ("rerun", 100, charged(100, 700)),
    ]


def test_a_correction_that_changes_nothing_nets_to_zero(db: Database) -> None:
    ids = three_months(db)
    before = owed(db)
    corrections.correct(
        db, ids[0], kind=BillKind.CORRECTIVE_READING, wh=1_300_000, order=ONE, now=NOW
    )
    assert owed(db) == before
    assert [row[0] for row in standing(db)] == ["corrective_reading", "cycle", "cycle"]


def test_a_rebill_of_a_rebill_needs_a_second_person(db: Database) -> None:
    ids = three_months(db)
    made = corrections.correct(
        db, ids[0], kind=BillKind.CORRECTIVE_READING, wh=1_250_000, order=ONE, now=NOW
    )
    with pytest.raises(RefusedError, match="bills.rebill_of_rebill") as refused:
        corrections.correct(
            db, made[0], kind=BillKind.CORRECTIVE_READING, wh=1_260_000, order=ONE, now=NOW
        )
    assert "approver" in refused.value.fix
    with pytest.raises(RefusedError, match="bills.cancelled_already"):
        corrections.correct(
            db, ids[0], kind=BillKind.CORRECTIVE_READING, wh=1_260_000, order=TWO, now=NOW
        )
    corrections.correct(
        db, made[0], kind=BillKind.CORRECTIVE_READING, wh=1_260_000, order=TWO, now=NOW
    )
    assert [row[2] for row in standing(db)] == [
        charged(260), charged(340, 260), charged(100, 600)
    ]  # fmt: skip


@pytest.mark.req("G19")
def test_only_the_newest_bill_is_cancelled_and_special_takes_two(db: Database) -> None:
    ids = three_months(db)
    with pytest.raises(RefusedError, match="bills.not_newest"):
        corrections.cancel(db, ids[0], kind=CancelKind.ORDINARY, order=ONE, now=NOW)
    with pytest.raises(RefusedError, match="bills.same_person"):
        corrections.cancel(db, ids[2], kind=CancelKind.SPECIAL, order=ONE, now=NOW)
    corrections.cancel(db, ids[2], kind=CancelKind.SPECIAL, order=TWO, now=NOW)
    assert owed(db) == charged(300) + charged(300, 300)
    run = finished(db, MAR, APR, low_percent=0, high_percent=10_000)
    assert run.seq == 2
    assert owed(db) == charged(300) + charged(300, 300) + charged(100, 600)


@pytest.mark.req("G18")
def test_an_adhoc_bill_ends_where_the_cycle_then_begins(db: Database) -> None:
    book(db, household(1))
    middle = JAN.replace(day=16)
    read(db, 1, middle, 1_040)
    read(db, 1, FEB, 1_100)
    corrections.bill_now(db, "SA-000001", end=middle, zone=ZONE, order=ONE, now=NOW)
    finished(db)
    assert [row[:2] for row in standing(db)] == [("adhoc", 40), ("cycle", 60)]
    usage = {
        "period": {"start": "2026-02-01", "end": "2026-02-11"}, "quality": "actual",
        "kwh": {"all": "10"},
    }  # fmt: skip
    with pytest.raises(RefusedError, match="bills.same_person"):
        corrections.bill_usage(
            db, "SA-000001", usage=json.dumps(usage).encode(), order=ONE, now=NOW
        )
    bill = corrections.bill_usage(
        db, "SA-000001", usage=json.dumps(usage).encode(), order=TWO, now=NOW
    )
    with db.transaction() as conn:
        assert store.bills_by_id(conn, [bill])[0].energy_wh == 10_000


@pytest.mark.req("G8")
def test_refund_and_supplement_are_documents_of_two_people(db: Database) -> None:
    ids = three_months(db)
    before = owed(db)
    with pytest.raises(RefusedError, match="bills.same_person"):
        corrections.adjust(
            db, "SA-000001", kind=BillKind.REFUND, amount_micros=5 * YUAN, start=JAN, end=FEB,
            order=ONE, now=NOW,
        )  # fmt: skip
    corrections.adjust(
        db, "SA-000001", kind=BillKind.REFUND, amount_micros=5 * YUAN, start=JAN, end=FEB,
        order=TWO, now=NOW,
    )  # fmt: skip
    corrections.adjust(
        db, "SA-000001", kind=BillKind.SUPPLEMENT, amount_micros=2 * YUAN, start=JAN, end=FEB,
        order=TWO, now=NOW,
    )  # fmt: skip
    assert owed(db) == before - 3 * YUAN
    assert len(ids) == 3


def test_a_true_up_prices_the_span_once_and_credits_the_estimates(db: Database) -> None:
    book(db, household(1))
    read(db, 1, FEB, 1_310)
    finished(db)
    finished(db, FEB, MAR)  # nobody read: 28 days at 10 kWh
    assert standing(db)[-1][:2] == ("cycle", 280)
    read(db, 1, APR, 1_910)
    run = opened(db, MAR, APR)
    runs.advance(db, run.id, now=NOW)
    with db.transaction() as conn:
        for item in review.queue(conn, run.id):
            review.decide(
                db, run.id, item.agreement, Decision.ACCEPT, actor="user:li", reason="seen",
                now=NOW,
            )  # fmt: skip
    runs.advance(db, run.id, now=NOW)
    runs.close(db, run.id, actor="user:li", now=NOW)
    whole = charged(600, 310) + 3 * YUAN + 390_000  # two months' standing charge
    assert [row[:3] for row in standing(db)] == [
        ("cycle", 310, charged(310)), ("trueup", 600, whole)
    ]  # fmt: skip
    assert owed(db) == charged(310) + whole


def test_a_bill_outside_a_run_waits_for_the_run_that_posts(db: Database) -> None:
    book(db, household(1))
    read(db, 1, FEB, 1_100)
    run = opened(db)
    runs.advance(db, run.id, now=NOW, until=Stage.APPROVED)
    with ThreadPoolExecutor(1) as pool, db.transaction() as conn:
        store.lock_open_runs(conn)
        late = pool.submit(
            corrections.bill_now, db, "SA-000001", end=FEB, zone=ZONE, order=ONE, now=NOW
        )
        with pytest.raises(TimeoutError):
            late.result(timeout=0.5)
        conn.commit()
        assert late.result(timeout=60)
    assert runs.advance(db, run.id, now=NOW).states == {"parked": 1}
    assert [row[:2] for row in standing(db)] == [("adhoc", 100)]
