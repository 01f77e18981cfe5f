"""The probe against meters of every kind, and every way to fail it, each with words and a fix."""

import asyncio
import contextlib
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.acquire.dlms_session import CounterBlock, DlmsSession, DlmsTarget, KnownMeter
from edge.links.serial import SerialSettings
from edge.probe.causes import cause_of
from edge.probe.model import Outcome, ProbeOptions
from edge.probe.run import probe, serial_trials, split_address
from protocols.dlms.apdu import Access, Attribute
from protocols.dlms.hdlc import HdlcAddress
from protocols.dlms.obis import ASSOCIATION, DEVICE_NAME, obis
from protocols.dlms.server import AccessRefusedError, ServerConnection, ServerProfile
from protocols.dlms.values import array, as_text, long_unsigned, octet_string, structure, unsigned
from protocols.dlt645.frame import WILDCARD, Control, Frame, FrameReader, encode_frame
from protocols.errors import PeerError
from protocols.modbus import rtu
from protocols.modbus.pdu import Frame as ModbusFrame
from protocols.timeline import to_ms
from simulators.fleet import make_fleet
from simulators.line_faults import LineFault, LinePlan
from simulators.line_proxy import LineProxy, PtyEnd
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.meter.dlt645_server import Dlt645Station
from simulators.meter.modbus_server import ModbusMeterServer
from simulators.meter.pty_line import PtyLine
from simulators.run import server_of
from simulators.truth import TruthLedger
from simulators.world import World
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
GMAC, LLS = FLEET.planted("story"), FLEET.planted("race")
SDM = next(m for m in FLEET.customers if m.model == "sdm630")
ABB = next(m for m in FLEET.customers if m.model == "abb_b23")
QUICK = ProbeOptions(timeout_seconds=0.25)


@pytest.fixture
def anyio_backend():
    return PATIENT


@pytest.fixture
def world(tmp_path):
    ledger = TruthLedger(tmp_path / "truth.sqlite", FLEET)
    yield World(FLEET, ledger, now_ms=lambda: to_ms(ORIGIN))
    ledger.close()


@contextlib.asynccontextmanager
async def at(meter):
    server = server_of(meter)
    await server.start("127.0.0.1", 0)
    try:
        yield server._server.sockets[0].getsockname()[1]
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def answering(respond):
    """A TCP peer; `respond()` gives each connection a function from octets to octets."""

    async def serve(reader, writer):
        answer = respond()
        with contextlib.suppress(OSError):
            while octets := await reader.read(4096):
                if said := answer(octets):
                    writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def found_at(port, options=QUICK, host="127.0.0.1", **how):
    steps = []
    report = await probe(f"{host}:{port}", options, steps.append, **how)
    assert tuple(steps) == report.steps
    assert all(step.fix for step in report.steps if step.outcome is not Outcome.FOUND)
    return report


async def test_a_ciphering_meter_names_itself_its_counter_and_what_each_client_needs(world):
    async with at(world.meters[GMAC.meter]) as port:
        report = await found_at(port)
    (device,) = report.devices
    assert device.protocol == "dlms"
    assert device.facts["logical_device_name"] == GMAC.meter
    assert device.facts["invocation_counter"] == 0
    assert device.facts["clients"]["16"] == "none"
    assert device.facts["clients"]["1"] == "hls5"
    assert "--client-sap 1 --authentication hls5" in device.read_with


async def test_a_password_meter_is_told_from_a_ciphering_one_without_trying_a_password(world):
    async with at(world.meters[LLS.meter]) as port:
        report = await found_at(port)
    (device,) = report.devices
    assert device.facts["clients"]["1"] == "lls"
    refused = next(step for step in report.steps if step.tried == "dlms, client 1")
    assert "wants an authentication" in refused.words
    assert "lls" in refused.fix


class Listed:
    """A meter that lists its objects, among them a class nobody knows."""

    def get(self, attributes):
        (asked,) = attributes
        if asked.name == ASSOCIATION:
            rows = [(3, b"\x01\x00\x01\x08\x00\xff"), (8, b"\x00\x00\x01\x00\x00\xff")] * 60
            rows += [(8193, b"\x00\x00\x60\x01\x00\xff")]
            return (
                array(
                    structure(long_unsigned(kind), unsigned(0), octet_string(name), array([]))
                    for kind, name in rows
                ),
            )
        if asked.name == DEVICE_NAME:
            return (octet_string(b"KFM1000500000001"),)
        return (Access.UNDEFINED,)

    def set(self, attribute, value):
        raise AccessRefusedError(Access.DENIED)

    def act(self, method, parameter):
        raise AccessRefusedError(Access.DENIED)


