"""Verbs that change prices by two people: propose a version, list what waits, decide."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from billing.rating.service import proposals as changes
from billing.tariffs import service as tariffs
from billing.tariffs.model.proposed import Proposal, ProposalEnd
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
)
from meterloop.cli.people import Actor, who_prices
from meterloop.config import ConfigError
from meterloop.stack import address_of_database
from protocols.timeline import TimeScale

_ENDS = {"approve": ProposalEnd.PUBLISHED, "refuse": ProposalEnd.REFUSED,
         "withdraw": ProposalEnd.WITHDRAWN}  # fmt: skip


def register(tariff: typer.Typer) -> None:
    """Add the verbs to those of tariffs."""
    tariff.command("propose")(propose)
    tariff.command("proposals")(proposals)
    tariff.command("decide")(decide)


def propose(
    file: Annotated[Path, typer.Argument(help="The file of the next version.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; kept with the proposal.")] = "",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Prove a version and keep it for another person to decide; it prices nothing yet."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        try:
            document = file.read_bytes()
        except OSError as error:
            raise ConfigError("command line", [f"{file}: {error.strerror}"]) from error
        found = changes.propose(db, document, reason=reason, actor=who_prices(db, actor), now=now)
        say(_plain(found), as_json=as_json, text=_text(found))


def proposals(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """List the versions that wait for a second person."""
    with failures_told(as_json=as_json), _books(config) as (db, _), db.transaction() as conn:
        found = tariffs.proposals(conn)
        text = "\n".join(_text(one) for one in found) or "nothing waits"
        say({"proposals": [_plain(one) for one in found]}, as_json=as_json, text=text)


def decide(
    proposal: Annotated[int, typer.Argument(help="Its number, as `tariff proposals` lists it.")],
    what: Annotated[str, typer.Argument(help="approve, refuse, or withdraw (its author).")],
    *,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """End a proposal; approved, it prices from its first day on."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        if what not in _ENDS:
            raise ConfigError("command line", [f"{what!r} is not approve, refuse or withdraw"])
        found = changes.decide(
            db, proposal, _ENDS[what], actor=who_prices(db, actor), reason=reason, now=now
        )
        answer = {**_plain(found), "end": _ENDS[what].value}
        say(answer, as_json=as_json, text=f"{_text(found)}: {_ENDS[what].value}")


@contextmanager
def _books(config: Path | None) -> Iterator[tuple[Database, datetime]]:
    installation = installation_from(config)
    now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
    with Database(address_of_database(installation), application="meterloop-cli", size=2) as db:
        yield db, now


def _plain(found: Proposal) -> dict[str, Any]:
    return {
        "proposal": found.id, "code": found.code, "version": found.number,
        "valid_from": found.valid_from.isoformat(), "digest": found.digest,
        "reason": found.reason, "asked_by": found.asked_by,
    }  # fmt: skip


def _text(found: Proposal) -> str:
    return (
        f"{found.id}  {found.code} version {found.number} from {found.valid_from}"
        f"  by {found.asked_by}: {found.reason}"
    )
