"""
Rows in files: CSV, Parquet or NEM12 octets to columns of instants and whole watt-hours.

A column file names series, start and energy; registers come in a second one. Stamps are instants:
each carries its offset, or the caller tells the fixed offset of all. A local clock without offset
is refused: its repeated hour is two hours in one.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from pyarrow import csv

from cloud.vee.rules.grid import Bool, Int, State
from cloud.vee.rules.observed import Reads, reads_of
from protocols.errors import PeerError, RefusedError
from protocols.nem12 import read_nem12

_EARLIEST_MS, _LATEST_MS = 946_684_800_000, 4_102_444_800_000

NAMES: dict[str, tuple[str, ...]] = {
    "series": ("series", "meter", "usage_point", "customer_id"),
    "start": ("start", "t", "time"),
    "wh": ("wh",),
    "kwh": ("kwh",),
    "seconds": ("seconds",),
    "quality": ("quality",),
    "status": ("status",),
    "unit": ("unit",),
    "factor": ("factor",),
}
"""Columns of an interval file, each with the names that it may have."""

READ_NAMES: dict[str, tuple[str, ...]] = {
    "series": NAMES["series"], "at": ("at", "t", "time"), "wh": ("wh",), "kwh": ("kwh",),
    "rate": ("rate",), "factor": ("factor",),
}  # fmt: skip
"""Columns of a register file."""

QUALITIES: dict[str, State] = {
    "raw": State.MEASURED, "measured": State.MEASURED, "a": State.MEASURED, "": State.MEASURED,
    "valid": State.VALID, "edited": State.EDITED, "estimated": State.ESTIMATED,
    "e": State.ESTIMATED, "s": State.ESTIMATED, "f": State.ESTIMATED,
    "questionable": State.QUESTIONABLE, "missing": State.MISSING, "n": State.MISSING,
}  # fmt: skip
"""Words of a quality column, and the flags of NEM12."""


class Refusal(StrEnum):
    """Why a file of series cannot be used."""

    SHAPE = "vee.file_shape"
    STAMPS = "vee.file_stamps"
    SIZE = "vee.file_size"
    NEM12 = "vee.file_nem12"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    What a file does not say: the zone of local days, the fixed offset of stamps, contract power.

    `stamps_at` is None where stamps carry their own offset. `capacity_w` 0 is unknown.
    """

    zone: ZoneInfo
    stamps_at: timedelta | None = None
    capacity_w: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Interval rows of a file. *Shape*: equal columns; `series` indexes `names`."""

    names: tuple[str, ...]
    device: tuple[str, ...]
    reactive: tuple[bool, ...]
    series: Int
    start_ms: Int
    seconds: Int
    wh: Int
    state: Int
    status: Int
    unit: Int
    factor: Int


def columns_of(octets: bytes, options: Options) -> Columns:
    """Return the interval rows in CSV, Parquet or NEM12 octets. Raises: RefusedError with a fix."""
    return _nem12(octets) if _is_nem12(octets) else _columns(_table(octets), options)


def _is_nem12(octets: bytes) -> bool:
    head = octets[:64].removeprefix(b"\xef\xbb\xbf").replace(b'"', b"").replace(b" ", b"")
    return head.startswith((b"100,NEM12", b"100,nem12", b"200,", b"1.00E+02,NEM12"))


def _nem12(octets: bytes) -> Columns:
    try:
        file = read_nem12(octets)
    except PeerError as error:
        fix = "ask for the file again, or repair the record that is named"
        if error.code == "nem12.mangled":
            fix = "a spreadsheet saved this file: ask for it again, and look at it in a text editor"
        raise RefusedError(Refusal.NEM12, error.message, fix=fix) from error
    parts: dict[str, list[Int]] = {name: [] for name in ("series", "start", "step", "wh", "state")}
    for number, stream in enumerate(file.streams):
        for day in stream.days:
            count, step = len(day.wh), stream.minutes * 60_000
            values = np.array([0 if wh is None else wh for wh in day.wh], dtype=np.int64)
            marks = [QUALITIES[flag[0].lower()] for flag in day.quality]
            parts["series"].append(np.full(count, number, dtype=np.int64))
            parts["start"].append(stream.start_ms(day) + step * np.arange(count))
            parts["step"].append(np.full(count, step // 1000, dtype=np.int64))
            parts["wh"].append(values)
            parts["state"].append(np.array(marks, dtype=np.int64))
    if not parts["wh"]:
        raise refused(Refusal.SHAPE, "the file holds no interval", "ask for it again")
    whole = {name: np.concatenate(each) for name, each in parts.items()}
    units = np.array([stream.unit for stream in file.streams], dtype=np.int64)
    ones = np.ones(len(whole["wh"]), dtype=np.int64)
    return Columns(
        names=tuple(f"{stream.nmi}/{stream.suffix}" for stream in file.streams),
        device=tuple(stream.nmi for stream in file.streams),
        reactive=tuple((units == 73).tolist()),
        series=whole["series"], start_ms=whole["start"], seconds=whole["step"], wh=whole["wh"],
        state=whole["state"], status=0 * ones, unit=units[whole["series"]], factor=ones,
    )  # fmt: skip


def _table(octets: bytes) -> Any:
    """Return the columns of CSV or Parquet octets; CSV columns are texts."""
    try:
        if octets[:4] == b"PAR1":
            return pq.read_table(io.BytesIO(octets))
        names = octets.split(b"\n", 1)[0].decode("utf-8-sig").strip().split(",")
        texts = csv.ConvertOptions(
            column_types={name.strip().strip('"'): pa.string() for name in names},
            strings_can_be_null=False,
        )
        return csv.read_csv(io.BytesIO(octets.removeprefix(b"\xef\xbb\xbf")), convert_options=texts)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, UnicodeDecodeError, ValueError) as error:
        raise refused(
            Refusal.SHAPE, f"the file is neither CSV, Parquet nor NEM12: {str(error)[:200]}",
            "give columns series, start, wh with a header line; see docs/vee.md",
        ) from error  # fmt: skip


def _found(table: Any, names: dict[str, tuple[str, ...]], needed: Sequence[str]) -> dict[str, Any]:
    """Return the known columns of a table by our names, as one array each."""
    lower = {name.strip().lower(): name for name in table.column_names}
    found = {}
    for ours, theirs in names.items():
        for name in theirs:
            if name in lower and ours not in found:
                found[ours] = table.column(lower[name]).combine_chunks()
    lacking = [name for name in needed if name not in found]
    if lacking or ("wh" in names and not {"wh", "kwh"} & set(found)):
        told = ", ".join(lacking or ["wh or kwh"])
        raise refused(
            Refusal.SHAPE, f"the column {told} is missing; there are {', '.join(lower)}",
            "name the columns series, start, wh (or kwh); see docs/vee.md",
        )  # fmt: skip
    return found


def _columns(table: Any, options: Options) -> Columns:
    found = _found(table, NAMES, ("series", "start"))
    if not table.num_rows:
        raise refused(Refusal.SHAPE, "the file holds no row", "give one interval at least")
    names, series = _dictionary(found["series"])
    start = _stamps(found["start"], options)
    count = len(start)
    plain = np.ones(count, dtype=np.int64)
    state, gone = _states(found.get("quality"), count)
    wh, empty = _energy(found)
    state[empty | gone] = State.MISSING
    return Columns(
        names=names, device=names, reactive=(False,) * len(names), series=series, start_ms=start,
        seconds=_whole(found["seconds"], "seconds") if "seconds" in found else 0 * plain,
        wh=np.where(empty, 0, wh), state=state,
        status=_whole(found["status"], "status") if "status" in found else 0 * plain,
        unit=_whole(found["unit"], "unit") if "unit" in found else 72 * plain,
        factor=_whole(found["factor"], "factor") if "factor" in found else plain,
    )  # fmt: skip


def _dictionary(column: Any) -> tuple[tuple[str, ...], Int]:
    """Return the names in a column, sorted, and the number of each row's name."""
    texts = column.cast(pa.string()).to_numpy(zero_copy_only=False).astype(str)
    names, rows = np.unique(texts, return_inverse=True)
    return tuple(names.tolist()), rows.reshape(-1).astype(np.int64)


