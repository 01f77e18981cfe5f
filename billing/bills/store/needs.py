"""SQL of which intervals billing still needs."""

from datetime import date
from pathlib import Path

from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parents[1] / "sql")


def still_needed(conn: Connection, until: date, today: date) -> list[tuple[str, int, date, str]]:
    """Return (kind, how many, first day, one of them) of what needs days before `until`."""
    return conn.execute(_SQL["still_needed"], {"until": until, "today": today}).fetchall()
