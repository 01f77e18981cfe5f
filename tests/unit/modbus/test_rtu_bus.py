"""The bus in simulated time: hostile lines, lanes, breakers, gaps; no wire and no waiting."""

import asyncio
import random

import pytest

from edge.acquire.bus import PATIENCE, Lane, SerialBus, UnitTiming
from edge.supervise import THRESHOLD
from protocols.errors import PeerError
from protocols.modbus.plan import ReadRequest
from protocols.modbus.rtu import RtuRead, framed
from simulators.meter.rtu_bus import BusFault, HostilePlan, RtuMeters, UnitTraits
from tests.unit.modbus.rtu_kit import SETTINGS, MemoryLine, hurried

TIMING = UnitTiming(gap=0.02, timeout=0.3, latency=0.6)


class CountingBank:
    """Every answer is unlike every other, and each is written down with its instant."""

    def __init__(self, unit):
        self.unit = unit
        self.answers = 0
        self.given = []

    def words(self, request):
        self.answers += 1
        words = [
            (self.unit * 7919 + (request.address + i) * 31 + self.answers * 13) & 0xFFFF
            for i in range(request.count)
        ]
        self.given.append((asyncio.get_running_loop().time(), request, tuple(words)))
        return words


class Rig:
    """A bus, its meters and the line between."""

    def __init__(self, units=(1, 2, 3), **options):
        self.line = MemoryLine()
        self.banks = {unit: CountingBank(unit) for unit in units}
        self.meters = RtuMeters(
            self.banks, self.line.deliver, octet_seconds=SETTINGS.octet_seconds, **options
        )
        self.line.to = self.meters.heard
        self.bus = SerialBus(
            "line", self.line.open, settings=SETTINGS,
            monotonic=asyncio.get_running_loop().time,
        )  # fmt: skip

    async def read(self, unit, request, timing=TIMING, **options):
        """Read, and hold what came against what the unit truly answered meanwhile."""
        began = asyncio.get_running_loop().time()
        answer = await self.bus.ask(
            RtuRead(unit=unit, request=request), unit=str(unit), timing=timing, **options
        )
        meant = [
            words for at, asked, words in self.banks[unit].given
            if at >= began and asked == request
        ]  # fmt: skip
        assert answer.words in meant, "a value of another register, unit or time"
        del self.banks[unit].given[:-4]
        return answer.words


@pytest.mark.req("A1", "A5")
def test_ten_thousand_reads_on_a_hostile_bus_and_not_one_wrong_value():
    """
    Every kind of damage, on three answers of ten, from units that reboot when polled too fast.

    Requests of one shape at different registers of three units, so that a value in the wrong
    place could not be told by its form. Each value is held against what was truly answered.
    """

    async def scenario():
        plan = HostilePlan(permille=300, timeout_seconds=0.3, late_seconds=0.5, seed=20261121)
        rig = Rig(plan=plan, traits=UnitTraits(turn_round=0.005, gap=0.015))
        draws = random.Random(7)
        again = 0
        codes = set()
        for _ in range(10_000):
            unit = draws.choice((1, 2, 3))
            request = ReadRequest(fc=4, address=draws.randrange(40) * 2, count=2)
            while True:
                try:
                    await rig.read(unit, request, tries=4)
                    break
                except PeerError as error:
                    codes.add(error.code)
                    again += 1
                    await asyncio.sleep(1.0)
        counts = rig.bus.counts
        assert counts.answered == 10_000
        assert codes <= {"bus.timeout", "bus.doubtful", "bus.silent"}
        assert all(plan.struck[fault] > 100 for fault in BusFault), plan.struck
        assert counts.timeouts > 1000
        assert counts.doubtful > 300
        assert rig.meters.reboots == 0, "the bus keeps the silence that its units need"
        assert counts.recovered + again > 1000
        assert again < 100, "four tries are enough but for the worst luck"

    hurried(scenario())


@pytest.mark.req("A5")
def test_every_timeout_is_recovered_by_its_own_read():
    async def scenario():
        plan = HostilePlan(permille=120, seed=3)
        rig = Rig(plan=plan)
        request = ReadRequest(fc=3, address=10, count=4)
        for _ in range(1000):
            await rig.read(2, request, tries=6)
        counts = rig.bus.counts
        assert counts.failed == 0
        assert counts.recovered > 50
        assert counts.asked == counts.answered + counts.timeouts + counts.doubtful

    hurried(scenario())


