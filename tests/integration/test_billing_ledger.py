"""What the database itself refuses to book, whoever asks."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Draft, Leg, Side
from cloud.store.db import Database
from protocols.errors import RefusedError
from tests.integration.billing_kit import ORIGIN, rows

ENTRY = (
    "INSERT INTO ledger.entry (idem_key, req_hash, kind, value_date, booked_at, actor)"
    " VALUES (%s, '', 'test', '2026-03-10', '2026-03-10', 'a') RETURNING id"
)
POSTING = (
    "INSERT INTO ledger.posting (entry_id, seq, ledger_account_id, side, amount_micros, currency)"
    " VALUES "
)


def draft(key: str, amount: int, *, account: str = "AC-1", side: Side = Side.CREDIT) -> Draft:
    return Draft(
        key=key, kind="payment", value_date=ORIGIN.date(), actor="peer:bank",
        legs=(
            Leg(code=account, kind=AccountKind.CUSTOMER, side=side, amount_micros=amount,
                currency="CNY"),
            Leg(code="bank_clearing:web", kind=AccountKind.BANK, side=side.other,
                amount_micros=amount, currency="CNY"),
        ),
    )  # fmt: skip


def accounts(db: Database) -> tuple[int, int]:
    """Return ids of a customer's and the bank's account, with 10 micros booked between them."""
    with db.transaction() as conn:
        ledger.post(conn, draft("first", 10), now=ORIGIN)
    found = dict(rows(db, "SELECT code, id FROM ledger.account"))
    return found["AC-1"], found["bank_clearing:web"]


@pytest.mark.req("C15")
def test_a_key_books_once_and_another_content_is_a_conflict(db: Database) -> None:
    with db.transaction() as conn:
        first = ledger.post(conn, draft("k", 10), now=ORIGIN)
    with db.transaction() as conn:
        again = ledger.post(conn, draft("k", 10), now=ORIGIN)
    assert (again.entry_id, again.replayed) == (first.entry_id, True)
    with db.transaction() as conn, pytest.raises(RefusedError, match="conflict"):
        ledger.post(conn, draft("k", 11), now=ORIGIN)
    with db.transaction() as conn:
        assert ledger.balance_of(conn, "AC-1") == 10


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("(%(e)s, 1, %(c)s, 1, 5, 'CNY'), (%(e)s, 2, %(b)s, -1, 4, 'CNY')", "ledger_sum"),
        ("(%(e)s, 1, %(c)s, 1, 5, 'CNY')", "ledger_sum"),
        ("(%(e)s, 1, %(c)s, 1, 5, 'CNY'), (%(e)s, 2, %(b)s, -1, 5, 'UZS')", "ledger_sum"),
        ("(%(e)s, 1, %(c)s, 1, 5, 'UZS'), (%(e)s, 2, %(b)s, -1, 5, 'UZS')", "ledger_currency"),
        ("(%(e)s, 1, %(c)s, 1, 0, 'CNY'), (%(e)s, 2, %(b)s, -1, 0, 'CNY')", "amount_positive"),
        ("(%(e)s, 1, %(c)s, 2, 5, 'CNY'), (%(e)s, 2, %(b)s, -1, 10, 'CNY')", "side_known"),
    ],
)
def test_the_database_refuses_what_does_not_sum_to_zero(
    db: Database, values: str, says: str
) -> None:
    customer, bank = accounts(db)
    with pytest.raises(psycopg.IntegrityError, match=says):
        _book_raw(db, values, customer, bank)
    assert rows(db, "SELECT count(*) FROM ledger.entry") == [(1,)]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("(-7, 1, %(c)s, 1, 5, 'CNY'), (-7, 2, %(b)s, -1, 5, 'CNY')", "ledger_closed"),
        ("(%(e)s, 1, -7, 1, 5, 'CNY'), (%(e)s, 2, %(b)s, -1, 5, 'CNY')", "ledger_currency"),
    ],
)
def test_a_posting_of_no_entry_or_no_account_is_refused_without_foreign_keys(
    db: Database, values: str, says: str
) -> None:
    customer, bank = accounts(db)
    with pytest.raises(psycopg.IntegrityError, match=says):
        _book_raw(db, values, customer, bank)
    for gone in ("DELETE FROM ledger.account", "TRUNCATE ledger.account CASCADE"):
        with pytest.raises(psycopg.Error, match="append"), db.transaction() as conn:
            conn.execute(gone)


def _book_raw(db: Database, values: str, customer: int, bank: int) -> None:
    with db.transaction() as conn:
        entry = conn.execute(ENTRY, ("raw",)).fetchone()[0]
        conn.execute(POSTING + values, {"e": entry, "c": customer, "b": bank})


def test_an_entry_without_postings_does_not_survive_its_commit(db: Database) -> None:
    with pytest.raises(psycopg.IntegrityError, match="ledger_empty"), db.transaction() as conn:
        conn.execute(ENTRY, ("empty",))


def test_a_booked_entry_takes_no_more_postings(db: Database) -> None:
    customer, bank = accounts(db)
    entry = rows(db, "SELECT id FROM ledger.entry")[0][0]
    with pytest.raises(psycopg.IntegrityError, match="ledger_closed"):
        rows(
            db,
            POSTING + f"({entry}, 3, {customer}, 1, 5, 'CNY'), ({entry}, 4, {bank}, -1, 5, 'CNY')"
            " RETURNING 1",
        )


@pytest.mark.parametrize("table", ["ledger.entry", "ledger.posting"])
@pytest.mark.parametrize("verb", ["DELETE FROM {}", "TRUNCATE {} CASCADE", "UPDATE {} SET {}"])
def test_nobody_edits_the_book(db: Database, table: str, verb: str) -> None:
    accounts(db)
    column = "reason = 'x'" if table == "ledger.entry" else "amount_micros = 1"
    with pytest.raises(psycopg.IntegrityError, match="append_only"), db.transaction() as conn:
        conn.execute(verb.format(table, column))


@pytest.mark.parametrize("role", ["meterloop_billing", "meterloop_portal"])
def test_a_process_has_no_right_to_move_a_balance_by_hand(database_dsn: str, role: str) -> None:
    with Database(database_dsn) as owner:
        accounts(owner)
    with Database(database_dsn, user=role) as db:
        for statement in (
            "UPDATE ledger.account SET posted_cr = 10",
            "UPDATE ledger.entry SET reason = ''",
            "DELETE FROM ledger.posting",
            "UPDATE payments.payment SET amount_micros = 1",
            "DELETE FROM audit.event",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction() as conn:
                conn.execute(statement)
        with db.transaction() as conn:
            ledger.post(conn, draft(f"by {role}", 5), now=ORIGIN)


@pytest.mark.req("G14")
def test_an_entry_is_reversed_once_and_a_reversal_never(db: Database) -> None:
    accounts(db)
    entry = rows(db, "SELECT id FROM ledger.entry")[0][0]
    with db.transaction() as conn:
        back = ledger.reverse(conn, entry, key="r1", actor="user:lin", reason="slip", now=ORIGIN)
        assert ledger.balance_of(conn, "AC-1") == 0
    with pytest.raises(psycopg.IntegrityError, match="reversed_once"), db.transaction() as conn:
        ledger.reverse(conn, entry, key="r2", actor="user:lin", reason="slip", now=ORIGIN)
    with pytest.raises(psycopg.IntegrityError, match="ledger_reversal"), db.transaction() as conn:
        ledger.reverse(conn, back.entry_id, key="r3", actor="user:lin", reason="slip", now=ORIGIN)
    with db.transaction() as conn, pytest.raises(RefusedError, match="no entry"):
        ledger.reverse(conn, 999, key="r4", actor="user:lin", reason="slip", now=ORIGIN)


def test_eight_hands_on_the_same_accounts_conserve_money(db: Database, database_dsn: str) -> None:
    names = [f"AC-{n}" for n in range(4)]

    def work(hand: int) -> None:
        for turn in range(20):
            drafts = [
                draft(f"{hand}:{turn}:{name}", turn + 1, account=name,
                      side=Side.CREDIT if (turn + hand) % 3 else Side.DEBIT)
                for name in (names if hand % 2 else reversed(names))
            ]  # fmt: skip
            with shared.transaction() as conn:
                ledger.post_many(conn, drafts, now=ORIGIN)

    with Database(database_dsn, size=8) as shared, ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    with db.transaction() as conn:
        assert ledger.audit_sums(conn).count == 0
        lines = ledger.statement(conn, "AC-0", limit=1000)
        assert len(lines) == 160
        assert lines[0].balance_micros == ledger.balance_of(conn, "AC-0")
        assert lines[0].balance_micros == sum(line.amount_micros for line in lines)


@pytest.mark.req("G14")
def test_the_audit_sees_a_balance_that_was_moved_behind_its_back(db: Database) -> None:
    accounts(db)
    rows(db, "UPDATE ledger.account SET posted_cr = posted_cr + 1 WHERE kept RETURNING 1")
    with db.transaction() as conn:
        found = ledger.audit_sums(conn)
    assert (found.count, found.examples) == (1, ("balance of AC-1",))
