"""
List parameters as PostgreSQL arrays, a column at a time.

The driver's own dumper looks at every element with regular expressions; a statement that takes tens
of thousands of rows as arrays spends most of its time there. The text below says the same to the
server, and whatever is not one of the plain types is left to the driver.
"""

import struct
from datetime import date, datetime
from types import NoneType
from typing import Any

from psycopg import Connection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.array import ListDumper

_NUL = "\0"
"""No text of the database holds it: it may stand between elements while they are escaped."""


class ColumnDumper(ListDumper):
    """A list of one plain type, dumped whole; its array type is found as the driver finds it."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        """Return the array's text."""
        types = set(map(type, obj))
        nulls = NoneType in types
        types.discard(NoneType)
        if len(types) == 1 and self.delimiter == b",":
            text = _text_of(types.pop(), obj, nulls=nulls)
            if text is not None:
                return text.encode()
        return super().dump(obj)


class NumbersDumper(Dumper):
    """
    A flat numpy array of whole numbers as bigint[], nearly as it lies in memory.

    *Source*: `array_recv` of PostgreSQL: dimensions, no nulls, element type, length, first index.
    """

    format = Format.BINARY
    oid = 1016

    def dump(self, obj: Any) -> Buffer | None:
        """Return the array's octets."""
        # who sends no numbers is spared the memory of numpy
        import numpy as np

        elements = np.empty(len(obj), dtype=[("octets", ">i4"), ("number", ">i8")])
        elements["octets"], elements["number"] = 8, obj
        return struct.pack("!5i", 1, 0, 20, len(elements), 1) + elements.tobytes()


def register(connection: Connection[Any]) -> None:
    """Let this connection dump its lists and numpy's columns so."""
    connection.adapters.register_dumper(list, ColumnDumper)
    connection.adapters.register_dumper("numpy.ndarray", NumbersDumper)


def _text_of(kind: type, column: list[Any], *, nulls: bool) -> str | None:
    """Return the array's text; None when the driver has to say it."""
    if kind is int:
        if nulls:
            return "{" + ",".join(["NULL" if each is None else str(each) for each in column]) + "}"
        return "{" + ",".join(map(str, column)) + "}"
    if kind is str:
        return _text_array(column, nulls=nulls)
    if kind is date or kind is datetime:
        return _quoted([None if each is None else str(each) for each in column])
    if kind is bytes:
        return _quoted([None if each is None else "\\\\x" + each.hex() for each in column])
    return None


def _text_array(column: list[str | None], *, nulls: bool) -> str | None:
    present = [each for each in column if each is not None]
    joined = _NUL.join(present)
    if joined.count(_NUL) != len(present) - 1:
        return None
    escaped = joined.replace("\\", "\\\\").replace('"', '\\"')
    if not nulls:
        return '{"' + escaped.replace(_NUL, '","') + '"}'
    rest = iter(escaped.split(_NUL))
    return _quoted([None if each is None else next(rest) for each in column])


def _quoted(escaped: list[str | None]) -> str:
    return "{" + ",".join("NULL" if each is None else f'"{each}"' for each in escaped) + "}"
