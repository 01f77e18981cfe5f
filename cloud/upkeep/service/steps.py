"""
Steps that several use cases share; each runs in the caller's transaction under the rollout's lock.

Nothing here opens a transaction. Each step writes its audit event.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from cloud.store import audit
from cloud.store.db import Connection
from cloud.upkeep import rules
from cloud.upkeep.model import (
    RUNNING,
    UNSENT,
    Errand,
    ErrandEvent,
    Refusal,
    Rollout,
    RolloutEvent,
    RolloutId,
)
from cloud.upkeep.store import errands as errand_rows
from cloud.upkeep.store import rollouts as rollout_rows
from protocols.errors import RefusedError

SYSTEM = "system:upkeep"
EDGE = "system:edge"


def locked(conn: Connection, id_: RolloutId) -> Rollout:
    """Return a rollout, locked. Raises: RefusedError UNKNOWN_ROLLOUT."""
    found = rollout_rows.rollout(conn, id_)
    if found is None:
        raise RefusedError(
            Refusal.UNKNOWN_ROLLOUT, f"there is no rollout {id_}", fix="see meterloop upkeep show"
        )
    return found


def move_rollout(
    conn: Connection,
    rollout: Rollout,
    event: RolloutEvent,
    *,
    actor: str,
    cause: str = "",
    now: datetime,
) -> Rollout:
    """
    Move a locked rollout along its table; what ends it takes back what was not sent yet.

    Raises: RefusedError WRONG_STATE where the table has no such move.
    """
    state = rules.move_rollout(rollout.state, event)
    if state is None:
        raise RefusedError(
            Refusal.WRONG_STATE, f"rollout {rollout.id} is {rollout.state}: cannot {event}"
        )
    ended = state not in RUNNING
    rollout_rows.set_state(
        conn, rollout.id, before=rollout.state, state=state, cause=cause[:500],
        ended_at=now if ended else None,
    )  # fmt: skip
    audit.record(
        conn, at=now, actor=actor, action=f"rollout.{event}", entity="rollout",
        entity_id=rollout.id, before={"state": rollout.state.value}, after={"state": state.value},
        reason=cause[:500],
    )  # fmt: skip
    if ended:
        for errand in errand_rows.errands_of(conn, rollout.id):
            if errand.state in UNSENT:
                end_errand(
                    conn, errand, ErrandEvent.CANCEL, actor=actor, reason=f"rollout {state.value}",
                    now=now,
                )  # fmt: skip
    return replace(rollout, state=state, cause=cause, ended_at=now if ended else None)


def end_errand(
    conn: Connection,
    errand: Errand,
    event: ErrandEvent,
    *,
    actor: str,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    now: datetime,
) -> bool:
    """End an errand with its one outcome; False where it had ended or cannot end so."""
    state = rules.move_errand(errand.state, event)
    if state is None or not errand_rows.end(
        conn, errand.id, state=state, reason=reason, evidence=evidence or {}, now=now
    ):
        return False
    audit.record(
        conn, at=now, actor=actor, action=f"errand.{state.value}", entity="errand",
        entity_id=errand.id, before={"state": errand.state.value},
        after={"state": state.value, "rollout": errand.rollout, "meter": errand.meter},
        reason=reason[:500],
    )  # fmt: skip
    return True
