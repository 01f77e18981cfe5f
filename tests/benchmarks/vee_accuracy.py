"""
How near estimates come to what was measured: ten real homes, gaps that nobody missed.

Protocol of the MDM handbook, section 5: gaps are masked at random where the 31 days before, the
gap and both neighbours were measured; slot error is sum |estimate - truth| over truth, energy error
the same of whole gaps. `+register` means that the energy of the gap is known. Ours goes through the
public entry, the others are written here.

    python tests/benchmarks/vee_accuracy.py [--draws 3000] [--json]

The series are those of `nsw10_halfhourly.parquet` (Smart Grid Smart City trial, public), which is
read where it lies (METERLOOP_NSW10, or ../shared/data beside the project) and never copied.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from cloud.vee import service as vee
from cloud.vee.rules import shapes
from cloud.vee.rules.analogue import scaled
from cloud.vee.rules.estimate import estimate_series
from cloud.vee.rules.grid import Grid, Int, State, frame_of
from cloud.vee.rules.observed import Observed, plain_facts, reads_of
from cloud.vee.rules.rule_sets import RuleSet, rule_set_for
from meterloop.series import Options, load
from protocols.timeline import from_ms
from tests.benchmarks.figures import Figures

ROOT = Path(__file__).parents[2]
GAPS = {"1 h": 2, "2 h": 4, "4 h": 8, "24 h": 48, "7 d": 336}
PER_DAY = 48
AROUND = 40 * PER_DAY
METHODS = ("linear", "like-day", "linear+register", "like-day+register", "mix+register", "ours",
           "ours+register")  # fmt: skip


def where() -> Path:
    """Return where the series lie on this machine."""
    told = os.environ.get("METERLOOP_NSW10")
    if told:
        return Path(told)
    for folder in (ROOT.parent, *ROOT.parents):
        file = folder / "shared" / "data" / "nsw10_halfhourly.parquet"
        if file.is_file():
            return file
    return ROOT.parent / "shared" / "data" / "nsw10_halfhourly.parquet"


@dataclass(frozen=True)
class Homes:
    """All homes on one grid, and the frame's slots from August 2012 to January 2014."""

    grid: Grid
    first: int
    end: int
    rules: RuleSet


def homes_of(file: Path) -> Homes:
    """Return the ten homes. Stamps carry no zone and show no clock change: fixed UTC+10."""
    from datetime import timedelta

    (loaded,) = load(
        file.read_bytes(), None,
        Options(zone=ZoneInfo("Australia/Brisbane"), stamps_at=timedelta(hours=10)),
    )  # fmt: skip
    frame = loaded.seen.grid.frame
    edges = [(day - frame.first_day).days * PER_DAY for day in (date(2012, 8, 1), date(2014, 2, 1))]
    rules = rule_set_for(vee.shipped_rule_sets(), "household", frame.first_day)
    return Homes(grid=loaded.seen.grid, first=edges[0], end=edges[1], rules=rules)


def draws_of(homes: Homes, length: int, count: int, seed: int) -> list[tuple[int, int]]:
    """Return home and first slot of gaps whose 31 days before and neighbours were measured."""
    chance = np.random.default_rng(seed)
    measured = np.cumsum(np.pad(homes.grid.present, ((0, 0), (1, 0))), axis=1)
    found: list[tuple[int, int]] = []
    while len(found) < count:
        home = int(chance.integers(len(homes.grid.wh)))
        first = int(chance.integers(homes.first + 31 * PER_DAY, homes.end - length - 1))
        low, high = first - 31 * PER_DAY, first + length + 1
        if measured[home, high] - measured[home, low] == high - low:
            found.append((home, first))
    return found


def masked(homes: Homes, home: int, first: int, length: int) -> tuple[Grid, int]:
    """Return one home around a gap with the gap taken out, and where it begins there."""
    frame = homes.grid.frame
    low = max(0, first - AROUND) // PER_DAY * PER_DAY
    high = min(len(frame), first + length + AROUND)
    cut = slice(low, high)
    state = homes.grid.state[home : home + 1, cut].copy()
    state[0, first - low : first - low + length] = State.MISSING
    wh = np.where(state == State.MISSING, 0, homes.grid.wh[home : home + 1, cut])
    start = frame.start_ms + low * frame.step_s * 1000
    here = frame_of(start, high - low, frame.step_s, ZoneInfo(frame.zone))
    return Grid(frame=here, wh=wh, state=state, status=np.zeros_like(wh)), first - low


def estimates(homes: Homes, home: int, first: int, length: int, total: int) -> dict[str, Int]:
    """Return what each method says of one gap that held `total`."""
    grid, at = masked(homes, home, first, length)
    end = at + length
    table = shapes.by_wall(grid.frame)
    line, _ = shapes.linear(grid, 0, at, end)
    like, known = shapes.like_day(grid, 0, at, end, table=table, days=3, search_days=35)
    like = np.where(known, like, 0)
    step = grid.frame.step_s * 1000
    ends = grid.frame.start_ms + np.array([at, end], dtype=np.int64) * step
    nothing, zeros = np.zeros(2, dtype=np.int64), np.array([0, total], dtype=np.int64)
    reads = reads_of(nothing, nothing, ends, zeros)
    # gaps that are there by nature are no part of the question: they stay outside the installation
    bare = Observed(grid=grid, facts=plain_facts(1))
    whole = Observed(grid=grid, facts=plain_facts(1), reads=reads)
    return {
        "linear": line,
        "like-day": like,
        "linear+register": scaled(line, total),
        "like-day+register": scaled(like, total),
        "mix+register": scaled(line + like, total),
        "ours": _ours(homes, bare, at, end),
        "ours+register": _ours(homes, whole, at, end),
    }


def _ours(homes: Homes, seen: Observed, at: int, end: int) -> Int:
    found: Int = estimate_series(seen, homes.rules).grid.wh[0, at:end]
    return found


def measure(homes: Homes, length: int, count: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return slot error and energy error in percent by method, over `count` gaps."""
    slot, energy, truth = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0), 0
    for home, first in draws_of(homes, length, count, seed):
        real = homes.grid.wh[home, first : first + length]
        total = int(real.sum())
        truth += total
        for name, guess in estimates(homes, home, first, length, total).items():
            slot[name] += int(np.abs(guess - real).sum())
            energy[name] += abs(int(guess.sum()) - total)
    return {name: (100 * slot[name] / truth, 100 * energy[name] / truth) for name in METHODS}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=3000, help="gaps a length (a fifth for 7 d)")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    options = parser.parse_args()
    file = where()
    if not file.is_file():
        sys.exit(f"no series at {file}: set METERLOOP_NSW10")
    homes, figures = homes_of(file), Figures()
    span = f"{from_ms(homes.grid.frame.start_ms):%Y-%m} to {from_ms(homes.grid.frame.end_ms):%Y-%m}"
    for name, length in GAPS.items():
        count = options.draws // 5 if length > PER_DAY else options.draws
        found = measure(homes, length, count, seed=20130101 + length)
        for method, (slot, energy) in found.items():
            figures.add(
                f"{name}: {method}", slot, "% WAPE", f"energy error {energy:.0f} %, {count} gaps",
                beside=found["mix+register"][0] if method == "ours+register" else None,
            )  # fmt: skip
    figures.show(f"estimates of gaps, ten homes, {span}", table=not options.json)


if __name__ == "__main__":
    main()
