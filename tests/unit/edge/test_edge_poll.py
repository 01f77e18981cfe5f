"""One meter's poller: what it brings up, and what it says about a meter that fails."""

import asyncio
from datetime import timedelta
from itertools import pairwise

import pytest

from edge.acquire.driver import EventMark, EventsRead
from edge.acquire.piece import Piece
from edge.acquire.plan import Cadence, Coverage
from edge.acquire.poll import MeterPlan, MeterPoller
from edge.acquire.port import MeterPort
from edge.supervise import THRESHOLD
from protocols.errors import PeerError
from protocols.events import EndDeviceEvent, EventCode
from protocols.reading import Channel
from tests.unit.edge.edge_kit import CLOSED, METER, NOON, OPEN, HandClock, ScriptedMeter

CADENCE = Cadence(poll=2.0, watched=1.0, profile=3.0, backfill_pause=0.1, chunk=timedelta(days=2))


class Box:
    """Takes pieces, always with room."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def add(self, piece: Piece) -> None:
        self.pieces.append(piece)

    async def room(self) -> None:
        return

    def events(self) -> list[EventCode]:
        return [event.code for piece in self.pieces for event in piece.events]


class LoggedMeter(ScriptedMeter):
    """A scripted meter that also keeps logs; each call of `read_events` takes the next answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[EventsRead] = []
        self.asked_since: list[EventMark | None] = []

    async def read_events(self, before: EventMark | None) -> EventsRead:
        self.asked_since.append(before)
        return self.answers.pop(0)


def mark(minutes: float, *alarms: int) -> EventMark:
    at = NOON + timedelta(minutes=minutes)
    return EventMark(device_at=at, read_at=at, alarms=alarms)


def cover_opened(count: int) -> tuple[EndDeviceEvent, ...]:
    return tuple(
        EndDeviceEvent(
            meter=METER, code=EventCode.METER_COVER_OPENED, at=NOON, origin=f"idis/99.98.1/44#{n}"
        )
        for n in range(count)
    )


class Bench:
    """A poller on a hand-cranked clock, turned visit by visit."""

    def __init__(
        self, meter: ScriptedMeter, *, days: float = 1, coverage: Coverage | None = None
    ) -> None:
        self.hand = HandClock()
        self.box = Box()
        self.meter = meter
        self.port = MeterPort(meter)
        self.poller = MeterPoller(
            self.port,
            MeterPlan(
                interval_seconds=1800,
                history_from=NOON - timedelta(days=days),
                cadence=CADENCE,
                clock_limit=timedelta(seconds=120),
            ),
            clock=self.hand.clock(),
            sink=self.box,
            turns=asyncio.Semaphore(1),
            coverage=coverage,
        )

    async def visits(self, number: int) -> None:
        """Turn until so many visits were made, letting the clock run where it would rest."""
        made = 0
        while made < number:
            pause = await self.poller._turn()
            if pause > 0:
                self.hand.passes(pause + 0.001)
            else:
                made += 1


@pytest.mark.req("A1")
def test_a_visit_brings_registers_momentary_values_and_the_switch() -> None:
    bench = Bench(ScriptedMeter(has_profile=False))
    asyncio.run(bench.visits(1))
    (piece,) = bench.box.pieces
    assert [sample.channel for sample in piece.samples] == [Channel.IMPORT_WH, Channel.POWER_W]
    assert piece.relays[0].relay == CLOSED
    assert piece.received == bench.hand.wall
    assert piece.coverage is None


@pytest.mark.req("A8")
def test_the_profile_is_read_newest_first_then_backwards_to_its_start() -> None:
    bench = Bench(ScriptedMeter(), days=6)
    asyncio.run(bench.visits(12))
    starts = [
        sample.at
        for piece in bench.box.pieces
        for sample in piece.samples
        if sample.channel is Channel.IMPORT_INTERVAL_WH
    ]
    assert len(starts) == len(set(starts)) == 6 * 48
    assert starts[0] == NOON - timedelta(days=2)
    assert bench.poller.coverage == Coverage(mark=NOON)
    asked = [call for call in bench.meter.calls if call.startswith("read_profile")]
    assert len(asked) == 3


def test_it_goes_on_where_the_outbox_stood() -> None:
    coverage = Coverage(mark=NOON - timedelta(hours=1))
    bench = Bench(ScriptedMeter(), coverage=coverage)
    asyncio.run(bench.visits(2))
    rows = [s for p in bench.box.pieces for s in p.samples if s.seconds]
    assert [row.at for row in rows] == [NOON - timedelta(minutes=m) for m in (60, 30)]


def test_rows_that_were_not_asked_for_are_not_taken_twice() -> None:
    class Generous(ScriptedMeter):
        async def read_profile(self, span):  # type: ignore[no-untyped-def]
            wide = type(span)(start=span.start - timedelta(hours=2), end=span.end)
            return await super().read_profile(wide)

    bench = Bench(Generous(), coverage=Coverage(mark=NOON - timedelta(hours=1)))
    asyncio.run(bench.visits(2))
    rows = [s.at for p in bench.box.pieces for s in p.samples if s.seconds]
    assert rows == [NOON - timedelta(minutes=m) for m in (60, 30)]


