"""When a meter's clock is set: surely off, not by much, far from an interval's end, by a clock."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.acquire.clock_keeper import ClockKeeper
from edge.acquire.clock_rules import ClockAct, ClockRules, judge_clock
from edge.acquire.driver import ClockReading, Sample
from edge.clock import EdgeClock
from edge.config import EdgeConfig, config_from_json
from edge.outbox import Outbox
from protocols.events import EventCode
from protocols.reading import Channel, Status
from protocols.timeline import Interval, floor_to_grid
from tests.unit.edge.edge_kit import METER, NOON, HandClock, ScriptedMeter
from tests.unit.edge.test_edge_config import plain

RULES = ClockRules()
AT = NOON + timedelta(minutes=10)
"""Far from both ends of a half hour."""

readings = st.builds(
    ClockReading,
    offset_ms=st.integers(-130_000, 130_000) | st.integers(-400_000, 400_000),
    uncertainty_ms=st.integers(0, 500) | st.integers(0, 60_000),
)
instants = st.integers(0, 3600_000).map(lambda ms: NOON + timedelta(milliseconds=ms))
lengths = st.sampled_from([0, 300, 900, 1800, 3600])


def judged(reading: ClockReading, rules: ClockRules = RULES, **changes: object) -> ClockAct:
    facts = {"interval_seconds": 1800, "now": AT, "trusted": True, "rested": True} | changes
    return judge_clock(reading, rules, **facts)  # type: ignore[arg-type]


def reading(offset_ms: int, uncertainty_ms: int = 50) -> ClockReading:
    return ClockReading(offset_ms=offset_ms, uncertainty_ms=uncertainty_ms)


@pytest.mark.req("A5")
@pytest.mark.parametrize(
    ("offset_ms", "uncertainty_ms", "act"),
    [
        (0, 50, ClockAct.LEAVE),
        (5_050, 50, ClockAct.LEAVE),
        (5_051, 50, ClockAct.SET),
        (-5_051, 50, ClockAct.SET),
        (40_000, 35_000, ClockAct.LEAVE),
        (40_000, 34_000, ClockAct.SET),
        (119_950, 50, ClockAct.SET),
        (119_951, 50, ClockAct.REFUSE),
        (-420_000, 50, ClockAct.REFUSE),
    ],
)
def test_what_is_done_about_an_offset(offset_ms: int, uncertainty_ms: int, act: ClockAct) -> None:
    assert judged(reading(offset_ms, uncertainty_ms)) is act


@pytest.mark.req("A5")
@given(
    seen=readings, now=instants, length=lengths, trusted=st.booleans(), rested=st.booleans(),
    tolerance=st.integers(1, 60), step=st.integers(61, 600), guard=st.integers(1, 120),
)  # fmt: skip
def test_no_set_lands_where_it_must_not(
    seen: ClockReading, now, length: int, trusted: bool, rested: bool, tolerance: int, step: int,
    guard: int,
) -> None:  # fmt: skip
    rules = ClockRules(tolerance=tolerance, step_limit=step, guard=guard)
    act = judge_clock(seen, rules, interval_seconds=length, now=now, trusted=trusted, rested=rested)
    off = abs(seen.offset_ms)
    if not trusted or off <= seen.uncertainty_ms:
        assert act is ClockAct.LEAVE
    if off > step * 1000 and trusted and off - seen.uncertainty_ms > tolerance * 1000:
        assert act is ClockAct.REFUSE
    if act is not ClockAct.SET:
        return
    assert rested
    assert tolerance * 1000 + seen.uncertainty_ms < off <= step * 1000 - seen.uncertainty_ms
    # wherever in its uncertainty the true offset lies: old time, new time and all between them
    # stand in one interval, at least the guard away from its ends
    for error in (-seen.uncertainty_ms, seen.uncertainty_ms):
        shown = now + timedelta(milliseconds=seen.offset_ms + error)
        if length:
            begins = floor_to_grid(now, length)
            ends = begins + timedelta(seconds=length)
            margin = timedelta(seconds=guard)
            assert begins + margin <= min(shown, now)
            assert max(shown, now) + margin <= ends


@given(seen=readings, now=instants, length=lengths)
def test_a_clock_off_within_the_limits_is_set_sooner_or_later(
    seen: ClockReading, now, length: int
) -> None:
    assume(length == 0 or length >= 900)
    acts = {
        judge_clock(
            seen, RULES, interval_seconds=length, now=now + timedelta(seconds=30 * step),
            trusted=True, rested=True,
        )
        for step in range(130)
    }  # fmt: skip
    assert acts in ({ClockAct.LEAVE}, {ClockAct.REFUSE}) or ClockAct.SET in acts


def test_the_line_is_never_crossed_by_the_set_of_a_clock_that_is_late_or_early() -> None:
    late = reading(-60_000)
    assert judged(late, now=NOON + timedelta(seconds=50)) is ClockAct.WAIT
    assert judged(late, now=NOON + timedelta(seconds=92)) is ClockAct.SET
    early = reading(60_000)
    assert judged(early, now=NOON + timedelta(seconds=1700)) is ClockAct.SET
    assert judged(early, now=NOON + timedelta(seconds=1715)) is ClockAct.WAIT
    assert judged(early, now=NOON + timedelta(seconds=1715), interval_seconds=0) is ClockAct.SET


@pytest.mark.parametrize("wrong", [{"tolerance": 0}, {"step_limit": 5}, {"guard": 0}])
def test_rules_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="tolerance|step_limit"):
        ClockRules(**wrong)


class Bench:
    """A keeper of a scripted meter."""

    def __init__(self, meter: ScriptedMeter, book: object = None, **clock: object) -> None:
        self.hand = HandClock(wall=AT)
        self.meter = meter
        self.clock: EdgeClock = self.hand.clock(**clock)
        self.keeper = ClockKeeper(
            meter, clock=self.clock, limit=timedelta(seconds=120), rules=RULES,
            interval_seconds=1800, book=book,  # type: ignore[arg-type]
        )  # fmt: skip

    def visit(self) -> list[EventCode]:
        """Compare and keep, as one visit does."""
        seen = reading(self.meter.offset_ms)
        events = [
            *self.keeper.drift(seen, self.clock.now()),
            *asyncio.run(self.keeper.keep(seen)),
        ]
        return [event.code for event in events]


@pytest.mark.req("A5")
def test_a_late_clock_is_set_once_and_told() -> None:
    bench = Bench(ScriptedMeter(offset_ms=-40_000))
    assert bench.visit() == [EventCode.CLOCK_SET]
    assert bench.meter.offset_ms == 0
    assert bench.visit() == []
    assert bench.meter.calls == ["set_clock"]


def test_a_clock_that_will_not_stay_set_is_left_alone_for_a_while() -> None:
    bench = Bench(ScriptedMeter(offset_ms=-40_000))
    bench.visit()
    bench.meter.offset_ms = -40_000
    assert bench.visit() == []
    bench.hand.passes(RULES.rest)
    assert bench.visit() == [EventCode.CLOCK_SET]


def test_a_clock_far_off_is_told_and_not_touched() -> None:
    bench = Bench(ScriptedMeter(offset_ms=420_000))
    assert bench.visit() == [EventCode.CLOCK_DRIFT, EventCode.CLOCK_STEP_REFUSED]
    assert bench.visit() == []
    assert bench.meter.calls == []


def test_an_agent_that_cannot_believe_its_own_clock_sets_none(tmp_path: Path) -> None:
    bench = Bench(ScriptedMeter(offset_ms=-40_000), sync_file=tmp_path / "never-synchronised")
    assert bench.visit() == []
    assert bench.meter.calls == []


@pytest.mark.req("A5")
def test_the_interval_of_a_set_is_marked_also_by_the_next_run(tmp_path: Path) -> None:
    def interval(minutes: int) -> Sample:
        at = NOON + timedelta(minutes=minutes)
        return Sample(channel=Channel.IMPORT_INTERVAL_WH, at=at, seconds=1800, raw=1)

    outbox = Outbox(tmp_path / "outbox.sqlite", wall_ms=1)
    first = Bench(ScriptedMeter(offset_ms=-40_000), outbox.clock_sets)
    first.visit()
    outbox.close()
    again = Outbox(tmp_path / "outbox.sqlite", wall_ms=1)
    for keeper in (first.keeper, Bench(ScriptedMeter(), again.clock_sets).keeper):
        assert keeper.marked(interval(0)).status is Status.CLOCK_ADJUSTED
        assert keeper.marked(interval(30)).status == Status(0)
        assert keeper.marked(interval(-30)).status == Status(0)
    again.close()


def test_only_so_many_sets_are_remembered(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", wall_ms=1)
    for hours in range(40):
        start = NOON + timedelta(hours=hours)
        outbox.clock_sets.note(METER, Interval(start=start, end=start + timedelta(seconds=40)))
    kept = outbox.clock_sets.of(METER)
    assert len(kept) == 16
    assert kept[-1].start == NOON + timedelta(hours=39)
    outbox.close()


def test_clocks_are_not_set_by_a_time_that_is_made_to_run_fast() -> None:
    def rules(**changes: object) -> ClockRules | None:
        config: EdgeConfig = config_from_json(json.dumps(plain(**changes)))
        return config.clock_rules_of(config.meters[0])

    assert rules() == ClockRules()
    fast = "2026-01-01T00:00:00+00:00,2026-01-01T00:00:00+00:00,60"
    assert rules(time_scale=fast) is None
    assert rules(time_scale=fast, clock_set=True) == ClockRules()
    assert rules(clock_set=False) is None
