"""
A whole day of a city: payload octets to committed readings, then to findings and estimates.

Every meter sends 96 intervals (200 meters a payload) and its register at midnight (1,000 meters a
payload); of some meters a few hours are missing. Ingest stores them as the agent does, in two
lanes; VEE then decodes the same octets, lays them on a matrix, checks it and fills what is missing
under the registers of both midnights. While no clock runs, payloads are made, and yesterday's last
interval and register of every meter are stored, for a meter is new once and not every day.
Processor time is that of this process and, for ingest, of PostgreSQL too, so that the arithmetic to
other machines is by work and not by how busy this one is.

    python tests/benchmarks/stream_day.py [--meters 1000000] [--json]
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psutil
import psycopg

from cloud.ingest import service as ingest
from cloud.ingest.model import Arrival
from cloud.ingest.rules.packing import DAY_MS
from cloud.store.db import Database
from cloud.store.migrate import migrate
from cloud.vee import service as vee
from cloud.vee.rules.checks import check_series
from cloud.vee.rules.estimate import Estimates, estimate_series, judged
from cloud.vee.rules.findings import Findings
from cloud.vee.rules.grid import State, frame_of, placed
from cloud.vee.rules.observed import Observed, Rows, plain_facts, reads_of
from cloud.vee.rules.rule_sets import RuleSet, rule_set_for
from meterloop.embedded.postgres import Cluster, EmbeddedPostgres
from protocols.timeline import to_ms
from tests.benchmarks import stream_ingest as base
from tests.benchmarks.figures import Figures
from tests.benchmarks.stream_vee import decoded, homes

DAY, SLOTS, STEP_MS = base.DAY, base.SLOTS, base.STEP_MS
SLICE = 5000
"""So many meters are made, stored and looked at in one go: what memory holds."""
TAKEN = 10
"""So many payloads are one matrix of VEE."""
CITY, METERS_WITH_GAPS, CORES = 15_000_000, 0.02, (2, 16)
FRAME = frame_of(to_ms(DAY), SLOTS, STEP_MS // 1000, ZoneInfo("Asia/Shanghai"))
NOW = DAY + timedelta(hours=30)
FRAME_END = to_ms(DAY) + DAY_MS


@dataclass(slots=True)
class Work:
    """Seconds of wall and processor time spent on so many readings."""

    wall: float = 0.0
    ours: float = 0.0
    server: float = 0.0
    readings: int = 0

    @property
    def cpu(self) -> float:
        """Processor seconds a reading, of everything that worked on it."""
        return (self.ours + self.server) / self.readings


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Payloads of some meters' day, and each meter's advance of the day."""

    intervals: list[Arrival]
    registers: list[Arrival]
    advance: dict[str, int]
    readings: int


def made(meters: range) -> Slice:
    """Return the payloads of some meters' day."""
    wh = homes(len(meters), SLOTS, seed=meters[0] + 1)
    chance = np.random.default_rng(meters[0] + 2)
    there = np.ones(wh.shape, dtype=np.bool_)
    for gapped in np.flatnonzero(chance.random(len(meters)) < METERS_WITH_GAPS).tolist():
        first = int(chance.integers(1, SLOTS - 16))
        there[gapped, first : first + int(chance.integers(2, 13))] = False
    intervals: list[Arrival] = []
    for first in range(0, len(meters), base.PER_PROFILE):
        some = slice(first, first + base.PER_PROFILE)
        row, slot = np.nonzero(there[some])
        rows = {
            "meter": row, "channel": np.full(len(row), 3), "seconds": np.full(len(row), 900),
            "at_ms": to_ms(DAY) + slot * STEP_MS, "raw": wh[some][row, slot],
            "received_ms": to_ms(DAY) + DAY_MS + row * 900,
        }  # fmt: skip
        intervals.append(base.arrival(first, meters[some], rows, NOW, meters[0] + 1))
    advance = wh.sum(axis=1)
    registers = of_concentrators(
        meters, 2, channel=1, seconds=0, at_ms=FRAME_END, raw=1_000_000 + advance
    )
    return Slice(
        intervals=intervals, registers=registers, readings=int(there.sum()) + len(meters),
        advance={str(base.meter(n)): wh for n, wh in zip(meters, advance.tolist(), strict=True)},
    )  # fmt: skip


