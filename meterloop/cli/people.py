"""
Who acts at the command line: a person who has signed in here with a password.

A verb that moves money, a price, a right or a switch asks `person` for the name it records. Two
people means two passwords here as it does at a page: nobody can be named who has not signed in.
Sessions are those of the pages: they end by rest, and what is kept is a secret, readable by this
user of the system alone.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli.answer import ConfigFile, JsonFlag, failures_told, installation_from, say
from meterloop.config import ConfigError
from meterloop.stack import address_of_database
from portal.auth.model import AccessRefusal, Permission
from protocols.errors import RefusedError

if TYPE_CHECKING:
    from portal.auth.model import SignedIn

Actor = Annotated[
    str,
    typer.Option("--actor", help="Login of who does it; the last to sign in here, if left out."),
]
Approver = Annotated[
    str,
    typer.Option("--approver", help="Login of the second person, who has signed in here too."),
]
_HERE = "command line"
_KEPT = 20


def person(db: Database, login: str = "", *, may: Permission) -> str:
    """
    Return the actor of an act: who signed in here last, or `login`, who must have signed in here.

    Raises: RefusedError `not_signed_in`, or `forbidden` where no role of that person allows it.
    """
    found = _signed_in(db, login.removeprefix("user:"))
    if found is None:
        who = login.removeprefix("user:") or "nobody"
        raise RefusedError(
            AccessRefusal.NOT_SIGNED_IN,
            f"{who} has not signed in here, or the session has ended",
            fix=f"meterloop signin {login.removeprefix('user:') or 'LOGIN'}",
        )
    if not found.may(may):
        raise RefusedError(
            AccessRefusal.FORBIDDEN,
            f"{found.login} may not: {may.value} belongs to none of "
            f"{', '.join(sorted(found.roles)) or 'no roles'}",
            fix="sign in as somebody who may, or give the role with `meterloop users`",
        )
    return found.actor


who_bills = partial(person, may=Permission.BILL_REVIEW)
who_runs_bills = partial(person, may=Permission.BILL_RUN)
who_settles = partial(person, may=Permission.PAYMENT_SETTLE)
who_serves = partial(person, may=Permission.CUSTOMER_CHANGE)
who_prices = partial(person, may=Permission.TARIFF_CHANGE)
who_orders = partial(person, may=Permission.SUPPLY_ORDER)
who_leads_readings = partial(person, may=Permission.READING_MANAGE)
who_resumes = partial(person, may=Permission.CUT_HALT)


def two(
    who: Callable[[Database, str], str], db: Database, actor: str, approver: str
) -> dict[str, str]:
    """Return actor and, where one is named, approver: `two(who_bills, db, "lin", "reza")`."""
    return {
        "actor": who(db, actor),
        "approver": who(db, approver) if approver else "",
    }


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("signin")(sign_in)
    app.command("signout")(sign_out)
    app.command("whoami")(who_am_i)


def sign_in(
    login: Annotated[str, typer.Argument(help="Your login, as at the pages.")],
    *,
    password_file: Annotated[
        Path | None,
        typer.Option(help="A file whose first line is the password; else you are asked for it."),
    ] = None,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Sign in here, so that what you do is recorded as yours; it ends by rest, as at the pages."""
    from portal.auth import service as access

    with failures_told(as_json=as_json):
        password = _password(password_file)
        with _database(config) as db:
            wall = Clock().wall_now()
            secret = access.sign_in(
                db, login=login, password=password, address=_HERE, wall_now=wall
            )
            keep(login, secret)
            found = access.who_is(db, secret, wall_now=wall)
        assert found is not None
        roles = sorted(role.value for role in found.roles)
        say({"login": login, "name": found.name, "roles": roles}, as_json=as_json,
            text=f"{found.name} is signed in here as {', '.join(roles)}")  # fmt: skip


def sign_out(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """End every session that was opened here."""
    from portal.auth import service as access

    with failures_told(as_json=as_json):
        held = _kept()
        with _database(config) as db:
            for _, secret in held:
                access.sign_out(db, secret, wall_now=Clock().wall_now())
        _write([])
        say({"signed_out": sorted({login for login, _ in held})}, as_json=as_json)


def who_am_i(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Show who acts here: the last who signed in, and what the roles allow."""
    with failures_told(as_json=as_json), _database(config) as db:
        found = _signed_in(db, "")
        may = sorted(one.value for one in found.permissions) if found else []
        answer: dict[str, Any] = {"login": found.login if found else None, "may": may}
        text = f"{found.login}: {', '.join(may)}" if found else "nobody has signed in here"
        say(answer, as_json=as_json, text=text)


def keep(login: str, secret: str) -> None:
    """Keep a session's secret for the verbs that follow, in a file of this user alone."""
    _write([*((name, one) for name, one in _kept() if name != login), (login, secret)][-_KEPT:])


def _signed_in(db: Database, login: str) -> "SignedIn | None":
    from portal.auth import service as access

    wall = Clock().wall_now()
    for name, secret in reversed(_kept()):
        if login and name != login:
            continue
        if (found := access.who_is(db, secret, wall_now=wall)) is not None:
            return found
    return None


def _database(config: Path | None) -> Database:
    dsn = address_of_database(installation_from(config))
    return Database(dsn, application="meterloop-cli", size=1)


def _password(file: Path | None) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").splitlines()[0]
        except (OSError, IndexError) as error:
            fault = f"{file}: {getattr(error, 'strerror', None) or 'is empty'}"
            raise ConfigError("--password-file", [fault]) from error
    if sys.stdin.isatty():
        typed: str = typer.prompt("Password", hide_input=True, err=True)
        return typed
    return sys.stdin.readline().rstrip("\n")


def _place() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "meterloop" / "sessions.json"


def _kept() -> list[tuple[str, str]]:
    try:
        return [(str(login), str(secret)) for login, secret in json.loads(_place().read_text())]
    except (OSError, ValueError, TypeError):
        return []  # nobody has signed in, or the file is nobody's any more: sign in anew


def _write(sessions: list[tuple[str, str]]) -> None:
    place = _place()
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = place.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(sessions, file)
    fresh.replace(place)
