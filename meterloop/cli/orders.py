"""Verbs that order one meter: keep power, end that, carry a token, read a switch."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
)
from meterloop.cli.people import who_orders
from meterloop.config import ConfigError
from meterloop.stack import address_of_database
from protocols.errors import RefusedError
from protocols.identity import CommandId, UsagePointId
from protocols.mqtt.downlink import TokenKind
from protocols.timeline import TimeScale

if TYPE_CHECKING:
    from cloud.control.model import CommandRow, TokenRow

Supply = Annotated[str, typer.Argument(help="The usage point, such as UP-000042.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")]
Wait = Annotated[float, typer.Option(min=0, help="Wait so many seconds for the outcome.")]

_POLL_SECONDS = 0.2
_Row = TypeVar("_Row")
_GOOD = frozenset({"done", "armed"})
_BAD_TOKEN = frozenset({"refused", "doubtful", "expired"})


def register(control: typer.Typer) -> None:
    """Add the verbs below `control`."""
    control.command("keep-power")(keep_power)
    control.command("end-keep-power")(end_keep_power)
    control.command("token")(token)
    control.command("read-relay")(read_relay)
    control.command("show")(show)
    control.command("policy")(policy)


def keep_power(
    supply: Supply, *, reason: Why, wait: Wait = 0, config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Have the meter itself refuse every trip (D8); a cut on its way is taken back."""
    from cloud.control import service

    with _desk(config, as_json=as_json) as desk:
        order = service.keep_power(
            desk.db, UsagePointId(supply), actor=desk.actor, reason=reason, now=desk.now()
        )
        _tell(desk, order, wait=wait)


