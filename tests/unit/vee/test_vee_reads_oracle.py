"""Checks of registers, rows, clocks and replacements find what their scalar twins find."""

from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.vee.rules import parameters as told
from cloud.vee.rules import register_checks, row_checks
from cloud.vee.rules.observed import Changes, Clocks, Observed, Rows, reads_of
from meterloop.series import Options, load
from protocols.errors import RefusedError
from tests.unit.vee import read_oracle as oracle
from tests.unit.vee import vee_kit as kit

MS = kit.HOUR * 1000
WIDTH = 12


def series_from(seed: int) -> Observed:
    """Return two series with registers of some rates, rows, clock checks and replacements."""
    chance = np.random.default_rng(seed)
    count = 2
    wh = chance.integers(0, 20, (count, WIDTH))
    gone = chance.random((count, WIDTH)) < chance.choice([0, 0, 0.2])
    values = [
        [None if lost else int(value) for value, lost in zip(*row, strict=True)]
        for row in zip(wh, gone, strict=True)
    ]
    size = int(chance.integers(0, 16))
    keys = np.unique(
        np.stack((
            chance.integers(0, count, size), chance.integers(0, 3, size),
            kit.START_MS + chance.integers(-1, WIDTH + 2, size) * MS
            + chance.choice([0, 0, 0, 1], size),
        )), axis=1,
    )  # fmt: skip
    series, rate, at = keys
    true = np.cumsum(np.pad(wh, ((0, 0), (1, 0))), axis=1)
    slot = np.clip((at - kit.START_MS) // MS, 0, WIDTH)
    shown = true[series, slot] // np.where(rate > 0, 2, 1) + chance.integers(0, 3, len(at))
    shown = np.where(chance.random(len(at)) < 0.1, chance.integers(0, 10**12, len(at)), shown)
    reads = reads_of(series, rate, at, shown, factor=chance.choice([1, 1, 40], len(at)))
    lines = int(chance.integers(0, 12))
    rows = Rows(
        series=chance.integers(0, count, lines),
        start_ms=kit.START_MS + chance.integers(0, 5, lines) * MS + chance.choice(
            [0, 0, 60_000], lines),
        seconds=chance.choice([kit.HOUR, kit.HOUR, 900], lines), wh=chance.integers(0, 4, lines),
        unit=chance.choice([72, 73], lines), factor=chance.choice([1, 40], lines),
        factor_known=chance.choice([1, 40], lines),
    )  # fmt: skip
    checks = np.sort(chance.integers(0, 10, 5))
    return kit.seen_of(
        kit.grid_of(values),
        kit.facts_with(
            count, capacity_w=chance.choice([0, 12], count),
            rollover_wh=chance.choice([0, 10**12 + 1], count),
        ),
        reads=reads, rows=rows,
        clocks=Clocks(
            series=np.sort(chance.integers(0, count, 5)), at_ms=kit.START_MS + checks * MS,
            ahead_ms=chance.integers(-300_000, 300_000, 5),
        ),
        changes=Changes(
            series=chance.integers(0, count, 6), start_ms=kit.START_MS + np.arange(6) * MS,
            old_wh=chance.integers(-50, 50, 6), new_wh=chance.integers(-50, 50, 6),
            old_state=chance.integers(0, 6, 6), new_state=chance.integers(0, 6, 6),
        ),
    )  # fmt: skip


PAIRS = [
    (register_checks.register_step, oracle.register_step, st.builds(
        told.RegisterStep, margin_permille=st.integers(1, 2000))),
    (register_checks.sum_check, oracle.sum_check, st.builds(
        told.SumCheck, tolerance_permille=st.integers(0, 200), floor_wh=st.integers(0, 9))),
    (register_checks.tou_sum, oracle.tou_sum, st.builds(
        told.TouSum, tolerance_permille=st.integers(0, 200), floor_wh=st.integers(0, 9))),
    (register_checks.delta_percent, oracle.delta_percent, st.builds(
        told.DeltaPercent, threshold_permille=st.integers(0, 3000), least_wh=st.integers(0, 60))),
    (row_checks.duplicate, oracle.duplicate, st.builds(
        told.Duplicate, difference_wh=st.integers(0, 2))),
    (row_checks.interval_size, oracle.interval_size, st.builds(
        told.IntervalSize, slack_seconds=st.integers(0, 90))),
    (row_checks.clock_tolerance, oracle.clock_tolerance, st.builds(
        told.ClockTolerance, tolerance_seconds=st.integers(0, 300))),
    (row_checks.replacement, oracle.replacement, st.builds(
        told.Replacement, least_change_permille=st.integers(0, 900),
        least_change_wh=st.integers(0, 30))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kernel", "twin", "parameters"), PAIRS, ids=[pair[0].__name__ for pair in PAIRS]
)
@given(seen=st.integers(0, 2**32 - 1).map(series_from), choose=st.data())
@settings(max_examples=60, deadline=None)
def test_a_kernel_finds_what_its_scalar_twin_finds(
    kernel: Any, twin: Any, parameters: Any, seen: Observed, choose: Any
) -> None:
    p = choose.draw(parameters)
    hits = kernel(seen, p)
    columns = (hits.series, hits.start_ms, hits.end_ms, hits.value, hits.limit)
    found = sorted(zip(*(column.tolist() for column in columns), strict=True))
    assert found == sorted(twin(seen, p))


OFTEN = ["series,start,wh", "m1,2026-03-01T00:00:00Z,5", "m1,2026-03-01T01:00:00Z,", "m2,,7", "kwh",
         "quality", "m1,2026-03-29T02:30:00,1.5", "100,NEM12,,A,B", "900", "\x00", "PAR1", "E+11",
         "m1,1e99,-", '"', ",,,,", "seconds", "m1,9999-12-31T23:00:00Z,1"]  # fmt: skip


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from(OFTEN), max_size=8).map(lambda parts: "\n".join(parts).encode()),
        st.lists(st.sampled_from(OFTEN), max_size=8).map(lambda parts: ",".join(parts).encode()),
    )
)
@settings(max_examples=200, deadline=None)
def test_any_file_is_loaded_or_refused_with_a_fix(octets: bytes) -> None:
    try:
        loaded = load(octets, None, Options(zone=ZoneInfo("Europe/Berlin")))
    except RefusedError as error:
        mended_by = error.fix
    else:
        mended_by = "nothing to mend"
        assert all(each.names and len(each.seen.grid.wh) == len(each.names) for each in loaded)
    assert mended_by


@pytest.mark.parametrize("year", ["0001", "1899", "2150", "9999"])
def test_a_stamp_beyond_every_meter_is_refused(year: str) -> None:
    octets = f"series,start,wh\nm1,{year}-12-31T23:00:00Z,1\n".encode()
    with pytest.raises(RefusedError, match="stamp"):
        load(octets, None, Options(zone=ZoneInfo("Europe/Berlin")))
