"""Read-only questions of the audit: ids that break an invariant."""

from datetime import datetime

from cloud.control.store.blocks import SQL
from cloud.store.db import Connection


def violations(conn: Connection, *, ended_by: datetime, due_by: datetime) -> dict[str, list[str]]:
    """Return the ids that break each of C1 to C7 and S2."""
    blocks = {
        "C1": SQL["cuts_after_payment"],
        "C2": SQL["cuts_of_protected"],
        "C3": SQL["cuts_without_two"],
        "C4": SQL["foreign_acts"],
        "C5": SQL["commands_without_end"],
        "C6": SQL["cuts_over_limit"],
        "C7": SQL["paid_without_power"],
        "S2": SQL["acts_without_audit"],
    }
    values = {"ended_by": ended_by, "due_by": due_by}
    return {name: [row[0] for row in conn.execute(block, values)] for name, block in blocks.items()}


def newest_act(conn: Connection) -> datetime | None:
    """Return the latest business instant in the audit log, or None."""
    row = conn.execute(SQL["newest_act"]).fetchone()
    return row[0] if row else None
