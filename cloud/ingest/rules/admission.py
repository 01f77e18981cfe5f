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
    Momentaries,
    Registers,
    Verdict,
)
from cloud.ingest.rules import alone
from cloud.ingest.rules.alone import (
    Bool,
    Int,
    MeterFacts,
    channel_name,
    is_interval,
    is_register,
)
from cloud.ingest.rules.beside import (
    CHANNELS,
    OTHER,
    SAME,
    Limits,
    Points,
    consistent,
    onward,
    settle,
)
from cloud.ingest.rules.book import NONE, Roster
from protocols.identity import MeterId
from protocols.mqtt.uplink import DataBatch

COLUMNS = ("meter", "channel", "at_ms", "seconds", "received_ms", "raw", "scaler", "status")
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """
    The rows of a round of batches while they are judged; `verdict` and `value` are as long.

    `meter` is a meter of the roster, `batch` the place of the row's batch in the round.
    *Shape*: int64 columns of equal length. *Units*: ms, s; `value` in the channel's unit.
    """

    meters: tuple[MeterId, ...]
    batch: Int
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

    def take(self, rows: Rows | Bool) -> "Sheet":
        """Return some of the rows."""
        columns = {name: getattr(self, name)[rows] for name in _BY_ROW}
        return Sheet(meters=self.meters, **columns)


_BY_ROW = ("batch", *COLUMNS, "value", "verdict")


def sheet_of(
    roster: Roster,
    batches: Sequence[DataBatch],
    named: Sequence[Int],
    *,
    now_ms: Sequence[int],
    future_ms: int,
) -> Sheet:
    """
    Return the rows of the batches, each judged by itself.

    *Shape*: `named` and `now_ms` have one entry per batch: which meters of the roster it names, and
    when it came.
    """
    lengths = [len(batch) for batch in batches]
    columns = {
        name: np.concatenate([np.asarray(batch.columns[name]) for batch in batches], dtype=np.int64)
        for name in COLUMNS[1:]
    }
    columns["meter"] = np.concatenate(
        [places[np.asarray(batch.columns["meter"])] if len(batch) else np.zeros(0, dtype=np.int64)
         for batch, places in zip(batches, named, strict=True)]
    )  # fmt: skip
    verdict, value = alone.judge(
        columns,
        roster.facts,
        # what came together mostly came at once
        now_ms=now_ms[0] if len(set(now_ms)) == 1 else np.repeat(np.array(now_ms), lengths),
        future_ms=future_ms,
    )
    sheet = Sheet(
        meters=roster.meters,
        batch=np.repeat(np.arange(len(batches)), lengths),
        value=value,
        verdict=verdict,
        **columns,
    )
    _refuse_mixed_lengths(sheet, roster)
    return sheet


def refuse_dropped(sheet: Sheet, kept_from_ms: int) -> None:
    """Refuse intervals of months that were let go; registers are kept for ever."""
    gone = (sheet.verdict == Verdict.STORED) & (sheet.at_ms < kept_from_ms)
    sheet.verdict[gone & is_interval(sheet.channel)] = Verdict.DROPPED


def believable(sheet: Sheet) -> tuple[Sheet, Rows | None]:
    """
    Return the rows that passed alone and are kept for ever, by meter, channel and instant.

    Beside them which rows of the sheet they are, None where they are all of it, as they stand.
    """
    rows: Rows | None = None
    kept = sheet
    if not (sheet.verdict == Verdict.STORED).all():
        rows = np.flatnonzero(sheet.verdict == Verdict.STORED)
        kept = sheet.take(rows)
    key = kept.meter * CHANNELS + kept.channel
    steps = np.diff(key)
    if ((steps > 0) | ((steps == 0) & (np.diff(kept.at_ms) >= 0))).all():
        return kept, rows
    order = np.lexsort((kept.at_ms, key))
    return kept.take(order), order if rows is None else rows[order]


