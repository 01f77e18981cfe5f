"""Use cases of the organisation."""

from collections.abc import Sequence

from cloud.org import store
from cloud.org.model import Company, Unit
from cloud.store.db import Connection, Database


def register(db: Database, *, companies: Sequence[Company], units: Sequence[Unit]) -> None:
    """Make companies and units known; repeating it changes nothing."""
    with db.transaction() as conn:
        store.insert_companies(conn, companies)
        store.insert_units(conn, units)


def units(conn: Connection) -> list[Unit]:
    """Return every unit, by id."""
    return store.units(conn)
