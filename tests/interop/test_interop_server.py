"""Our client at a meter built on gurux-dlms: wrapper and HDLC, LLS and HLS5, every step."""

import asyncio
import contextlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from edge.acquire.dlms_session import CounterBlock, DlmsSession, KnownMeter
from edge.links.hdlc import HdlcPlace
from edge.outbox.counters import Counters
from edge.outbox.database import OutboxDatabase
from protocols.dlms.apdu import Attribute
from protocols.dlms.classes import profile
from protocols.dlms.classes.clock import ClockRule
from protocols.dlms.classes.register import register
from protocols.dlms.obis import LOAD_PROFILE
from protocols.dlms.values import as_integer
from protocols.errors import PeerError
from protocols.mqtt.downlink import Verb
from protocols.reading import Channel, RelayState
from protocols.timeline import Interval, floor_to_grid
from tests.interop.interop_kit import ORIGIN, SCRIPTS, peer_python

pytestmark = [pytest.mark.anyio, pytest.mark.interop]
TITLE = b"MTL\x00\x00\x00\x00\x01"
PERIOD = 900
NEWEST = floor_to_grid(ORIGIN, PERIOD)
ROWS = [
    [(NEWEST - timedelta(seconds=PERIOD * back)).isoformat(), 0, 100 + back]
    for back in reversed(range(200))
]
JOB = {
    "name": "FOREIGN-1",
    "now": ORIGIN.isoformat(),
    "period": PERIOD,
    "columns": [[8, "0.0.1.0.0.255", 2], [1, "0.0.96.10.1.255", 2], [3, "1.0.1.29.0.255", 2]],
    "rows": ROWS,
    "registers": {
        "1.0.1.8.0.255": [123_456, 1, 30],
        "1.0.1.29.0.255": [5, 0, 30],
        "1.0.1.7.0.255": [777, 0, 27],
        "1.0.32.7.0.255": [2301, -1, 35],
    },
    "general": False,
    "ciphered": False,
    "counter": 5000,
    "title": b"PEERMETR".hex(),
    "password": b"12345678".hex(),
    "encryption_key": bytes(range(16)).hex(),
    "authentication_key": bytes(range(16, 32)).hex(),
}
LINKS = ["wrapper", "hdlc"]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def counters(tmp_path):
    outbox = OutboxDatabase(tmp_path / "outbox.sqlite")
    yield Counters(outbox)
    outbox.close()


class StandingClock:
    def now(self):
        return ORIGIN


@contextlib.asynccontextmanager
async def foreign_meter(authentication, link, **changes):
    """The peer's meter in its own process; yields the target, then how its switch ended."""
    is_ciphered = {"ciphered": authentication == "hls5"}
    job = JOB | {"authentication": authentication, "link": link} | is_ciphered | changes
    peer = await asyncio.create_subprocess_exec(
        peer_python(), SCRIPTS / "gurux_server.py", stdin=-1, stdout=-1, stderr=-1
    )
    errors = asyncio.create_task(peer.stderr.read())
    ended = {}
    try:
        peer.stdin.write(json.dumps(job).encode() + b"\n")
        async with asyncio.timeout(30):
            port = json.loads(await peer.stdout.readline())["port"]
        target = DlmsTarget(
            meter=JOB["name"],
            host="127.0.0.1",
            port=port,
            hdlc=HdlcPlace() if link == "hdlc" else None,
            authentication=authentication,
            password=bytes.fromhex(JOB["password"]),
            system_title=TITLE,
            authentication_key=bytes.fromhex(JOB["authentication_key"]),
            encryption_key=bytes.fromhex(JOB["encryption_key"]),
            expected_device_name=JOB["name"],
            interval_seconds=PERIOD,
            has_relay=True,
            timeout_seconds=5.0,
        )
        yield target, ended
        peer.stdin.close()
        async with asyncio.timeout(10):
            last = await peer.stdout.read()
        assert last, (await errors).decode(errors="replace")[-3000:]
        ended |= json.loads(last)
    finally:
        if peer.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                peer.kill()
        await peer.wait()
        await errors


@pytest.mark.req("A1", "A2", "A10")
@pytest.mark.parametrize("general", [False, True], ids=["service-glo", "general-glo"])
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("authentication", ["lls", "hls5"])
async def test_our_client_does_every_job_at_a_foreign_meter(
    counters, authentication, link, general
):
    async with foreign_meter(authentication, link, general=general) as (target, ended):
        driver = DlmsDriver(target, counters, StandingClock())
        readout = await driver.read_now()
        assert readout.identity == JOB["name"]
        assert readout.clock.offset_ms == 0
        got = {sample.channel: (sample.raw, sample.scaler) for sample in readout.samples}
        assert got[Channel.IMPORT_WH] == (123_456, 1)
        assert got[Channel.POWER_W] == (777, 0)
        assert got[Channel.VOLTAGE_L1_MV] == (2301, 2)
        span = Interval(start=NEWEST - timedelta(hours=30), end=NEWEST - timedelta(hours=2))
        samples = await driver.read_profile(span)
        told = {row[0]: row[2] for row in ROWS}
        assert len(samples) == 28 * 3600 // PERIOD
        for sample in samples:
            end = sample.at + timedelta(seconds=PERIOD)
            assert sample.raw == told[end.isoformat()]
        await driver.operate(Verb.DISCONNECT)
        assert (await driver.read_relay()).control_state is RelayState.DISCONNECTED
        await driver.close()
        await driver.operate(Verb.RECONNECT)
        assert (await driver.read_relay()).output_closed
        await driver.operate(Verb.DISCONNECT)
        await driver.close()
    assert ended["switch"] == [False, 0]