def doubtful(sheet: Sheet, roster: Roster, limits: Limits) -> Bool:
    """
    Return which rows of an ordered sheet have to be compared with what is stored beside them.

    The rows of a group need no query when all are later than the newest value the book knows, no
    two share an instant, and registers move forward as their meter can. Otherwise the whole group
    is doubtful.
    """
    starts = _starts(sheet.meter, sheet.channel)
    first = np.flatnonzero(starts)
    meter, channel, at = sheet.meter[first], sheet.channel[first], sheet.at_ms
    newest_ms = roster.newest_ms[meter, channel]
    doubt = roster.shared[meter] | (at[first] <= newest_ms)
    again = np.flatnonzero(np.diff(at) == 0) + 1
    twins = again[~starts[again]]
    doubt[np.searchsorted(first, twins, side="right") - 1] = True
    if is_register(channel).any():
        before_ms, before_wh = np.empty_like(at), np.empty_like(at)
        before_ms[1:], before_wh[1:] = at[:-1], sheet.value[:-1]
        before_ms[first], before_wh[first] = newest_ms, roster.newest_wh[meter, channel]
        points = points_of(sheet)
        before = Points(
            group=points.group, at_ms=before_ms, value=before_wh, seconds=points.seconds
        )  # fmt: skip
        broken = np.flatnonzero(is_register(sheet.channel) & ~onward(points, before, limits))
        doubt[np.searchsorted(first, broken, side="right") - 1] = True
    if not doubt.any():
        return np.zeros(0, dtype=np.bool_)
    found: Bool = doubt[np.cumsum(starts) - 1]
    return found


def points_of(sheet: Sheet) -> Points:
    """Return the rows as points; their group names meter and channel."""
    return Points(
        group=sheet.meter * CHANNELS + sheet.channel,
        at_ms=sheet.at_ms,
        value=sheet.value,
        seconds=sheet.seconds,
    )


