"""DL/T 645 meters on a line: one behind a TCP port, or many stations on one `PtyLine`."""

import asyncio
import logging

from protocols.dlt645.frame import FrameReader, encode_frame
from simulators.faults import Fault, spoil
from simulators.meter.dlt645_objects import Dlt645Objects
from simulators.meter.state import SimulatedMeter

_LOG = logging.getLogger(__name__)
_READ_SIZE = 4096
_WAKE_OCTETS = 4


class Dlt645Station:
    """One meter as its line sees it: answers to frames, spoilt as its faults want it."""

    def __init__(self, meter: SimulatedMeter) -> None:
        """Stand for `meter`."""
        self.meter = meter
        self._objects = Dlt645Objects(meter)
        self._reader = FrameReader()
        self._answers = 0

    def receive(self, octets: bytes) -> bytes:
        """Return what the meter says to octets from its line, nothing when it keeps silent."""
        faults = self.meter.faults
        said = b""
        for frame in self._reader.feed(octets):
            if Fault.DARK in faults:
                continue
            answer = self._objects.answer(frame)
            if answer is None or Fault.SILENT in faults:
                continue
            self._answers += 1
            spoken = encode_frame(answer, wake=_WAKE_OCTETS)
            for fault in (Fault.GARBLE, Fault.TRUNCATE):
                if fault in faults:
                    spoken = spoil(fault, spoken, self._answers * 0x9E3779B1)
            said += spoken
        return said


class Dlt645MeterServer:
    """One meter behind one TCP port, as behind a transparent modem."""

    def __init__(self, meter: SimulatedMeter) -> None:
        """Stand for `meter`."""
        self._meter = meter
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises: OSError when the port is in use."""
        self._server = await asyncio.start_server(self._serve, host, port)

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._connections):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        station = Dlt645Station(self._meter)
        try:
            while Fault.DARK not in self._meter.faults and (
                octets := await reader.read(_READ_SIZE)
            ):
                said = station.receive(octets)
                writer.write(said)
                await writer.drain()
                if said and Fault.TRUNCATE in self._meter.faults:
                    break
        except OSError as error:
            _LOG.info(
                "simulator.dlt645.connection_lost",
                extra={"fields": {"meter": self._meter.spec.meter, "cause": str(error)[:120]}},
            )
        finally:
            self._connections.discard(writer)
            writer.close()