@pytest.mark.req("A2")
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("authentication", ["lls", "hls5"])
async def test_lists_and_rows_by_entry_come_as_the_foreign_meter_holds_them(
    counters, authentication, link
):
    async with foreign_meter(authentication, link) as (target, _):
        session = await DlmsSession.open(target, CounterBlock(counters, target), KnownMeter())
        energy, absent, volts = await session.get(
            register(Channel.IMPORT_WH),
            register(Channel.EXPORT_WH),
            register(Channel.VOLTAGE_L1_MV),
        )
        assert (as_integer(energy), int(absent), as_integer(volts)) == (123_456, 4, 2301)
        place = {"class_id": profile.CLASS_ID, "name": LOAD_PROFILE}
        captured, period = await session.get(
            Attribute(**place, index=profile.CAPTURE_OBJECTS),
            Attribute(**place, index=profile.CAPTURE_PERIOD),
        )
        layout = profile.Layout.of(profile.decode_capture_objects(captured), as_integer(period))
        rows = await session.get_one(profile.by_entry(3, 6))
        decoded = profile.decode_rows(rows, layout, ClockRule())
        assert [
            [(row.start + timedelta(seconds=PERIOD)).isoformat(), 0, as_integer(row.values[2])]
            for row in decoded
        ] == ROWS[2:6]
        await session.close()


@pytest.mark.req("A10")
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("authentication", ["hls-md5", "hls-sha1", "hls-sha256"])
async def test_a_hashed_proof_opens_a_foreign_meter_and_a_wrong_one_does_not(
    counters, authentication, link
):
    """The broken hashes are off until they are asked for; SHA-256 needs no such word."""
    async with foreign_meter(authentication, link) as (target, ended):
        is_weak = authentication != "hls-sha256"
        driver = DlmsDriver(replace(target, weak_hls=is_weak), counters, StandingClock())
        readout = await driver.read_now()
        assert readout.identity == JOB["name"]
        await driver.operate(Verb.DISCONNECT)
        await driver.close()
        wrong = replace(target, weak_hls=is_weak, password=b"12345679")
        stranger = DlmsDriver(wrong, counters, StandingClock())
        with pytest.raises(PeerError) as refused:
            await stranger.operate(Verb.RECONNECT)
        assert refused.value.code == "dlms.authentication"
        await stranger.close()
        if is_weak:
            with pytest.raises(ValueError, match="weak_hls"):
                await DlmsDriver(target, counters, StandingClock()).read_now()
    assert ended["switch"] == [False, 0]


@pytest.mark.req("A10", "D9")
@pytest.mark.parametrize("link", LINKS)
async def test_a_dedicated_key_is_agreed_with_a_foreign_meter(counters, link):
    async with foreign_meter("hls5", link, general=True) as (target, ended):
        driver = DlmsDriver(replace(target, dedicated=True), counters, StandingClock())
        readout = await driver.read_now()
        assert readout.identity == JOB["name"]
        await driver.operate(Verb.DISCONNECT)
        await driver.close()
        assert (await driver.read_now()).identity == JOB["name"]
        await driver.close()
    assert ended["switch"] == [False, 0]


@pytest.mark.req("A2")
@pytest.mark.parametrize("octets", [1, 2, 4])
async def test_addresses_of_every_length_reach_a_foreign_meter(counters, octets):
    async with foreign_meter("lls", "hdlc") as (target, _):
        place = HdlcPlace(physical=17, address_octets=octets) if octets > 1 else HdlcPlace()
        driver = DlmsDriver(replace(target, hdlc=place), counters, StandingClock())
        assert (await driver.read_now()).identity == JOB["name"]
        await driver.close()


@pytest.mark.req("A10")
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("wrong", ["password", "encryption_key", "authentication_key"])
async def test_a_wrong_key_opens_nothing_on_either_side(counters, link, wrong):
    authentication = "lls" if wrong == "password" else "hls5"
    async with foreign_meter(authentication, link) as (target, ended):
        key = bytearray(getattr(target, wrong))
        key[3] ^= 1
        driver = DlmsDriver(replace(target, **{wrong: bytes(key)}), counters, StandingClock())
        with pytest.raises(PeerError) as refused:
            await driver.operate(Verb.DISCONNECT)
        assert refused.value.code.startswith(("dlms.", "hdlc."))
        await driver.close()
    assert ended["switch"] == [True, 1]
