"""A run killed at every write and taken up again makes the same documents as one left alone."""

import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from billing.bills.service import run as runs
from billing.ledger import service as ledger
from cloud.store.db import Database
from meterloop.embedded.postgres import EmbeddedPostgres
from tests.integration.billing_kit import rows
from tests.integration.bills_kit import FEB, NOW, book, household, read
from tests.integration.test_billing_bills_run import opened

ROOT = Path(__file__).parents[2]
PEOPLE = 5
DOCUMENTS = "SELECT b.account, b.seq, d.language, d.sha256 FROM bills.document AS d JOIN bills.bill AS b ON b.id = d.bill ORDER BY b.account"  # noqa: E501


@pytest.fixture
def calm_dsn(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """Another database, whose run nobody kills."""
    name = f"calm_{secrets.token_hex(6)}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY FILE_COPY"
        )
    yield postgres.cluster.dsn(database=name)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def street(db: Database) -> int:
    languages = ("fa", "zh", "uz", "ru", "en")
    book(db, *[household(n, language=languages[n % 5]) for n in range(1, PEOPLE + 1)])
    for number in range(1, PEOPLE + 1):
        read(db, number, FEB, 1_000 + 37 * number)
    return opened(db).id


@pytest.mark.req("G5")
@pytest.mark.timeout(300)
def test_a_run_killed_at_every_write_makes_the_same_documents(
    db: Database, database_dsn: str, calm_dsn: str
) -> None:
    with Database(calm_dsn) as calm:
        run = street(calm)
        runs.advance(calm, run, now=NOW)
        expected = rows(calm, DOCUMENTS)
        sheet = runs.close(calm, run, actor="user:li", now=NOW)
    run = street(db)
    command = [sys.executable, "-m", "tests.integration.bills_killed", database_dsn, str(run)]
    told = subprocess.run(
        command, cwd=ROOT, check=True, timeout=240, stdout=subprocess.PIPE, text=True
    )
    *deaths, last = map(int, told.stdout.split())
    assert (set(deaths), last) == ({-signal.SIGKILL}, 0)
    assert len(deaths) >= 6
    assert len(expected) == PEOPLE
    assert rows(db, DOCUMENTS) == expected
    assert rows(db, "SELECT count(*) FROM bills.bill") == [(PEOPLE,)]
    again = runs.close(db, run, actor="user:li", now=NOW)
    assert (again.billed, again.ledger) == (sheet.billed, sheet.ledger)
    with db.transaction() as conn:
        assert ledger.audit_sums(conn).count == 0
