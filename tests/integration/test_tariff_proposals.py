"""New prices by two people, from the command line and under the roles that really act."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from billing.rating import service as rating
from billing.rating.service import proposals
from billing.tariffs import service as tariffs
from billing.tariffs.model.proposed import ProposalEnd
from billing.tariffs.rules.parameters import next_version
from cloud.store.db import Database
from meterloop.cli import app
from protocols.errors import RefusedError
from tests.integration.billing_kit import rows
from tests.integration.people_kit import all_signed_in
from tests.integration.test_billing_bills_cli import installation

CODE = "cq-household-lv"
NOW = datetime(2026, 11, 18, 4, tzinfo=UTC)
DAY = date(2027, 1, 1)


def dearer(price: str = "0.63", total: str = "0.63") -> bytes:
    """Return the next version: the second step costs more; the total is worked out by hand."""
    document = json.loads(tariffs.shipped(CODE))
    document["test_cases"] = [
        {"name": "one", "from_kwh": "2400", "to_kwh": "2401", "total": "0.57"}
    ]
    return next_version(
        document, valid_from=DAY, values={"energy/steps/1/price": price}, totals={0: total},
        legal_ref="order 7 of 2026", source="gazette 7",
    )  # fmt: skip


@pytest.fixture
def book(db: Database) -> Database:
    """The shipped tariff in force."""
    rating.publish(db, tariffs.shipped(CODE), actor="user:reza", now=NOW - timedelta(days=400))
    return db


def versions(db: Database) -> dict[int, str | None]:
    with db.transaction() as conn:
        return {
            number: tariffs.version_on(conn, CODE, DAY + timedelta(days=number))
            for number in (-1, 0)
        }


@pytest.mark.req("G2", "G3", "G4")
def test_prices_take_effect_on_their_day_when_another_person_agrees(
    book: Database, database_dsn: str
) -> None:
    with Database(database_dsn, user="meterloop_portal", application="test") as portal:
        found = proposals.propose(portal, dearer(), reason="order 7", actor="user:reza", now=NOW)
        before = versions(book)
        assert before[-1] == before[0], "a proposal prices nothing"
        with pytest.raises(RefusedError) as alone:
            proposals.decide(portal, found.id, ProposalEnd.PUBLISHED, actor="user:reza", now=NOW)
        assert alone.value.refusal.value == "tariffs.same_person"
        proposals.decide(portal, found.id, ProposalEnd.PUBLISHED, actor="user:lin", now=NOW)
    after = versions(book)
    assert after[-1] == before[-1]
    assert after[0] == found.digest
    with pytest.raises(RefusedError) as again:
        proposals.decide(book, found.id, ProposalEnd.REFUSED, actor="user:lin", now=NOW)
    assert again.value.refusal.value == "tariffs.proposal"
    acts = rows(book, "SELECT action, actor, on_behalf FROM audit.event WHERE entity = 'tariff'"
                " ORDER BY id")  # fmt: skip
    assert acts[-3:] == [
        ("tariffs.propose", "user:reza", ""),
        ("tariffs.publish", "user:lin", ""),
        ("tariffs.published", "user:lin", "user:reza"),
    ]


def test_the_database_itself_refuses_one_person_alone(book: Database) -> None:
    found = proposals.propose(book, dearer(), reason="order 7", actor="user:reza", now=NOW)
    with pytest.raises(psycopg.errors.CheckViolation), book.transaction() as conn:
        conn.execute(
            "INSERT INTO tariffs.proposal_end (proposal, asked_by, outcome, actor, at)"
            " VALUES (%s, 'user:reza', 'published', 'user:reza', now())", (found.id,),
        )  # fmt: skip
    with pytest.raises(psycopg.errors.ForeignKeyViolation), book.transaction() as conn:
        conn.execute(
            "INSERT INTO tariffs.proposal_end (proposal, asked_by, outcome, actor, at)"
            " VALUES (%s, 'user:lin', 'published', 'user:reza', now())", (found.id,),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("document", "code"),
    [(dearer(total="0.57"), "tariffs.case"), (tariffs.shipped(CODE), "tariffs.validity")],
    ids=["total of the old price", "the version in force"],
)
def test_what_does_not_prove_itself_or_rewrites_the_past_is_not_kept(
    book: Database, document: bytes, code: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        proposals.propose(book, document, reason="order 7", actor="user:reza", now=NOW)
    assert refused.value.refusal.value == code
    assert rows(book, "SELECT count(*) FROM tariffs.proposal") == [(0,)]


def test_one_waits_at_a_time_and_its_author_may_withdraw_it(book: Database) -> None:
    first = proposals.propose(book, dearer(), reason="order 7", actor="user:reza", now=NOW)
    with pytest.raises(RefusedError) as second:
        proposals.propose(book, dearer("0.64", "0.64"), reason="no", actor="user:lin", now=NOW)
    assert second.value.refusal.value == "tariffs.proposal"
    with pytest.raises(RefusedError):
        proposals.decide(book, first.id, ProposalEnd.WITHDRAWN, actor="user:lin", now=NOW)
    proposals.decide(book, first.id, ProposalEnd.WITHDRAWN, actor="user:reza", now=NOW)
    proposals.propose(book, dearer("0.64", "0.64"), reason="order 8", actor="user:lin", now=NOW)


def cli(config: Path, *words: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["tariff", *words, "--config", str(config), "--json"])
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["ok"] == (result.exit_code == 0), result.output
    return answer


def test_proposals_are_made_listed_and_decided_from_the_command_line(
    book: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, file = installation(tmp_path, database_dsn), tmp_path / "next.json"
    all_signed_in(book, config, monkeypatch, "reza", "lin")
    later = json.loads(dearer()) | {"valid_from": "2099-01-01"}
    file.write_text(json.dumps(later))
    made = cli(config, "propose", str(file), "--reason", "order 7", "--actor", "user:reza")
    assert cli(config, "proposals")["proposals"][0]["proposal"] == made["proposal"]
    alone = cli(config, "decide", str(made["proposal"]), "approve", "--actor", "user:reza")
    assert alone["error"]["code"] == "tariffs.same_person"
    done = cli(config, "decide", str(made["proposal"]), "approve", "--actor", "user:lin")
    assert done["end"] == "published"
    assert cli(config, "proposals")["proposals"] == []
