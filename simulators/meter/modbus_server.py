"""A meter that speaks Modbus TCP, as its register map says; one port per meter."""

import asyncio
import logging
from collections.abc import Mapping

from protocols.errors import PeerError
from protocols.modbus.pdu import (
    ExceptionCode,
    Frame,
    FrameReader,
    RequestRefusedError,
    exception_answer,
    frame_octets,
    read_answer,
    read_request,
)
from protocols.modbus.plan import ReadRequest
from protocols.modbus.registers import UNIT_EXPONENT, Point, load_map
from protocols.modbus.scaling import decode, encode
from protocols.reading import REGISTERS, Channel
from simulators.faults import Fault, spoil
from simulators.meter.state import SimulatedMeter, Snapshot

_LOG = logging.getLogger(__name__)
_READ_SIZE = 4096


class ModbusMeterServer:
    """Answers reads of one meter's registers; knows no writes, like the meters it stands for."""

    def __init__(self, meter: SimulatedMeter) -> None:
        """Take the map of the meter's model. Raises: MapError when there is none."""
        self._meter = meter
        self._map = load_map(meter.spec.model)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._answers = 0

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises: OSError when the port is in use."""
        self._server = await asyncio.start_server(self._serve, host, port)

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._connections):
            writer.close()

    def answer(self, frame: Frame) -> bytes | None:
        """Return the octets that answer one frame; None when the frame is for another unit."""
        if frame.unit != self._meter.spec.modbus_unit:
            return None
        try:
            request = read_request(frame.pdu)
            pdu = read_answer(request.fc, self._words(request))
        except RequestRefusedError as refused:
            pdu = exception_answer(frame.pdu[0] if frame.pdu else 0, refused.code)
        return frame_octets(Frame(transaction=frame.transaction, unit=frame.unit, pdu=pdu))

    def _words(self, request: ReadRequest) -> list[int]:
        snapshot = self._meter.snapshot()
        end = request.address + request.count
        words = [0] * request.count
        touched = False
        identity = self._map.identity
        if identity is not None and identity.fc == request.fc:
            found = encode(identity.type, self._meter.serial, identity.words)
            touched |= _place(words, request, identity.address, found)
        for point in self._map.points:
            if point.fc == request.fc and point.address < end and request.address < point.end:
                touched |= _place(words, request, point.address, self._told(point, snapshot))
        if not touched:
            raise RequestRefusedError(ExceptionCode.ILLEGAL_ADDRESS)
        return words

    def _told(self, point: Point, snapshot: Snapshot) -> tuple[int, ...]:
        scaler = point.scale + UNIT_EXPONENT[point.unit]
        value = _present(snapshot).get(point.channel, 0)
        raw = value // 10**scaler if scaler >= 0 else value * 10**-scaler
        words = encode(point.type, raw, point.words, resolution=point.resolution)
        if point.channel in REGISTERS:
            # f32 cannot tell every watt-hour: what counts is what a reader gets out of it
            told = decode(point.type, words, point.words, resolution=point.resolution)
            assert told is not None  # energy is never NaN
            self._meter.note_served(snapshot, point.channel, told, scaler)
        return words

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        frames = FrameReader()
        try:
            while Fault.DARK not in self._meter.faults and (
                octets := await reader.read(_READ_SIZE)
            ):
                for frame in frames.feed(octets):
                    self._send(writer, self.answer(frame))
                await writer.drain()
        except (PeerError, OSError) as error:
            _LOG.info(
                "simulator.modbus.connection_lost",
                extra={"fields": {"meter": self._meter.spec.meter, "cause": str(error)[:120]}},
            )
        finally:
            self._connections.discard(writer)
            writer.close()

    def _send(self, writer: asyncio.StreamWriter, octets: bytes | None) -> None:
        faults = self._meter.faults
        if octets is None or Fault.SILENT in faults:
            return
        self._answers += 1
        for fault in (Fault.GARBLE, Fault.TRUNCATE):
            if fault in faults:
                octets = spoil(fault, octets, self._answers * 0x9E3779B1)
        writer.write(octets)
        if Fault.TRUNCATE in faults:
            writer.close()


def _present(snapshot: Snapshot) -> Mapping[Channel, int]:
    values = {
        Channel.IMPORT_WH: snapshot.register_wh,
        Channel.EXPORT_WH: 0,
        Channel.POWER_W: snapshot.power_w,
        Channel.FREQUENCY_MHZ: snapshot.frequency_mhz,
    }
    volts = (Channel.VOLTAGE_L1_MV, Channel.VOLTAGE_L2_MV, Channel.VOLTAGE_L3_MV)
    amperes = (Channel.CURRENT_L1_MA, Channel.CURRENT_L2_MA, Channel.CURRENT_L3_MA)
    values.update(zip(volts, snapshot.voltage_mv, strict=False))
    values.update(zip(amperes, snapshot.current_ma, strict=False))
    return values


def _place(words: list[int], request: ReadRequest, address: int, found: tuple[int, ...]) -> bool:
    touched = False
    for offset, word in enumerate(found, start=address - request.address):
        if 0 <= offset < request.count:
            words[offset] = word
            touched = True
    return touched