def _stamps(column: Any, options: Options) -> Int:
    """Return milliseconds since 1970. Raises RefusedError where an instant cannot be known."""
    kind, offset = column.type, options.stamps_at
    try:
        if pa.types.is_timestamp(kind):
            aware = kind.tz is not None
            ms = column.cast(pa.timestamp("ms", tz=kind.tz)).cast(pa.int64())
        elif pa.types.is_integer(kind):
            aware, ms = True, column.cast(pa.int64())
        else:
            aware = offset is None
            texts = column.cast(pa.string())
            ms = texts.cast(pa.timestamp("ms", tz="UTC" if aware else None)).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise refused(
            Refusal.STAMPS, f"a stamp cannot be read: {str(error)[:160]}",
            "write 2026-03-02T00:00:00+01:00, or give the offset of all (--stamps-at +01:00)",
        ) from error  # fmt: skip
    if not aware and offset is None:
        raise refused(
            Refusal.STAMPS, "the stamps carry no zone",
            "give the offset of all stamps (--stamps-at +10:00); a local clock is two in one hour",
        )  # fmt: skip
    if ms.null_count:
        raise refused(Refusal.STAMPS, "a stamp is empty", "give every row its start")
    found: Int = ms.to_numpy(zero_copy_only=False).astype(np.int64)
    if offset is not None and not aware:
        found -= offset // timedelta(milliseconds=1)
    if len(found) and not _EARLIEST_MS <= int(found.min()) <= int(found.max()) < _LATEST_MS:
        raise refused(
            Refusal.STAMPS, "a stamp lies outside the years 2000 to 2099",
            "look for a stamp in other units: numbers are milliseconds since 1970",
        )  # fmt: skip
    return found


