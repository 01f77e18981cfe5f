"""SQL of how far the log is stored."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parent / "sql")


def advance(
    conn: Connection, cluster: str, topic: str, next_offsets: Mapping[int, int], *, now: datetime
) -> None:
    """Write down per partition the first record that is not stored; places never go back."""
    conn.execute(
        _SQL["advance_positions"],
        {
            "cluster": cluster, "topic": topic, "partition": list(next_offsets),
            "next_offset": list(next_offsets.values()), "stored_at": now,
        },
    )  # fmt: skip


def positions(conn: Connection, cluster: str, topic: str) -> dict[int, int]:
    """Return per partition the first record that is not stored."""
    rows = conn.execute(_SQL["positions"], {"cluster": cluster, "topic": topic})
    return dict(rows.fetchall())


def restart(
    conn: Connection, cluster: str, topic: str, partition: int, next_offset: int, *, now: datetime
) -> None:
    """Set a place where the log begins anew."""
    conn.execute(
        _SQL["restart_position"],
        {
            "cluster": cluster, "topic": topic, "partition": partition,
            "next_offset": next_offset, "stored_at": now,
        },
    )  # fmt: skip
