"""SQL of the end of a balance."""

from pathlib import Path

from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parents[1] / "sql")


def forget_state(conn: Connection, agreement: str) -> bool:
    """Take the state of an agreement away; tell whether it had one."""
    row = conn.execute(_SQL["forget_state"], {"agreement": agreement}).fetchone()
    return row is not None
