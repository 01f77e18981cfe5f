"""Rows of tokens: octets that are carried to meters and read by nobody on the way."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from cloud.control.model import NewToken, TokenRow, TokenState
from cloud.control.store.blocks import SQL, refusals
from cloud.control.store.commands import plain
from cloud.store.db import Connection
from protocols.identity import MeterId, UsagePointId


def insert_token(
    conn: Connection, wanted: NewToken, *, meter: MeterId, expires_at: datetime, now: datetime
) -> int:
    """Insert a token. Raises: RefusedError TOKEN_REPEATED, KEY_REUSED, TOKEN_SHAPE."""
    values = {**_said(wanted), "meter": meter, "expires_at": expires_at, "now": now}
    with refusals():
        row = conn.execute(SQL["insert_token"], values).fetchone()
    assert row is not None
    return int(row[0])


def token(conn: Connection, id_: int) -> TokenRow | None:
    """Return a token, or None."""
    row = conn.execute(SQL["token"], {"token": id_}).fetchone()
    return _token(row) if row else None


def token_by_key(conn: Connection, wanted: NewToken) -> tuple[TokenRow, bool] | None:
    """Return the token of a key and whether `wanted` says the same again; None if unknown."""
    row = conn.execute(SQL["token_by_key"], _said(wanted)).fetchone()
    return (_token(row[:-1]), bool(row[-1])) if row else None


def tokens_of(conn: Connection, usage_point: UsagePointId, *, limit: int) -> list[TokenRow]:
    """Return the tokens of one supply, newest first."""
    values = {"usage_point": usage_point, "limit": limit}
    return [_token(row) for row in conn.execute(SQL["tokens_of"], values).fetchall()]


def octets_of(conn: Connection, id_: int) -> tuple[str, bytes]:
    """Return kind and octets of a token."""
    row = conn.execute(SQL["token_octets"], {"token": id_}).fetchone()
    assert row is not None
    return row[0], bytes(row[1])


def tokens_due(conn: Connection) -> list[tuple[int, UsagePointId]]:
    """Return the first open token of each meter where it waits, with its supply."""
    rows = conn.execute(SQL["tokens_due"]).fetchall()
    return [(id_, UsagePointId(point)) for id_, point in rows]


def order_token(conn: Connection, id_: int) -> bool:
    """Note that a waiting token got its command; False when it does not wait."""
    return conn.execute(SQL["order_token"], {"token": id_}).fetchone() is not None


def settle_token(
    conn: Connection,
    id_: int,
    *,
    before: TokenState,
    state: TokenState,
    cause: str,
    evidence: Mapping[str, Any] | None,
    ended_at: datetime | None,
) -> bool:
    """Write where a token stands; False when it stands otherwise than the caller saw."""
    values = {
        "token": id_, "before": before.value, "state": state.value, "ended_at": ended_at,
        "cause": cause.replace("\x00", "")[:500],
        "evidence": Jsonb(plain(evidence)) if evidence is not None else None,
    }  # fmt: skip
    return conn.execute(SQL["settle_token"], values).fetchone() is not None


def revive_token(conn: Connection, id_: int, *, expires_at: datetime) -> bool:
    """Let a token wait anew that expired or was refused; False when it did not end so."""
    values = {"token": id_, "expires_at": expires_at}
    return conn.execute(SQL["revive_token"], values).fetchone() is not None


def _said(wanted: NewToken) -> dict[str, Any]:
    return {
        "source": wanted.source, "key": wanted.key, "usage_point": wanted.usage_point,
        "kind": wanted.kind, "opaque": wanted.opaque,
    }  # fmt: skip


def _token(row: Sequence[Any]) -> TokenRow:
    (id_, source, key, usage_point, meter, kind, state, taken_at, expires_at, tries, cause,
     evidence, ended_at) = row  # fmt: skip
    return TokenRow(
        id=id_, source=source, key=key, usage_point=UsagePointId(usage_point),
        meter=MeterId(meter), kind=kind, state=TokenState(state), taken_at=taken_at,
        expires_at=expires_at, tries=tries, cause=cause, evidence=evidence, ended_at=ended_at,
    )  # fmt: skip
