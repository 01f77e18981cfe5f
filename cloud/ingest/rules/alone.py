"""Checks of each row by itself, vectorised over the columns of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.assets.model import Installed
from cloud.ingest.model import Verdict
from protocols.identity import ConcentratorId, MeterId
from protocols.reading import INSTANTANEOUS, INTERVALS, REGISTERS, Channel
from protocols.timeline import to_ms

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

MAX_VALUE = 10**15
"""Largest believable scaled value: a terawatt-hour. Keeps every later sum inside 64 bits."""

_MAX_RAW = 10**18
_EARLIEST_MS = 946_684_800_000
_LATEST_MS = 4_102_444_800_000
NEVER = np.iinfo(np.int64).max
_KIND_REGISTER, _KIND_INTERVAL, _KIND_MOMENTARY = 1, 2, 3
_MAX_SCALER = 18


def _kinds() -> Int:
    table = np.zeros(256, dtype=np.int64)
    for kind, channels in (
        (_KIND_REGISTER, REGISTERS), (_KIND_INTERVAL, INTERVALS), (_KIND_MOMENTARY, INSTANTANEOUS),
    ):  # fmt: skip
        table[[int(channel) for channel in channels]] = kind
    return table


_KIND = _kinds()
_POWERS = np.array([10**n for n in range(_MAX_SCALER + 1)], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterFacts:
    """
    What the assets say of the meters of a batch, by meter index.

    *Shape*: each array has one place per meter; `layers` holds (from, to) pairs of such arrays, one
    pair for the first installations, one for the second, ... *Units*: ms, W, Wh; 0 means unknown.
    """

    known: Bool
    mine: Bool
    max_w: Int
    rollover_wh: Int
    step_s: Int
    layers: tuple[tuple[Int, Int], ...]


def facts_of(
    meters: Sequence[MeterId], installed: Sequence[Installed], concentrator: ConcentratorId
) -> MeterFacts:
    """Return the facts of `meters` as columns; `installed` is everything known of them."""
    place = {meter: n for n, meter in enumerate(meters)}
    size = len(meters)
    known, mine = np.zeros(size, dtype=np.bool_), np.zeros(size, dtype=np.bool_)
    max_w, rollover, step = (np.zeros(size, dtype=np.int64) for _ in range(3))
    layers: list[tuple[Int, Int]] = []
    depth = np.zeros(size, dtype=np.int64)
    for item in installed:
        n = place[item.meter.id]
        known[n] = True
        mine[n] |= item.concentrator == concentrator
        max_w[n], rollover[n] = item.meter.max_w, item.meter.rollover_wh or 0
        step[n] = item.meter.interval_seconds or 0
        if depth[n] == len(layers):
            layers.append((np.full(size, NEVER), np.full(size, -1, dtype=np.int64)))
        since, until = layers[int(depth[n])]
        since[n] = to_ms(item.installation.installed_at)
        removed = item.installation.removed_at
        until[n] = NEVER if removed is None else to_ms(removed)
        depth[n] += 1
    return MeterFacts(
        known=known, mine=mine, max_w=max_w, rollover_wh=rollover, step_s=step,
        layers=tuple(layers),
    )  # fmt: skip


def judge(
    columns: Mapping[str, NDArray[np.integer]],
    facts: MeterFacts,
    *,
    now_ms: int | Int,
    future_ms: int,
) -> tuple[NDArray[np.int8], Int]:
    """
    Return the verdict of each row by itself and its scaled value.

    Verdicts are STORED (believable so far), MOMENTARY or a reason for quarantine; the first reason
    in the order of `Verdict` wins. The device may be ahead of the concentrator, and the
    concentrator of us, by `future_ms` at most. *Units*: milliseconds; `now_ms` may say when each
    row came.
    """
    meter, channel = _int(columns["meter"]), _int(columns["channel"])
    at, seconds, raw = _int(columns["at_ms"]), _int(columns["seconds"]), _int(columns["raw"])
    received, scaler = _int(columns["received_ms"]), _int(columns["scaler"])
    if _plain(columns, facts, now_ms, future_ms):
        return np.full(len(raw), Verdict.STORED, dtype=np.int8), raw
    kind = _KIND[channel]
    sane = (at >= _EARLIEST_MS) & (at < _LATEST_MS)
    end = np.where(sane, at, 0) + seconds * 1000
    value, in_range = scale(raw, scaler)
    energy = (kind == _KIND_REGISTER) | (kind == _KIND_INTERVAL)
    interval = kind == _KIND_INTERVAL
    step = facts.step_s[meter]
    rollover = facts.rollover_wh[meter]
    reasons = (
        (Verdict.UNKNOWN_METER, ~facts.known[meter]),
        (Verdict.FOREIGN_CONCENTRATOR, ~facts.mine[meter]),
        (Verdict.CHANNEL, kind == 0),
        (Verdict.LENGTH, interval != (seconds > 0)),
        (Verdict.LENGTH, interval & (step > 0) & (seconds != step)),
        (Verdict.TIME, ~sane | (received < _EARLIEST_MS) | (received > now_ms + future_ms)),
        (Verdict.TIME, end > np.minimum(received, _LATEST_MS) + future_ms),
        (Verdict.NOT_INSTALLED, ~_within(facts, meter, at, end)),
        (Verdict.VALUE, ~in_range),
        (Verdict.VALUE, (kind == _KIND_REGISTER) & (rollover > 0) & (value >= rollover)),
        (Verdict.NEGATIVE, energy & (value < 0)),
        (Verdict.GRID, _off_grid(at, seconds * 1000)),
    )
    verdict = np.where(kind == _KIND_MOMENTARY, Verdict.MOMENTARY, Verdict.STORED).astype(np.int8)
    for reason, rows in reversed(reasons):
        if rows.any():
            verdict[rows] = reason
    return verdict, value


def _plain(
    columns: Mapping[str, NDArray[np.integer]], facts: MeterFacts, now_ms: int | Int, future_ms: int
) -> bool:
    """
    Tell whether no reason of `judge` can hold for any row, by the extremes of the columns alone.

    True for most batches: the meters are all ours and installed once, the rows of one kind and
    length. False says nothing.
    """
    channel, seconds = columns["channel"], columns["seconds"]
    at, received, raw = columns["at_ms"], columns["received_ms"], columns["raw"]
    if not len(raw) or len(facts.layers) != 1 or not (facts.known & facts.mine).all():
        return False
    kind, length = _KIND[int(channel[0])], int(seconds[0])
    first, last, heard = int(at.min()), int(at.max()) + length * 1000, int(received.min())
    since, until = facts.layers[0]
    if kind == _KIND_INTERVAL:
        fits = length > 0 and bool((facts.step_s == length).all())
        fits = fits and not (_int(at) % max(length * 1000, 1)).any()
    else:
        fits = kind == _KIND_REGISTER and length == 0 and not facts.rollover_wh.any()
    return bool(
        fits
        and (channel == channel[0]).all()
        and (seconds == length).all()
        and first >= max(_EARLIEST_MS, int(since.max()))
        and heard >= _EARLIEST_MS
        and last <= min(_LATEST_MS, int(until.min()), heard + future_ms)
        and int(received.max()) <= int(np.min(now_ms)) + future_ms
        and not columns["scaler"].any()
        and int(raw.min()) >= 0
        and int(raw.max()) <= MAX_VALUE
    )


def scale(raw: Int, scaler: Int) -> tuple[Int, Bool]:
    """
    Return `raw * 10**scaler`, half away from zero as `quantities.rescale`, and what is in range.

    Out of range is a scaler beyond 10^-18..10^18 or a result beyond `MAX_VALUE`; its value is 0.
    """
    if not scaler.any():
        fits = (raw >= -MAX_VALUE) & (raw <= MAX_VALUE)
        return np.where(fits, raw, 0), fits
    fits = (raw >= -_MAX_RAW) & (raw <= _MAX_RAW) & (np.abs(scaler) <= _MAX_SCALER)
    size = np.abs(np.where(fits, raw, 0))
    power = _POWERS[np.minimum(np.abs(scaler), _MAX_SCALER)]
    up = scaler > 0
    fits &= ~up | (size <= MAX_VALUE // power)
    grown = np.where(fits & up, size, 0) * power
    shrunk = (2 * size + power) // (2 * power)
    magnitude = np.where(up, grown, shrunk)
    fits &= magnitude <= MAX_VALUE
    return np.where(fits, np.sign(raw) * magnitude, 0), fits


def is_register(channel: NDArray[np.integer]) -> Bool:
    """Tell which rows are cumulative registers."""
    found: Bool = _KIND[_int(channel)] == _KIND_REGISTER
    return found


def is_interval(channel: NDArray[np.integer]) -> Bool:
    """Tell which rows are intervals."""
    found: Bool = _KIND[_int(channel)] == _KIND_INTERVAL
    return found


def channel_name(code: int) -> str:
    """Return the name of a channel code for people, the number where it has none."""
    return Channel(code).name.lower() if code in set(Channel) else str(code)


def _off_grid(at: Int, length: Int) -> Bool:
    """Tell which intervals do not start on the grid of their length; 0 is no interval."""
    some = int(length[0]) if len(length) else 0
    if some > 0 and (length == some).all():
        length = np.array([some])
    off: Bool = (length > 0) & (at % np.maximum(length, 1) != 0)
    return off


def _within(facts: MeterFacts, meter: Int, at: Int, end: Int) -> Bool:
    inside = np.zeros(len(meter), dtype=np.bool_)
    for since, until in facts.layers:
        inside |= (at >= since[meter]) & (end <= until[meter])
    return inside


def _int(column: NDArray[np.integer]) -> Int:
    return column.astype(np.int64, copy=False)
