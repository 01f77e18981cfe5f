"""RTU meters read through their drivers in simulated time: torn counters, swapped meters, maps."""

import asyncio
import random

import pytest

from edge.acquire.bus import SerialBus
from edge.acquire.modbus_rtu import ModbusRtuDriver, ModbusRtuTarget
from protocols.errors import PeerError
from protocols.reading import REGISTERS, Channel
from simulators.faults import Fault
from simulators.meter.register_bank import TornBank, bank_of
from simulators.meter.rtu_bus import BusFault, HostilePlan, RtuMeters, UnitTraits
from tests.unit.modbus.meter_kit import HandTime, meter_of, value_of
from tests.unit.modbus.rtu_kit import SETTINGS, MemoryLine, hurried


class Street:
    """Meters of several models on one line, each with its driver."""

    def __init__(self, *models, plan=None, torn=None, opening_wh=7_654_321, **options):
        self.clock = HandTime()
        self.line = MemoryLine()
        self.meters, self.ledgers, self.banks, self.drivers = {}, {}, {}, {}
        loop = asyncio.get_running_loop()
        self.bus = SerialBus("line", self.line.open, settings=SETTINGS, monotonic=loop.time)
        for unit, model in enumerate(models, 1):
            meter, ledger = meter_of(model, self.clock, unit=unit, opening_wh=opening_wh * unit)
            self.meters[unit], self.ledgers[unit] = meter, ledger
            bank = bank_of(meter)
            self.banks[unit] = bank if torn is None else TornBank(bank, torn)
            self.drivers[unit] = self.driver(unit, model, **options)
        self.traits = UnitTraits(gap=0.015)
        self.sim = RtuMeters(
            self.banks, self.line.deliver, octet_seconds=SETTINGS.octet_seconds, plan=plan,
            traits=self.traits,
        )  # fmt: skip
        self.line.to = self.sim.heard

    def driver(self, unit, model, **options):
        target = ModbusRtuTarget(**{
            "meter": f"M-{unit:06}", "unit": unit, "model": model.partition("_2")[0],
            "serial": self.meters[unit].spec.serial, **options,
        })  # fmt: skip
        return ModbusRtuDriver(target, self.bus, self.clock)


@pytest.mark.req("A1", "A9")
def test_meters_of_several_models_share_a_line():
    async def scenario():
        models = ("sdm630", "abb_b23", "pzem004t", "sunspec_203", "sunspec_213", "iem3155")
        street = Street(*models)
        for _ in range(3):
            street.clock.ms += 60_000
            for unit, driver in street.drivers.items():
                if street.meters[unit].spec.model in {"pzem004t", "iem3155"}:
                    assert (await driver.read_now()).identity == ""
                    continue
                read = await driver.read_now()
                shown = street.meters[unit].snapshot()
                step = 10 if street.meters[unit].spec.model == "abb_b23" else 1
                if street.meters[unit].spec.model == "sunspec_213":
                    step = 2  # an f32 holds 24 bits
                assert abs(value_of(read) - shown.register_wh) < step
                assert value_of(read, Channel.POWER_W) == shown.power_w
                assert read.identity == street.meters[unit].spec.serial
        assert street.bus.counts.timeouts == 0
        for driver in street.drivers.values():
            await driver.close()
        assert not street.line.is_open

    hurried(scenario())


@pytest.mark.req("A1", "A5")
def test_torn_counters_on_a_hostile_line_never_become_readings():
    async def scenario():
        draws = random.Random(5)
        torn = lambda: draws.randrange(10) == 0  # noqa: E731
        plan = HostilePlan(permille=100, seed=4)
        street = Street("sdm630", "abb_b23", "em24", "iem3155", plan=plan, torn=torn)
        refused = {}
        for _ in range(150):
            street.clock.ms += 2_000
            for unit, driver in street.drivers.items():
                try:
                    read = await driver.read_now()
                except PeerError as error:
                    refused[error.code] = refused.get(error.code, 0) + 1
                    continue
                for sample in read.samples:
                    if sample.channel in REGISTERS:
                        value = (int(sample.channel), sample.raw, sample.scaler)
                        assert value in street.ledgers[unit].values, "no meter has ever shown this"
        assert sum(bank.tears for bank in street.banks.values()) > 100
        assert set(refused) <= {"modbus.torn", "bus.timeout", "bus.doubtful"}, refused
        assert sum(refused.values()) < 60
        assert sum(plan.struck.values()) > 100
        assert street.sim.reboots == 0

    hurried(scenario())


