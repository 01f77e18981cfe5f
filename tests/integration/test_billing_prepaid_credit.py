"""Friendly hours, emergency credit and old debt on a real database, every step in the ledger."""

from datetime import UTC, date, datetime, timedelta
from threading import Thread

import pytest

from billing.collections import service as collections
from billing.collections.model import CaseState
from billing.customers import service as customers
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind
from billing.payments import service as payments
from billing.prepaid import service as prepaid
from billing.prepaid.rules.credit import Level, PolicyPart
from billing.prepaid.service import credit, policies
from billing.prepaid.store.credit import Source
from cloud.control import service as control
from cloud.control.model import RequestState
from cloud.messages import service as messages
from cloud.store import audit
from cloud.store.db import Database
from protocols.errors import RefusedError
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, read, rows, street

UP, AC = "UP-000001", "AC-000001"
DAY = timedelta(days=1)


def say(db: Database, level: Level = Level.DEFAULT, target: str = "CNY", **says: object) -> None:
    policies.set_policy(
        db, PolicyPart(level=level, target=target, says=says), actor="user:lin", now=ORIGIN
    )


def turn(db: Database, at: datetime) -> None:
    prepaid.sweep(db, now=at)
    credit.lend_by_policy(db, now=at)
    collections.step(db, now=at)


def use(db: Database, at: datetime, wh: int) -> None:
    read(db, UP, at, wh)
    turn(db, at)


def left(db: Database, at: datetime) -> int:
    with db.transaction() as conn:
        return prepaid.balance_of(conn, UP, at).available_micros


def owed(db: Database) -> dict[str, int]:
    with db.transaction() as conn:
        return {kind.value: due for kind, due in ledger.owed(conn, AC).items()}


def view(db: Database, at: datetime) -> credit.CreditView:
    with db.transaction() as conn:
        card = customers.card_of(conn, UP)
        assert card is not None
        return credit.credit_of(conn, card, prepaid.balance_of(conn, UP, at), at)


def fallen(db: Database, wh: int = 1_110_000) -> datetime:
    """Let the customer fall to -7.20 (or as `wh` says) one hour after the origin."""
    street(db, customer(1))
    at = ORIGIN + HOUR
    use(db, at, wh)
    return at


@pytest.mark.req("C10")
def test_the_customer_takes_a_loan_once_and_the_next_money_repays_it_first(db: Database) -> None:
    say(db, emergency_micros=10 * YUAN)
    at = fallen(db)
    assert left(db, at) == 50 * YUAN - 57_200_000
    given = credit.take_emergency(db, UP, actor="user:wang", now=at)
    assert (given.no, given.amount_micros, given.before_micros) == (1, 10 * YUAN, -7_200_000)
    found = view(db, at)
    assert (found.available_micros, found.own_micros, found.lent_micros) == (
        2_800_000, -7_200_000, 10 * YUAN,
    )  # fmt: skip
    with pytest.raises(RefusedError, match="outstanding"):
        credit.take_emergency(db, UP, actor="user:wang", now=at)
    collections.step(db, now=at)
    with db.transaction() as conn:
        assert collections.cases_of(conn, UP)[0].state is CaseState.PAID
        told = [one.kind.value for one in messages.messages_of(conn, UP)]
        acts = [one.action for one in audit.history(conn, entity="account", entity_id=AC)]
    assert "credit_given" in told
    assert "prepaid.emergency_given" in acts
    payments.pay(db, order(1, "a", 6), now=at)
    assert owed(db) == {"ar_emergency": 4 * YUAN}
    assert left(db, at) == 2_800_000
    payments.pay(db, order(1, "b", 30), now=at)
    assert owed(db) == {}
    assert left(db, at) == 2_800_000 + 26 * YUAN
    assert view(db, at).own_micros == left(db, at)
    kept = rows(db, "SELECT target, amount_micros FROM payments.allocation ORDER BY amount_micros")
    assert kept == [("ar_emergency", 4 * YUAN), ("ar_emergency", 6 * YUAN)]
    with db.transaction() as conn:
        assert ledger.audit_sums(conn).count == 0
        assert prepaid.audit_fees(conn).count == 0


def test_a_loan_that_does_not_help_or_is_not_needed_is_refused(db: Database) -> None:
    street(db, customer(1))
    prepaid.sweep(db, now=ORIGIN)
    with pytest.raises(RefusedError, match="not_offered"):
        credit.take_emergency(db, UP, actor="user:wang", now=ORIGIN)
    say(db, emergency_micros=10 * YUAN)
    read(db, UP, ORIGIN + HOUR, 1_001_000)
    prepaid.sweep(db, now=ORIGIN + HOUR)
    with pytest.raises(RefusedError, match="not_needed"):
        credit.take_emergency(db, UP, actor="user:wang", now=ORIGIN + HOUR)
    read(db, UP, ORIGIN + 2 * HOUR, 1_300_000)
    prepaid.sweep(db, now=ORIGIN + 2 * HOUR)
    with pytest.raises(RefusedError, match="debt_too_large"):
        credit.take_emergency(db, UP, actor="user:wang", now=ORIGIN + 2 * HOUR)
    with pytest.raises(RefusedError, match="balance_unsure"):
        credit.take_emergency(db, UP, actor="user:wang", now=ORIGIN + 3 * DAY)
    assert owed(db) == {}


