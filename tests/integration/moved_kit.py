"""A database as it stood before a migration, for tests of what that migration moves."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from cloud.store.migrate import available
from meterloop.embedded.postgres import EmbeddedPostgres


@contextmanager
def database_before(postgres: EmbeddedPostgres, number: int) -> Iterator[str]:
    """Yield the DSN of a database with every migration below `number`; it goes afterwards."""
    name = f"before_{number}"
    with psycopg.connect(postgres.dsn, autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE {name}")
    dsn = postgres.cluster.dsn(database=name)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "CREATE TABLE public.schema_migration (number integer PRIMARY KEY, name text NOT NULL,"
            " digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for file in available():
            if file.number < number:
                conn.execute(file.sql.encode())
                conn.execute(
                    "INSERT INTO public.schema_migration VALUES (%s, %s, %s)",
                    (file.number, file.name, file.digest),
                )
    try:
        yield dsn
    finally:
        with psycopg.connect(postgres.dsn, autocommit=True) as owner:
            owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
