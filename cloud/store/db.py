"""Pool and transactions. Services open a transaction; stores take the connection."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from cloud.store import arrays

Connection = psycopg.Connection[TupleRow]
"""A connection inside an open transaction, as stores take it."""

TransientDatabaseError = psycopg.OperationalError
"""The server is away or the connection broke: whether a commit happened is unknown; ask by key."""

DatabaseError = psycopg.Error
"""Whatever the server or the way to it refuses: nothing of the transaction was written, or the
commit is unknown, as with `TransientDatabaseError`."""


class Database:
    """
    A pool of connections under one database role.

    Every transaction is READ COMMITTED; what must not race takes a row lock (see the SQL blocks).
    """

    def __init__(self, dsn: str, *, user: str = "", application: str = "", size: int = 4) -> None:
        """Open lazily as database role `user`; `application` shows in pg_stat_activity."""

        def configure(connection: psycopg.Connection[Any]) -> None:
            arrays.register(connection)
            with connection.cursor() as cursor:
                cursor.execute("SET TIME ZONE 'UTC'")
                cursor.execute("SET lock_timeout = '10s'")
            connection.commit()

        self._pool = ConnectionPool(
            make_conninfo(dsn, **({"user": user} if user else {})),
            min_size=1,
            max_size=size,
            kwargs={"application_name": application or "meterloop"},
            configure=configure,
            check=ConnectionPool.check_connection,
            open=False,
            timeout=10.0,
            reconnect_timeout=5.0,
        )
        self._pool.open(wait=False)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection in a transaction: commit at the end, roll back on any exception."""
        with self._pool.connection() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
