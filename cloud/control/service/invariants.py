"""The invariants of control, read only: C1 to C7, and S2 for acts on a switch."""

from datetime import UTC, datetime, timedelta

from cloud.control.store import invariants as rows
from cloud.control.store import supply as supply_rows
from cloud.store.db import Connection
from protocols.timeline import TimeScale

GRACE_SECONDS = 60
"""Wall seconds after its validity by which a command must have its outcome."""


def audit_findings(
    conn: Connection, *, now: datetime | None = None, scale: TimeScale | None = None
) -> dict[str, list[str]]:
    """
    Return, per invariant, the ids of commands, supplies or requests that break it.

    C1 no cut after a registered payment; C2 none of a protected customer; C3 none without two
    people; C4 nothing stale, replayed or foreign acted; C5 one outcome per command, in time; C6
    limits kept; C7 paid means powered, or people were told; S2 every act names its actors.
    Without `now` the newest audit event stands for it. `scale` turns wall limits into business
    time; without it time runs at the wall's speed.
    """
    line = scale or TimeScale()
    instant = now or rows.newest_act(conn) or datetime(1970, 1, 1, tzinfo=UTC)
    policy = supply_rows.policy(conn)
    alarm = line.stretch(policy.restore_alarm_seconds + GRACE_SECONDS)
    return rows.violations(
        conn,
        ended_by=instant - line.stretch(GRACE_SECONDS + policy.command_ttl_seconds),
        due_by=instant - max(alarm, timedelta(seconds=1)),
    )


def audit_violations(
    conn: Connection, *, now: datetime | None = None, scale: TimeScale | None = None
) -> dict[str, int]:
    """Return how many things break each invariant; see `audit_findings`."""
    return {name: len(found) for name, found in audit_findings(conn, now=now, scale=scale).items()}
