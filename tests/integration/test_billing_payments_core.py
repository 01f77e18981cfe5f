"""Quote, hold, post, void, suspense, allocation, reconciliation on a real database."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.ledger import service as ledger
from billing.ledger.model import Event
from billing.payments import service as payments
from billing.payments.model import (
    Channel,
    DifferenceKind,
    FileRow,
    HoldState,
    Outcome,
    PaymentState,
    Policy,
)
from cloud.control import service as control
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.timeline import Interval
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, rows, street

UP, AC = "UP-000001", "AC-000001"
TWO = ("user:lin", "user:reza")
DAY = Interval(start=ORIGIN, end=ORIGIN + timedelta(hours=20))


@pytest.fixture
def house(db: Database) -> Database:
    street(db, customer(1, opening_balance_micros=0), customer(2, opening_balance_micros=0))
    return db


def balance(db: Database, account: str = AC) -> int:
    with db.transaction() as conn:
        return ledger.balance_of(conn, account)


def sound(db: Database) -> None:
    with db.transaction() as conn:
        assert payments.audit_payments(conn).count == 0
    assert ledger.audit_book(db).violations == 0


def void(db: Database, txn: str = "t", *, now=ORIGIN) -> HoldState:
    return payments.void(db, "bank", txn, reason="5", actor="peer:bank", now=now).state


def post(db: Database, txn: str = "t", *, now=ORIGIN, taken: bool = False):
    return payments.post(db, "bank", txn, actor="peer:bank", now=now, taken=taken)


@pytest.mark.req("H1", "H9")
def test_a_hold_moves_nothing_a_post_moves_once_and_raises_the_epoch(house: Database) -> None:
    held = payments.hold(house, order(1, "t", 30), now=ORIGIN)
    assert (held.state, balance(house)) == (HoldState.HELD, 0)
    assert payments.hold(house, order(1, "t", 30), now=ORIGIN + HOUR) == held
    with house.transaction() as conn:
        before = control.supply_of(conn, UP).epoch
    first, again = post(house), post(house, now=ORIGIN + 20 * HOUR)
    assert (first.replayed, again.replayed) == (False, True)
    assert (again.receipt_no, balance(house)) == (first.receipt_no, 30 * YUAN)
    with house.transaction() as conn:
        assert control.supply_of(conn, UP).epoch == before + 1
    sound(house)


@pytest.mark.req("H9")
def test_a_void_releases_a_hold_and_reverses_what_is_unspent_on_an_open_day(
    house: Database,
) -> None:
    payments.hold(house, order(1, "t", 30), now=ORIGIN)
    assert [void(house), void(house)] == [HoldState.RELEASED] * 2
    with pytest.raises(RefusedError, match=r"payments\.ended"):
        post(house)
    payments.pay(house, order(1, "p", 30), now=ORIGIN)
    assert [void(house, "p", now=ORIGIN + HOUR) for _ in "ab"] == [HoldState.REVERSED] * 2
    assert balance(house) == 0
    with house.transaction() as conn:
        [row] = payments.statement(conn, "bank", DAY)
        assert payments.status(conn, "bank", "p").state is PaymentState.REVERSED
    assert (row.amount_micros, row.net_micros, row.state) == (30 * YUAN, 0, HoldState.REVERSED)
    sound(house)


@pytest.mark.req("H9")
def test_what_is_spent_or_of_a_closed_day_is_not_voided(house: Database) -> None:
    payments.pay(house, order(1, "p", 30), now=ORIGIN)
    with house.transaction() as conn:
        ledger.book(
            conn,
            Event(kind="deposit_taken", key="d", value_date=ORIGIN.date(), actor="user:lin",
                  currency="CNY", owners={"account": AC}, amounts={"amount": YUAN}),
            now=ORIGIN,
        )  # fmt: skip
    with pytest.raises(RefusedError, match=r"payments\.spent") as caught:
        void(house, "p")
    assert caught.value.fix
    payments.pay(house, order(1, "q", 30), now=ORIGIN)
    with pytest.raises(RefusedError, match=r"payments\.day_closed"):
        void(house, "q", now=ORIGIN + timedelta(days=1))
    assert balance(house) == 59 * YUAN
    sound(house)


@pytest.mark.req("H1")
def test_after_its_time_a_hold_is_over_unless_the_peer_has_the_money(house: Database) -> None:
    late = ORIGIN + timedelta(hours=12)
    for txn in ("t", "u"):
        payments.hold(house, order(1, txn, 30), now=ORIGIN)
    with pytest.raises(RefusedError, match=r"payments\.expired") as caught:
        post(house, now=late)
    assert caught.value.fix
    with house.transaction() as conn:
        assert payments.hold_of(conn, "bank", "t").state is HoldState.EXPIRED
    assert payments.expire(house, now=late) == 1
    assert payments.expire(house, now=late) == 0
    kept = post(house, "u", now=late, taken=True)
    assert (kept.state, post(house, "u", now=late).replayed) == (PaymentState.SUSPENSE, True)
    assert balance(house) == 0
    sound(house)


@pytest.mark.req("H1")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount_micros": 31 * YUAN}, "payments.conflict"),
        ({"account": "AC-000002"}, "payments.conflict"),
        ({"peer_txn_id": "n", "amount_micros": 0}, "payments.amount"),
        ({"peer_txn_id": "n", "amount_micros": -1}, "payments.amount"),
        ({"peer_txn_id": "n", "amount_micros": 101 * YUAN}, "payments.amount"),
        ({"peer_txn_id": "n", "currency": "UZS"}, "payments.currency"),
        ({"peer_txn_id": "n", "account": "AC-9"}, "payments.account_unknown"),
    ],
)
def test_a_hold_of_what_cannot_be_paid_is_refused(house: Database, changes, code: str) -> None:
    terms = Channel(channel="bank", max_micros=100 * YUAN)
    payments.set_channel(house, terms, actor="user:reza", now=ORIGIN)
    payments.hold(house, order(1, "t", 30), now=ORIGIN)
    with pytest.raises(RefusedError) as caught:
        payments.hold(house, order(1, "t", 30, **changes), now=ORIGIN)
    assert (caught.value.refusal.value, bool(caught.value.fix)) == (code, True)
    assert rows(house, "SELECT count(*) FROM payments.hold") == [(1,)]


@pytest.mark.req("H9")
def test_a_hold_keeps_to_its_quote(db: Database) -> None:
    street(db, customer(1, opening_balance_micros=-5 * YUAN))
    from billing.prepaid import service as prepaid

    prepaid.sweep(db, now=ORIGIN)
    terms = Channel(channel="bank", policy=Policy.EXACT)
    payments.set_channel(db, terms, actor="user:reza", now=ORIGIN)
    found = payments.quote(db, "bank", AC, now=ORIGIN)
    assert (found.due_micros, found.policy) == (5 * YUAN, Policy.EXACT)
    with pytest.raises(RefusedError, match=r"payments\.policy"):
        payments.hold(db, order(1, "t", 6), quote_id=found.id, now=ORIGIN)
    with pytest.raises(RefusedError, match=r"payments\.quote"):
        payments.hold(db, order(1, "t", 5), quote_id=found.id, now=ORIGIN + HOUR)
    held = payments.hold(db, order(1, "t", 5), quote_id=found.id, now=ORIGIN)
    assert held.state is HoldState.HELD


@pytest.mark.req("H2")
def test_a_payment_pays_what_is_owed_in_order_and_a_void_owes_it_again(house: Database) -> None:
    with house.transaction() as conn:
        for kind, key, amount in (("penalty", "a", 4), ("theft_penalty", "b", 10)):
            ledger.book(
                conn,
                Event(kind=kind, key=key, value_date=ORIGIN.date(), actor="system:billing",
                      currency="CNY", owners={"account": AC}, amounts={"amount": amount * YUAN}),
                now=ORIGIN,
            )  # fmt: skip
    payments.pay(house, order(1, "p", 9), now=ORIGIN)
    kept = rows(house, "SELECT target, amount_micros, rule FROM payments.allocation ORDER BY seq")
    assert kept == [("ar_penalty", 4 * YUAN, "loan-first-3"),
                    ("ar_energy", 5 * YUAN, "loan-first-3")]  # fmt: skip
    payments.pay(house, order(1, "q", 9), now=ORIGIN)
    with house.transaction() as conn:
        assert ledger.owed(conn, AC) == {}
    assert balance(house) == 4 * YUAN
    assert void(house, "q") is HoldState.REVERSED
    with house.transaction() as conn:
        assert {kind.value: due for kind, due in ledger.owed(conn, AC).items()} == {
            "ar_energy": 5 * YUAN
        }
    sound(house)


@pytest.mark.req("H2")
def test_two_payments_at_once_never_pay_one_debt_twice(house: Database, database_dsn: str) -> None:
    with house.transaction() as conn:
        ledger.book(
            conn,
            Event(kind="penalty", key="a", value_date=ORIGIN.date(), actor="system:billing",
                  currency="CNY", owners={"account": AC}, amounts={"amount": 10 * YUAN}),
            now=ORIGIN,
        )  # fmt: skip
    with Database(database_dsn, user="meterloop_portal", size=8) as shared:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: payments.pay(shared, order(1, f"t{n}", 3), now=ORIGIN),
                          range(8)))  # fmt: skip
    assert rows(house, "SELECT sum(amount_micros) FROM payments.allocation") == [(10 * YUAN,)]
    assert balance(house) == 14 * YUAN
    sound(house)


@pytest.mark.req("H2")
def test_money_in_suspense_ages_until_two_people_assign_or_return_it(house: Database) -> None:
    lost = [
        payments.pay(house, order(1, txn, 30, account="AC-9", already_collected=True), now=ORIGIN)
        for txn in ("a", "b")
    ]
    later = ORIGIN + timedelta(days=3, hours=1)
    with house.transaction() as conn:
        assert [item.age_days for item in payments.suspense(conn, now=later)] == [3, 3]
    first, second = (receipt.receipt_no for receipt in lost)
    one = ("user:lin", "user:lin")
    with pytest.raises(RefusedError, match="two different people"):
        payments.assign_suspense(house, first, AC, actors=one, reason="slip", now=later)
    for _ in "ab":
        left = payments.assign_suspense(house, first, AC, actors=TWO, reason="slip", now=later)
        assert left == 30 * YUAN
        payments.return_suspense(house, second, actors=TWO, reason="unknown", now=later)
    with pytest.raises(RefusedError, match=r"settled_already|conflict"):
        payments.return_suspense(house, first, actors=TWO, reason="x", now=later)
    with house.transaction() as conn:
        assert payments.suspense(conn, now=later) == []
        nets = {row.peer_txn_id: row.net_micros for row in payments.statement(conn, "bank", DAY)}
    assert nets == {"a": 30 * YUAN, "b": 0}
    sound(house)


def file_row(txn: str, yuan: int, *, at=ORIGIN, account: str = AC) -> FileRow:
    return FileRow(peer_txn_id=txn, account=account, amount_micros=yuan * YUAN, currency="CNY",
                   peer_time=at)  # fmt: skip


@pytest.mark.req("H9")
def test_a_file_is_reconciled_by_itself_and_by_two_people_to_equal_statements(
    house: Database,
) -> None:
    for txn, yuan in (("same", 5), ("more", 5), ("ours", 6), ("kept", 2)):
        payments.pay(house, order(1, txn, yuan), now=ORIGIN)
    payments.hold(house, order(2, "dropped", 8), now=ORIGIN)
    night = ORIGIN + timedelta(days=1)
    file = [file_row("same", 5), file_row("more", 7), file_row("theirs", 9),
            file_row("nobody", 4, account="AC-9"), file_row("dropped", 8),
            replace(file_row("foreign", 3), currency="UZS")]  # fmt: skip
    told = payments.reconcile(house, "bank", DAY, file, actor="user:lin", now=night)
    kinds = {each.peer_txn_id: (each.kind, each.outcome) for each in told.differences}
    assert told.matched == 1
    assert kinds == {
        "more": (DifferenceKind.AMOUNT, Outcome.OPEN),
        "theirs": (DifferenceKind.THEIRS_ONLY, Outcome.BOOKED),
        "nobody": (DifferenceKind.THEIRS_ONLY, Outcome.BOOKED),
        "foreign": (DifferenceKind.THEIRS_ONLY, Outcome.BOOKED),
        "dropped": (DifferenceKind.THEIRS_ONLY, Outcome.BOOKED),
        "ours": (DifferenceKind.OURS_ONLY, Outcome.OPEN),
        "kept": (DifferenceKind.OURS_ONLY, Outcome.OPEN),
    }
    again = payments.reconcile(house, "bank", DAY, file, actor="user:lin", now=night)
    assert (again.replayed, again.id, len(again.differences)) == (True, told.id, 7)
    for txn in ("more", "ours"):
        payments.resolve(house, told.id, txn, Outcome.CORRECTED, actors=TWO, reason="their file",
                         now=night)  # fmt: skip
        with pytest.raises(RefusedError, match="settled_already"):
            payments.resolve(house, told.id, txn, Outcome.KEPT, actors=TWO, reason="", now=night)
    next_day = Interval(start=DAY.end, end=night + HOUR)
    later = payments.reconcile(house, "bank", next_day, [file_row("kept", 2, at=night)],
                               actor="user:lin", now=night + HOUR)  # fmt: skip
    assert [(each.kind, each.outcome) for each in later.differences] == [
        (DifferenceKind.DATE, Outcome.NOTED)
    ]
    with house.transaction() as conn:
        assert {each.outcome for each in payments.differences(conn, told.id)} == {
            Outcome.BOOKED, Outcome.CORRECTED, Outcome.FOUND_LATER,
        }  # fmt: skip
        nets = {row.peer_txn_id: row.net_micros for row in payments.statement(conn, "bank", DAY)}
    wanted = {row.peer_txn_id: row.amount_micros for row in file}
    assert {txn: net for txn, net in nets.items() if net} == {**wanted, "kept": 2 * YUAN}
    sound(house)


@pytest.mark.req("H1")
def test_an_agent_pays_from_its_float_and_never_more_than_it_holds(house: Database) -> None:
    terms = Channel(channel="bank", by_agent=True)
    payments.set_channel(house, terms, actor="user:reza", now=ORIGIN)
    with house.transaction() as conn:
        ledger.book(
            conn,
            Event(kind="agent_funding", key="f", value_date=ORIGIN.date(), actor="user:reza",
                  currency="CNY", owners={"channel": "bank"}, amounts={"amount": 10 * YUAN}),
            now=ORIGIN,
        )  # fmt: skip
    payments.pay(house, order(1, "a", 7), now=ORIGIN)
    for _ in "ab":
        with pytest.raises(RefusedError, match=r"ledger\.floor") as caught:
            payments.pay(house, order(1, "b", 4), now=ORIGIN)
        assert caught.value.fix
    told = payments.reconcile(house, "bank", DAY, [file_row("a", 5)], actor="user:lin", now=ORIGIN)
    payments.resolve(house, told.id, "a", Outcome.CORRECTED, actors=TWO, reason="x", now=ORIGIN)
    payments.pay(house, order(1, "b", 4), now=ORIGIN)
    assert balance(house) == 9 * YUAN
    with house.transaction() as conn:
        sums = {each.code: each.cr - each.dr for each in ledger.trial_balance(conn)}
    assert (sums["agent_float:bank"], sums["bank_clearing:bank"]) == (YUAN, -10 * YUAN)
    sound(house)


@pytest.mark.req("H9")
def test_a_statement_is_paged_in_a_stable_order(house: Database) -> None:
    for n in range(7):
        payments.pay(house, order(1, f"t{n}", 1, peer_time=ORIGIN + HOUR * (n // 3)), now=ORIGIN)
    with house.transaction() as conn:
        whole = payments.statement(conn, "bank", DAY)
        pages, after = [], None
        while page := payments.statement(conn, "bank", DAY, after=after, limit=2):
            pages += page
            after = page[-1].place
    assert pages == whole
    assert len(whole) == 7


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["hold", "post", "taken", "pay", "void", "expire", "seal"]),
        st.sampled_from(["bank", "web", "post"]), st.integers(0, 2), st.integers(1, 2),
        st.sampled_from([0, 6, 13, 30]),
    ),
    max_size=30,
)  # fmt: skip


@pytest.mark.req("G14")
@settings(max_examples=12, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(steps=STEPS, seed=st.integers(0, 9))
def test_any_interleaving_of_channels_conserves_money(
    house: Database, database_dsn: str, steps, seed: int
) -> None:
    """Four hands take the steps in any order; every payment's txn is its own to this example."""
    run = rows(house, "SELECT count(*) FROM payments.hold")[0][0]
    fixes: list[str] = []

    def take(step) -> None:
        verb, channel, txn, number, hours = step
        now, name = ORIGIN + HOUR * hours, f"{run}-{channel}-{txn}-{number}"
        announced = order(number, name, txn + 1, channel=channel)
        try:
            match verb:
                case "hold":
                    payments.hold(shared, announced, now=now)
                case "pay":
                    payments.pay(shared, announced, now=now)
                case "void":
                    payments.void(shared, channel, name, reason="x", actor="peer:x", now=now)
                case "expire":
                    payments.expire(shared, now=now)
                case "seal":
                    ledger.seal(shared, now=now)
                case _:
                    payments.post(shared, channel, name, actor="peer:x", now=now,
                                  taken=verb == "taken")  # fmt: skip
        except RefusedError as error:
            fixes.append(error.fix)  # a refusal moves nothing: the sums below say so

    random.Random(seed).shuffle(steps)
    with Database(database_dsn, user="meterloop_billing", size=4) as shared:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(take, steps))
    assert all(fixes)
    sound(house)
    with house.transaction() as conn:
        sums = {each.code: each.cr - each.dr for each in ledger.trial_balance(conn)}
        kept = sum(
            row.net_micros
            for channel in ("bank", "web", "post")
            for row in payments.statement(conn, channel, DAY)
        )
    bank = sum(micros for code, micros in sums.items() if code.startswith("bank_clearing"))
    assert sum(sums.values()) == 0
    assert -bank == kept == sums.get(AC, 0) + sums.get("AC-000002", 0) + sums.get("suspense", 0)