def _states(column: Any, count: int) -> tuple[Int, Bool]:
    if column is None:
        return np.full(count, State.MEASURED, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    words, rows = _dictionary(pc.utf8_lower(column.cast(pa.string())))
    known = {
        **QUALITIES,
        **{f"{flag}{n:02}": QUALITIES[flag] for flag in "aesfn" for n in range(100)},
    }
    odd = [word for word in words if word not in known]
    if odd:
        raise refused(
            Refusal.SHAPE, f"quality {odd[0][:20]!r} is not known",
            f"use one of {', '.join(word for word in QUALITIES if word)}",
        )  # fmt: skip
    states = np.array([known[word] for word in words], dtype=np.int64)[rows]
    return states, states == State.MISSING


def _energy(found: dict[str, Any]) -> tuple[Int, Bool]:
    """Return whole watt-hours and which rows are empty. Raises RefusedError on parts of one."""
    name = "wh" if "wh" in found else "kwh"
    column = found[name]
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
            exact = column.cast(pa.decimal128(24, 0 if name == "wh" else 3))
        elif pa.types.is_floating(column.type):
            # a file of doubles: the nearest whole watt-hour, and it must be very near
            wide = pc.multiply(column, 1.0 if name == "wh" else 1000.0)
            near = pc.round(wide)
            if (pc.max(pc.abs(pc.subtract(wide, near))).as_py() or 0) > 1e-3:
                raise pa.ArrowInvalid("parts of a watt-hour")
            return _filled(near.cast(pa.int64()))
        else:
            exact = column.cast(pa.decimal128(24, 0 if name == "wh" else 3))
        scaled = exact if name == "wh" else pc.multiply(exact, pa.scalar(1000, pa.int16()))
        return _filled(scaled.cast(pa.int64()))
    except pa.ArrowInvalid as error:
        raise refused(
            Refusal.SHAPE, f"column {name}: {str(error)[:160]}",
            "energy is whole watt-hours: wh without decimals, kwh with three at most",
        ) from error  # fmt: skip


def _filled(column: Any) -> tuple[Int, Bool]:
    empty = column.is_null().to_numpy(zero_copy_only=False)
    values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    if len(values) and int(np.abs(values).max()) > 10**14:
        raise refused(
            Refusal.SHAPE, "an energy is beyond every meter", "look for a unit that is wrong"
        )
    return values, empty


def _whole(column: Any, name: str) -> Int:
    try:
        values = column.cast(pa.int64())
        if values.null_count:
            raise pa.ArrowInvalid("a value is empty")
        found: Int = values.to_numpy(zero_copy_only=False).astype(np.int64)
        return found
    except pa.ArrowInvalid as error:
        raise refused(
            Refusal.SHAPE, f"column {name}: {str(error)[:160]}", f"give whole numbers in {name}"
        ) from error


def registers_of(octets: bytes, options: Options, names: tuple[str, ...]) -> Reads:
    """Return the registers in CSV or Parquet octets, series by their place in `names`."""
    found = _found(_table(octets), READ_NAMES, ("series", "at"))
    theirs, rows = _dictionary(found["series"])
    place = {name: n for n, name in enumerate(names)}
    odd = [name for name in theirs if name not in place]
    if odd:
        raise refused(
            Refusal.SHAPE, f"registers of series {odd[0][:40]!r}, but no intervals of it",
            "name the series alike in both files",
        )  # fmt: skip
    series = np.array([place[name] for name in theirs], dtype=np.int64)[rows]
    wh, empty = _energy(found)
    if empty.any():
        raise refused(Refusal.SHAPE, "a register is empty", "leave out what was not read")
    count = len(wh)
    return reads_of(
        series,
        _whole(found["rate"], "rate") if "rate" in found else np.zeros(count, dtype=np.int64),
        _stamps(found["at"], options), wh,
        factor=_whole(found["factor"], "factor") if "factor" in found else None,
    )  # fmt: skip


def refused(code: Refusal, message: str, fix: str) -> RefusedError:
    """Return a refusal with the line that would mend it."""
    return RefusedError(code, message, fix=fix)
