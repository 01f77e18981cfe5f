"""
The audit log: every act on a switch or on money, its actors, and a hash chain over it all.

`record` is called inside the transaction of the act. `seal` chains what is committed; it runs
every second in the control process, so acts never wait for one another's hashes.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from cloud.store.db import Connection, Database
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parent / "sql")
_GENESIS = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One act. `before` and `after` are what a person compares; never keys, phones or payloads."""

    id: int
    at: datetime
    actor: str
    on_behalf: str
    action: str
    entity: str
    entity_id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    reason: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One of many acts to write down at one instant; fields as `record` takes them."""

    actor: str
    action: str
    entity: str
    entity_id: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    reason: str = ""


def record(
    conn: Connection,
    *,
    at: datetime,
    actor: str,
    action: str,
    entity: str,
    entity_id: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
    on_behalf: str = "",
    request_id: str = "",
) -> None:
    """Write down an act in the transaction that does it; `actor` is `user:ID` or `system:NAME`."""
    conn.execute(
        _SQL["insert_audit_event"],
        {
            "at": at, "actor": actor, "on_behalf": on_behalf, "action": action, "entity": entity,
            "entity_id": entity_id, "before": Jsonb(before) if before is not None else None,
            "after": Jsonb(after) if after is not None else None, "reason": reason,
            "request_id": request_id,
        },
    )  # fmt: skip


def record_many(conn: Connection, acts: Sequence[Act], *, at: datetime) -> None:
    """Write down many acts in their order, to the effect of `record` one by one."""
    conn.execute(
        _SQL["insert_audit_events"],
        {
            "at": at, "actors": [act.actor for act in acts],
            "actions": [act.action for act in acts], "entities": [act.entity for act in acts],
            "entity_ids": [act.entity_id for act in acts],
            "befores": [_as_json(act.before) for act in acts],
            "afters": [_as_json(act.after) for act in acts],
            "reasons": [act.reason for act in acts],
        },
    )  # fmt: skip


def history(conn: Connection, *, entity: str, entity_id: str, limit: int = 50) -> list[AuditEvent]:
    """Return what was done to one thing, newest first."""
    rows = conn.execute(
        _SQL["audit_history"], {"entity": entity, "entity_id": entity_id, "limit": limit}
    )
    return [_event(row) for row in rows]


def seal(db: Database, *, now: datetime) -> int:
    """Chain every committed event that no seal covers yet; return how many."""
    with db.transaction() as conn:
        conn.execute(_SQL["lock_audit_chain"])
        last = conn.execute(_SQL["last_audit_seal"]).fetchone()
        seq, previous, newest = last if last else (0, _GENESIS, 0)
        rows = conn.execute(
            _SQL["unsealed_audit_events"], {"after": newest, "recent": seq}
        ).fetchall()
        if not rows:
            return 0
        events = [_event(row) for row in rows]
        conn.execute(
            _SQL["insert_audit_seal"],
            {
                "seq": seq + 1, "made_at": now, "events": [event.id for event in events],
                "previous": previous, "digest": digest_of(previous, events),
            },
        )  # fmt: skip
        return len(events)


def digest_of(previous: bytes, events: Sequence[AuditEvent]) -> bytes:
    """Return SHA-256 over the forerunner's digest and the canonical JSON of each event."""
    chain = hashlib.sha256(previous)
    for event in events:
        chain.update(
            json.dumps(
                [event.id, event.at.isoformat(), event.actor, event.on_behalf, event.action,
                 event.entity, event.entity_id, event.before, event.after, event.reason,
                 event.request_id],
                sort_keys=True, separators=(",", ":"), ensure_ascii=False,
            ).encode()
        )  # fmt: skip
    return chain.digest()


def broken_seals(conn: Connection, *, unsealed_before: datetime) -> int:
    """Return how many seals do not fit their events, plus events left unsealed for too long."""
    broken, previous = 0, _GENESIS
    for _seq, ids, prior, digest in conn.execute(_SQL["audit_seals"]).fetchall():
        events = [_event(row) for row in conn.execute(_SQL["audit_events_by_id"], {"ids": ids})]
        if bytes(prior) != previous or digest_of(previous, events) != bytes(digest):
            broken += 1
        previous = bytes(digest)
    row = conn.execute(_SQL["count_unsealed_before"], {"before": unsealed_before}).fetchone()
    assert row is not None
    return broken + int(row[0])


def _as_json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def _event(row: Sequence[Any]) -> AuditEvent:
    (id_, at, actor, on_behalf, action, entity, entity_id, before, after, reason, request) = row
    return AuditEvent(
        id=id_, at=at, actor=actor, on_behalf=on_behalf, action=action, entity=entity,
        entity_id=entity_id, before=before, after=after, reason=reason, request_id=request,
    )  # fmt: skip