@pytest.mark.req("A5")
def test_a_register_that_fell_is_refused_then_told_as_it_is():
    async def scenario():
        street = Street("sdm630", serial="")
        await street.drivers[1].read_now()
        lower, _ = meter_of("sdm630", street.clock, opening_wh=1000)
        street.banks[1] = bank_of(lower)
        for _ in range(2):
            with pytest.raises(PeerError, match=r"modbus\.step_back.*exchanged or reset") as caught:
                await street.drivers[1].read_now()
            assert set(caught.value.evidence) == {"now", "before"}
        read = await street.drivers[1].read_now()
        assert value_of(read) == lower.snapshot().register_wh, "validation judges what stays"
        await street.drivers[1].read_now()

    hurried(scenario())


def test_a_leap_is_believed_when_it_is_seen_twice():
    async def scenario():
        street = Street("sdm630")
        await street.drivers[1].read_now()
        street.clock.ms += 5 * 86_400_000
        asked = street.bus.counts.asked
        read = await street.drivers[1].read_now()
        assert abs(value_of(read) - street.meters[1].snapshot().register_wh) <= 1
        first = street.bus.counts.asked - asked
        street.clock.ms += 1000
        await street.drivers[1].read_now()
        assert street.bus.counts.asked - asked - first <= first

    hurried(scenario())


@pytest.mark.req("A9")
def test_a_meter_swapped_for_another_serial_is_foreign():
    async def scenario():
        street = Street("sdm630", "sunspec_203")
        for driver in street.drivers.values():
            await driver.read_now()
        for unit in (1, 2):
            street.meters[unit].switch_fault(Fault.FOREIGN, on=True)
            with pytest.raises(PeerError, match=r"modbus\.foreign") as caught:
                await street.drivers[unit].read_now()
            assert caught.value.evidence["expected"] == street.meters[unit].spec.serial
            street.meters[unit].switch_fault(Fault.FOREIGN, on=False)
            await street.drivers[unit].read_now()

    hurried(scenario())


def test_a_unit_that_has_no_such_register_says_so_at_once():
    async def scenario():
        street = Street("sdm630")
        wrong = street.driver(1, "abb_b23")
        with pytest.raises(PeerError, match=r"modbus\.exception"):
            await wrong.read_now()
        assert street.bus.counts.timeouts == 0

    hurried(scenario())


def test_a_meter_that_describes_nothing_is_told_with_what_to_do():
    async def scenario():
        street = Street("sdm630")
        with pytest.raises(PeerError, match=r"sunspec\.absent.*give the meter's model"):
            await street.driver(1, "sunspec").read_now()
        street.sim.dark.add(1)
        with pytest.raises(PeerError, match=r"bus\.timeout"):
            await street.driver(1, "sunspec").read_now()

    hurried(scenario())


BAD = {
    "points: [": ("not YAML", "", "indent with spaces"),
    "model: x\nmodel: y\n": ("given twice", "", "correct that line"),
    "a: &a [1]\nb: *a\n": ("aliases", "", "correct that line"),
    "model: 2001-99-99\n": ("not YAML", "", "correct that line"),
    "[" * 5000: ("not YAML", "", "correct that line"),
    "- 1\n": ("valid dictionary", "", "begin from a map"),
    "model: x\n": ("Field required", "source", "add this key"),
}


@pytest.mark.req("A6")
@pytest.mark.parametrize("text", BAD)
def test_a_malformed_map_is_a_typed_error_with_file_key_and_fix(text, tmp_path):
    async def scenario():
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        street = Street("sdm630", "sdm630")
        bad = street.driver(1, "", map_file=str(path))
        with pytest.raises(PeerError) as caught:
            await bad.read_now()
        problem, key, fix = BAD[text]
        assert caught.value.code == "modbus.map"
        assert str(path) in caught.value.message
        assert problem in caught.value.message
        assert caught.value.evidence["file"] == str(path)
        assert caught.value.evidence["key"] == key
        assert fix in caught.value.evidence["fix"]
        await street.drivers[2].read_now()
        await bad.close()

    hurried(scenario())


def test_a_map_of_the_installation_goes_before_the_shipped_one(tmp_path):
    async def scenario():
        from importlib.resources import files

        text = (files("protocols.modbus") / "meters" / "sdm630.yaml").read_text(encoding="utf-8")
        path = tmp_path / "mine.yaml"
        path.write_text(text.replace("model: sdm630", "model: mine"), encoding="utf-8")
        street = Street("sdm630")
        read = await street.driver(1, "", map_file=str(path)).read_now()
        assert value_of(read) == street.meters[1].snapshot().register_wh
        path.unlink()
        with pytest.raises(PeerError, match=r"modbus\.map.*cannot be read.*correct map_file"):
            await street.driver(1, "", map_file=str(path)).read_now()

    hurried(scenario())


def test_the_plan_of_damage_knows_every_fault():
    plan = HostilePlan(permille=1000, faults=tuple(BusFault), seed=1)
    for _ in range(400):
        plan.deliveries(1, b"\x01\x04\x02\x00\x01\x78\xf0")
    assert set(plan.struck) == set(BusFault)
