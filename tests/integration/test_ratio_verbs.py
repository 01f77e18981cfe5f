"""A change of CT/PT ratio by two people at the command line, with what it would change."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from cloud.assets import service as assets
from cloud.rollups import service as rollups
from cloud.rollups.model import Cause
from cloud.store import audit
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli import app
from tests.integration.ingest_kit import M1, UP1, a_batch, build_network, registers
from tests.integration.people_kit import all_signed_in
from tests.integration.rollup_kit import LATER, deliver

SINCE = "2026-03-05T00:00:00+08:00"


class Office:
    """Three people who signed in here, and the verbs."""

    def __init__(self, db: Database, folder: Path, dsn: str, patch: pytest.MonkeyPatch) -> None:
        self.config = folder / "installation.toml"
        self.config.write_text(f'data = "{folder}"\n[database]\ndsn = "{dsn}"\n')
        all_signed_in(db, self.config, patch, "ada", "boris")

    def run(self, *words: str, ok: bool = True) -> dict[str, Any]:
        line = ["assets", "ratio", *words, "--config", str(self.config), "--json"]
        result = CliRunner().invoke(app, line)
        answer: dict[str, Any] = json.loads(result.stdout)
        assert answer["ok"] == ok == (result.exit_code == 0), result.output
        return answer

    def propose(self, *more: str, ok: bool = True) -> dict[str, Any]:
        words = ("propose", UP1, "200/5", "--from", SINCE, "--reason", "order 7", "--actor", "ada")
        return self.run(*words, *more, ok=ok)


@pytest.fixture
def office(
    db: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Office:
    build_network(db)
    hours: dict[float, int] = {16 + 24 * n: 1000 + 100 * n for n in range(10)}
    deliver(db, a_batch(1, registers(M1, hours)))
    rollups.keep(db, now=LATER)
    return Office(db, tmp_path, database_dsn, monkeypatch)


@pytest.mark.req("B14")
def test_two_people_change_a_ratio_and_its_days_follow(office: Office, db: Database) -> None:
    seen = office.propose()
    assert (seen["numerator"], seen["denominator"], seen["state"]) == (40, 1, "proposed")
    told = {each["day"]: (each["wh_before"], each["wh_after"]) for each in seen["days"]}
    assert told["2026-03-05"] == (100, 4000)
    assert seen["difference_wh"] == 39 * 100 * 6
    with db.transaction() as conn:
        assert assets.ratios(conn, [UP1]) == [], "a preview takes all of it back"
    number = str(seen["id"])
    assert office.run("preview", number)["days"] == seen["days"]
    own = office.run("verify", number, "--actor", "ada", ok=False)
    assert own["error"]["code"] == "assets.same_person"
    assert office.run("verify", number, "--actor", "boris")["state"] == "verified"
    assert office.run("verify", number, ok=False)["error"]["code"] == "assets.decided"
    rollups.keep(db, now=Clock().now())
    with db.transaction() as conn:
        (day,) = rollups.days(conn, [UP1], date(2026, 3, 5), date(2026, 3, 6))
        why = rollups.recomputes_of(conn, UP1, date(2026, 3, 5))[0]
        acts = [each.action for each in audit.history(conn, entity="usage_point", entity_id=UP1)]
    assert day.figures.wh == 4000
    assert (why.mark.cause, why.mark.reference) == (Cause.ASSETS, "ratio 40/1")
    assert {"assets.ratio_proposed", "assets.ratio_verified", "assets.ratio"} <= set(acts)
    assert [each["state"] for each in office.run("list")["proposals"]] == ["verified"]


def test_what_cannot_be_is_refused_with_its_reason(office: Office) -> None:
    wrong = office.propose("--register-wh", "5", ok=False)
    assert wrong["error"]["code"] == "usage.ratio_register"
    assert office.propose("--register-wh", "1300")["register_wh"] == 1300
    other = ("propose", UP1, "0", "--from", SINCE, "--reason", "x", "--actor", "ada")
    assert office.run(*other, ok=False)["error"]["code"] == "assets.ratio"
    assert office.run("refuse", "1", "--reason", " ", ok=False)["error"]["code"] == "assets.ratio"
    assert office.run("refuse", "1", "--reason", "a slip")["state"] == "refused"
    assert office.run("list", "--open")["proposals"] == []
    assert office.run("preview", "77", ok=False)["error"]["code"] == "assets.unknown"


def test_the_database_itself_wants_two_people(office: Office, db: Database) -> None:
    seen = office.propose()
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation), db.transaction() as conn:
        conn.execute(
            "INSERT INTO assets.ratio_decision VALUES (%s, true, '', %s, %s)",
            (seen["id"], seen["proposed_by"], LATER + timedelta(days=1)),
        )
