"""Lists as arrays: the server reads from a column's text what it read from the driver's own."""

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.types.array import ListDumper

from cloud.store import arrays
from cloud.store.db import Database

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_COLUMNS = st.one_of(
    st.lists(st.none() | _TEXT),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.none() | st.binary(max_size=9)),
    st.lists(st.none() | st.dates()),
    st.lists(st.none() | st.datetimes(timezones=st.just(UTC))),
    st.lists(st.booleans()),
)
_NAMES = {str: "text", int: "bigint", bytes: "bytea", date: "date", datetime: "timestamptz",
          bool: "boolean"}  # fmt: skip


def _read_back(conn: psycopg.Connection[Any], column: list[Any], name: str) -> list[Any]:
    row = conn.execute(f"SELECT %s::{name}[]", [column]).fetchone()
    assert row is not None
    return list(row[0])


def test_whatever_a_column_holds_comes_back(database_dsn: str) -> None:
    with psycopg.connect(database_dsn, autocommit=True) as conn:
        conn.execute("SET TIME ZONE 'UTC'")
        arrays.register(conn)

        @settings(max_examples=150, deadline=None)
        @given(_COLUMNS)
        def check(column: list[Any]) -> None:
            kind = next((type(each) for each in column if each is not None), str)
            assert _read_back(conn, column, _NAMES[kind]) == column

        check()


@pytest.mark.parametrize(
    "column",
    [
        ["NULL", "null", "", " ", "{}", '"', "\\", 'a"b\\c', "a,b", "\u1680\u3000", None],
        ["برق", "电费", "elektr", "\t\n"],
        [None, None],
        [],
    ],
)
def test_text_that_means_something_to_arrays_is_only_text(
    db: Database, column: list[str | None]
) -> None:
    with db.transaction() as conn:
        assert _read_back(conn, column, "text") == column


def test_a_time_of_any_zone_is_the_same_instant(db: Database) -> None:
    times = [
        datetime(2026, 3, 1, 12, tzinfo=ZoneInfo("Asia/Tashkent")),
        datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC),
    ]
    with db.transaction() as conn:
        assert _read_back(conn, times, "timestamptz") == times


def test_what_no_text_may_hold_is_refused_as_the_driver_refuses_it(db: Database) -> None:
    with db.transaction() as conn, pytest.raises(psycopg.DataError, match="NUL"):
        conn.execute("SELECT %s::text[]", [["a", "b\0c"]])


def test_every_connection_of_a_pool_dumps_lists_so(db: Database) -> None:
    with db.transaction() as conn:
        dumper = conn.adapters.get_dumper(list, psycopg.adapt.PyFormat.AUTO)
    assert dumper is arrays.ColumnDumper
    assert issubclass(dumper, ListDumper)
