"""Usage as columns for other programs: CSV, Parquet, and IEC 61968-9 as XML or JSON."""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from cloud.ingest.rules.retention import MonthPart
from protocols.cim.reading_type import type_of
from protocols.cim.readings import Series
from protocols.cim.wire import to_json, to_xml
from protocols.timeline import from_ms, to_ms


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


_MONTH = pa.schema([
    ("meter", pa.string()), ("channel", pa.int16()), ("start", pa.timestamp("ms", tz="UTC")),
    ("seconds", pa.int32()), ("wh", pa.int64()), ("status", pa.int64()),
    ("received", pa.timestamp("ms", tz="UTC")), ("batch", pa.int64()),
])  # fmt: skip


def month_written(file: Path, parts: Iterable[Sequence[MonthPart]]) -> tuple[int, str]:
    """
    Write packed intervals to a new Parquet file; return how many, and the file's SHA-256.

    The file appears whole or not at all. Raises: FileExistsError where there is one already.
    """
    if file.exists():
        raise FileExistsError(f"{file} is there already; name a new file")
    partial, count = file.with_name(f".{file.name}.part"), 0
    try:
        with pq.ParquetWriter(partial, _MONTH, compression="zstd") as out:
            for part in parts:
                if part:
                    out.write_table(_month_table(part))
                    count += sum(len(each.readings) for each in part)
        with partial.open("rb") as whole:
            os.fsync(whole.fileno())
            digest = hashlib.file_digest(whole, "sha256").hexdigest()
        os.link(partial, file)  # fails where somebody made it meanwhile
    finally:
        partial.unlink(missing_ok=True)
    return count, digest


def _month_table(part: Sequence[MonthPart]) -> pa.Table:
    sizes = [len(each.readings) for each in part]

    def spread(values: Sequence[int | str]) -> Any:
        return np.repeat(np.array(values), sizes)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(each.readings, name) for each in part])

    midnight = spread([to_ms(datetime.combine(each.day, time(), UTC)) for each in part])
    columns = {
        "meter": spread([each.meter for each in part]),
        "channel": spread([each.channel for each in part]),
        "start": midnight + joined("at_ms"), "seconds": spread([each.seconds for each in part]),
        "wh": joined("wh"), "status": joined("status"), "batch": joined("batch"),
        "received": midnight + joined("received_ms"),
    }  # fmt: skip
    return pa.table(
        [pa.array(columns[field.name]).cast(field.type) for field in _MONTH], schema=_MONTH
    )


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
