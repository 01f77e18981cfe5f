"""
Recorded series as meters: one customer of the file, one DLMS meter with a half-hourly profile.

The recorded Wh of a slot is what the meter's profile holds, to the watt-hour; a slot that is not
in the file is not in the profile either, and the register stands still over it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

from protocols.identity import ConcentratorId, MeterId, TransformerId, UsagePointId
from protocols.timeline import from_ms
from simulators.energy import LoadCurve
from simulators.fleet import Fleet, SimMeter, keys_of

SLOT_SECONDS = 1800
_SLOT_MS = SLOT_SECONDS * 1000
ZONE = timedelta(hours=10)
"""Stamps without a zone are local standard time of New South Wales, the whole year."""

_NAMES = {"customer": ("customer", "customer_id"), "start": ("start", "t"), "kwh": ("kwh",)}
_MAX_SLOTS = 2_000_000
RING_SLOTS = 2 * _MAX_SLOTS
"""The profile of a replaying meter never forgets: time may run on for as long again."""
_WHOLE_WH = 1e-6


class ReplayError(ValueError):
    """The file cannot drive meters; says which column or row and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One customer's recorded energy, in order. *Shape*: equal lengths. *Units*: ms UTC, Wh."""

    customer: str
    starts_ms: NDArray[np.int64]
    wh: NDArray[np.int64]

    @property
    def end_ms(self) -> int:
        """Return the end of the last slot."""
        return int(self.starts_ms[-1]) + _SLOT_MS

    def curve(self, start_ms: int) -> LoadCurve:
        """Return the series as a load from `start_ms`; nothing flows outside of it."""
        slots = (self.starts_ms - start_ms) // _SLOT_MS
        dense = np.zeros(int(slots[-1]) + 1, dtype=np.int64)
        known = np.zeros(len(dense), dtype=np.bool_)
        dense[slots] = self.wh
        known[slots] = True

        def source(begin: int, count: int) -> NDArray[np.int64]:
            part = dense[begin : begin + count]
            return np.concatenate((part, np.zeros(count - len(part), dtype=np.int64)))

        return LoadCurve(start_ms=start_ms, slot_ms=_SLOT_MS, source=source, known=known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A file's customers, by name."""

    series: dict[str, Series]

    @property
    def first_ms(self) -> int:
        """Return the start of the earliest slot of any customer."""
        return min(int(found.starts_ms[0]) for found in self.series.values())

    @property
    def last_ms(self) -> int:
        """Return the end of the latest slot of any customer."""
        return max(found.end_ms for found in self.series.values())

    @property
    def slots(self) -> int:
        """Return how many slots lie between the first and the last, known or not."""
        return (self.last_ms - self.first_ms) // _SLOT_MS

    @property
    def origin(self) -> datetime:
        """Return the business instant to begin at: everything is recorded and can be read."""
        return from_ms(self.last_ms)


def load_replay(path: Path) -> Replay:
    """
    Return the series of a Parquet file with customer, start and kWh.

    Raises: ReplayError on a missing column, a stamp off the half-hour grid or out of order, energy
    that is no whole number of Wh or negative.
    """
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise ReplayError(f"{path.name} cannot be read as Parquet: {error}"[:300]) from error
    columns = {}
    for role, names in _NAMES.items():
        found = [name for name in names if name in table.column_names]
        if not found:
            raise ReplayError(f"{path.name} has no column {' or '.join(names)}")
        columns[role] = table[found[0]]
    customers = np.asarray(
        columns["customer"].cast("string").to_numpy(zero_copy_only=False), dtype=str
    )
    starts = _starts_ms(columns["start"].to_numpy(zero_copy_only=False), columns["start"].type)
    wh = _whole_wh(columns["kwh"].to_numpy(zero_copy_only=False))
    if not len(wh):
        raise ReplayError(f"{path.name} holds no rows")
    series = {}
    for customer in np.unique(customers).tolist():
        mine = np.flatnonzero(customers == customer)
        mine = mine[np.argsort(starts[mine], kind="stable")]
        found_starts = starts[mine]
        if (np.diff(found_starts) <= 0).any():
            raise ReplayError(f"customer {customer} has a slot twice")
        if (found_starts % _SLOT_MS).any():
            raise ReplayError(f"customer {customer} has a slot off the half-hour grid")
        series[customer] = Series(customer=customer, starts_ms=found_starts, wh=wh[mine])
    replay = Replay(series=series)
    if replay.slots > _MAX_SLOTS:
        raise ReplayError(f"{path.name} spans {replay.slots} slots, more than {_MAX_SLOTS}")
    return replay


def replay_fleet(replay: Replay, *, seed: int) -> Fleet:
    """Return the fleet of a replay: all behind one concentrator, half HLS5-GMAC, half LLS."""
    return Fleet(
        seed=seed,
        origin=replay.origin,
        history_from=from_ms(replay.first_ms),
        meters=tuple(
            _meter(seed, number, customer)
            for number, customer in enumerate(sorted(replay.series), start=1)
        ),
    )


def replay_curves(replay: Replay) -> Callable[[SimMeter], LoadCurve]:
    """Return what gives each meter of `replay_fleet` its load."""

    def curve(meter: SimMeter) -> LoadCurve:
        return replay.series[meter.source].curve(replay.first_ms)

    return curve


def _meter(seed: int, number: int, customer: str) -> SimMeter:
    name = f"M-{number:06d}"
    ciphered = number % 2 == 1
    return SimMeter(
        number=number,
        meter=MeterId(name),
        usage_point=UsagePointId(f"UP-{number:06d}"),
        transformer=TransformerId("T-01"),
        concentrator=ConcentratorId("C-01"),
        kind="customer",
        protocol="dlms",
        model="dlms_gmac" if ciphered else "dlms_lls",
        authentication="hls5" if ciphered else "lls",
        interval_seconds=SLOT_SECONDS,
        control_mode=4,
        serial=str(21_000_000 + number),
        opening_register_wh=1_000_000 * number,
        source=customer,
        **keys_of(seed, name),
    )


def _starts_ms(stamps: NDArray[np.datetime64], kind: object) -> NDArray[np.int64]:
    if stamps.dtype.kind != "M":
        raise ReplayError(f"column start must hold instants, not {kind}")
    zoned = getattr(kind, "tz", None) is not None
    starts: NDArray[np.int64] = stamps.astype("datetime64[ms]").astype(np.int64)
    return starts if zoned else starts - int(ZONE / timedelta(milliseconds=1))


def _whole_wh(kwh: NDArray[np.float64]) -> NDArray[np.int64]:
    # the file's floats end here; what follows is integers
    scaled = kwh.astype(np.float64) * 1000
    whole = np.rint(scaled)
    if not (np.abs(scaled - whole) <= _WHOLE_WH).all():
        raise ReplayError("column kwh must hold whole watt-hours; a NaN or a fraction is neither")
    if (whole < 0).any():
        raise ReplayError("column kwh holds negative energy")
    return whole.astype(np.int64)
