"""A meter that speaks Modbus TCP, as its register map says; one port per meter."""

import asyncio
import logging

from protocols.errors import PeerError
from protocols.modbus.pdu import (
    Frame,
    FrameReader,
    RequestRefusedError,
    exception_answer,
    frame_octets,
    read_answer,
    read_request,
)
from simulators.faults import Fault, spoil
from simulators.meter.register_bank import bank_of
from simulators.meter.state import SimulatedMeter

_LOG = logging.getLogger(__name__)
_READ_SIZE = 4096


class ModbusMeterServer:
    """Answers reads of one meter's registers; knows no writes, like the meters it stands for."""

    def __init__(self, meter: SimulatedMeter) -> None:
        """Take the map of the meter's model. Raises: MapError when there is none."""
        self._meter = meter
        self._bank = bank_of(meter)
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
            pdu = read_answer(request.fc, self._bank.words(request))
        except RequestRefusedError as refused:
            pdu = exception_answer(frame.pdu[0] if frame.pdu else 0, refused.code)
        return frame_octets(Frame(transaction=frame.transaction, unit=frame.unit, pdu=pdu))

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
