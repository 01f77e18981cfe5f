"""From verdicts to what is stored: groups to look up, columns to insert, rows to quarantine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud.ingest.model import (
    CAUSES,
    QUARANTINED_FROM,
    BatchAccount,
    Intervals,
    Registers,
    Verdict,
)
from cloud.ingest.rules.alone import (
    Bool,
    Int,
    MeterFacts,
    channel_name,
    is_interval,
    is_register,
)
from cloud.ingest.rules.beside import CHANNELS, OTHER, SAME, Limits, Points, consistent, settle
from protocols.identity import MeterId

COLUMNS = ("meter", "channel", "at_ms", "seconds", "received_ms", "raw", "scaler", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """
    The rows of one batch while they are judged; `verdict` and `value` are as long as the columns.

    *Shape*: int64 columns of equal length. *Units*: ms, s; `value` in the channel's unit.
    """

    meters: tuple[MeterId, ...]
    meter: Int
    channel: Int
    at_ms: Int
    seconds: Int
    received_ms: Int
    raw: Int
    scaler: Int
    status: Int
    value: Int
    verdict: NDArray[np.int8]


def each_once(
    meters: tuple[MeterId, ...], columns: Mapping[str, NDArray[Any]]
) -> tuple[tuple[MeterId, ...], dict[str, NDArray[Any]]]:
    """Return meters and columns with every meter listed once, however often the sender did."""
    place = {meter: n for n, meter in enumerate(dict.fromkeys(meters))}
    where = np.array([place[meter] for meter in meters], dtype=np.int64)
    return tuple(place), {**columns, "meter": where[columns["meter"]]}


def sheet_of(
    meters: tuple[MeterId, ...],
    columns: Mapping[str, NDArray[Any]],
    verdict: NDArray[np.int8],
    value: Int,
) -> Sheet:
    """Return the sheet of a batch; the columns are copied as int64."""
    wide = {name: columns[name].astype(np.int64) for name in COLUMNS}
    return Sheet(meters=meters, value=value, verdict=verdict.copy(), **wide)


def believable(sheet: Sheet, *, registers: bool) -> NDArray[np.intp]:
    """Return the rows that passed alone and are registers (else intervals), in batch order."""
    kind = is_register(sheet.channel) if registers else is_interval(sheet.channel)
    return np.flatnonzero((sheet.verdict == Verdict.STORED) & kind)


def points_of(sheet: Sheet, rows: NDArray[np.intp]) -> Points:
    """Return rows as points; their group names meter and channel."""
    return Points(
        group=sheet.meter[rows] * CHANNELS + sheet.channel[rows],
        at_ms=sheet.at_ms[rows],
        value=sheet.value[rows],
        seconds=sheet.seconds[rows],
    )


def lookups(sheet: Sheet, points: Points) -> tuple[dict[str, list[Any]], Int]:
    """Return per group which meter, channel and time to look up, and the groups themselves."""
    ids, place = np.unique(points.group, return_inverse=True)
    first = np.full(len(ids), np.iinfo(np.int64).max)
    last = np.full(len(ids), np.iinfo(np.int64).min)
    np.minimum.at(first, place, points.at_ms)
    np.maximum.at(last, place, points.at_ms)
    columns = {
        "meter": [sheet.meters[n] for n in (ids // CHANNELS).tolist()],
        "channel": (ids % CHANNELS).tolist(),
        "first_ms": first.tolist(),
        "last_ms": last.tolist(),
    }
    return columns, ids


def compare(
    sheet: Sheet,
    rows: NDArray[np.intp],
    fresh: Points,
    stored: Points,
    limits: Limits | None,
) -> None:
    """Write into the sheet what the stored points make of `rows`; limits None for intervals."""
    known = settle(stored, fresh)
    sheet.verdict[rows[known == SAME]] = Verdict.DUPLICATE
    sheet.verdict[rows[known == OTHER]] = Verdict.CONFLICT
    if limits is not None:
        new = np.flatnonzero(known == 0)
        possible = consistent(stored, fresh.take(new), limits)
        sheet.verdict[rows[new[~possible]]] = Verdict.REGISTER_STEP


def limits_of(facts: MeterFacts, slack_ms: int) -> Limits:
    """Return what the registers of the meters may do."""
    return Limits(max_w=facts.max_w, rollover_wh=facts.rollover_wh, slack_ms=slack_ms)


def new_registers(sheet: Sheet) -> Registers:
    """Return the registers that are to be stored, by meter, channel and time."""
    rows = _ordered(sheet, (sheet.verdict == Verdict.STORED) & is_register(sheet.channel))
    return Registers(
        meter=sheet.meter[rows],
        channel=sheet.channel[rows],
        at_ms=sheet.at_ms[rows],
        wh=sheet.value[rows],
        status=sheet.status[rows],
        received_ms=sheet.received_ms[rows],
    )


def new_intervals(sheet: Sheet) -> Intervals:
    """Return the intervals that are to be stored, by meter, channel and start."""
    rows = _ordered(sheet, (sheet.verdict == Verdict.STORED) & is_interval(sheet.channel))
    return Intervals(
        meter=sheet.meter[rows],
        channel=sheet.channel[rows],
        start_ms=sheet.at_ms[rows],
        seconds=sheet.seconds[rows],
        wh=sheet.value[rows],
        status=sheet.status[rows],
        received_ms=sheet.received_ms[rows],
    )


def newest_momentary(sheet: Sheet) -> dict[str, list[Any]]:
    """Return the newest momentary value per meter and channel, as columns to upsert."""
    rows = np.flatnonzero(sheet.verdict == Verdict.MOMENTARY)
    order = rows[
        np.lexsort((sheet.value[rows], sheet.at_ms[rows], sheet.channel[rows], sheet.meter[rows]))
    ]
    key = sheet.meter[order] * CHANNELS + sheet.channel[order]
    last = order[np.append(np.diff(key) != 0, len(key) > 0)] if len(key) else order
    return {
        "meter": [sheet.meters[n] for n in sheet.meter[last].tolist()],
        "channel": sheet.channel[last].tolist(),
        "at_ms": sheet.at_ms[last].tolist(),
        "value": sheet.value[last].tolist(),
    }


def heard(sheet: Sheet) -> dict[str, list[Any]]:
    """Return per meter of which anything believable came its newest device and receive time."""
    rows = np.flatnonzero(sheet.verdict < QUARANTINED_FROM)
    size = len(sheet.meters)
    at, received = np.full(size, -1, dtype=np.int64), np.full(size, -1, dtype=np.int64)
    np.maximum.at(at, sheet.meter[rows], sheet.at_ms[rows] + sheet.seconds[rows] * 1000)
    np.maximum.at(received, sheet.meter[rows], sheet.received_ms[rows])
    some = np.flatnonzero(at >= 0)
    return {
        "meter": [sheet.meters[n] for n in some.tolist()],
        "at_ms": at[some].tolist(),
        "received_ms": received[some].tolist(),
    }


def account_of(sheet: Sheet, *, reports: int, reports_quarantined: int) -> BatchAccount:
    """Return the batch's sum."""
    return BatchAccount(
        rows=len(sheet.verdict),
        stored=int(np.count_nonzero(sheet.verdict == Verdict.STORED)),
        duplicates=int(np.count_nonzero(sheet.verdict == Verdict.DUPLICATE)),
        momentary=int(np.count_nonzero(sheet.verdict == Verdict.MOMENTARY)),
        quarantined=int(np.count_nonzero(sheet.verdict >= QUARANTINED_FROM)),
        reports=reports,
        reports_quarantined=reports_quarantined,
    )


