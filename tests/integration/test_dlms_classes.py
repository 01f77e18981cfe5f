"""Typed classes read from a simulated meter that does what they say."""

import numpy as np
import pytest

from protocols.dlms.classes import calendar, demand, limiter, scripts
from protocols.dlms.classes.calendar import Calendar, SapAssignment
from protocols.dlms.classes.demand import DemandRegister, ExtendedRegister
from protocols.dlms.classes.limiter import Limiter, RegisterMonitor
from protocols.dlms.classes.scripts import CLOSE_SCRIPT, OPEN_SCRIPT, ScriptTable
from protocols.dlms.names import CLASS_NAMES
from protocols.errors import PeerError
from protocols.reading import RelayState
from protocols.timeline import to_ms
from tests.integration.dlms_bench import RACE, STORY, MovingNow, driven
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return PATIENT


@pytest.mark.parametrize("spec", [STORY, RACE], ids=["hls5", "lls"])
async def test_demand_is_the_energy_that_flowed_over_its_time(tmp_path, spec):
    async with driven(tmp_path, spec) as (driver, server, bench):
        bench.clock.pass_by(minutes=20)
        found = await driver.read_typed(DemandRegister, demand.DEMAND)
        end = to_ms(found.started)
        marks = np.array([end - 900_000, end], dtype=np.int64)
        reached = server.meter.clock.first_reached(marks).tolist()
        now = to_ms(bench.clock.now())
        before, at_start, flowed = (server.meter.energy.register_wh(at) for at in (*reached, now))
        assert found.period * found.periods == 900
        assert found.last == (at_start - before) * 4
        assert found.current == (flowed - at_start) * 4
        highest = await driver.read_typed(ExtendedRegister, demand.MAX_DEMAND)
        rows = server.meter.profile()
        assert highest.raw == max(rows.wh.tolist()) * 3600 // rows.seconds
        assert to_ms(highest.captured) in rows.ends_ms.tolist()


async def test_a_script_opens_the_switch_and_another_closes_it(tmp_path):
    async with driven(tmp_path, STORY) as (driver, server, _):
        table = await driver.read_typed(ScriptTable, scripts.DISCONNECT_SCRIPTS)
        assert [script.number for script in table.scripts] == [OPEN_SCRIPT, CLOSE_SCRIPT]
        await driver.run_script(scripts.DISCONNECT_SCRIPTS, OPEN_SCRIPT)
        assert (await driver.read_relay()).control_state is RelayState.DISCONNECTED
        await driver.run_script(scripts.DISCONNECT_SCRIPTS, CLOSE_SCRIPT)
        assert (await driver.read_relay()).output_closed
        with pytest.raises(PeerError) as caught:
            await driver.run_script(scripts.DISCONNECT_SCRIPTS, 3)
        assert caught.value.code == "dlms.action_refused"
        assert [entry.code for entry in server.meter.book.entries(2)] == [62, 63]


@pytest.mark.req("D6")
async def test_a_limiter_trips_when_the_power_stays_above_and_not_before(tmp_path):
    clock = MovingNow()
    async with driven(tmp_path, STORY, clock) as (driver, server, _):
        power = server.meter.snapshot().power_w
        assert power > 1
        await driver.set_limit(power // 2, over_seconds=60)
        told = await driver.read_typed(Limiter, limiter.LIMITER)
        assert (told.active, told.over_seconds, told.actions.up.selector) == (power // 2, 60, 1)
        monitor = await driver.read_typed(RegisterMonitor, limiter.MONITOR)
        assert monitor.thresholds == (power // 2,)
        assert (await driver.read_relay()).output_closed
        clock.pass_by(seconds=59)
        assert (await driver.read_relay()).output_closed
        clock.pass_by(seconds=1)
        assert (await driver.read_relay()).control_state is RelayState.ARMED
        await driver.read_relay()
        assert server.meter.press()
        codes = [entry.code for entry in server.meter.book.entries(2)]
        # its two settings changed, power over, opened by itself, no power: below, hand closes
        assert codes == [67, 67, 65, 64, 66, 61]


async def test_a_limiter_that_was_set_trips_with_nobody_looking(tmp_path):
    clock = MovingNow()
    async with driven(tmp_path, STORY, clock) as (driver, server, bench):
        await driver.set_limit(1, over_seconds=30)
        bench.world.close_intervals()
        clock.pass_by(seconds=31)
        bench.world.close_intervals()
        assert server.meter.control_state is RelayState.ARMED
        await driver.set_limit(0, over_seconds=0)
        assert server.meter.press()
        clock.pass_by(hours=1)
        assert (await driver.read_relay()).output_closed


async def test_calendar_and_access_points_are_told(tmp_path):
    async with driven(tmp_path, RACE) as (driver, _, _):
        found = await driver.read_typed(Calendar, calendar.CALENDAR)
        assert [at.hex() for at, _ in found.days[0].switches] == ["00000000", "08000000"]
        saps = await driver.read_typed(SapAssignment, calendar.SAPS)
        assert saps.devices == ((1, RACE.meter.encode()),)


async def test_the_list_of_objects_holds_every_class_by_name(tmp_path):
    async with driven(tmp_path, STORY) as (driver, _, _):
        view = await driver.read_objects()
    named = {CLASS_NAMES.get(entry.class_id, "") for entry in view.objects if entry.known}
    assert {
        "extended register", "demand register", "script table", "SAP assignment",
        "activity calendar", "register monitor", "single action schedule", "limiter",
        "token gateway", "image transfer", "security setup", "disconnect control",
    } <= named  # fmt: skip
    assert "" not in named
