"""What the signer reads of others' rows, its own memory, and the two columns it may write."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cloud.signer.model import Cause, Counts, Limits, Order, Part
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import CommandId, ConcentratorId, MeterId, UsagePointId

_SQL = Queries(Path(__file__).parent.parent / "sql")


def waiting(conn: Connection, part: Part) -> list[Order]:
    """Return what waits for a signature."""
    block = _SQL["unsigned_commands"] if part is Part.COMMAND else _SQL["unsigned_goes"]
    return [_order(part, row) for row in conn.execute(block).fetchall()]


def lock_counts(conn: Connection) -> None:
    """Count alone until the transaction ends."""
    conn.execute(_SQL["lock_counts"])


def limits(conn: Connection) -> Limits:
    """Return this signer's own limits."""
    row = conn.execute(_SQL["limits"]).fetchone()
    assert row is not None
    return Limits(max_cuts_per_hour=row[0], max_cuts_per_day=row[1])


def counts(conn: Connection, *, now: datetime) -> Counts:
    """Return how many cuts were signed lately."""
    values = {"hour_ago": now - timedelta(hours=1), "day_ago": now - timedelta(days=1)}
    row = conn.execute(_SQL["counts"], values).fetchone()
    assert row is not None
    return Counts(hour=row[0], day=row[1])


def write_signature(
    conn: Connection,
    order: Order,
    *,
    signature: bytes,
    digest: bytes,
    now: datetime,
    wall_now: datetime,
) -> bool:
    """Remember and write a signature; False when the row changed or ended meanwhile."""
    block = "write_command_signature" if order.part is Part.COMMAND else "write_go_signature"
    values = {"command": order.id, "body": order.body, "signature": signature, "now": now}
    if conn.execute(_SQL[block], values).fetchone() is None:
        return False
    conn.execute(
        _SQL["insert_signature"],
        {
            "command": order.id, "part": order.part.value, "verb": order.verb,
            "usage_point": order.usage_point, "now": now, "wall_now": wall_now, "digest": digest,
        },
    )  # fmt: skip
    return True


def write_refusal(conn: Connection, order: Order, cause: Cause, *, now: datetime) -> None:
    """Remember and write a refusal."""
    block = "write_command_refusal" if order.part is Part.COMMAND else "write_go_refusal"
    conn.execute(_SQL[block], {"command": order.id, "cause": cause.value})
    conn.execute(
        _SQL["insert_refusal"],
        {"command": order.id, "part": order.part.value, "cause": cause.value, "now": now},
    )


def _order(part: Part, row: Sequence[Any]) -> Order:
    (id_, usage_point, meter, concentrator, verb, epoch, body, nonce, expires, is_open, state,
     requested_by, approvers, protected, supply_epoch, halted, signed_before, token_kind,
     token_opaque, release_asked, release_approved) = row  # fmt: skip
    return Order(
        part=part, id=CommandId(id_), usage_point=UsagePointId(usage_point), meter=MeterId(meter),
        concentrator=ConcentratorId(concentrator), verb=verb, epoch=epoch, body=bytes(body),
        nonce=bytes(nonce or b""), expires=expires, open=is_open, request_state=state,
        requested_by=requested_by, approvers=tuple(approvers), protected=protected,
        supply_epoch=supply_epoch, halted=halted, signed_before=signed_before,
        token=(token_kind, bytes(token_opaque)) if token_kind else None,
        released_by=(release_asked, release_approved) if release_approved else None,
    )  # fmt: skip
