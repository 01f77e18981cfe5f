"""People who have signed in at the command line, each with a password of their own."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli import app
from portal.auth.model import Role, UserSpec
from portal.auth.service import ensure_users

OFFICE = (Role.OPERATOR, Role.APPROVER)


def make_people(db: Database, *logins: str, roles: tuple[Role, ...] = OFFICE) -> None:
    """Let people sign in with the password `<login>'s own password`."""
    people = [
        UserSpec(login=login, name=login.title(), roles=roles, language="en", password=word(login))
        for login in logins
    ]
    ensure_users(db, people, Clock().now())


def word(login: str) -> str:
    """Return a person's password."""
    return f"{login}'s own password"


def sign_in(login: str, config: Path, home: Path) -> None:
    """Have a person sign in, as an account of the system whose folder is `home`."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "password"
    file.write_text(word(login) + "\n")
    told = CliRunner(env={"XDG_CONFIG_HOME": str(home)}).invoke(
        app, ["signin", login, "--password-file", str(file), "--config", str(config)]
    )
    file.unlink()
    assert told.exit_code == 0, told.output


def all_signed_in(
    db: Database, config: Path, monkeypatch: pytest.MonkeyPatch, *logins: str
) -> None:
    """Make people and have each sign in here; the last is who acts where nobody is named."""
    home = config.parent / "home"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    make_people(db, *logins)
    for login in logins:
        sign_in(login, config, home)