def lookups(roster: Roster, points: Points) -> tuple[dict[str, list[int]], Int, Int]:
    """Return per group with a series which time of it to look up, those groups, their lengths."""
    ids, place = np.unique(points.group, return_inverse=True)
    first = np.full(len(ids), np.iinfo(np.int64).max)
    last = np.full(len(ids), np.iinfo(np.int64).min)
    np.minimum.at(first, place, points.at_ms)
    np.maximum.at(last, place, points.at_ms)
    series = roster.series[ids // CHANNELS, ids % CHANNELS]
    some = series > 0
    columns = {
        "series": series[some].tolist(),
        "first_ms": first[some].tolist(),
        "last_ms": last[some].tolist(),
    }
    ids = ids[some]
    return columns, ids, roster.seconds[ids // CHANNELS, ids % CHANNELS]


def compare(sheet: Sheet, rows: Rows, stored: Points, limits: Limits) -> None:
    """Write into the sheet what the stored points make of `rows`, in the order of the round."""
    fresh = points_of(sheet.take(rows))
    known = settle(stored, fresh)
    sheet.verdict[rows[known == SAME]] = Verdict.DUPLICATE
    sheet.verdict[rows[known == OTHER]] = Verdict.CONFLICT
    new = np.flatnonzero((known == 0) & is_register(sheet.channel[rows]))
    registers = stored.take(is_register(stored.group % CHANNELS))
    possible = consistent(registers, fresh.take(new), limits)
    sheet.verdict[rows[new[~possible]]] = Verdict.REGISTER_STEP


def limits_of(facts: MeterFacts, slack_ms: int) -> Limits:
    """Return what the registers of the meters may do."""
    return Limits(max_w=facts.max_w, rollover_wh=facts.rollover_wh, slack_ms=slack_ms)


def new_registers(sheet: Sheet) -> Registers:
    """Return the registers of a sheet of which every row is stored."""
    found = _only(sheet, is_register(sheet.channel))
    return Registers(
        meter=found.meter, channel=found.channel, at_ms=found.at_ms, wh=found.value,
        status=found.status, received_ms=found.received_ms,
    )  # fmt: skip


def new_intervals(sheet: Sheet) -> Intervals:
    """Return the intervals of a sheet of which every row is stored."""
    found = _only(sheet, is_interval(sheet.channel))
    return Intervals(
        meter=found.meter, channel=found.channel, start_ms=found.at_ms, seconds=found.seconds,
        wh=found.value, status=found.status, received_ms=found.received_ms,
    )  # fmt: skip


def newest_momentary(sheet: Sheet) -> Momentaries:
    """Return the newest momentary value per meter and channel."""
    rows = np.flatnonzero(sheet.verdict == Verdict.MOMENTARY)
    order = rows[
        np.lexsort((sheet.value[rows], sheet.at_ms[rows], sheet.channel[rows], sheet.meter[rows]))
    ]
    key = sheet.meter[order] * CHANNELS + sheet.channel[order]
    last = order[np.append(np.diff(key) != 0, len(key) > 0)] if len(key) else order
    return Momentaries(
        meter=sheet.meter[last], channel=sheet.channel[last], at_ms=sheet.at_ms[last],
        value=sheet.value[last],
    )  # fmt: skip


def heard(sheet: Sheet) -> tuple[Int, Int]:
    """Return per meter the newest device and receive time of what is believable, NONE if none."""
    good = sheet.verdict < QUARANTINED_FROM
    sheet = _only(sheet, good)
    at, received = (np.full(len(sheet.meters), NONE, dtype=np.int64) for _ in range(2))
    starts = np.flatnonzero(_starts(sheet.meter))
    # one value for each run of a meter, of which there are few, then the largest of each meter
    ends = (
        np.maximum.reduceat(sheet.at_ms + sheet.seconds * 1000, starts) if len(starts) else starts
    )
    last = np.maximum.reduceat(sheet.received_ms, starts) if len(starts) else starts
    np.maximum.at(at, sheet.meter[starts], ends)
    np.maximum.at(received, sheet.meter[starts], last)
    return at, received


def accounts_of(sheet: Sheet, batches: int) -> list[BatchAccount]:
    """Return the sum of each batch of the round; reports are not counted here."""
    if not sheet.verdict.any():
        # all stored, as mostly: rows stand batch by batch, so their edges tell how many
        edges = np.searchsorted(sheet.batch, np.arange(batches + 1))
        return [BatchAccount(rows=n, stored=n) for n in np.diff(edges).tolist()]
    kind = np.minimum(sheet.verdict, QUARANTINED_FROM).astype(np.int64)
    width = int(QUARANTINED_FROM) + 1
    counts = np.bincount(sheet.batch * width + kind, minlength=batches * width)
    return [
        BatchAccount(
            rows=sum(row),
            stored=row[Verdict.STORED],
            duplicates=row[Verdict.DUPLICATE],
            momentary=row[Verdict.MOMENTARY],
            quarantined=row[QUARANTINED_FROM],
        )
        for row in counts.reshape(batches, width).tolist()
    ]


def refused_rows(sheet: Sheet) -> list[tuple[int, str, str, dict[str, Any]]]:
    """Return batch, cause, detail and content of each row for quarantine; rare: one by one."""
    found = []
    for n in np.flatnonzero(sheet.verdict >= QUARANTINED_FROM).tolist():
        cause, sentence = CAUSES[Verdict(int(sheet.verdict[n]))]
        meter = sheet.meters[int(sheet.meter[n])]
        row: dict[str, Any] = {name: int(getattr(sheet, name)[n]) for name in COLUMNS[1:]}
        detail = f"{meter} {channel_name(row['channel'])}: {sentence}"
        found.append((int(sheet.batch[n]), cause, detail, {"meter": meter, **row}))
    return found


def columns_of_row(row: Mapping[str, Any]) -> tuple[tuple[MeterId, ...], dict[str, Int]]:
    """Return meters and columns of one quarantined row, to judge it once more."""
    columns = {name: np.array([row[name]], dtype=np.int64) for name in COLUMNS[1:]}
    return (MeterId(row["meter"]),), {"meter": np.zeros(1, dtype=np.int64), **columns}


def _refuse_mixed_lengths(sheet: Sheet, roster: Roster) -> None:
    """Hold intervals of meters without a known profile to the length that came first."""
    if roster.facts.step_s.all():
        return
    loose = (sheet.verdict == Verdict.STORED) & (roster.facts.step_s[sheet.meter] == 0)
    rows = np.flatnonzero(loose & (sheet.seconds > 0))
    if not len(rows):
        return
    known = roster.seconds[sheet.meter[rows], sheet.channel[rows]]
    _, first, group = np.unique(
        sheet.meter[rows] * CHANNELS + sheet.channel[rows], return_index=True, return_inverse=True
    )
    wanted = np.where(known > 0, known, sheet.seconds[rows][first][group])
    sheet.verdict[rows[sheet.seconds[rows] != wanted]] = Verdict.LENGTH


def _only(sheet: Sheet, rows: Bool) -> Sheet:
    return sheet if rows.all() else sheet.take(rows)


def _starts(*keys: Int) -> Bool:
    """Return where ordered rows begin a new group."""
    starts = np.ones(len(keys[0]), dtype=np.bool_)
    if len(starts):
        starts[1:] = keys[0][1:] != keys[0][:-1]
        for key in keys[1:]:
            starts[1:] |= key[1:] != key[:-1]
    return starts
