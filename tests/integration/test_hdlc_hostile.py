"""
Over HDLC, whose check sequences keep noise away and nobody else: answers that somebody has changed.

The one in between takes the meter's frames apart, puts another APDU into them and closes them with
the right check sequences, so that only the ciphered association can tell.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.acquire.dlms import DlmsDriver, DlmsTarget
from edge.links.hdlc import HdlcPlace
from edge.outbox.counters import Counters
from edge.outbox.database import OutboxDatabase
from protocols.dlms.apdu import Access, GetAnswer, encode_response
from protocols.dlms.hdlc import Deframer, Frame
from protocols.dlms.hdlc_control import is_information
from protocols.errors import PeerError
from protocols.timeline import to_ms
from simulators.fleet import make_fleet
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.truth import TruthLedger
from simulators.world import World
from tests.patient_loop import PATIENT

pytestmark = pytest.mark.anyio
ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
SPEC = FLEET.planted("story")
TITLE = b"MTL\x00\x00\x00\x00\x01"
SEGMENT = 2030
_LLC = 3


@pytest.fixture
def anyio_backend() -> object:
    return PATIENT


class Now:
    def now(self) -> datetime:
        return ORIGIN


class Between:
    """Passes frames on; `change` gets each APDU of the meter and gives what comes in its place."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.change: Callable[[bytes], bytes] | None = None
        self.asked = b""
        self.said: list[bytes] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._tasks.add(asyncio.create_task(self._up(reader, up_writer)))
        frames = Deframer()
        with contextlib.suppress(OSError):
            while octets := await up_reader.read(65536):
                for frame in frames.feed(octets):
                    writer.write(self._changed(frame).encode())
        writer.close()

    def _changed(self, frame: Frame) -> Frame:
        apdu = frame.text[_LLC:]
        if not apdu or not is_information(frame.control):
            return frame
        put = apdu if self.change is None else self.change(apdu)
        self.said.append(apdu)
        return replace(frame, text=frame.text[:_LLC] + put)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Deframer()
        while octets := await reader.read(65536):
            for frame in frames.feed(octets):
                if is_information(frame.control) and len(frame.text) > _LLC:
                    self.asked = frame.text[_LLC:]
            writer.write(octets)
        writer.close()


@contextlib.asynccontextmanager
async def line(folder: Path, *, dedicated: bool) -> AsyncIterator[tuple[DlmsDriver, Between]]:
    """A driver, the one in between, and the meter behind."""
    ledger = TruthLedger(folder / "truth.sqlite", FLEET)
    world = World(FLEET, ledger, now_ms=lambda: to_ms(ORIGIN))
    server = DlmsMeterServer(world.meters[SPEC.meter], link="hdlc-tcp", segment_octets=SEGMENT)
    await server.start("127.0.0.1", 0)
    between = Between(server.port)
    outbox = OutboxDatabase(folder / "outbox.sqlite")
    target = DlmsTarget(
        meter=SPEC.meter,
        host="127.0.0.1",
        port=await between.start(),
        hdlc=HdlcPlace(segment_octets=SEGMENT),
        authentication=SPEC.authentication,
        system_title=TITLE,
        authentication_key=SPEC.authentication_key,
        encryption_key=SPEC.encryption_key,
        expected_device_name=SPEC.meter,
        interval_seconds=SPEC.interval_seconds,
        has_relay=SPEC.has_relay,
        timeout_seconds=1.0,
        dedicated=dedicated,
    )
    driver = DlmsDriver(target, Counters(outbox), Now())
    try:
        yield driver, between
    finally:
        await driver.close()
        await between.close()
        await server.close()
        outbox.close()
        ledger.close()


def flipped(apdu: bytes, at: int) -> bytes:
    at %= len(apdu)
    return apdu[:at] + bytes((apdu[at] ^ 1,)) + apdu[at + 1 :]


PLAIN = encode_response(GetAnswer(invoke=0, values=(Access.DENIED,)))
# what comes in place of an answer of the open association -> how that ends
CHANGED: dict[str, tuple[Callable[[bytes, Between], bytes], set[str]]] = {
    "text": (lambda apdu, _: flipped(apdu, -14), {"dlms.tag_mismatch"}),
    "tag": (lambda apdu, _: flipped(apdu, -1), {"dlms.tag_mismatch"}),
    "replayed": (lambda _, between: between.said[-1], {"dlms.replayed"}),
    "reflected": (lambda _, between: between.asked, {"dlms.title"}),
    "plain": (lambda _apdu, _between: PLAIN, {"dlms.plain_answer"}),
}


@pytest.mark.req("A1", "D9")
@pytest.mark.parametrize("dedicated", [False, True], ids=["general-glo", "general-ded"])
@pytest.mark.parametrize("case", CHANGED)
async def test_a_changed_answer_in_a_sound_frame_is_refused(
    tmp_path: Path, case: str, dedicated: bool
) -> None:
    change, codes = CHANGED[case]
    async with line(tmp_path, dedicated=dedicated) as (driver, between):
        await driver.read_now()
        between.change = lambda apdu: change(apdu, between)
        with pytest.raises(PeerError) as refused:
            await driver.read_now()
        assert refused.value.code in codes
        between.change = None
        assert (await driver.read_now()).identity == SPEC.meter