@pytest.mark.req("A5")
def test_silence_is_told_once_asked_more_and_more_rarely_and_its_end_is_told() -> None:
    bench = Bench(ScriptedMeter(silent=True, has_profile=False))
    tried: list[float] = []

    async def story() -> None:
        for _ in range(8):
            await bench.visits(1)
            tried.append(bench.hand.elapsed)
        assert bench.box.events() == [EventCode.METER_SILENT]
        assert bench.poller.silent
        bench.meter.silent = False
        await bench.visits(2)

    asyncio.run(story())
    waits = [later - earlier for earlier, later in pairwise(tried)][THRESHOLD:]
    assert waits == sorted(waits)
    assert waits[-1] > 10
    assert bench.box.events() == [EventCode.METER_SILENT, EventCode.METER_BACK]
    assert not bench.poller.silent


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("dlms.foreign", EventCode.FOREIGN_ANSWER),
        ("dlms.tag_mismatch", EventCode.PROTOCOL_BROKEN),
    ],
)
def test_a_foreign_or_broken_answer_is_told_once_and_brings_no_value(
    code: str, event: EventCode
) -> None:
    bench = Bench(ScriptedMeter(has_profile=False, faults=[PeerError(code, "x")] * 2))
    asyncio.run(bench.visits(2))
    assert bench.box.events() == [event]
    assert not any(piece.samples for piece in bench.box.pieces)


@pytest.mark.req("A5")
def test_a_clock_that_is_off_is_told_once_until_it_has_come_back() -> None:
    bench = Bench(ScriptedMeter(has_profile=False, offset_ms=420_000))

    async def story() -> None:
        await bench.visits(3)
        bench.meter.offset_ms = 100
        await bench.visits(1)
        bench.meter.offset_ms = -420_000
        await bench.visits(1)

    asyncio.run(story())
    assert bench.box.events() == [EventCode.CLOCK_DRIFT, EventCode.CLOCK_DRIFT]


def test_a_switch_moved_by_hand_is_noticed() -> None:
    bench = Bench(ScriptedMeter(has_profile=False))

    async def story() -> None:
        await bench.visits(1)
        bench.meter.relay = OPEN
        await bench.visits(2)

    asyncio.run(story())
    assert bench.box.events() == [EventCode.RELAY_OPENED]


def test_a_visit_steps_aside_for_a_command() -> None:
    bench = Bench(ScriptedMeter(has_profile=False))

    async def story() -> None:
        bench.hand.passes(5)
        async with bench.port.lock:
            assert await bench.poller._turn() > 0
        assert bench.meter.calls == []
        assert await bench.poller._turn() == 0
        assert bench.meter.calls == ["read_now"]

    asyncio.run(story())


def test_a_watched_meter_is_visited_twice_as_often() -> None:
    def visits_in_a_minute(watched: float) -> int:
        bench = Bench(ScriptedMeter(has_profile=False))

        async def story() -> None:
            if watched:
                bench.poller.watch(watched)
            end = bench.hand.elapsed + 60
            while bench.hand.elapsed < end:
                pause = await bench.poller._turn()
                if pause > 0:
                    bench.hand.passes(pause + 0.001)

        asyncio.run(story())
        return len(bench.meter.calls)

    calm, watched, half = visits_in_a_minute(0), visits_in_a_minute(100), visits_in_a_minute(30)
    assert 29 <= calm <= 31
    assert 57 <= watched <= 61
    assert 43 <= half <= 46


def test_readings_are_of_the_polled_meter() -> None:
    assert MeterPort(ScriptedMeter()).meter == METER


def test_logs_are_read_in_turn_and_the_mark_comes_behind_the_last_of_their_events() -> None:
    meter = LoggedMeter()
    bench = Bench(meter, coverage=Coverage(mark=NOON))
    meter.answers = [EventsRead(events=cover_opened(1200), mark=mark(1, 0))]
    bench.hand.passes(61)
    asyncio.run(_visit_logs(bench))
    told = [piece for piece in bench.box.pieces if piece.events or piece.event_mark]
    assert [len(piece.events) for piece in told] == [500, 500, 200, 0]
    assert [piece.event_mark for piece in told] == [None, None, None, mark(1, 0)]


def test_a_mark_is_stored_when_something_is_new_and_used_when_nothing_is() -> None:
    meter = LoggedMeter()
    bench = Bench(meter, coverage=Coverage(mark=NOON))
    meter.answers = [
        EventsRead(events=(), mark=mark(1, 0)), EventsRead(events=(), mark=mark(2, 0)),
        EventsRead(events=(), mark=mark(3, 4)),
    ]  # fmt: skip
    for _ in range(3):
        bench.hand.passes(61)
        asyncio.run(_visit_logs(bench))
    stored = [piece.event_mark for piece in bench.box.pieces if piece.event_mark]
    assert stored == [mark(1, 0), mark(3, 4)]
    assert meter.asked_since == [None, mark(1, 0), mark(2, 0)]


async def _visit_logs(bench: Bench) -> None:
    """Turn the poller until it has read the logs once more."""
    asked = len(bench.meter.asked_since)
    while len(bench.meter.asked_since) == asked:
        await bench.poller._turn()
