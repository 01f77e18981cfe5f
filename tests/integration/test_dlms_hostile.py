"""
What arrives spoilt: a man in the middle changes, cuts, repeats or swaps the meter's answers.

Each case names the error that must come of it; then the line is honest again and the very next
call must work, for a driver that needs a restart is a meter lost.
"""

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from edge.outbox.counters import Counters
from edge.outbox.database import OutboxDatabase
from protocols.dlms import acse
from protocols.dlms.apdu import Access, GetAnswer, ServiceException, encode_response
from protocols.dlms.security import SEALED, Keys, seal
from protocols.dlms.wrapper import Unwrapper, pack
from protocols.errors import PeerError
from protocols.timeline import to_ms
from simulators.faults import FOREIGN_NAME, Fault
from simulators.fleet import make_fleet
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.truth import TruthLedger
from simulators.world import World
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio
ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
TITLE = b"MTL\x00\x00\x00\x00\x01"
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
STORY = next(m for m in FLEET.customers if m.planted == "story")
RACE = next(m for m in FLEET.customers if m.planted == "race")
STRANGER = next(m for m in FLEET.customers if m.authentication == "hls5" and m.meter != STORY.meter)
KEYS = Keys(encryption=STORY.encryption_key, authentication=STORY.authentication_key)


@pytest.fixture
def anyio_backend():
    return PATIENT


class Now:
    def now(self):
        return ORIGIN


class Proxy:
    """
    Stands between driver and meter; `spoil` gets each answer of the meter as one APDU.

    It returns a list of octet strings to send in its place; None instead of a list cuts the line.
    """

    def __init__(self, port):
        self._port = port
        self._server = None
        self._tasks = set()
        self.spoil = None
        self.asked = b""
        self.said = []

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def close(self):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, reader, writer):
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        up = asyncio.create_task(self._up(reader, up_writer))
        self._tasks.add(up)
        frames = Unwrapper()
        with contextlib.suppress(OSError):
            while octets := await up_reader.read(65536):
                for frame in frames.feed(octets):
                    if not self._answer(writer, frame):
                        writer.close()
                        return
        writer.close()

    def _answer(self, writer, frame):
        honest = pack(frame.source, frame.destination, frame.apdu)
        sent = [honest] if self.spoil is None else self.spoil(frame)
        if sent is not None:
            for octets in sent:
                writer.write(octets)
        self.said.append(honest)
        return sent is not None

    async def _up(self, reader, writer):
        frames = Unwrapper()
        while octets := await reader.read(65536):
            for frame in frames.feed(octets):
                self.asked = frame.apdu
            writer.write(octets)
        writer.close()


@contextlib.asynccontextmanager
async def line(tmp_path, spec, **changes):
    """A driver, the proxy it talks through, and the meter behind."""
    ledger = TruthLedger(tmp_path / "truth.sqlite", FLEET)
    world = World(FLEET, ledger, now_ms=lambda: to_ms(ORIGIN))
    meter = world.meters[spec.meter]
    server = DlmsMeterServer(meter)
    await server.start("127.0.0.1", 0)
    proxy = Proxy(server.port)
    outbox = OutboxDatabase(tmp_path / "outbox.sqlite")
    target = DlmsTarget(
        meter=spec.meter,
        host="127.0.0.1",
        port=await proxy.start(),
        authentication=spec.authentication,
        password=spec.password,
        system_title=TITLE,
        authentication_key=spec.authentication_key,
        encryption_key=spec.encryption_key,
        expected_device_name=spec.meter,
        interval_seconds=spec.interval_seconds,
        has_relay=spec.has_relay,
        # an honest answer may be late on a busy machine; only silence has to wait it out
        timeout_seconds=2.0,
    )
    driver = DlmsDriver(replace(target, **changes), Counters(outbox), Now())
    try:
        yield driver, proxy, meter
    finally:
        await driver.close()
        await proxy.close()
        await server.close()
        outbox.close()
        ledger.close()


