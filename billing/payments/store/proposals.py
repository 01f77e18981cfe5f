"""SQL of proposals and of what waits for two people."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from billing.payments.store.blocks import SQL
from cloud.store.db import Connection


def insert_proposal(
    conn: Connection, subject: str, *, outcome: str, account: str, reason: str, actor: str,
    now: datetime,
) -> None:  # fmt: skip
    """Keep what somebody proposes about a subject."""
    conn.execute(
        SQL["insert_proposal"],
        {"subject": subject, "outcome": outcome, "account": account, "reason": reason,
         "actor": actor, "now": now},
    )  # fmt: skip


def newest_proposals(conn: Connection, subjects: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the newest proposal of each subject that has one."""
    return list(conn.execute(SQL["newest_proposals"], {"subjects": list(subjects)}))


def open_differences(conn: Connection, limit: int) -> list[tuple[Any, ...]]:
    """Return differences that wait for people."""
    return list(conn.execute(SQL["open_differences"], {"limit": limit}))


def newest_reconciliations(conn: Connection, limit: int) -> list[tuple[Any, ...]]:
    """Return reconciliations with their counts, newest first."""
    return list(conn.execute(SQL["newest_reconciliations"], {"limit": limit}))