def test_without_the_drain_this_line_would_shift_every_later_value():
    """The test's own teeth: a reader that does not drain takes the late answer for the next."""

    async def scenario():
        rig = Rig(units=(1,), plan=HostilePlan(permille=1000, faults=(BusFault.LATE,)))
        first, second = (ReadRequest(fc=4, address=a, count=2) for a in (0, 2))
        rig.meters.heard(RtuRead(unit=1, request=first).octets)
        await asyncio.sleep(0.3)
        rig.meters.heard(RtuRead(unit=1, request=second).octets)
        await asyncio.sleep(0.5)
        search = RtuRead(unit=1, request=second).search()
        found = search.feed(await rig.line.receive())
        assert found is not None
        assert found.words == rig.banks[1].given[0][2], "the first read's answer passes every check"

    hurried(scenario())


@pytest.mark.req("A5")
def test_units_that_reboot_when_polled_too_fast_are_given_their_time():
    async def scenario():
        rig = Rig(units=(1,), traits=UnitTraits(gap=0.1, reboot=5.0))
        request = ReadRequest(fc=4, address=0, count=2)
        for _ in range(20):
            await rig.read(1, request, timing=UnitTiming(gap=0.1, timeout=0.3, latency=0.3))
        assert rig.meters.reboots == 0
        hasty = UnitTiming(gap=0.0, timeout=0.3, latency=0.3)
        await rig.read(1, request, timing=hasty)
        with pytest.raises(PeerError, match=r"bus\.timeout"):
            await rig.read(1, request, timing=hasty)
        assert rig.meters.reboots > 0

    hurried(scenario())


def order_of(rig):
    return [(octets[0], int.from_bytes(octets[2:4], "big")) for _, octets in rig.line.sent]


@pytest.mark.req("A5", "A10")
def test_lanes_go_command_fast_slow_probing():
    async def scenario():
        rig = Rig(units=(1,))
        blocked = asyncio.ensure_future(rig.read(1, ReadRequest(fc=4, address=99, count=1)))
        await asyncio.sleep(0.001)
        lanes = (Lane.PROBING, Lane.SLOW, Lane.FAST, Lane.COMMAND, Lane.SLOW, Lane.COMMAND)
        waiting = [
            asyncio.ensure_future(rig.read(1, ReadRequest(fc=4, address=place, count=1), lane=lane))
            for place, lane in enumerate(lanes)
        ]
        await asyncio.gather(blocked, *waiting)
        assert [place for _, place in order_of(rig)] == [99, 3, 5, 2, 1, 4, 0]

    hurried(scenario())


def test_a_busy_lane_does_not_starve_the_one_below_and_a_command_waits_for_nobody():
    async def scenario():
        rig = Rig(units=(1,))
        slow = asyncio.ensure_future(
            rig.read(1, ReadRequest(fc=4, address=7, count=1), lane=Lane.SLOW)
        )
        fast = [
            asyncio.ensure_future(rig.read(1, ReadRequest(fc=4, address=100 + n, count=1)))
            for n in range(3 * PATIENCE)
        ]
        await asyncio.gather(slow, *fast)
        places = [place for _, place in order_of(rig)]
        assert places.index(7) == PATIENCE

    hurried(scenario())


@pytest.mark.req("A5")
def test_a_dead_unit_is_left_alone_then_probed_and_never_holds_up_the_others():
    async def scenario():
        loop = asyncio.get_running_loop()
        rig = Rig(units=(1, 2))
        request = ReadRequest(fc=4, address=0, count=2)
        rig.meters.dark.add(2)
        for _ in range(THRESHOLD):
            with pytest.raises(PeerError, match=r"bus\.timeout"):
                await rig.read(2, request)
        asked = rig.bus.counts.asked
        began = loop.time()
        for _ in range(50):
            with pytest.raises(PeerError, match=r"bus\.silent.*check its address"):
                await rig.read(2, request)
        assert loop.time() == began, "a unit that is left alone costs the bus nothing"
        assert rig.bus.counts.asked == asked
        await rig.read(1, request)
        await asyncio.sleep(3)
        with pytest.raises(PeerError, match=r"bus\.timeout"):
            await rig.read(2, request)
        assert rig.bus.counts.asked == asked + 2, "a probe is one request"
        rig.meters.dark.clear()
        await asyncio.sleep(10)
        await rig.read(2, request)
        await rig.read(2, request)

    hurried(scenario())