class Forgetful:
    """A counter store of an agent that has lost what its meters had shown."""

    def __init__(self, store):
        self.reserve, self.raise_to = store.reserve, store.raise_to


def same(frame, apdu):
    return pack(frame.source, frame.destination, apdu)


def flip(apdu, at, mask=0x01):
    at %= len(apdu)
    return apdu[:at] + bytes((apdu[at] ^ mask,)) + apdu[at + 1 :]


def header(apdu):
    """Where the security header stands: behind tag, title and a length of one octet or more."""
    first = apdu[10]
    return 11 + (first & 0x7F if first & 0x80 else 0)


NULLS = GetAnswer(invoke=0, values=(Access.DENIED,))

# what happens to an answer in an open ciphered association -> the error of the call
CIPHERED = {
    "text": (lambda f, p: [same(f, flip(f.apdu, header(f.apdu) + 9))], "dlms.tag_mismatch"),
    "tag": (lambda f, p: [same(f, flip(f.apdu, -1))], "dlms.tag_mismatch"),
    "counter": (lambda f, p: [same(f, flip(f.apdu, header(f.apdu) + 4))], "dlms.tag_mismatch"),
    "weaker": (lambda f, p: [same(f, flip(f.apdu, header(f.apdu), 0x20))], "dlms.security_control"),
    "other-title": (lambda f, p: [same(f, flip(f.apdu, 9))], "dlms.foreign"),
    "our-title": (lambda f, p: [same(f, f.apdu[:2] + TITLE + f.apdu[10:])], "dlms.title"),
    "replayed": (lambda f, p: [p.said[-1]], "dlms.replayed"),
    "plain": (lambda f, p: [same(f, encode_response(NULLS))], "dlms.plain_answer"),
    "short-apdu": (lambda f, p: [same(f, f.apdu[:14])], "dlms.truncated"),
    "exception": (
        lambda f, p: [same(f, encode_response(ServiceException(state=1, service=2)))],
        "dlms.exception",
    ),
}
ANY_LINE = {
    "garbage": (lambda f, p: [b"\x7e\xa0" * 20], "dlms.wrapper"),
    "cut-and-closed": (lambda f, p: None, "link.closed"),
    "cut-and-open": (lambda f, p: [same(f, f.apdu)[:-3]], "link.timeout"),
    "nothing": (lambda f, p: [], "link.timeout"),
    "other-access-point": (lambda f, p: [pack(17, f.destination, f.apdu)], "dlms.address"),
    "twice": (lambda f, p: [same(f, f.apdu) * 2], "dlms.unexpected"),
    "no-such-apdu": (lambda f, p: [same(f, b"\xc4\x09\xff")], ("dlms.choice", "dlms.plain_answer")),
}


async def spoilt_then_honest(tmp_path, spec, spoil, codes):
    async with line(tmp_path, spec) as (driver, proxy, _meter):
        await driver.read_now()
        proxy.spoil = lambda frame: spoil(frame, proxy)
        with pytest.raises(PeerError) as spoilt:
            await driver.read_now()
        assert spoilt.value.code in ((codes,) if isinstance(codes, str) else codes)
        assert spoilt.value.peer
        proxy.spoil = None
        assert (await driver.read_now()).identity == spec.meter


@pytest.mark.req("D9")
@pytest.mark.parametrize("case", CIPHERED)
async def test_a_ciphered_answer_that_was_touched(tmp_path, case):
    await spoilt_then_honest(tmp_path, STORY, *CIPHERED[case])


@pytest.mark.parametrize("case", ANY_LINE)
@pytest.mark.parametrize("spec", [STORY, RACE], ids=["hls5", "lls"])
async def test_a_broken_line(tmp_path, spec, case):
    await spoilt_then_honest(tmp_path, spec, *ANY_LINE[case])


async def test_a_late_answer_is_not_taken_for_the_next(tmp_path):
    """LLS answers carry no counter; the invoke id tells them apart."""
    await spoilt_then_honest(tmp_path, RACE, lambda f, p: [p.said[-1]], "dlms.unexpected")