def end_keep_power(
    supply: Supply, *, reason: Annotated[str, typer.Option(help="Why, to ask for it.")] = "",
    approve: Annotated[bool, typer.Option("--approve", help="Be the second person.")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take the wish back.")] = False,
    wait: Wait = 0, config: ConfigFile = None, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Let the meter trip again: one person asks with a reason, another one approves."""
    from cloud.control import service

    with _desk(config, as_json=as_json) as desk:
        if not (approve or withdraw):
            wish = service.request_end_keep_power(
                desk.db, UsagePointId(supply), actor=desk.actor, reason=reason, now=desk.now()
            )
            text = f"{wish.id}: asked; another person must run this with --approve"
            say({"request": wish.id, "state": "requested"}, as_json=as_json, text=text)
            return
        with desk.db.transaction() as conn:
            found = service.release_of(conn, UsagePointId(supply))
        if found is None:
            raise ConfigError("command line", [f"nobody asks to end keep-power of {supply}"])
        if withdraw:
            service.withdraw_end_keep_power(
                desk.db, found.id, actor=desk.actor, reason=reason, now=desk.now()
            )
            say({"request": found.id, "state": "withdrawn"}, as_json=as_json)
            return
        order = service.approve_end_keep_power(desk.db, found.id, actor=desk.actor, now=desk.now())
        _tell(desk, order, wait=wait)


def read_relay(
    supply: Supply, *, reason: Why = "looked at by hand", wait: Wait = 0,
    config: ConfigFile = None, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Have the switch read now; with --wait prints where it stands."""
    from cloud.control import service

    with _desk(config, as_json=as_json) as desk:
        order = service.read_relay(
            desk.db, UsagePointId(supply), actor=desk.actor, reason=reason, now=desk.now()
        )
        _tell(desk, order, wait=wait)


def token(
    supply: Supply, *,
    key: Annotated[str, typer.Option(help="Names this token: the same key never brings two.")],
    kind: Annotated[str, typer.Option(help=", ".join(TokenKind))],
    file: Annotated[Path | None, typer.Option(help="File with the token's octets.")] = None,
    as_hex: Annotated[str, typer.Option("--hex", help="The octets as hex digits.")] = "",
    digits: Annotated[str, typer.Option(help="The digits that a customer would type.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Send what surely failed anew.")] = False,
    wait: Wait = 0, config: ConfigFile = None, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Carry a token to the meter, unread and at most once; asked again it tells the outcome."""
    from cloud.control import service
    from cloud.control.model import NewToken

    with _desk(config, as_json=as_json) as desk:
        wanted = NewToken(
            source="operator", key=key, usage_point=UsagePointId(supply), kind=kind,
            opaque=_octets(file, as_hex, digits),
        )  # fmt: skip
        row = service.deliver_token(desk.db, wanted, actor=desk.actor, now=desk.now(), again=again)
        found = _await(desk, lambda: _token_of(desk.db, row.id), _token_ended, wait)
        assert found is not None
        if wait and found.state in _BAD_TOKEN:
            raise RefusedError(found.state, f"token {found.id} of {supply}: {found.cause}")
        text = f"token {found.id}: {found.state}" + (f" ({found.cause})" if found.cause else "")
        say(_token_row(found), as_json=as_json, text=text)


def show(supply: Supply, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Show where the switch stands, what the meter was told, and the latest orders and tokens."""
    from cloud.control import service

    with _desk(config, as_json=as_json) as desk:
        point = UsagePointId(supply)
        with desk.db.transaction() as conn:
            state = service.supply_of(conn, point, now=desk.now())
            wish = service.release_of(conn, point)
            orders = service.commands_of(conn, point)[:10]
            tokens = service.tokens_of(conn, point, limit=10)
        answer = {
            "usage_point": point, "relay": state.relay_state, "keep_power": state.keep_power,
            "protected": state.protected,
            "end_keep_power": {"request": wish.id, "requested_by": wish.requested_by,
                               "approved_by": wish.approved_by} if wish else None,
            "orders": [_order_row(row) for row in orders],
            "tokens": [_token_row(row) for row in tokens],
        }  # fmt: skip
        lines = [f"{supply}: switch {state.relay_state}, keep-power {state.keep_power}"]
        lines += [f"  {row.issued_at:%F %T}  {row.verb:<15} {row.state}" for row in orders]
        lines += [f"  {row.taken_at:%F %T}  token {row.id:<9} {row.state}" for row in tokens]
        say(answer, as_json=as_json, text="\n".join(lines))


def policy(
    *,
    push_keep_power: Annotated[
        bool | None,
        typer.Option(
            "--push-keep-power/--no-push-keep-power",
            help="Whether meters of protected supplies are told to keep power.",
        ),
    ] = None,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the settings of the gate; change whether protections reach the meters."""
    from cloud.control import service

    with _desk(config, as_json=as_json) as desk:
        if push_keep_power is not None:
            service.set_policy(
                desk.db, actor=desk.actor, now=desk.now(), push_keep_power=push_keep_power
            )
        with desk.db.transaction() as conn:
            found = service.policy(conn)
        say(asdict(found), as_json=as_json)


class _Desk:
    """One person at the command line with the database before him."""

    def __init__(self, db: Database, clock: Clock, *, as_json: bool) -> None:
        self.db = db
        self.now: Callable[[], datetime] = clock.now
        self.monotonic = clock.monotonic
        self.as_json = as_json

    @property
    def actor(self) -> str:
        """Return who signed in here. Raises: RefusedError when nobody did who may."""
        return who_orders(self.db)


@contextmanager
def _desk(config: Path | None, *, as_json: bool) -> Iterator[_Desk]:
    with failures_told(as_json=as_json):
        installation = installation_from(config)
        clock = Clock(scale=TimeScale.parse(installation.time.scale))
        dsn = address_of_database(installation)
        with Database(dsn, application="meterloop-cli", size=1) as db:
            yield _Desk(db, clock, as_json=as_json)


def _tell(desk: _Desk, order: CommandId, *, wait: float) -> None:
    """Print an order, with its outcome where that came in time. Raises: RefusedError if bad."""
    found = _await(
        desk, lambda: _order_of(desk.db, order), lambda row: row.ended_at is not None, wait
    )
    if found.ended_at is not None and found.state not in _GOOD:
        message = f"{found.verb} of {found.usage_point}: {found.end_reason or found.state}"
        raise RefusedError(found.state, message)
    say(_order_row(found), as_json=desk.as_json, text=f"{found.id}: {found.verb} {found.state}")


def _await(
    desk: _Desk, look: Callable[[], _Row], ended: Callable[[_Row], bool], seconds: float
) -> _Row:
    until = desk.monotonic() + seconds
    while not ended(found := look()) and desk.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    return found


def _order_of(db: Database, order: CommandId) -> "CommandRow":
    from cloud.control import service

    with db.transaction() as conn:
        found = service.command_of(conn, order)
    assert found is not None
    return found


def _token_of(db: Database, id_: int) -> "TokenRow":
    from cloud.control import service

    with db.transaction() as conn:
        found = service.token_of(conn, id_)
    assert found is not None
    return found


def _token_ended(row: "TokenRow") -> bool:
    return row.ended_at is not None


def _octets(file: Path | None, as_hex: str, digits: str) -> bytes:
    given = [way for way in (file, as_hex, digits) if way]
    if len(given) != 1:
        raise ConfigError("command line", ["give the token by one of --file, --hex, --digits"])
    if file is not None:
        try:
            return file.read_bytes()
        except OSError as error:
            raise ConfigError("command line", [f"{file}: {error.strerror}"]) from error
    if digits:
        plain = digits.replace(" ", "").replace("-", "")
        if not (plain.isascii() and plain.isdigit()):
            raise ConfigError("command line", ["--digits takes digits alone"])
        return plain.encode()
    try:
        return bytes.fromhex(as_hex)
    except ValueError as error:
        raise ConfigError("command line", ["--hex takes pairs of hex digits"]) from error


def _order_row(row: "CommandRow") -> dict[str, Any]:
    return {
        "order": row.id, "usage_point": row.usage_point, "meter": row.meter, "verb": row.verb,
        "state": row.state, "reason": row.end_reason, "evidence": row.evidence,
        "issued_by": row.issued_by, "issued_at": row.issued_at, "ended_at": row.ended_at,
    }  # fmt: skip


def _token_row(row: "TokenRow") -> dict[str, Any]:
    return {
        "token": row.id, "key": row.key, "usage_point": row.usage_point, "meter": row.meter,
        "kind": row.kind, "state": row.state, "reason": row.cause, "tries": row.tries,
        "evidence": row.evidence, "taken_at": row.taken_at, "ended_at": row.ended_at,
    }  # fmt: skip
