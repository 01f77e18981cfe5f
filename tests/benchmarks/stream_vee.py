"""
How fast validation is: payload bytes of whole days to findings and estimates, on one core.

Payloads are what concentrators send (CBOR, zstd, columns); they are decoded, scaled, laid on a grid
and looked at by every check of the household set. Rates are per second of processor time of this
one thread, so another program on the machine does not slow the figure; wall time stands beside.

    python tests/benchmarks/stream_vee.py [--meters 20000] [--json]
"""

import argparse
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from cloud.ingest.rules import alone
from cloud.vee import service as vee
from cloud.vee.model import ExceptionKind
from cloud.vee.rules import spike
from cloud.vee.rules.checks import CHECKS, check_series
from cloud.vee.rules.estimate import estimate_series, judged
from cloud.vee.rules.grid import Grid, State, frame_of, placed
from cloud.vee.rules.observed import Observed, Rows, plain_facts, reads_of
from cloud.vee.rules.rule_sets import RuleSet, rule_set_for
from protocols.identity import BatchId, ConcentratorId, MeterId
from protocols.mqtt import envelope
from protocols.mqtt.uplink import DataBatch, batch_from_plain, batch_to_plain, columns_of
from protocols.reading import Channel
from protocols.timeline import from_ms
from tests.benchmarks.figures import Figures

SLOTS, STEP_S, METERS_A_BATCH, TAKEN = 96, 900, 200, 10
START_MS = 1_772_406_000_000  # midnight of 2 March 2026 in Berlin
ZONE = ZoneInfo("Europe/Berlin")


def homes(meters: int, slots: int, seed: int = 1) -> np.ndarray:
    """Return loads like those of homes: a base, an evening, now and then a cooker."""
    chance = np.random.default_rng(seed)
    shape = 40 + 120 * np.exp(-(((np.arange(slots) % SLOTS - 78) / 9) ** 2))
    wh = (shape * chance.gamma(2, 0.5, (meters, 1)) * chance.gamma(4, 0.25, (meters, slots))) + 5
    wh[chance.random((meters, slots)) < 0.01] += 600
    return wh.astype(np.int64)


def payloads(wh: np.ndarray) -> list[bytes]:
    """Return a day of each meter as batches of whole days."""
    found = []
    starts = START_MS + STEP_S * 1000 * np.arange(SLOTS)
    for first in range(0, len(wh), METERS_A_BATCH):
        some = wh[first : first + METERS_A_BATCH]
        count = some.size
        rows = {
            "meter": np.repeat(np.arange(len(some)), SLOTS).tolist(),
            "channel": [int(Channel.IMPORT_INTERVAL_WH)] * count,
            "at_ms": np.tile(starts, len(some)).tolist(),
            "seconds": [STEP_S] * count,
            "received_ms": [START_MS + 86_400_000 + 60_000] * count,
            "raw": some.reshape(-1).tolist(),
            "scaler": [0] * count,
            "status": [0] * count,
        }
        batch = DataBatch(
            id=BatchId(concentrator=ConcentratorId("C-1"), boot=1, seq=first + 1),
            made_at=from_ms(START_MS + 86_400_000),
            meters=tuple(MeterId(f"M-{first + n}") for n in range(len(some))),
            columns=columns_of(rows),
        )
        found.append(envelope.encode(batch_to_plain(batch), envelope.CBOR_ZSTD))
    return found


def decoded(octets: bytes) -> tuple[DataBatch, np.ndarray]:
    """Return a payload's batch and its values in watt-hours."""
    batch = batch_from_plain(envelope.decode(octets, envelope.CBOR_ZSTD))
    columns = batch.columns
    value, _ = alone.scale(columns["raw"].astype(np.int64), columns["scaler"].astype(np.int64))
    return batch, value


def observed(octets: list[bytes]) -> Observed:
    """Return payloads as what checks look at: one grid of all their meters."""
    batches = [decoded(each) for each in octets]
    offset = np.cumsum([0, *(len(batch.meters) for batch, _ in batches)])

    def column(name: str) -> np.ndarray:
        return np.concatenate([batch.columns[name] for batch, _ in batches]).astype(np.int64)

    series = column("meter") + np.repeat(offset[:-1], [len(batch) for batch, _ in batches])
    wh = np.concatenate([value for _, value in batches])
    ones = np.ones(len(wh), dtype=np.int64)
    rows = Rows(series=series, start_ms=column("at_ms"), seconds=column("seconds"), wh=wh,
                unit=72 * ones, factor=ones, factor_known=ones)  # fmt: skip
    count = int(offset[-1])
    grid = placed(
        FRAME, count, series=series, start_ms=rows.start_ms, seconds=rows.seconds, wh=wh,
        state=State.MEASURED, status=column("status"),
    )  # fmt: skip
    return Observed(grid=grid, facts=plain_facts(count), rows=rows)