async def test_an_answer_that_nobody_asked_for(tmp_path):
    async with line(tmp_path, RACE) as (driver, proxy, _meter):
        proxy.spoil = lambda frame: [same(frame, frame.apdu)]
        await driver.read_now()

        def also_later(frame):
            loop = asyncio.get_running_loop()
            loop.call_later(0.02, writer_of[0].write, same(frame, frame.apdu))
            return [same(frame, frame.apdu)]

        writer_of = []
        original = proxy._answer

        def noting(writer, frame):
            writer_of[:] = [writer]
            return original(writer, frame)

        proxy._answer = noting
        proxy.spoil = also_later
        await driver.read_now()
        await asyncio.sleep(0.1)
        proxy.spoil = None
        with pytest.raises(PeerError) as spoilt:
            await driver.read_now()
        assert spoilt.value.code == "dlms.unexpected"
        assert (await driver.read_now()).identity == RACE.meter


@pytest.mark.req("D9")
async def test_our_own_challenge_is_not_answered(tmp_path):
    async with line(tmp_path, STORY) as (driver, proxy, _meter):

        def reflect(frame):
            if frame.apdu[0] != acse.AARE:
                return [same(frame, frame.apdu)]
            challenge = acse.decode_aarq(proxy.asked).authentication
            aare = replace(acse.decode_aare(frame.apdu), authentication=challenge)
            return [same(frame, acse.encode_aare(aare))]

        proxy.spoil = reflect
        with pytest.raises(PeerError) as spoilt:
            await driver.read_now()
        assert spoilt.value.code == "dlms.reflected"
        proxy.spoil = None
        assert (await driver.read_now()).identity == STORY.meter


@pytest.mark.req("D9")
@pytest.mark.parametrize("field", ["authentication", "title", "initiate"])
async def test_an_association_answer_that_was_touched(tmp_path, field):
    """Another challenge or title spoils the proof; another initiate spoils its own tag."""
    async with line(tmp_path, STORY) as (driver, proxy, _meter):

        def touch(frame):
            if frame.apdu[0] != acse.AARE:
                return [same(frame, frame.apdu)]
            aare = acse.decode_aare(frame.apdu)
            touched = replace(aare, **{field: flip(getattr(aare, field), -1)})
            return [same(frame, acse.encode_aare(touched))]

        proxy.spoil = touch
        with pytest.raises(PeerError) as spoilt:
            await driver.read_now()
        assert spoilt.value.code in ("dlms.authentication", "dlms.tag_mismatch")
        proxy.spoil = None
        assert (await driver.read_now()).identity == STORY.meter


@pytest.mark.req("D9")
async def test_a_server_without_the_key_cannot_prove_itself(tmp_path):
    """It may replay a whole old association: our challenge is new, so its proof is wrong."""
    async with line(tmp_path, STORY) as (driver, proxy, _meter):
        await driver.read_now()
        await driver.close()
        recorded = list(proxy.said)
        fresh = DlmsDriver(driver._target, Forgetful(driver._counters._store), Now())
        script = iter(recorded)
        proxy.spoil = lambda frame: [next(script)]
        with pytest.raises(PeerError) as spoilt:
            await fresh.read_now()
        assert spoilt.value.code == "dlms.authentication"
        proxy.spoil = None
        assert (await fresh.read_now()).identity == STORY.meter
        await fresh.close()


@pytest.mark.req("D9")
async def test_an_older_association_is_refused_by_its_counter(tmp_path):
    async with line(tmp_path, STORY) as (driver, proxy, _meter):
        await driver.read_now()
        recorded = list(proxy.said)
        await driver.close()
        script = iter(recorded)
        proxy.spoil = lambda frame: [next(script)]
        with pytest.raises(PeerError) as spoilt:
            await driver.read_now()
        assert spoilt.value.code == "dlms.replayed"
        proxy.spoil = None
        assert (await driver.read_now()).identity == STORY.meter


