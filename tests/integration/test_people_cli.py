"""Who acts at the command line: nobody is named who has not signed in with a password here."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloud.store.db import Database
from meterloop.cli import app
from portal.auth.model import Role
from tests.integration.billing_kit import rows
from tests.integration.people_kit import all_signed_in, make_people, sign_in, word

HALT = ("control", "halt", "--reason", "storm")
RESUME = ("control", "resume", "--reason", "over")


@pytest.fixture
def config(database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    file = tmp_path / "installation.toml"
    file.write_text(f'data = "{tmp_path}"\n[database]\ndsn = "{database_dsn}"\n')
    return file


def typed(config: Path, *words: str, said: str | None = None) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*words, "--config", str(config), "--json"], input=said)
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["ok"] == (result.exit_code == 0), result.output
    return answer


@pytest.mark.req("R6")
def test_an_act_is_refused_until_somebody_signs_in_and_recorded_as_theirs(
    db: Database, config: Path
) -> None:
    assert typed(config, *HALT)["ok"], "whoever sits here may stop cuts"
    refused = typed(config, *RESUME)["error"]
    assert refused["code"] == "not_signed_in"
    assert refused["fix"] == "meterloop signin LOGIN"
    make_people(db, "lin")
    wrong = typed(config, "signin", "lin", said="guess\n")["error"]
    assert wrong["code"] == "wrong_password"
    assert typed(config, *RESUME)["error"]["code"] == "not_signed_in"
    assert typed(config, "signin", "lin", said=word("lin") + "\n")["login"] == "lin"
    assert typed(config, "whoami")["login"] == "lin"
    assert typed(config, *RESUME)["actor"] == "user:lin"
    assert rows(db, "SELECT actor FROM audit.event WHERE action = %s", ("control.resume",)) == [
        ("user:lin",)
    ]
    assert typed(config, "signout")["signed_out"] == ["lin"]
    assert typed(config, *RESUME)["error"]["code"] == "not_signed_in"
    assert typed(config, "whoami")["login"] is None


def test_a_second_person_cannot_be_named_by_the_first(
    db: Database, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_signed_in(db, config, monkeypatch, "lin")
    make_people(db, "reza")
    refused = typed(config, "plan", "cancel", "1", "--reason", "x", "--approver", "reza")["error"]
    assert refused["code"] == "not_signed_in"
    assert refused["fix"] == "meterloop signin reza"


def test_who_may_not_do_it_is_told_so(db: Database, config: Path, tmp_path: Path) -> None:
    make_people(db, "tella", roles=(Role.TELLER,))
    sign_in("tella", config, tmp_path / "home")
    refused = typed(config, *RESUME)["error"]
    assert refused["code"] == "forbidden"
    assert "cut.halt" in refused["message"]


def test_the_file_of_sessions_is_of_this_user_alone_and_holds_no_password(
    db: Database, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_signed_in(db, config, monkeypatch, "lin", "reza")
    file = tmp_path / "home" / "meterloop" / "sessions.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert word("lin") not in file.read_text()
    file.write_text("{ not ours")
    assert typed(config, *RESUME)["error"]["code"] == "not_signed_in"


def test_a_file_without_a_password_is_refused_in_words(config: Path, tmp_path: Path) -> None:
    told = typed(config, "signin", "lin", "--password-file", str(tmp_path / "none"))["error"]
    assert told["code"] == "config.unusable"
    assert "none" in told["message"]