def test_a_loan_by_policy_comes_by_itself_and_only_once(db: Database) -> None:
    say(db, emergency_micros=10 * YUAN, emergency_auto=True)
    at = fallen(db)
    assert left(db, at) == 2_800_000
    for minutes in (1, 2):
        turn(db, at + timedelta(minutes=minutes))
    assert owed(db) == {"ar_emergency": 10 * YUAN}
    use(db, at + HOUR, 1_120_000)
    assert left(db, at + HOUR) == -2_400_000
    assert owed(db) == {"ar_emergency": 10 * YUAN}
    assert len(view(db, at + HOUR).loans) == 1


def test_a_loan_takes_back_a_cut_that_was_on_its_way(db: Database) -> None:
    say(db, emergency_micros=20 * YUAN)
    at = fallen(db)
    use(db, at + DAY, 1_111_000)
    turn(db, at + DAY)
    with db.transaction() as conn:
        request = collections.cases_of(conn, UP)[0].request_id
    assert request
    credit.take_emergency(db, UP, actor="user:wang", now=at + DAY)
    with db.transaction() as conn:
        assert control.request_of(conn, request).state is RequestState.CANCELLED


@pytest.mark.req("C10", "F6")
def test_the_customers_policy_beats_area_line_and_group(db: Database) -> None:
    street(db, customer(1), customer(2))
    policies.set_line(db, "T-01", "L-7", actor="user:lin", now=ORIGIN)
    policies.set_group(db, "SA-000001", "rural", actor="user:lin", now=ORIGIN)
    say(db, emergency_micros=1)
    say(db, Level.GROUP, "rural", emergency_micros=2, recovery_permille=50)
    say(db, Level.LINE, "L-7", emergency_micros=3)
    points = [(f"SA-00000{n}", f"UP-00000{n}", "CNY") for n in (1, 2)]

    def amounts() -> list[int]:
        with db.transaction() as conn:
            return [found.emergency_micros for found in policies.policies_of(conn, points)]

    assert amounts() == [3, 3]
    say(db, Level.TRANSFORMER, "T-01", emergency_micros=4)
    say(db, Level.AGREEMENT, "SA-000001", emergency_micros=5)
    assert amounts() == [5, 4]
    with db.transaction() as conn:
        assert policies.policies_of(conn, points)[0].recovery_permille == 50
        assert [part.level.value for part in policies.policies(conn)] == [
            "default", "group", "line", "transformer", "agreement",
        ]  # fmt: skip


def test_in_friendly_hours_debt_accrues_and_the_cut_waits_for_the_window(db: Database) -> None:
    # ORIGIN is Tuesday noon; cuts begin from 8 to 11, on the morning of Thursday for the first time
    say(db, cut_from_hour=8, cut_until_hour=11)
    at = fallen(db)
    later = at + DAY
    use(db, later, 1_111_000)
    turn(db, later)
    with db.transaction() as conn:
        case = collections.cases_of(conn, UP)[0]
    assert case.state is CaseState.CUT_CANDIDATE
    assert case.request_id == ""
    evening = datetime(2026, 3, 11, 14, 0, tzinfo=UTC)
    use(db, evening, 1_115_000)
    turn(db, evening)
    with db.transaction() as conn:
        request = collections.cases_of(conn, UP)[0].request_id
    for actor in ("user:lin", "user:aziz"):
        control.approve(db, request, actor=actor, now=evening)
    assert collections.step(db, now=evening).rechecked == 0
    assert view(db, evening).friendly.opens_at == datetime(2026, 3, 12, 0, 0, tzinfo=UTC)
    morning = datetime(2026, 3, 12, 0, 30, tzinfo=UTC)
    use(db, morning, 1_116_000)
    with db.transaction() as conn:
        found = control.request_of(conn, request)
        spent = ledger.balance_of(conn, AC)
    assert found.state is RequestState.RECHECKED
    assert found.recheck_until == datetime(2026, 3, 12, 3, 0, tzinfo=UTC)
    # the debt of the friendly hours stands in the book like any other day's
    assert spent < 0


def test_a_rest_day_closes_the_window_and_its_eve_too(db: Database) -> None:
    say(db, spare_eves=True)
    street(db, customer(1))
    policies.set_rest_day(db, date(2026, 3, 11), "feast", actor="user:lin", now=ORIGIN)
    with db.transaction() as conn:
        card = customers.card_of(conn, UP)
        found = policies.cut_window(conn, card, ORIGIN)
    assert (found.open, found.opens_at) == (False, datetime(2026, 3, 11, 16, 0, tzinfo=UTC))