@pytest.mark.req("D9")
async def test_an_older_association_is_refused_after_a_restart_too(tmp_path):
    """What the meter had shown is on disk: its old frames do not even get as far as the proof."""
    async with line(tmp_path, STORY) as (driver, proxy, _meter):
        await driver.read_now()
        recorded = list(proxy.said)
        await driver.close()
        restarted = DlmsDriver(driver._target, driver._counters._store, Now())
        script = iter(recorded)
        proxy.spoil = lambda frame: [next(script)]
        with pytest.raises(PeerError) as spoilt:
            await restarted.read_now()
        assert spoilt.value.code == "dlms.replayed"
        proxy.spoil = None
        assert (await restarted.read_now()).identity == STORY.meter
        await restarted.close()


@pytest.mark.req("D9")
async def test_a_counter_that_falls_is_refused_even_with_the_right_key(tmp_path):
    async with line(tmp_path, STORY) as (driver, proxy, _meter):
        await driver.read_now()
        title = STORY.system_title

        def from_the_past(frame):
            text = seal(KEYS, title, 0, encode_response(NULLS), control=SEALED)
            return [same(frame, b"\xdb\x08" + title + bytes((len(text),)) + text)]

        proxy.spoil = from_the_past
        with pytest.raises(PeerError) as spoilt:
            await driver.read_now()
        assert spoilt.value.code == "dlms.replayed"


@pytest.mark.parametrize("spec", [STORY, RACE], ids=["hls5", "lls"])
async def test_another_meter_behind_the_same_address(tmp_path, spec):
    async with line(tmp_path, spec) as (driver, _proxy, meter):
        await driver.read_now()
        meter.switch_fault(Fault.FOREIGN, on=True)
        with pytest.raises(PeerError) as spoilt:
            await driver.read_now()
        assert spoilt.value.code == "dlms.foreign"
        assert spoilt.value.evidence["name"] == FOREIGN_NAME
        with pytest.raises(PeerError) as again:
            await driver.read_now()
        assert again.value.code == "dlms.foreign"
        meter.switch_fault(Fault.FOREIGN, on=False)
        assert (await driver.read_now()).identity == spec.meter


@pytest.mark.req("D9")
async def test_a_meter_with_other_keys_is_not_believed(tmp_path):
    """The wires are swapped: a real meter, its own keys, at the address of ours."""
    wrong = {
        "encryption_key": STORY.encryption_key,
        "authentication_key": STORY.authentication_key,
    }
    async with line(tmp_path, STRANGER, **wrong) as (driver, _proxy, _meter):
        with pytest.raises(PeerError) as spoilt:
            await driver.read_now()
        assert spoilt.value.code in ("dlms.rejected", "dlms.tag_mismatch")


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.DARK, Fault.TRUNCATE])
@pytest.mark.parametrize("spec", [STORY, RACE], ids=["hls5", "lls"])
async def test_the_simulators_own_faults(tmp_path, spec, fault):
    async with line(tmp_path, spec) as (driver, _proxy, meter):
        meter.switch_fault(fault, on=True)
        for _ in range(3):
            with pytest.raises(PeerError) as spoilt:
                await driver.read_now()
            assert spoilt.value.code in ("link.timeout", "link.closed")
        meter.switch_fault(fault, on=False)
        assert (await driver.read_now()).identity == spec.meter


@pytest.mark.req("D9")
async def test_garble_never_gets_a_value_past_the_tag(tmp_path):
    async with line(tmp_path, STORY) as (driver, _proxy, meter):
        meter.switch_fault(Fault.GARBLE, on=True)
        codes = set()
        for _ in range(12):
            with pytest.raises(PeerError) as spoilt:
                await driver.read_now()
            codes.add(spoilt.value.code)
        assert len(codes) > 1
        meter.switch_fault(Fault.GARBLE, on=False)
        assert (await driver.read_now()).identity == STORY.meter


async def test_nobody_listening(tmp_path):
    async with line(tmp_path, RACE, port=1) as (driver, _proxy, _meter):
        with pytest.raises(PeerError) as refused:
            await driver.read_now()
        assert refused.value.code == "link.refused"