@pytest.mark.req("A10")
def test_a_command_is_sent_even_to_a_unit_that_is_left_alone():
    async def scenario():
        rig = Rig(units=(1,))
        request = ReadRequest(fc=4, address=0, count=2)
        rig.meters.dark.add(1)
        for _ in range(THRESHOLD):
            with pytest.raises(PeerError):
                await rig.read(1, request)
        rig.meters.dark.clear()
        await rig.read(1, request, lane=Lane.COMMAND)

    hurried(scenario())


def test_an_exception_is_an_answer_and_neither_time_out_nor_dead_unit():
    async def scenario():
        rig = Rig(units=(1,))
        rig.meters.heard = lambda octets: None
        rig.line.to = lambda octets: asyncio.get_running_loop().call_later(
            0.01, rig.line.deliver, framed(1, bytes((0x84, 2)))
        )
        for _ in range(10):
            answer = await rig.bus.ask(
                RtuRead(unit=1, request=ReadRequest(fc=4, address=0, count=2)),
                unit="1", timing=TIMING,
            )  # fmt: skip
            assert answer.exception == 2
        assert rig.bus.counts.timeouts == 0

    hurried(scenario())


def test_a_line_that_never_falls_silent_is_told_with_what_to_look_for():
    async def scenario():
        rig = Rig(units=(1,))
        loop = asyncio.get_running_loop()

        def babble():
            rig.line.deliver(b"\x55\xaa")
            loop.call_later(0.01, babble)

        babble()
        with pytest.raises(PeerError, match=r"bus\.babble.*second master"):
            await rig.read(1, ReadRequest(fc=4, address=0, count=2))
        assert rig.line.closed

    hurried(scenario())


def test_a_port_that_goes_away_is_told_and_opened_again():
    async def scenario():
        rig = Rig(units=(1,))
        request = ReadRequest(fc=4, address=0, count=2)
        await rig.read(1, request)
        rig.line.close()
        rig.meters.dark.add(1)
        reading = asyncio.ensure_future(rig.read(1, request))
        await asyncio.sleep(1.0)
        rig.line.close()
        with pytest.raises(PeerError, match=r"link\.closed"):
            await reading
        rig.meters.dark.clear()
        await rig.read(1, request)

    hurried(scenario())


def test_the_last_member_that_leaves_gives_the_port_back_and_nobody_waits_for_ever():
    async def scenario():
        rig = Rig(units=(1,))
        request = ReadRequest(fc=4, address=0, count=2)
        rig.bus.join("a")
        rig.bus.join("b")
        await rig.read(1, request)
        await rig.bus.leave("a")
        assert rig.line.is_open
        rig.meters.dark.add(1)
        waiting = [asyncio.ensure_future(rig.read(1, request)) for _ in range(3)]
        await asyncio.sleep(0.05)
        await rig.bus.leave("b")
        assert not rig.line.is_open
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, PeerError)
            assert outcome.code == "link.closed"
        rig.meters.dark.clear()
        await rig.read(1, request)

    hurried(scenario())


def test_a_caller_that_goes_leaves_the_line_in_order():
    async def scenario():
        rig = Rig(units=(1,))
        request = ReadRequest(fc=4, address=0, count=2)
        for wait in (0.0, 0.002, 0.01, 0.02, 0.03):
            leaving = asyncio.ensure_future(rig.read(1, request))
            await asyncio.sleep(wait)
            leaving.cancel()
            await rig.read(1, ReadRequest(fc=4, address=8, count=2))
        assert rig.bus.counts.timeouts == 0

    hurried(scenario())


def test_a_bug_in_the_owner_reaches_who_waits():
    async def scenario():
        rig = Rig(units=(1,))

        class Broken:
            octets = b"x"
            answer_octets = 5

            def search(self):
                raise KeyError("bug")

        with pytest.raises(KeyError, match="bug"):
            await rig.bus.ask(Broken(), unit="1", timing=TIMING)
        await rig.read(1, ReadRequest(fc=4, address=0, count=2))

    hurried(scenario())
