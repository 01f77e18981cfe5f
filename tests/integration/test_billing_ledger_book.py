"""The book as a whole: chain, roots outside, sums per minute, floors, and a second opinion."""

import csv
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from billing.ledger import service as ledger
from billing.ledger.model import Event
from cloud.store.db import Database
from meterloop.cli import app
from protocols.errors import RefusedError
from tests.integration.billing_kit import ORIGIN, rows
from tests.interop.interop_kit import peer_python


def event(key: str, amount: int, *, day: int = 0, kind: str = "payment", **owners: str) -> Event:
    return Event(
        kind=kind, key=key, value_date=(ORIGIN + timedelta(days=day)).date(), actor="peer:bank",
        currency="CNY", owners=owners or {"account": "AC-1", "channel": "web"},
        amounts={"amount": amount}, reason=f"for {key}",
    )  # fmt: skip


def book_some(db: Database, count: int = 12) -> None:
    with db.transaction() as conn:
        for number in range(count):
            ledger.book(
                conn,
                event(f"e{number}", 1_000_003 * (number + 1), day=number % 3,
                      account=f"AC-{number % 4}", channel="web"),
                now=ORIGIN + timedelta(seconds=20 * number),
            )  # fmt: skip


@pytest.mark.req("G14")
def test_every_entry_is_sealed_once_by_whatever_hands(db: Database, database_dsn: str) -> None:
    def work(hand: int) -> None:
        for turn in range(15):
            with shared.transaction() as conn:
                ledger.book(conn, event(f"{hand}:{turn}", turn + 1), now=ORIGIN)
            if turn % 4 == hand % 4:
                ledger.seal(shared, now=ORIGIN)

    with Database(database_dsn, user="meterloop_billing", size=4) as shared:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        ledger.seal(shared, now=ORIGIN)
    found = ledger.audit_book(db)
    assert (found.entries, found.linked, found.violations) == (60, 60, 0)
    assert ledger.seal(db, now=ORIGIN) == 0


@pytest.mark.req("G14")
def test_hot_accounts_are_summed_per_minute_and_agree_with_their_postings(db: Database) -> None:
    book_some(db, 6)
    ledger.seal(db, now=ORIGIN)
    with db.transaction() as conn:
        ledger.book(conn, event("late", 5), now=ORIGIN + timedelta(hours=1))
        sums = {each.code: (each.dr, each.cr) for each in ledger.trial_balance(conn)}
    total = sum(1_000_003 * n for n in range(1, 7)) + 5
    assert sums["bank_clearing:web"] == (total, 0)
    assert sum(dr - cr for dr, cr in sums.values()) == 0
    assert rows(db, "SELECT count(*) FROM ledger.account_bucket") == [(2,)]
    assert rows(db, "SELECT DISTINCT kept FROM ledger.account AS a JOIN ledger.account_bucket AS b"
                    " ON b.ledger_account_id = a.id") == [(False,)]  # fmt: skip


@pytest.mark.req("G14")
@pytest.mark.parametrize(
    ("forgery", "proof"),
    [
        ("UPDATE ledger.entry SET actor = 'user:x' WHERE idem_key = 'e3'", "chain"),
        ("UPDATE ledger.posting SET amount_micros = amount_micros + 1 WHERE entry_id ="
         " (SELECT id FROM ledger.entry WHERE idem_key = 'e3')", "chain"),
        ("UPDATE ledger.link SET digest = sha256('x') WHERE position = 4", "chain"),
        ("DELETE FROM ledger.link WHERE position = 12", "every_entry_linked"),
        ("DELETE FROM ledger.unsealed", "every_entry_linked"),
        ("UPDATE ledger.account_bucket SET dr = dr + 1", "hot_account_sums"),
        ("UPDATE ledger.account SET posted_cr = posted_cr + 1 WHERE kept", "sums_and_balances"),
    ],
)  # fmt: skip
def test_an_audit_finds_what_an_owner_of_the_database_forged(
    db: Database, forgery: str, proof: str
) -> None:
    book_some(db)
    ledger.seal(db, now=ORIGIN)
    with db.transaction() as conn:
        ledger.book(conn, event("open", 5), now=ORIGIN)
    assert ledger.audit_book(db).violations == 0
    with db.transaction() as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute(forgery)  # type: ignore[arg-type]
        conn.execute("SET session_replication_role = DEFAULT")
    assert ledger.audit_book(db).findings[proof].count > 0


