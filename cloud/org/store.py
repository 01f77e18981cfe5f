"""SQL of the organisation."""

from collections.abc import Sequence
from pathlib import Path

from cloud.org.model import Company, Unit, UnitKind
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parent / "sql")


def insert_companies(conn: Connection, companies: Sequence[Company]) -> None:
    """Add the companies that are not known yet."""
    conn.execute(
        _SQL["insert_companies"],
        {"id": [c.id for c in companies], "name": [c.name for c in companies]},
    )


def insert_units(conn: Connection, units: Sequence[Unit]) -> None:
    """Add the units that are not known yet."""
    names = ("id", "company", "parent", "kind", "name", "zone")
    conn.execute(
        _SQL["insert_units"], {name: [getattr(unit, name) for unit in units] for name in names}
    )


def units(conn: Connection) -> list[Unit]:
    """Return every unit."""
    return [
        Unit(id=id_, company=company, parent=parent, kind=UnitKind(kind), name=name, zone=zone)
        for id_, company, parent, kind, name, zone in conn.execute(_SQL["all_units"])
    ]
