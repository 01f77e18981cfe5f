"""Plans of instalments on a real database: kept, broken, taken back; their case and penalty."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from billing.bills.rules.plans import PlanEvent, PlanState
from billing.bills.service import penalty, plan_turns, plans
from billing.bills.service.plans import ALL_KINDS, Wish
from billing.bills.store.plans import Plan
from billing.collections import service as collections
from billing.collections.model import CaseState
from billing.customers.model import CustomerKind
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind
from billing.payments import service as payments
from billing.prepaid import service as prepaid
from cloud.control import service as control
from cloud.control.model import RequestState
from cloud.messages import service as messages
from cloud.store.db import Database
from protocols.errors import RefusedError
from tests.integration.billing_kit import YUAN, order, rows
from tests.integration.billing_kit import read as read_at
from tests.integration.bills_kit import FEB, NOW, book, household, read
from tests.integration.test_billing_bills_penalty import FIRM, HOME, TODAY
from tests.integration.test_billing_bills_run import finished
from tests.integration.test_billing_collections import case_of, due, fall, turn

UP = "UP-000001"


def noon(month: int, day: int) -> datetime:
    return datetime(2026, month, day, 12, tzinfo=UTC)


@pytest.fixture
def late(db: Database) -> Database:
    """62.15 CNY of a household and 389.85 CNY of a firm, due on 16 February."""
    book(db, household(1), household(2, kind=CustomerKind.LEGAL))
    read(db, 1, FEB, 1_100)
    read(db, 2, FEB, 1_600)
    finished(db)
    return db


def wish(account: str = FIRM, first: float = 80, count: int = 3, **changes: Any) -> Wish:
    base = Wish(
        account=account, first_micros=int(first * YUAN), instalments=count, kinds=ALL_KINDS,
        reason="a bad harvest", actor="user:li",
    )  # fmt: skip
    return replace(base, **changes)


def standing(db: Database, account: str = FIRM) -> dict[str, int]:
    found = rows(
        db, "SELECT kind, (posted_dr - posted_cr)::bigint FROM ledger.account"
        " WHERE posted_dr <> posted_cr AND (code = %s OR code LIKE %s)",
        [account, f"%:{account}"],
    )  # fmt: skip
    return dict(found)


def accrue(db: Database, upto: date) -> int:
    later = datetime(upto.year, upto.month, upto.day, tzinfo=UTC) + timedelta(days=1)
    return penalty.accrue(
        db, upto=upto, today=TODAY, actor="system:bills", now=later
    ).charged_micros


def pay(db: Database, yuan: float, at: datetime, number: int = 2) -> None:
    payments.pay(db, replace(order(number, f"t{at:%m%d}", yuan), peer_time=at), now=at)


def state_of(db: Database) -> PlanState:
    with db.transaction() as conn:
        return plans.pages_of(conn, FIRM)[0].plan.state


def sound(db: Database) -> None:
    ledger.seal(db, now=NOW)
    assert ledger.audit_book(db).violations == 0


def signed(db: Database, at: datetime, **changes: Any) -> Plan:
    plan = plans.propose(db, wish(**changes), now=at)
    return plans.sign(db, plan.id, actor="customer:c2", now=at)


@pytest.mark.req("G11")
def test_a_plan_that_is_kept_bears_no_penalty_and_ends_paid(
    late: Database, database_dsn: str
) -> None:
    assert accrue(late, date(2026, 2, 21)) == 4_900_000
    with Database(database_dsn, user="meterloop_portal") as pages:
        plan = signed(pages, noon(2, 21))
    assert plan.parts.total == 393_750_000
    assert standing(late) == {"ar_plan": 313_750_000, "ar_instalment": 80_000_000}
    with late.transaction() as conn:
        told = [each.text for each in messages.messages_of(conn, "UP-000002")]
        assert any("1/0" in text and "80" in text for text in told)
    quote = payments.quote(late, "bank", FIRM, now=noon(2, 21))
    assert [(line.code, line.amount_micros) for line in quote.lines] == [
        ("ar_instalment", 80_000_000)
    ]
    pay(late, 80, noon(2, 21))
    with Database(database_dsn, user="meterloop_billing") as own:
        for month, share in ((3, 104.58), (4, 104.58), (5, 104.59)):
            plan_turns.step(own, now=noon(month, 10))
            assert "ar_instalment" not in standing(late)
            assert plan_turns.step(own, now=noon(month, 11)) == 1
            assert standing(late)["ar_instalment"] == round(share * 100) * 10_000
            pay(late, share, noon(month, 20))
        assert accrue(late, date(2026, 4, 30)) == 3_540_000  # the household's alone
        assert plan_turns.step(own, now=noon(5, 21)) == 1
        assert plan_turns.step(own, now=noon(5, 22)) == 0
    assert standing(late) == {}
    with late.transaction() as conn:
        page = plans.pages_of(conn, FIRM)[0]
        happened = [event.event for event in plans.events_of(conn, FIRM)]
    assert (page.plan.state, page.left_micros) == (PlanState.PAID, 0)
    assert happened == ["plan_paid", "plan_signed", "plan_proposed"]
    noted = rows(late, "SELECT action FROM audit.event WHERE action LIKE 'plan.%%' ORDER BY id")
    assert [row[0] for row in noted] == ["plan.proposed", "plan.signed", "plan.paid"]
    sound(late)


@pytest.mark.req("G11")
@pytest.mark.parametrize("again", [True, False])
def test_a_plan_whose_last_payment_is_voided_goes_on(
    late: Database, database_dsn: str, *, again: bool
) -> None:
    signed(late, noon(2, 21))
    pay(late, 80, noon(2, 21))
    with Database(database_dsn, user="meterloop_billing") as own:
        for month, share in ((3, 103.28), (4, 103.28), (5, 103.29)):
            plan_turns.step(own, now=noon(month, 11))
            pay(late, share, noon(month, 20))
        plan_turns.step(own, now=noon(5, 20))
        assert state_of(late) is PlanState.PAID
        payments.void(
            late, "bank", "t0520", reason="mistake", actor="peer:bank",
            now=noon(5, 20) + timedelta(minutes=1),
        )  # fmt: skip
        assert standing(late) == {"ar_instalment": 103_290_000}
        # another plan of the account would take the same receivable for its own
        other = plans.propose(late, wish(HOME, first=20, count=1), now=noon(5, 20))
        assert other.state is PlanState.APPROVED
        plan_turns.step(own, now=noon(5, 20) + timedelta(minutes=2))
        assert state_of(late) is PlanState.ACTIVE
        noted = rows(late, "SELECT action FROM audit.event WHERE action = 'plan.reopened'")
        assert noted == [("plan.reopened",)]
        if again:
            pay(late, 103.29, noon(5, 21))
            plan_turns.step(own, now=noon(5, 21))
            assert (state_of(late), standing(late)) == (PlanState.PAID, {})
        else:
            plan_turns.step(own, now=noon(6, 21))
            assert state_of(late) is PlanState.BROKEN
            assert standing(late) == {"ar_energy": 103_290_000}
        assert plan_turns.step(own, now=noon(6, 22)) == 0
    sound(late)


@pytest.mark.req("G11", "I9")
def test_a_broken_plan_gives_the_debt_back_with_its_penalty_clock(late: Database) -> None:
    accrue(late, date(2026, 2, 20))
    signed(late, noon(2, 21))
    pay(late, 80, noon(2, 21))
    # the household's 0.99, and of the firm the day of the signature
    assert accrue(late, date(2026, 3, 20)) == 1_770_000
    plan_turns.step(late, now=noon(3, 11))
    plan_turns.step(late, now=noon(3, 24))
    assert standing(late)["ar_instalment"] == 104_320_000
    assert plan_turns.step(late, now=noon(3, 25)) == 1
    # of the first share 3.12 paid the penalty, 76.88 the bill
    assert standing(late) == {"ar_energy": 312_970_000, "ar_penalty": 780_000}
    # five days of 389.85 and 33 of 312.97 at 2 per mille are 24.55452
    accrue(late, date(2026, 3, 26))
    with late.transaction() as conn:
        found = penalty.quote(conn, FIRM, as_of=date(2026, 3, 26))
    assert found.bills[0].penalty_micros == 24_550_000
    assert standing(late) == {"ar_energy": 312_970_000, "ar_penalty": 21_430_000}
    with late.transaction() as conn:
        page = plans.pages_of(conn, FIRM)[0]
    assert page.plan.state is PlanState.BROKEN
    sound(late)


@pytest.mark.req("G11")
def test_money_that_lies_there_pays_a_share_when_it_is_asked_for(late: Database) -> None:
    signed(late, noon(2, 21))
    pay(late, 200, noon(2, 21))
    assert standing(late)["customer_prepayment"] == -120_000_000
    plan_turns.step(late, now=noon(3, 11))
    assert standing(late) == {
        "ar_plan": 206_570_000, "customer_prepayment": -(120_000_000 - 103_280_000),
    }  # fmt: skip
    plan_turns.step(late, now=noon(3, 28))
    with late.transaction() as conn:
        assert plans.pages_of(conn, FIRM)[0].plan.state is PlanState.ACTIVE
    sound(late)


@pytest.mark.req("G11")
def test_two_people_agree_to_a_large_plan_and_one_open_plan_is_the_most(late: Database) -> None:
    with late.transaction() as conn:
        conn.execute("SELECT 1")
    terms = plans.RULES["legal", "CNY"]
    small = {**plans.RULES, ("legal", "CNY"): replace(terms, two_people_micros=100 * YUAN)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "RULES", small)
        plan = plans.propose(late, wish(), now=noon(2, 21))
    assert plan.state is PlanState.PROPOSED
    for act, code in (
        (lambda: plans.sign(late, plan.id, actor="customer:c2", now=noon(2, 21)), "plan.state"),
        (
            lambda: plans.decide(
                late, plan.id, PlanEvent.APPROVE, actor="user:li", now=noon(2, 21)
            ), "plan.same_person",
        ),
        (lambda: plans.propose(late, wish(), now=noon(2, 21)), "plan.open_already"),
        (lambda: plans.propose(late, wish(reason=" "), now=noon(2, 21)), "plan.reason_missing"),
        (lambda: plans.propose(late, wish(HOME, first=70), now=noon(2, 21)), "plan.terms_unfit"),
        (lambda: plans.sign(late, 99, actor="customer:c2", now=noon(2, 21)), "plan.unknown"),
        (lambda: plans.propose(late, wish("AC-9"), now=noon(2, 21)),
         "customers.agreement_unknown"),
    ):  # fmt: skip
        with pytest.raises(RefusedError) as refused:
            act()
        assert refused.value.refusal == code
    with pytest.raises(Exception, match="plan_by_two"), late.transaction() as conn:
        conn.execute("UPDATE bills.plan SET state = 'approved', decided_by = proposed_by")
    plans.decide(late, plan.id, PlanEvent.APPROVE, actor="user:wang", now=noon(2, 21))
    pay(late, 300, noon(2, 22))
    with pytest.raises(RefusedError) as refused:
        plans.sign(late, plan.id, actor="customer:c2", now=noon(2, 22))
    assert refused.value.refusal == "plan.debt_changed"
    done = plans.decide(late, plan.id, PlanEvent.WITHDRAW, actor="user:li", now=noon(2, 22))
    assert done.state is PlanState.WITHDRAWN
    assert standing(late) == {"ar_energy": 89_850_000}


@pytest.mark.req("G11")
def test_a_plan_is_taken_back_by_two_people_and_the_debt_is_due_again(late: Database) -> None:
    plan = signed(late, noon(2, 21), kinds=frozenset({AccountKind.AR_ENERGY}))
    with pytest.raises(RefusedError) as refused:
        plans.take_back(late, plan.id, order=("user:li", "user:li"), reason="sold", now=noon(2, 22))
    assert refused.value.refusal == "plan.same_person"
    ended = plans.take_back(
        late, plan.id, order=("user:li", "user:wang"), reason="sold", now=noon(2, 22)
    )
    assert ended.state is PlanState.CANCELLED
    assert standing(late) == {"ar_energy": 389_850_000}
    noted = rows(late, "SELECT actor, on_behalf FROM audit.event WHERE action = 'plan.cancelled'")
    assert noted == [("user:li", "user:wang")]
    sound(late)


def requested(db: Database) -> datetime:
    """Let the case of the first customer come to its request; return when."""
    later = due(db, fall(db))
    turn(db, later)
    assert case_of(db).state is CaseState.REQUESTED
    return later


@pytest.mark.req("G11", "D5")
def test_a_kept_plan_stops_the_cut_and_a_broken_one_returns_the_case(db: Database) -> None:
    later = requested(db)
    asked = case_of(db).request_id
    plan = plans.propose(db, wish(HOME, first=1, count=1), now=later)
    assert plan.parts.prepaid == 7_720_000
    assert plan.parts.prepaid % plan.terms.step_micros == 0
    plans.sign(db, plan.id, actor="customer:c1", now=later)
    with db.transaction() as conn:
        request = control.request_of(conn, asked)
        balance = prepaid.balance_of(conn, UP, later)
    assert request.state is RequestState.CANCELLED
    assert balance.available_micros == 0
    turn(db, later)
    assert case_of(db).state is CaseState.INSTALMENT
    turn(db, later + timedelta(days=2))
    assert case_of(db).state is CaseState.INSTALMENT
    miss = later + timedelta(days=7)
    assert plan_turns.step(db, now=miss) == 1
    with db.transaction() as conn:
        assert prepaid.balance_of(conn, UP, miss).available_micros == -7_720_000
    turn(db, miss)
    case = case_of(db)
    assert case.state in {CaseState.OVERDUE, CaseState.NOTICE}
    assert case.notice_ends_at >= miss + timedelta(hours=24)
    with db.transaction() as conn:
        went = [step.event for step in collections.transitions_of(conn, case.id)]
    assert "planned" in went
    sound(db)


@pytest.mark.req("G11")
def test_a_paid_plan_ends_its_case(db: Database) -> None:
    later = requested(db)
    plan = plans.propose(db, wish(HOME, first=1, count=1), now=later)
    plans.sign(db, plan.id, actor="customer:c1", now=later)
    turn(db, later)
    payments.pay(db, replace(order(1, "p1", 1), peer_time=later), now=later)
    following = later + timedelta(days=28)
    plan_turns.step(db, now=following)
    payments.pay(db, replace(order(1, "p2", 6.72), peer_time=following), now=following)
    assert set(standing(db, HOME)) == {"customer_prepayment"}  # what is used and not drawn yet
    assert plan_turns.step(db, now=following) == 1
    turn(db, following)
    case = case_of(db)
    assert case.state is CaseState.PAID
    assert case.closed_at is not None
    sound(db)


@pytest.mark.req("G11")
def test_what_is_used_beside_a_plan_is_dunned_as_ever(db: Database) -> None:
    later = requested(db)
    plan = plans.propose(db, wish(HOME, first=1, count=1), now=later)
    plans.sign(db, plan.id, actor="customer:c1", now=later)
    turn(db, later)
    assert case_of(db).state is CaseState.INSTALMENT
    soon = later + timedelta(hours=2)
    read_at(db, UP, soon, 1_120_000)
    turn(db, soon)
    turn(db, soon)
    assert case_of(db).state in {CaseState.OVERDUE, CaseState.NOTICE}
    with db.transaction() as conn:
        assert plans.pages_of(conn, HOME)[0].plan.state is PlanState.ACTIVE