def of_concentrators(
    meters: range, part: int, *, channel: int, seconds: int, at_ms: int, raw: np.ndarray
) -> list[Arrival]:
    """Return one reading of every meter at one instant, a payload per concentrator."""
    found = []
    for first in range(0, len(meters), base.PER_CONCENTRATOR):
        some = slice(first, first + base.PER_CONCENTRATOR)
        count = len(meters[some])
        rows = {
            "meter": np.arange(count), "channel": np.full(count, channel),
            "seconds": np.full(count, seconds), "at_ms": np.full(count, at_ms), "raw": raw[some],
        }  # fmt: skip
        seq = 10**6 * part + first
        found.append(base.arrival(seq, meters[some], rows, NOW, meters[0] + 1))
    return found


def yesterday(db: Database, meters: int, together: int) -> None:
    """Store the last interval and register of the day before, of every meter."""
    for first in range(0, meters, SLICE):
        some = range(first, min(first + SLICE, meters))
        one = np.ones(len(some), dtype=np.int64)
        start = to_ms(DAY) - STEP_MS
        payloads = of_concentrators(some, 3, channel=3, seconds=900, at_ms=start, raw=one)
        payloads += of_concentrators(
            some, 4, channel=1, seconds=0, at_ms=to_ms(DAY) - 1, raw=1_000_000 * one
        )
        base.stored(db, payloads, together, base.nothing)


def observed(intervals: Sequence[Arrival], advances: dict[str, int]) -> Observed:
    """Return payloads as one matrix with the registers of both midnights."""
    batches = [decoded(each.payload) for each in intervals]
    offset = np.cumsum([0, *(len(batch.meters) for batch, _ in batches)])

    def column(name: str) -> np.ndarray:
        return np.concatenate([batch.columns[name] for batch, _ in batches]).astype(np.int64)

    series = column("meter") + np.repeat(offset[:-1], [len(batch) for batch, _ in batches])
    wh, count = np.concatenate([value for _, value in batches]), int(offset[-1])
    ones = np.ones(len(wh), dtype=np.int64)
    rows = Rows(series=series, start_ms=column("at_ms"), seconds=column("seconds"), wh=wh,
                unit=72 * ones, factor=ones, factor_known=ones)  # fmt: skip
    grid = placed(
        FRAME, count, series=series, start_ms=rows.start_ms, seconds=rows.seconds, wh=wh,
        state=State.MEASURED, status=column("status"),
    )  # fmt: skip
    advance = np.array([advances[name] for batch, _ in batches for name in batch.meters])
    both = np.column_stack((np.full(count, 1_000_000), 1_000_000 + advance))
    reads = reads_of(
        np.repeat(np.arange(count), 2), np.zeros(2 * count, dtype=np.int64),
        np.tile([FRAME.start_ms, FRAME.end_ms], count), both.reshape(-1),
    )  # fmt: skip
    return Observed(grid=grid, facts=plain_facts(count), rows=rows, reads=reads)


def filled_in(seen: Observed, found: Findings, rules: RuleSet) -> Estimates:
    """Return what was made up for the slots that are missing or doubted."""
    return estimate_series(judged(seen, found), rules)


