"""
Use cases of tokens: taken once per key, handed over once per meter, in the order of their coming.

A token is octets between its issuer and a meter. It waits for the tokens of its meter that came
before it, is ordered like any command, and is tried again only where the concentrator surely did
not begin: the concentrator, too, knows each token it ever began.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from cloud.assets import service as assets
from cloud.control import rules
from cloud.control.model import CommandRow, NewToken, Refusal, TokenRow, TokenState
from cloud.control.service import steps
from cloud.control.store import commands as command_rows
from cloud.control.store import supply as supply_rows
from cloud.control.store import tokens as rows
from cloud.store import audit
from cloud.store.clock import Clock
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import CommandId, MeterId, UsagePointId
from protocols.mqtt.downlink import TokenKind, Verb

VALID_HOURS = 24
"""Business hours for which a token waits for its meter; its key brings it back after that."""
MAX_OCTETS = 256
METER_GONE = "meter_exchanged"


def take_token(
    conn: Connection, wanted: NewToken, *, actor: str, now: datetime, again: bool = False
) -> TokenRow:
    """
    Take a token to be carried, in the caller's transaction; a repeat returns what became of it.

    `again` lets one that surely never came into the meter (expired, refused) wait anew.

    Raises: RefusedError KEY_REUSED, TOKEN_SHAPE, TOKEN_REPEATED, NO_TOKENS, UNKNOWN_SUPPLY.
    """
    _check_shape(wanted)
    supply = supply_rows.supply(conn, wanted.usage_point, lock=True)
    if supply is None:
        raise RefusedError(Refusal.UNKNOWN_SUPPLY, f"{wanted.usage_point} has no supply state")
    expires_at = now + timedelta(hours=VALID_HOURS)
    known = rows.token_by_key(conn, wanted)
    if known is not None:
        row, same = known
        if not same:
            raise RefusedError(
                Refusal.KEY_REUSED, "this key brought another token before",
                fix="draw one key for each token",
            )  # fmt: skip
        if not again or row.state not in {TokenState.EXPIRED, TokenState.REFUSED}:
            return row
        _meter_for(conn, wanted, meter=row.meter)
        rows.revive_token(conn, row.id, expires_at=expires_at)
        return _told(conn, row.id, "again", actor=actor, now=now)
    meter = _meter_for(conn, wanted)
    id_ = rows.insert_token(conn, wanted, meter=meter, expires_at=expires_at, now=now)
    return _told(conn, id_, "take", actor=actor, now=now)


def deliver_token(
    db: Database, wanted: NewToken, *, actor: str, now: datetime, again: bool = False
) -> TokenRow:
    """Take a token in a transaction of its own, see `take_token`."""
    with db.transaction() as conn:
        return take_token(conn, wanted, actor=actor, now=now, again=again)


def issue_tokens(db: Database, clock: Clock) -> list[CommandId]:
    """Order the delivery of every token whose turn it is; end those whose time is over."""
    with db.transaction() as conn:
        due = rows.tokens_due(conn)
    issued = []
    for id_, usage_point in due:
        try:
            with db.transaction() as conn:
                command = _issue(conn, id_, usage_point, now=clock.now())
        except RefusedError:
            # another process was faster, or an order for this supply is under way: its turn comes
            continue
        if command is not None:
            issued.append(command)
    return issued


def _issue(
    conn: Connection, id_: int, usage_point: UsagePointId, *, now: datetime
) -> CommandId | None:
    supply = supply_rows.supply(conn, usage_point, lock=True)
    token = rows.token(conn, id_)
    if supply is None or token is None or token.state is not TokenState.WAITING:
        return None
    if token.expires_at <= now:
        _settle(conn, token, TokenState.EXPIRED, cause="token_expired", now=now)
        return None
    installed = assets.installation_of(conn, usage_point)
    if installed is None or installed.meter.id != token.meter:
        _settle(conn, token, TokenState.REFUSED, cause=METER_GONE, now=now)
        return None
    command = command_rows.insert_command(
        conn, usage_point=usage_point, transformer=supply.transformer, meter=token.meter,
        concentrator=installed.concentrator, verb=Verb.DELIVER_TOKEN, request=None,
        epoch=supply.epoch, cuts_left=None, issued_by=steps.SYSTEM, reason=f"token {token.id}",
        local_day=None, token=token.id, now=now,
    )  # fmt: skip
    rows.order_token(conn, id_)
    audit.record(
        conn, at=now, actor=steps.SYSTEM, action="command.issue", entity="command",
        entity_id=command, on_behalf=token.source, reason=f"token {token.id}",
        after={"verb": Verb.DELIVER_TOKEN.value, "usage_point": usage_point},
    )  # fmt: skip
    return command


def note_token_end(
    conn: Connection,
    command: CommandRow,
    *,
    result: str,
    reason: str,
    evidence: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    """Follow the end of a command that carried a token; the supply is locked."""
    token = rows.token(conn, command.token) if command.token is not None else None
    if token is None:
        return
    state = rules.token_after(
        token.state, result=result, reason=reason, began=command_rows.began(conn, command.id),
        still_good=now < token.expires_at,
    )  # fmt: skip
    if state is not None:
        _settle(conn, token, state, cause=reason, evidence=evidence, now=now)


def tokens_of(conn: Connection, usage_point: UsagePointId, *, limit: int = 20) -> list[TokenRow]:
    """Return the tokens of one supply, newest first; never their octets."""
    return rows.tokens_of(conn, usage_point, limit=limit)


def token_of(conn: Connection, id_: int) -> TokenRow | None:
    """Return one token, or None; never its octets."""
    return rows.token(conn, id_)


def _settle(
    conn: Connection,
    token: TokenRow,
    state: TokenState,
    *,
    cause: str,
    evidence: Mapping[str, Any] | None = None,
    now: datetime,
) -> None:
    ended_at = None if state is TokenState.WAITING else now
    if rows.settle_token(
        conn, token.id, before=token.state, state=state, cause=cause, evidence=evidence,
        ended_at=ended_at,
    ):  # fmt: skip
        audit.record(
            conn, at=now, actor=steps.SYSTEM, action=f"token.{state.value}", entity="token",
            entity_id=str(token.id), before={"state": token.state.value},
            after={"state": state.value}, reason=cause[:200],
        )  # fmt: skip


def _check_shape(wanted: NewToken) -> None:
    fault = ""
    if wanted.kind not in tuple(TokenKind):
        fault = f"kind must be one of {', '.join(TokenKind)}"
    elif not 1 <= len(wanted.opaque) <= MAX_OCTETS:
        fault = f"a token has 1 to {MAX_OCTETS} octets"
    elif not wanted.source or not 1 <= len(wanted.key) <= 128:
        fault = "source and a key of 1 to 128 characters are needed"
    if fault:
        raise RefusedError(Refusal.TOKEN_SHAPE, fault)


def _meter_for(conn: Connection, wanted: NewToken, *, meter: MeterId | None = None) -> MeterId:
    """Return the meter that takes the token. Raises: RefusedError NO_TOKENS."""
    installed = assets.installation_of(conn, wanted.usage_point)
    if installed is None or meter not in (None, installed.meter.id):
        raise RefusedError(Refusal.NO_TOKENS, f"{wanted.usage_point}: its meter is not there")
    if installed.meter.token_kind != wanted.kind:
        takes = installed.meter.token_kind or "no tokens"
        raise RefusedError(
            Refusal.NO_TOKENS, f"{wanted.usage_point}: meter {installed.meter.id} takes {takes}",
            fix="send the kind of token that the meter takes",
        )  # fmt: skip
    return installed.meter.id


def _told(conn: Connection, id_: int, what: str, *, actor: str, now: datetime) -> TokenRow:
    found = rows.token(conn, id_)
    assert found is not None
    audit.record(
        conn, at=now, actor=actor, action=f"token.{what}", entity="token", entity_id=str(id_),
        after={"usage_point": found.usage_point, "meter": found.meter, "kind": found.kind},
        reason=f"{found.source} {found.key}"[:200],
    )  # fmt: skip
    return found