async def test_the_object_list_is_read_in_blocks_and_unknown_classes_are_named_so():
    def meter():
        return ServerConnection({16: ServerProfile(device=Listed(), max_pdu=256)}).receive

    async with answering(meter) as port:
        report = await found_at(port)
    facts = report.devices[0].facts
    assert facts["logical_device_name"] == "KFM1000500000001"
    assert "invocation_counter" not in facts
    assert facts["objects"] == 121
    assert facts["classes"] == {"register": 60, "clock": 60, "class 8193": 1}
    assert "3 1-0:1.8.0*255" in facts["object_list"]


@pytest.mark.parametrize("spec", [SDM, ABB], ids=["sdm630", "abb"])
async def test_a_modbus_meter_is_told_by_its_registers(world, spec):
    async with at(world.meters[spec.meter]) as port:
        report = await found_at(port)
    (device,) = report.devices
    assert device.protocol == "modbus"
    assert device.facts["unit"] == 1
    assert spec.model in device.facts["models"]
    assert device.facts["serials"][spec.model] == spec.serial


def rtu_of(meter):
    """A meter behind a gateway that passes octets on."""
    server = ModbusMeterServer(meter)

    def respond():
        requests = rtu.RequestReader()

        def answer(octets):
            said = b""
            for frame in requests.feed(octets):
                told = server.answer(ModbusFrame(transaction=0, unit=frame.unit, pdu=frame.pdu))
                said += b"" if told is None else rtu.framed(frame.unit, told[7:])
            return said

        return answer

    return respond


def dlt645_of(address):
    def respond():
        frames = FrameReader()

        def answer(octets):
            said = b""
            for frame in frames.feed(octets):
                if frame.address not in (address, WILDCARD):
                    continue
                text = frame.content + bytes.fromhex("78563412")
                if frame.control == Control.READ_ADDRESS:
                    text = bytes.fromhex(address)[::-1]
                reply = Frame(address=address, control=frame.control | 0x80, content=text)
                said += encode_frame(reply)
            return said

        return answer

    return respond


async def test_rtu_behind_a_gateway_is_found(world):
    async with answering(rtu_of(world.meters[SDM.meter])) as port:
        report = await found_at(port, ProbeOptions(timeout_seconds=0.25, protocols=("rtu",)))
    assert report.devices[0].protocol == "rtu"
    assert "sdm630" in report.devices[0].facts["models"]


async def test_a_dlt645_meter_tells_its_address(world):
    async with answering(dlt645_of("000000000042")) as port:
        report = await found_at(port)
    (device,) = report.devices
    assert device.protocol == "dlt645"
    assert device.facts == {"address": "000000000042", "import_register": "12345678"}


class SerialPeer:
    """A serial line: the peer understands only its own setting and hears noise at any other."""

    def __init__(self, respond, settings):
        self._respond, self._settings = respond, settings
        self.opened = []

    async def open(self, settings):
        self.opened.append(settings)
        return SerialPeer.Line(self._respond(), right=settings == self._settings)

    class Line:
        def __init__(self, answer, *, right):
            self._answer, self._right = answer, right
            self._said = asyncio.Queue()

        def send(self, octets):
            said = self._answer(octets) if self._right else b"\xf8\x00\xff" * 5
            if said:
                self._said.put_nowait(said)

        async def receive(self):
            return await self._said.get()

        def close(self):
            pass


async def test_the_baud_rate_is_found_where_others_bring_noise(world):
    setting = SerialSettings(baud=19200, parity="E")
    line = SerialPeer(rtu_of(world.meters[SDM.meter]), setting)
    report = await probe("/dev/ttyUSB7", QUICK, lambda step: None, opener=line.open)
    (device,) = report.devices
    assert (device.protocol, device.settings) == ("rtu", "19200 8E1")
    assert len({settings.baud for settings in line.opened}) > 2


async def test_a_wrong_baud_rate_says_so(world):
    line = SerialPeer(dlt645_of("000000000042"), SerialSettings(baud=2400, parity="E"))
    options = ProbeOptions(timeout_seconds=0.1, baud=9600)
    report = await probe("/dev/ttyUSB7", options, lambda step: None, opener=line.open)
    assert not report.found
    assert "baud" in report.fix
    assert any(step.outcome is Outcome.UNREADABLE for step in report.steps)


