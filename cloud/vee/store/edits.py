"""SQL of edits: proposed, decided, and what people say over days and registers."""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from cloud.store.db import Connection
from cloud.store.sql import Queries
from cloud.vee.model import Edit, EditState
from protocols.identity import UsagePointId

_SQL = Queries(Path(__file__).parents[1] / "sql")


def insert(
    conn: Connection,
    *,
    usage_point: UsagePointId,
    seconds: int,
    start_ms: Sequence[int],
    wh: Sequence[int | None],
    reason: str,
    actor: str,
    now: datetime,
) -> int:
    """Write a proposal down and return its number."""
    row = conn.execute(
        _SQL["insert_edit"],
        {
            "usage_point": usage_point, "seconds": seconds, "start_ms": list(start_ms),
            "wh": list(wh), "reason": reason, "actor": actor, "now": now,
        },
    ).fetchone()  # fmt: skip
    assert row is not None
    return int(row[0])


def edits(
    conn: Connection, state: EditState | None, usage_point: UsagePointId | None, limit: int
) -> list[Edit]:
    """Return proposals, newest first; None means any."""
    rows = conn.execute(
        _SQL["edits"],
        {"state": state.value if state else None, "usage_point": usage_point, "limit": limit},
    )
    return [_edit(row) for row in rows]


def lock(conn: Connection, id_: int) -> Edit | None:
    """Return one proposal and take its row lock."""
    row = conn.execute(_SQL["lock_edit"], {"id": id_}).fetchone()
    return None if row is None else _edit(row)


def decide(
    conn: Connection, id_: int, *, state: EditState, actor: str, decision: str, now: datetime
) -> None:
    """Decide on a proposal, locked by the caller."""
    conn.execute(
        _SQL["decide_edit"],
        {"id": id_, "state": state.value, "actor": actor, "decision": decision, "now": now},
    )


def insert_slots(
    conn: Connection,
    edit: Edit,
    *,
    day: date,
    since: datetime,
    offset_s: Sequence[int],
    kind: Sequence[int],
    wh: Sequence[int],
    verified_by: str,
    now: datetime,
) -> None:
    """Say over slots of one day what an edit says; the caller decided on it."""
    conn.execute(_SQL["lock_person_rows"], {"usage_point": edit.usage_point})
    conn.execute(
        _SQL["insert_person_row"],
        {
            "usage_point": edit.usage_point, "day": day, "seconds": edit.seconds, "since": since,
            "offset_s": list(offset_s), "kind": list(kind), "wh": list(wh), "now": now,
            "made": Jsonb([{"edit": edit.id}]), "actor": edit.proposed_by,
            "verified_by": verified_by, "reason": edit.reason,
        },
    )  # fmt: skip


def insert_register(
    conn: Connection, edit: Edit, *, at: datetime, kind: int, wh: int, verified_by: str,
    now: datetime,
) -> None:  # fmt: skip
    """Say over one register what an edit says; the caller decided on it."""
    conn.execute(_SQL["lock_person_rows"], {"usage_point": edit.usage_point})
    conn.execute(
        _SQL["insert_person_register"],
        {
            "usage_point": edit.usage_point, "at": at, "kind": kind, "wh": wh, "now": now,
            "actor": edit.proposed_by, "verified_by": verified_by, "reason": edit.reason,
        },
    )  # fmt: skip


def overlay_versions(
    conn: Connection, usage_point: UsagePointId, first: date, last: date
) -> list[tuple[Any, ...]]:
    """Return every row ever said over days: see the block for its columns."""
    return conn.execute(
        _SQL["overlay_versions"], {"usage_point": usage_point, "first": first, "last": last}
    ).fetchall()


def _edit(row: Sequence[Any]) -> Edit:
    (id_, usage_point, seconds, start_ms, wh, reason, proposed_by, proposed_at, state, decided_by,
     decided_at, decision) = row  # fmt: skip
    return Edit(
        id=id_, usage_point=UsagePointId(usage_point), seconds=seconds, start_ms=start_ms, wh=wh,
        reason=reason, proposed_by=proposed_by, proposed_at=proposed_at, state=EditState(state),
        decided_by=decided_by, decided_at=decided_at, decision=decision,
    )  # fmt: skip