def validated(some: Slice, rules: RuleSet, checks: Work, estimates: Work) -> int:
    """Check a slice and fill its gaps; return how many slots were filled."""
    filled = 0
    for first in range(0, len(some.intervals), TAKEN):

        def check(parcel: Sequence[Arrival]) -> tuple[Observed, Findings]:
            seen = observed(parcel, some.advance)
            return seen, check_series(seen, rules, now_ms=to_ms(NOW))

        parcel = some.intervals[first : first + TAKEN]
        seen, found = clocked(checks, partial(check, parcel), None)
        made_up = clocked(estimates, partial(filled_in, seen, found, rules), None)
        filled += sum((gap.end_ms - gap.start_ms) // STEP_MS for gap in made_up.made)
    return filled


def server_seconds(server: EmbeddedPostgres) -> float:
    """Return the processor seconds of PostgreSQL and of all it ever started."""
    postmaster = psutil.Process(server.pid)
    told = postmaster.cpu_times()
    total = float(told.user + told.system + told.children_user + told.children_system)
    for child in postmaster.children():
        try:
            total += sum(child.cpu_times()[:2])
        except psutil.NoSuchProcess:  # it ended meanwhile
            continue
    return total


def clocked(work: Work, act: Callable[[], Any], server: EmbeddedPostgres | None) -> Any:
    """Do an act and add what it took."""
    before = server_seconds(server) if server else 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    result = act()
    work.wall += time.perf_counter() - wall
    work.ours += time.process_time() - cpu
    work.server += server_seconds(server) - before if server else 0.0
    return result


def day(
    db: Database, server: EmbeddedPostgres, rules: RuleSet, asked: argparse.Namespace
) -> tuple[Work, Work, Work, int]:
    """Bring the day of all meters through ingest and VEE, a slice at a time."""
    stored, checks, estimates, filled = Work(), Work(), Work(), 0
    for first in range(0, asked.meters, SLICE):
        some = made(range(first, min(first + SLICE, asked.meters)))

        def store(payloads: Sequence[Arrival]) -> None:
            base.stored(db, payloads, asked.together, base.nothing, lanes=2)

        both = [*some.intervals, *some.registers]
        clocked(stored, partial(store, both), server)
        filled += validated(some, rules, checks, estimates)
        stored.readings += some.readings
        checks.readings += some.readings - len(some.advance)
    estimates.readings = checks.readings
    return stored, checks, estimates, filled


def told(figures: Figures, name: str, work: Work, meters: int) -> None:
    """Add the rates of one part and the arithmetic to a city's day."""
    figures.add(f"{name}, by wall", work.readings / work.wall, "readings/s of this machine")
    note = f"{work.ours:.1f} s ours, {work.server:.1f} s PostgreSQL's"
    figures.add(f"{name}, by processor", 1 / work.cpu, "readings/s of one core", note)
    each = work.readings / meters
    for cores in CORES:
        readings = CITY * each
        figures.add(
            f"{name}, {CITY // 10**6} million meters on {cores} cores",
            readings * work.cpu / cores / 60, "min",
            f"{readings / 1e9:.2f} G readings x {work.cpu * 1e6:.3f} us / {cores} cores",
        )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    parser.add_argument("--meters", type=int, default=50_000, help="1000000 is the whole day")
    parser.add_argument("--together", type=int, default=20, help="payloads in a transaction")
    asked = parser.parse_args()
    figures = Figures()
    rules = rule_set_for(vee.shipped_rule_sets(), "household", date(2026, 3, 10))
    with tempfile.TemporaryDirectory(prefix="ml-day-") as folder:
        with EmbeddedPostgres(Cluster(folder=Path(folder))) as server:
            migrate(server.dsn)
            with psycopg.connect(server.dsn, autocommit=True) as conn:
                for statement in base._FILL:
                    conn.execute(statement, {"n": asked.meters, "at": base.A_YEAR_AGO})
                conn.execute("VACUUM ANALYZE")
            # what is compiled once is compiled before the clock runs
            validated(made(range(2000)), rules, Work(), Work())
            with Database(server.dsn, user="meterloop_ingest") as db:
                ingest.open_days_ahead(db, now=DAY + timedelta(days=3), ahead=0)
                yesterday(db, asked.meters, asked.together)
                known, held = base.packed(server.dsn)
                stored, checks, estimates, filled = day(db, server, rules, asked)
            octets, count = base.packed(server.dsn)
    octets, count = octets - known, count - held
    assert count == stored.readings, (count, stored.readings)
    figures.add("readings of the day", stored.readings, "", f"{asked.meters:,} meters")
    told(figures, "ingest", stored, asked.meters)
    told(figures, "decode and check", checks, asked.meters)
    told(figures, "estimate", estimates, asked.meters)
    note = f"of {METERS_WITH_GAPS:.0%} of the meters, half an hour to three hours"
    figures.add("slots filled under registers", filled, "", note)
    parts = (stored, checks, estimates)
    both = Work(
        wall=sum(part.wall for part in parts), ours=sum(part.ours for part in parts),
        server=stored.server, readings=stored.readings,
    )  # fmt: skip
    told(figures, "ingest and VEE", both, asked.meters)
    figures.add("a million meters' day here", both.wall * 1e6 / asked.meters / 60, "min",
                f"{both.wall:.1f} s x 1,000,000 / {asked.meters:,}")  # fmt: skip
    figures.add("a reading on disk", octets / count, "octets", "with its index")
    each = octets / asked.meters
    figures.add("15 million meters' day on disk", CITY * each / 1e9, "GB",
                f"15,000,000 x {each:,.0f} octets a meter")  # fmt: skip
    figures.show("a day of a city: ingest, then VEE", table=not asked.json)


if __name__ == "__main__":
    main()