def refused_rows(sheet: Sheet) -> list[tuple[str, str, dict[str, Any]]]:
    """Return cause, detail and content of each row for quarantine; rare, so one by one."""
    found = []
    for n in np.flatnonzero(sheet.verdict >= QUARANTINED_FROM).tolist():
        cause, sentence = CAUSES[Verdict(int(sheet.verdict[n]))]
        meter = sheet.meters[int(sheet.meter[n])]
        row: dict[str, Any] = {name: int(getattr(sheet, name)[n]) for name in COLUMNS[1:]}
        detail = f"{meter} {channel_name(row['channel'])}: {sentence}"
        found.append((cause, detail, {"meter": meter, **row}))
    return found


def columns_of_row(row: Mapping[str, Any]) -> tuple[tuple[MeterId, ...], dict[str, Int]]:
    """Return meters and columns of one quarantined row, to judge it once more."""
    columns = {name: np.array([row[name]], dtype=np.int64) for name in COLUMNS[1:]}
    return (MeterId(row["meter"]),), {"meter": np.zeros(1, dtype=np.int64), **columns}


def names_of(meters: Sequence[MeterId], places: Int) -> list[str]:
    """Return the meter id of each row."""
    return [meters[n] for n in places.tolist()]


def _ordered(sheet: Sheet, wanted: Bool) -> NDArray[np.intp]:
    rows = np.flatnonzero(wanted)
    return rows[np.lexsort((sheet.at_ms[rows], sheet.channel[rows], sheet.meter[rows]))]