ELSEWHERE = {
    ExceptionKind.SUM_CHECK, ExceptionKind.TOU_SUM, ExceptionKind.HIGH_LOW,
    ExceptionKind.DELTA_PERCENT, ExceptionKind.HISTORICAL_MAX,
    ExceptionKind.CLOCK_TOLERANCE, ExceptionKind.REPLACEMENT, ExceptionKind.REGISTER_STEP,
}  # fmt: skip
"""Checks that find nothing to look at in one day without registers: no figure of their own."""

FRAME = frame_of(START_MS, SLOTS, STEP_S, ZONE)
NOW_MS = START_MS + 2 * 86_400_000


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return processor and wall seconds of the better of two runs."""
    found = []
    for _ in range(2):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(found)


def parcels(octets: list[bytes]) -> list[list[bytes]]:
    """Return payloads as a worker takes them: some at a time."""
    return [octets[n : n + TAKEN] for n in range(0, len(octets), TAKEN)]


def day_path(octets: list[bytes], rules: RuleSet) -> int:
    """Decode and check every payload; return the number of findings."""
    return sum(len(check_series(observed(each), rules, now_ms=NOW_MS)) for each in parcels(octets))


def month(meters: int, days: int) -> Observed:
    """Return `days` of each meter with one slot in a hundred missing and daily registers."""
    chance = np.random.default_rng(2)
    wh = homes(meters, days * SLOTS, seed=3)
    state = np.full(wh.shape, State.MEASURED, dtype=np.int8)
    for _ in range(meters * days // 10):
        row, slot = int(chance.integers(meters)), int(chance.integers(wh.shape[1] - 12))
        state[row, slot : slot + int(chance.integers(4, 13))] = State.MISSING
    register = np.cumsum(np.pad(wh, ((0, 0), (1, 0))), axis=1)[:, ::SLOTS]
    at = START_MS + 86_400_000 * np.arange(days + 1)
    reads = reads_of(
        np.repeat(np.arange(meters), days + 1), np.zeros(meters * (days + 1), dtype=np.int64),
        np.tile(at, meters), register.reshape(-1),
    )  # fmt: skip
    frame = frame_of(START_MS, days * SLOTS, STEP_S, ZoneInfo("UTC"))
    gone = state == State.MISSING
    grid = Grid(frame=frame, wh=np.where(gone, 0, wh), state=state, status=np.zeros_like(wh))
    return Observed(grid=grid, facts=plain_facts(meters), reads=reads)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    parser.add_argument("--meters", type=int, default=20_000, help="meters of the day")
    parser.add_argument("--seconds", type=float, default=0, help="not used; all benches take it")
    options = parser.parse_args()
    figures = Figures()
    rules = rule_set_for(vee.shipped_rule_sets(), "household", date(2026, 3, 2))
    octets = payloads(homes(options.meters, SLOTS))
    readings = options.meters * SLOTS
    day_path(octets[:30], rules)
    cpu, _ = timed(lambda: [decoded(each) for each in octets])
    figures.add("decode and scale", readings / cpu, "readings/s of one core")
    cpu, wall = timed(lambda: day_path(octets, rules))
    how = "numba" if spike.INSTALLED else "numpy"
    figures.add(
        "payload bytes to findings", readings / cpu, "readings/s of one core",
        f"{len(rules.checks)} checks, spikes by {how}, wall {readings / wall:,.0f}", beside=1e6,
    )  # fmt: skip
    figures.add(
        "a day of 15 million meters, 96 intervals, on 16 cores",
        15e6 * SLOTS / (readings / cpu) / 16, "s", "computed: 1.44 G readings / rate / 16",
    )  # fmt: skip
    seen = [observed(each) for each in parcels(octets)]
    for code, told in rules.checks.items():
        if code in ELSEWHERE:
            continue
        kernel: Any = CHECKS[code].kernel
        work = partial(kernel, p=told.parameters) if code is not ExceptionKind.FUTURE else partial(
            kernel, p=told.parameters, now_ms=NOW_MS)  # fmt: skip
        cpu, _ = timed(lambda work=work: [work(each) for each in seen])
        figures.add(f"check {code}", readings / max(cpu, 1e-6) / 1e6, "M readings/s of one core")
    nightly = month(200, 35)
    size = nightly.grid.wh.size
    check_series(nightly, rules, now_ms=nightly.grid.frame.end_ms)
    cpu, _ = timed(lambda: check_series(nightly, rules, now_ms=nightly.grid.frame.end_ms))
    figures.add("35 days with daily registers, all checks", size / cpu, "readings/s of one core")
    sound = judged(nightly, check_series(nightly, rules, now_ms=nightly.grid.frame.end_ms))
    gaps = len(estimate_series(sound, rules).made)
    cpu, _ = timed(lambda: estimate_series(sound, rules))
    figures.add("estimates under registers", gaps / cpu, "gaps/s of one core", f"{gaps} gaps")
    figures.show("validation of interval series", table=not options.json)


if __name__ == "__main__":
    main()
