"""Numbered, forward-only SQL migrations, each in a transaction of its own."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import psycopg

FOLDER = Path(__file__).parent / "migrations"
_LOCK = 7_305_117_001
"""Advisory lock, so that two processes that start together do not migrate together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file `NNNN_name.sql`."""

    number: int
    name: str
    sql: str
    digest: str


class MigrationError(Exception):
    """The database and the migration files disagree; the message says how and what to do."""


def available(folder: Path = FOLDER) -> list[Migration]:
    """Return every migration in order. Raises MigrationError on two files of one number."""
    found: dict[int, Migration] = {}
    for file in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql")):
        number, text = int(file.name[:4]), file.read_text(encoding="utf-8")
        if number in found:
            raise MigrationError(f"two migrations are numbered {number:04}; renumber {file.name}")
        digest = hashlib.sha256(text.encode()).hexdigest()
        found[number] = Migration(number=number, name=file.stem, sql=text, digest=digest)
    return [found[number] for number in sorted(found)]


def migrate(dsn: str, *, hypertable: bool = False) -> list[str]:
    """
    Bring the database at `dsn` to the newest schema and return the names applied, maybe none.

    With `hypertable` the first migration lets TimescaleDB, where the server has loaded it, keep the
    readings of open days; afterwards it has no say.

    Raises: MigrationError when an applied migration was changed or is missing here.
    """
    applied_now = []
    with psycopg.connect(dsn, autocommit=True, application_name="meterloop-migrate") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        if hypertable:
            connection.execute("SET meterloop.hypertable = 'on'")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS public.schema_migration ("
            " number integer PRIMARY KEY, name text NOT NULL, digest text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = connection.execute("SELECT number, name, digest FROM public.schema_migration")
        done = {number: (name, digest) for number, name, digest in rows}
        files = available()
        unknown = done.keys() - {file.number for file in files}
        if unknown:
            raise MigrationError(
                f"the database has migration {max(unknown):04} that this version lacks; "
                "run the newer Meterloop that applied it"
            )
        for file in files:
            if file.number in done:
                if done[file.number][1] != file.digest:
                    raise MigrationError(
                        f"{file.name}.sql was changed after it was applied; restore it and add a "
                        "new migration"
                    )
                continue
            with connection.transaction():
                connection.execute(file.sql)
                connection.execute(
                    "INSERT INTO public.schema_migration (number, name, digest)"
                    " VALUES (%s, %s, %s)",
                    (file.number, file.name, file.digest),
                )
            applied_now.append(file.name)
    return applied_now
