"""A meter with less than ours: no lists, no ranges, a profile of registers, no deviation told."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from protocols.dlms.apdu import Access
from protocols.dlms.classes import clock, profile
from protocols.dlms.classes.register import CHANNEL_NAME, ScalerUnit
from protocols.dlms.initiate import Conformance
from protocols.dlms.obis import CLOCK, DEVICE_NAME, LOAD_PROFILE
from protocols.dlms.server import AccessRefusedError, ServerConnection, ServerProfile
from protocols.dlms.values import (
    NULL,
    array,
    double_long_unsigned,
    long_unsigned,
    octet_string,
    structure,
)
from protocols.errors import PeerError
from protocols.quantities import rescale
from protocols.reading import Channel, Status
from protocols.timeline import Interval
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 3, 4, 2, 30, tzinfo=UTC)
FIRST = NOW.replace(hour=0, minute=0)
ENERGY = CHANNEL_NAME[Channel.IMPORT_WH]
VOLTAGE = CHANNEL_NAME[Channel.VOLTAGE_L1_MV]
COLUMNS = (
    profile.CaptureObject(class_id=3, name=ENERGY),
    profile.CaptureObject(class_id=8, name=CLOCK),
)
REGISTERS = [100, 103, 103, 110, 900, 905]  # tens of Wh; the fifth stands behind a gap


@pytest.fixture
def anyio_backend():
    return PATIENT


def stamp(instant):
    """Local time of China, the deviation not told."""
    octets = clock.encode_moment(instant, deviation=-480)
    return octet_string(octets[:9] + b"\x80\x00" + octets[11:])


def buffer():
    rows = []
    for count, register in enumerate(REGISTERS):
        end = FIRST + timedelta(minutes=15 * (count + (4 if count >= 4 else 0)))
        repeats = count > 0 and register == REGISTERS[count - 1]
        told = NULL if repeats else double_long_unsigned(register)
        rows.append([told, NULL if count in (1, 2, 3, 5) else stamp(end)])
    return profile.encode_rows(rows)


class PlainMeter:
    def __init__(self, unit=30):
        self.asked = []
        scaler_unit = ScalerUnit(scaler=1, unit=unit).encode()
        self.values = {
            (1, DEVICE_NAME, 2): octet_string(b"M-000009"),
            (8, CLOCK, 2): stamp(NOW),
            (3, ENERGY, 2): double_long_unsigned(905),
            (3, ENERGY, 3): scaler_unit,
            (3, VOLTAGE, 2): long_unsigned(2304),
            (3, VOLTAGE, 3): ScalerUnit(scaler=-1, unit=35).encode(),
            (7, LOAD_PROFILE, 2): buffer(),
            (7, LOAD_PROFILE, 3): array(column.encode() for column in COLUMNS),
            (7, LOAD_PROFILE, 4): double_long_unsigned(900),
        }

    def get(self, attributes):
        self.asked.append(attributes)
        return tuple(
            Access.DENIED
            if attribute.selector
            else self.values.get(
                (attribute.class_id, attribute.name, attribute.index), Access.UNDEFINED
            )
            for attribute in attributes
        )

    def set(self, attribute, value):
        raise AccessRefusedError(Access.DENIED)

    def act(self, method, parameter):
        raise AccessRefusedError(Access.DENIED)


class Now:
    def now(self):
        return NOW


class NoCounters:
    """An association without ciphering may never ask for a counter."""

    def reserve(self, system_title, key_id, block):
        raise AssertionError("a plain association took a counter")

    def raise_to(self, system_title, key_id, floor):
        raise AssertionError("a plain association moved a counter")


@contextlib.asynccontextmanager
async def plain(meter, **changes):
    async def serve(reader, writer):
        able = Conformance.GET | Conformance.BLOCK_GET
        served = ServerConnection({1: ServerProfile(device=meter, conformance=able)})
        while octets := await reader.read(4096):
            writer.write(served.receive(octets))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    options = {"assumed_deviation": -480, "interval_seconds": 900} | changes
    target = DlmsTarget(
        meter="M-000009",
        host="127.0.0.1",
        port=server.sockets[0].getsockname()[1],
        expected_device_name="M-000009",
        **options,
    )
    driver = DlmsDriver(target, NoCounters(), Now())
    try:
        yield driver
    finally:
        await driver.close()
        server.close()


@pytest.mark.req("A1")
async def test_one_attribute_a_trip_and_units_from_the_meter():
    meter = PlainMeter()
    async with plain(meter) as driver:
        readout = await driver.read_now()
    assert {s.channel: rescale(s.raw, s.scaler) for s in readout.samples} == {
        Channel.IMPORT_WH: 9050,
        Channel.VOLTAGE_L1_MV: 230_400,
    }
    assert readout.clock.offset_ms == 0
    assert all(len(asked) == 1 for asked in meter.asked)


@pytest.mark.req("A2")
async def test_registers_in_a_profile_become_intervals_and_a_gap_stays_a_gap():
    async with plain(PlainMeter()) as driver:
        samples = await driver.read_profile(Interval(start=FIRST, end=FIRST + timedelta(hours=12)))
    quarter = timedelta(minutes=15)
    assert [(s.at, rescale(s.raw, s.scaler)) for s in samples] == [
        (FIRST, 30),
        (FIRST + quarter, 0),
        (FIRST + 2 * quarter, 70),
        (FIRST + 8 * quarter, 50),
    ]
    assert all(s.channel is Channel.IMPORT_INTERVAL_WH for s in samples)
    assert all(s.status == Status(0) for s in samples)


async def test_without_a_configured_deviation_its_time_means_nothing():
    async with plain(PlainMeter(), assumed_deviation=None) as driver:
        with pytest.raises(PeerError) as refused:
            await driver.read_now()
    assert refused.value.code == "dlms.clock"


async def test_another_unit_under_the_name_of_energy_is_not_booked():
    async with plain(PlainMeter(unit=27)) as driver:
        with pytest.raises(PeerError) as refused:
            await driver.read_now()
    assert refused.value.code == "dlms.unit"


async def test_a_clock_that_may_not_be_set_says_so():
    async with plain(PlainMeter()) as driver:
        with pytest.raises(PeerError) as refused:
            await driver.set_clock(1000)
        assert refused.value.code in ("dlms.access", "dlms.exception")
        assert (await driver.read_now()).identity == "M-000009"


@pytest.mark.parametrize(
    ("attribute", "value", "code"),
    [
        ((7, LOAD_PROFILE, 3), Access.DENIED, "dlms.access"),
        ((7, LOAD_PROFILE, 3), array([COLUMNS[1].encode()]), "dlms.profile"),
        ((7, LOAD_PROFILE, 4), double_long_unsigned(0), "dlms.profile"),
        ((7, LOAD_PROFILE, 2), array([structure(NULL)]), "dlms.profile"),
        ((7, LOAD_PROFILE, 2), NULL, "dlms.type"),
    ],
)
async def test_a_profile_that_makes_no_sense_has_a_name(attribute, value, code):
    meter = PlainMeter()
    meter.values[attribute] = value
    async with plain(meter) as driver:
        with pytest.raises(PeerError) as refused:
            await driver.read_profile(Interval(start=FIRST, end=NOW))
    assert refused.value.code == code


def test_keys_that_cannot_be_are_refused_before_anything_is_opened():
    target = DlmsTarget(
        meter="M-000009", host="h", port=1, authentication="hls5", expected_device_name="M-000009"
    )
    with pytest.raises(ValueError, match="16 octets"):
        DlmsDriver(target, NoCounters(), Now())
    assert "password" not in repr(target)
