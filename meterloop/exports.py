"""Usage as columns for other programs: CSV, Parquet, and IEC 61968-9 as XML or JSON."""

import csv
import io
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from protocols.cim.reading_type import type_of
from protocols.cim.readings import Series
from protocols.cim.wire import to_json, to_xml
from protocols.timeline import from_ms


class Format(StrEnum):
    """What a file of usage can be."""

    CSV = "csv"
    PARQUET = "parquet"
    CIM_XML = "cim-xml"
    CIM_JSON = "cim-json"


COLUMNS = ("usage_point", "reading_type", "start", "seconds", "value", "quality")
"""`start` is UTC, `value` in the channel's unit (Wh), `seconds` 0 for a register."""


def written(series: Sequence[Series], form: Format) -> bytes:
    """Return the file. Raises: PeerError where the standard cannot name an interval's length."""
    match form:
        case Format.CSV:
            return _csv(series)
        case Format.PARQUET:
            return _parquet(series)
        case Format.CIM_XML:
            return to_xml(series)
        case Format.CIM_JSON:
            return to_json(series)


def _csv(series: Sequence[Series]) -> bytes:
    text = io.StringIO(newline="")
    out = csv.writer(text, lineterminator="\n")
    out.writerow(COLUMNS)
    for one in series:
        type_ = str(type_of(one.channel, one.seconds))
        starts = [from_ms(at).strftime("%Y-%m-%dT%H:%M:%SZ") for at in one.at_ms.tolist()]
        out.writerows(
            (one.usage_point, type_, start, one.seconds, value, quality.value)
            for start, value, quality in zip(starts, one.value.tolist(), one.quality, strict=True)
        )
    return text.getvalue().encode()


def _parquet(series: Sequence[Series]) -> bytes:
    lengths = [len(one.at_ms) for one in series]

    def each(values: Sequence[str | int], kind: pa.DataType) -> pa.Array:
        return pa.array(np.repeat(np.array(values, dtype=object), lengths), kind)

    table = pa.table(
        {
            "usage_point": each([one.usage_point for one in series], pa.string()),
            "reading_type": each(
                [str(type_of(one.channel, one.seconds)) for one in series], pa.string()
            ),
            "start": pa.array(
                np.concatenate([one.at_ms for one in series] or [np.zeros(0, np.int64)]),
                pa.timestamp("ms", tz="UTC"),
            ),
            "seconds": each([one.seconds for one in series], pa.int32()),
            "value": pa.array(
                np.concatenate([one.value for one in series] or [np.zeros(0, np.int64)])
            ),
            "quality": pa.array(
                [quality.value for one in series for quality in one.quality], pa.string()
            ),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    octets: bytes = sink.getvalue().to_pybytes()
    return octets