def test_paying_in_friendly_hours_ends_the_wish_at_once(db: Database) -> None:
    say(db, cut_from_hour=8, cut_until_hour=11)
    at = fallen(db)
    evening = datetime(2026, 3, 11, 14, 0, tzinfo=UTC)
    use(db, evening, 1_111_000)
    turn(db, evening)
    with db.transaction() as conn:
        request = collections.cases_of(conn, UP)[0].request_id
    for actor in ("user:lin", "user:aziz"):
        control.approve(db, request, actor=actor, now=evening)
    payments.pay(db, order(1, "a", 60), now=evening)
    with db.transaction() as conn:
        assert control.request_of(conn, request).state is RequestState.CANCELLED
    assert at < evening


def test_old_debt_is_set_aside_by_two_people_and_recovered_by_shares(db: Database) -> None:
    say(db, recovery_permille=200, recovery_cap_micros=5 * YUAN)
    at = fallen(db, 1_200_000)
    use(db, at + DAY, 1_200_001)
    with db.transaction() as conn:
        debt = -ledger.balance_of(conn, AC)
    assert debt > 50 * YUAN
    number = credit.propose_old_debt(
        db, AC, source=Source.BALANCE, amount_micros=debt, reason="winter", actor="user:lin",
        now=at + DAY,
    )  # fmt: skip
    with pytest.raises(RefusedError, match="same_person"):
        credit.approve_old_debt(db, number, actor="user:lin", now=at + DAY)
    with pytest.raises(RefusedError, match="no_such_debt"):
        credit.propose_old_debt(
            db, AC, source=Source.BALANCE, amount_micros=1, reason="again", actor="user:lin",
            now=at + DAY,
        )  # fmt: skip
    assert credit.approve_old_debt(db, number, actor="user:aziz", now=at + DAY).entry_id
    assert owed(db) == {"ar_old_debt": debt}
    assert left(db, at + DAY) == 0
    assert payments.quote(db, "bank", AC, now=at + DAY).lines == ()
    payments.pay(db, order(1, "a", 10), now=at + DAY)
    assert owed(db) == {"ar_old_debt": debt - 2 * YUAN}
    assert left(db, at + DAY) == 8 * YUAN
    payments.pay(db, order(1, "b", 100), now=at + DAY)
    assert owed(db) == {"ar_old_debt": debt - 7 * YUAN}
    with pytest.raises(RefusedError, match="debt_ended"):
        credit.approve_old_debt(db, number, actor="user:mona", now=at + DAY)
    with db.transaction() as conn:
        assert ledger.audit_sums(conn).count == 0


def test_a_proposal_withdrawn_books_nothing_and_leaves_room_for_another(db: Database) -> None:
    at = fallen(db, 1_200_000)
    use(db, at + DAY, 1_200_001)
    for _ in range(2):
        number = credit.propose_old_debt(
            db, AC, source=Source.BALANCE, amount_micros=YUAN, reason="x", actor="user:lin",
            now=at + DAY,
        )  # fmt: skip
        credit.withdraw_old_debt(db, number, actor="user:lin", now=at + DAY)
    assert owed(db) == {}
    with db.transaction() as conn:
        assert credit.old_debts_open(conn) == []


def test_a_top_up_repays_the_loan_before_old_debt_takes_its_share(db: Database) -> None:
    say(db, emergency_micros=10 * YUAN, emergency_from_micros=YUAN, recovery_permille=500)
    at = fallen(db, 1_200_000)
    use(db, at + DAY, 1_200_001)
    with db.transaction() as conn:
        debt = -ledger.balance_of(conn, AC)
    number = credit.propose_old_debt(
        db, AC, source=Source.BALANCE, amount_micros=debt, reason="x", actor="user:lin",
        now=at + DAY,
    )  # fmt: skip
    credit.approve_old_debt(db, number, actor="user:aziz", now=at + DAY)
    credit.take_emergency(db, UP, actor="user:wang", now=at + DAY)
    payments.pay(db, order(1, "a", 30), now=at + DAY)
    assert owed(db) == {AccountKind.AR_OLD_DEBT.value: debt - 10 * YUAN}
    assert left(db, at + DAY) == 20 * YUAN


def test_many_who_ask_at_once_get_one_loan(db: Database, database_dsn: str) -> None:
    say(db, emergency_micros=10 * YUAN)
    at = fallen(db)
    refused = []

    def ask(hand: int) -> None:
        with Database(database_dsn, user="meterloop_portal", size=1) as mine:
            try:
                credit.take_emergency(mine, UP, actor=f"user:hand{hand}", now=at)
            except RefusedError as error:
                refused.append(error.refusal.value)

    hands = [Thread(target=ask, args=(hand,)) for hand in range(6)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join(30)
    assert refused == ["credit.outstanding"] * 5
    assert owed(db) == {"ar_emergency": 10 * YUAN}
    assert len(view(db, at).loans) == 1