async def test_nobody_listening_is_one_step_with_a_fix():
    report = await found_at(1)
    (step,) = report.steps
    assert step.outcome is Outcome.FAILED
    assert "check host and port" in report.fix


async def test_a_serial_port_that_is_not_there_says_so():
    report = await probe("/dev/ttyNOWHERE", QUICK, lambda step: None)
    assert report.steps[0].outcome is Outcome.FAILED
    assert "plugged in" in report.fix


async def test_a_silent_meter_costs_bounded_time_and_says_so():
    async with answering(lambda: lambda octets: b"") as port:
        report = await found_at(port, ProbeOptions(timeout_seconds=0.05))
    assert not report.found
    assert {step.outcome for step in report.steps} == {Outcome.SILENT}
    assert "wiring" in report.fix or "physical address" in report.fix


async def test_an_ssh_server_is_no_meter():
    async with answering(lambda: lambda octets: b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        report = await found_at(port)
    assert not report.found
    assert Outcome.UNREADABLE in {step.outcome for step in report.steps}


async def test_a_wrong_server_address_is_named(world):
    async with at(world.meters[LLS.meter]) as port:
        options = ProbeOptions(timeout_seconds=0.2, server_sap=9, protocols=("dlms",))
        report = await found_at(port, options)
    assert not report.found
    assert "--server-sap" in report.fix


async def test_a_gateway_with_nobody_behind_says_check_the_unit():
    def gateway():
        return lambda octets: octets[:5] + b"\x03" + octets[6:7] + bytes((octets[7] | 0x80, 11))

    async with answering(gateway) as port:
        options = ProbeOptions(timeout_seconds=0.2, protocols=("modbus",))
        report = await found_at(port, options)
    assert not report.found
    assert "--unit" in report.fix


async def test_over_a_bad_line_a_probe_ends_and_explains(world):
    shares = dict.fromkeys((LineFault.GARBLE, LineFault.TRUNCATE, LineFault.SILENCE), 120)
    async with at(world.meters[LLS.meter]) as port:
        for seed in range(4):
            proxy = LineProxy(plan=LinePlan(permille=shares, seed=seed), port=port)
            report = await found_at(await proxy.listen(), ProbeOptions(timeout_seconds=0.1))
            await proxy.close()
            assert report.devices or report.fix


@pytest.mark.parametrize("address", ["meter", "host:", ":4059", "host:99999", "host:dlms", ""])
def test_an_address_that_is_none_says_what_to_give(address):
    with pytest.raises(ValueError, match="host:port"):
        split_address(address)


async def test_a_protocol_that_is_none_of_ours_is_refused():
    with pytest.raises(ValueError, match="iec101"):
        await probe("127.0.0.1:1", ProbeOptions(protocols=("iec101",)), lambda step: None)


def test_each_protocol_gets_its_usual_setting_before_any_gets_its_others():
    trials = serial_trials(ProbeOptions())
    assert [trial.protocol for trial in trials[:4]] == ["hdlc", "rtu", "dlt645", "mode-e"]
    assert trials[2].settings == SerialSettings(baud=2400, parity="E")
    assert len(set(trials)) == len(trials)
    only = serial_trials(ProbeOptions(baud=4800, parity="O", protocols=("rtu",)))
    assert [(t.protocol, t.settings.baud, t.settings.parity) for t in only] == [("rtu", 4800, "O")]


def raised_codes():
    """Every code that protocols and drivers raise, read from their source."""
    codes = set()
    for folder in ("protocols/dlms", "protocols/modbus", "protocols/dlt645", "edge"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            codes |= set(re.findall(r'"((?:dlms|hdlc|mode_e|modbus|sunspec|dlt645|link|meter)'
                                    r'\.[a-z_0-9]+)"', text))  # fmt: skip
    return codes


def test_every_failure_there_is_has_words_and_a_fix():
    codes = raised_codes()
    assert len(codes) > 60
    for code in codes:
        cause = cause_of(PeerError(code, "x", evidence={"diagnostic": 0}))
        assert cause.words != "x", code
        assert len(cause.fix) > 20, code


@pytest.mark.parametrize(("diagnostic", "word"), [(2, "ciphered"), (12, "lls"), (13, "password")])
def test_a_refused_association_says_what_is_wanted(diagnostic, word):
    error = PeerError("dlms.rejected", "no", evidence={"result": 1, "diagnostic": diagnostic})
    cause = cause_of(error)
    assert word in cause.words + cause.fix


async def test_a_pseudo_terminal_is_probed_like_a_port(world):
    far = PtyEnd()
    answer = dlt645_of("000000000077")()

    async def serve():
        while octets := await far.read():
            if said := answer(octets):
                far.write(said)

    serving = asyncio.create_task(serve())
    options = ProbeOptions(timeout_seconds=0.1, protocols=("dlt645",))
    report = await probe(far.path, options, lambda step: None)
    assert report.devices[0].facts["address"] == "000000000077"
    far.close()
    await serving


def test_hdlc_addresses_of_the_plate():
    assert HdlcAddress.of_server(1, 1234).encode() == bytes.fromhex("000212A5")


@pytest.mark.parametrize("physical", [None, 17])
async def test_hdlc_over_tcp_is_found_with_its_physical_address(world, physical):
    server = DlmsMeterServer(world.meters[GMAC.meter], link="hdlc-tcp", physical=physical)
    await server.start("127.0.0.1", 0)
    options = ProbeOptions(timeout_seconds=0.15, protocols=("dlms", "hdlc"), hdlc_physical=physical)
    report = await found_at(server.port, options)
    await server.close()
    (device,) = report.devices
    assert device.protocol == "hdlc"
    assert device.facts["logical_device_name"] == GMAC.meter
    assert device.facts["clients"]["1"] == "hls5"
    assert device.facts["hdlc_physical"] == physical


@pytest.mark.parametrize("kind", ["hdlc", "mode-e", "dlt645"])
async def test_meters_on_a_serial_line_are_found(world, tmp_path, kind):
    meter = world.meters[GMAC.meter]
    if kind == "dlt645":
        station = Dlt645Station(meter)
    else:
        server = DlmsMeterServer(meter, link="hdlc-serial", physical=16)
        station = server.station(mode_e=kind == "mode-e")
    line = PtyLine(tmp_path / "port", station)
    await line.start()
    options = ProbeOptions(timeout_seconds=0.1, protocols=("hdlc", "dlt645", "mode-e"), baud=9600)
    report = await probe(str(line.path), options, lambda step: None)
    await line.close()
    (device,) = report.devices
    assert device.protocol == kind
    if kind == "mode-e":
        assert device.facts["identification"] == GMAC.meter
        assert "mode_e" in device.read_with
    elif kind == "hdlc":
        assert device.facts["logical_device_name"] == GMAC.meter
        assert device.settings == "9600 8N1"
    else:
        assert device.facts["address"].endswith(GMAC.serial)


async def test_a_wrong_physical_address_is_silence_with_a_fix(world):
    server = DlmsMeterServer(world.meters[GMAC.meter], link="hdlc-tcp", physical=17)
    await server.start("127.0.0.1", 0)
    options = ProbeOptions(timeout_seconds=0.1, protocols=("hdlc",), hdlc_physical=99)
    report = await found_at(server.port, options)
    await server.close()
    assert not report.found
    assert report.steps
    assert report.fix


@pytest.mark.parametrize(
    "asked",
    [
        Attribute(class_id=3, name=obis("1-0:99.99.99"), index=2),
        Attribute(class_id=8193, name=obis("1-0:1.8.0"), index=2),
        Attribute(class_id=3, name=obis("1-0:1.8.0"), index=77),
    ],
    ids=["obis", "class", "attribute"],
)
async def test_what_a_meter_does_not_have_is_a_typed_error_and_the_session_goes_on(world, asked):
    server = DlmsMeterServer(world.meters[LLS.meter])
    await server.start("127.0.0.1", 0)
    target = DlmsTarget(
        meter=LLS.meter, host="127.0.0.1", port=server.port, authentication="lls",
        password=LLS.password, expected_device_name=LLS.meter, timeout_seconds=1.0,
    )  # fmt: skip
    session = await DlmsSession.open(target, CounterBlock(None, target), KnownMeter())
    with pytest.raises(PeerError) as refused:
        await session.get_one(asked)
    assert refused.value.code == "dlms.access"
    assert "OBIS" in cause_of(refused.value).fix
    name = Attribute(class_id=1, name=DEVICE_NAME, index=2)
    assert as_text(await session.get_one(name)) == LLS.meter
    await session.close()
    await server.close()