@pytest.mark.req("G14")
def test_a_float_does_not_fall_below_its_floor_but_may_rise_to_it(db: Database) -> None:
    def by_agent(key: str, amount: int) -> Event:
        return event(key, amount, kind="payment_by_agent", account="AC-1", channel="kiosk")

    with db.transaction() as conn:
        ledger.book(conn, event("f1", 10, kind="agent_funding", channel="kiosk"), now=ORIGIN)
        ledger.book(conn, by_agent("p1", 7), now=ORIGIN)
    with pytest.raises(RefusedError, match="floor"), db.transaction() as conn:
        ledger.book(conn, by_agent("p2", 4), now=ORIGIN)
    with db.transaction() as conn:
        ledger.book(conn, by_agent("p3", 3), now=ORIGIN)
        assert ledger.balance_of(conn, "AC-1") == 10
    assert ledger.audit_book(db).violations == 0


@pytest.mark.parametrize("table", ["ledger.link", "ledger.account_bucket"])
def test_nobody_edits_the_evidence(db: Database, table: str) -> None:
    book_some(db, 2)
    ledger.seal(db, now=ORIGIN)
    with pytest.raises(psycopg.IntegrityError, match="append_only"), db.transaction() as conn:
        conn.execute(f"DELETE FROM {table}")


@pytest.fixture
def installation(tmp_path: Path, database_dsn: str) -> Path:
    file = tmp_path / "installation.toml"
    file.write_text(f'data = "{tmp_path}"\n[database]\ndsn = "{database_dsn}"\n')
    return file


def cli(*words: str) -> dict:
    result = CliRunner().invoke(app, [*words, "--json"])
    answer = json.loads(result.stdout)
    assert answer["ok"] == (result.exit_code == 0)
    return answer


@pytest.mark.req("G14")
def test_roots_outside_the_database_find_a_book_that_was_rewritten_whole(
    db: Database, installation: Path, tmp_path: Path
) -> None:
    book_some(db)
    roots = tmp_path / "roots.jsonl"
    words = ("ledger", "audit", "--root-file", str(roots), "--config", str(installation))
    first = cli(*words)
    assert (first["entries"], first["linked"], first["roots_added"]) == (12, 12, 1)
    assert cli(*words)["roots_added"] == 0
    with db.transaction() as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute("UPDATE ledger.entry SET reason = 'other' WHERE idem_key = 'e0'")
        conn.execute("INSERT INTO ledger.unsealed SELECT entry_id FROM ledger.link")
        conn.execute("DELETE FROM ledger.link")
        conn.execute("DELETE FROM ledger.account_bucket")
        conn.execute("SET session_replication_role = DEFAULT")
    plain = cli("ledger", "audit", "--config", str(installation))
    assert plain["violations"] == 0  # the book alone cannot know
    found = cli(*words)
    assert found["proofs"]["roots_kept_outside"]["violations"] == 1


@pytest.mark.req("G14")
def test_csv_export_adds_up_to_zero_and_an_unknown_format_is_refused(
    db: Database, installation: Path, tmp_path: Path
) -> None:
    book_some(db)
    out = tmp_path / "book.csv"
    words = ("ledger", "export", "--out", str(out), "--config", str(installation))
    assert cli(*words, "--format", "csv")["entries"] == 12
    with out.open(newline="") as file:
        legs = list(csv.DictReader(file))
    micros = [int(leg["amount"].replace(".", "")) * (1 if leg["side"] == "debit" else -1)
              for leg in legs]  # fmt: skip
    assert len(legs) == 24
    assert sum(micros) == 0
    assert sum(m for m in micros if m > 0) == sum(1_000_003 * n for n in range(1, 13))
    refused = cli(*words, "--format", "xml")
    assert (refused["error"]["code"], bool(refused["error"]["fix"])) == (
        "ledger.format_unknown", True,
    )  # fmt: skip


@pytest.mark.req("G14")
@pytest.mark.interop
@pytest.mark.parametrize("part", [(), ("--from", "2026-03-11", "--to", "2026-03-12")])
def test_beancount_accepts_what_we_export_and_refuses_it_with_a_micro_less(
    db: Database, installation: Path, tmp_path: Path, part: tuple[str, ...]
) -> None:
    check = peer_python().with_name("bean-check")
    if not check.exists():
        pytest.skip("beancount is not among the peers; run `make interop`")
    book_some(db)
    with db.transaction() as conn:
        entry = conn.execute("SELECT id FROM ledger.entry WHERE idem_key = 'e4'").fetchone()
        assert entry is not None
        ledger.reverse(conn, entry[0], key="r", actor="user:lin", reason='a "slip"', now=ORIGIN)
    out = tmp_path / "book.beancount"
    words = ("ledger", "export", "--format", "beancount", "--out", str(out), *part)
    assert cli(*words, "--config", str(installation))["entries"] == (4 if part else 13)
    said = subprocess.run([check, out], capture_output=True, text=True, check=False, timeout=60)
    assert (said.returncode, said.stderr) == (0, "")
    text = out.read_text()
    assert " balance " in text
    amount = "5.000015" if part else "1.000003"
    out.write_text(text.replace(f"{amount} CNY", f"{amount[:-1]}0 CNY", 1))
    said = subprocess.run([check, out], capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode != 0
