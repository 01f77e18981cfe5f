"""
A meter that speaks DLMS: the codec's server role over a simulated meter's state.

Over TCP in the wrapper or in HDLC, as the meter's `link` says, or as a station on a serial line.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path

from protocols.dlms.association import Authentication
from protocols.dlms.hdlc_server import HdlcServerConnection
from protocols.dlms.mode_e import Identification, ModeEMeter
from protocols.dlms.server import CounterFloor, Notice, ServerConnection, ServerProfile
from protocols.errors import PeerError
from simulators.faults import Fault, spoil
from simulators.meter.dlms_care import ImageStore, KeyStore
from simulators.meter.dlms_objects import ManagementDevice, PublicDevice
from simulators.meter.event_book import FRAUD, NOT_DECIPHERED, REPLAYED, WRONG_PASSWORD
from simulators.meter.pty_line import PtyLine
from simulators.meter.state import SimulatedMeter

_LOG = logging.getLogger(__name__)
_READ_SIZE = 65_536
_COUNTER_BLOCK = 256
_CHALLENGE_OCTETS = 16
_WRITTEN = {
    Notice.WRONG_PASSWORD: WRONG_PASSWORD,
    Notice.NOT_DECIPHERED: NOT_DECIPHERED,
    Notice.REPLAYED: REPLAYED,
}

PUBLIC_SAP = 16
MANAGEMENT_SAP = 1
SERVER_SAP = 1


class DlmsMeterServer:
    """
    Listens for one meter; each connection has its own associations, counters are the meter's.

    Faults strike where octets leave: silent, dark, garbled, truncated. A stuck relay and a
    foreign name are the state's own affair.
    """

    def __init__(
        self,
        meter: SimulatedMeter,
        *,
        link: str = "",
        physical: int | None = None,
        segment_octets: int = 128,
    ) -> None:
        """
        Prepare the public association and the meter's own.

        `link` is that of the meter unless given; what follows it is of HDLC. Raises: ValueError on
        bad keys.
        """
        self.meter = meter
        self._link = link or meter.spec.link
        self._line: PtyLine | None = None
        self._physical = physical
        self._segment_octets = segment_octets
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._answers = 0
        self._counters: Iterator[int] = iter(())
        self.images = ImageStore(meter)
        self.key_store = KeyStore(meter)
        self._profiles = self._make_profiles()

    async def start(self, host: str, port: int) -> None:
        """Listen, or hang on the meter's serial line. Raises: OSError when that is taken."""
        if self.meter.spec.serial_line:
            self._line = PtyLine(Path(self.meter.spec.serial_line), self.station())
            await self._line.start()
            return
        self._server = await asyncio.start_server(self._serve, host, port)

    @property
    def port(self) -> int:
        """Return the port in use. Raises: RuntimeError before `start`."""
        if self._server is None:
            raise RuntimeError("not listening")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._line is not None:
            await self._line.close()
        if self._server is not None:
            self._server.close()
        for writer in list(self._connections):
            writer.close()

    def connection(self) -> ServerConnection | HdlcServerConnection:
        """Return the codec's side of a new connection."""
        if self._link == "wrapper":
            return ServerConnection(self._profiles, server_sap=SERVER_SAP)
        return self.hdlc()

    def hdlc(self) -> HdlcServerConnection:
        """Return the codec's side of a new HDLC line."""
        return HdlcServerConnection(
            self._profiles,
            server_sap=SERVER_SAP,
            physical=self._physical,
            segment_octets=self._segment_octets,
        )

    def station(self, *, mode_e: bool = False) -> "SerialStation":
        """Return this meter as it hangs on a serial line."""
        return SerialStation(self, mode_e=mode_e)

    def _make_profiles(self) -> dict[int, ServerProfile]:
        spec = self.meter.spec
        floor = CounterFloor()
        authentication = Authentication(spec.authentication)
        keys = self.key_store.current if authentication is Authentication.HLS5 else None
        return {
            PUBLIC_SAP: ServerProfile(device=PublicDevice(self.meter, floor)),
            MANAGEMENT_SAP: ServerProfile(
                device=ManagementDevice(self.meter, floor, self.images, self.key_store),
                authentication=authentication,
                password=spec.password,
                title=spec.system_title,
                keys=keys,
                client_counter=floor,
                counter=self._next_counter,
                challenge=lambda: secrets.token_bytes(_CHALLENGE_OCTETS),
                notice=lambda notice: self.meter.book.note(FRAUD, _WRITTEN[notice]),
            ),
        }

    def _next_counter(self) -> int:
        counter = next(self._counters, None)
        if counter is None:
            self._counters = iter(self.meter.reserve_counters(_COUNTER_BLOCK))
            counter = next(self._counters)
        return counter

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        connection = self.connection()
        try:
            while Fault.DARK not in self.meter.faults and (octets := await reader.read(_READ_SIZE)):
                self._send(writer, connection.receive(octets))
                await writer.drain()
        except (PeerError, OSError) as error:
            _LOG.info(
                "simulator.dlms.connection_lost",
                extra={"fields": {"meter": self.meter.spec.meter, "cause": str(error)[:120]}},
            )
        finally:
            self._connections.discard(writer)
            writer.close()

    def _send(self, writer: asyncio.StreamWriter, octets: bytes) -> None:
        octets = self.spoiled(octets)
        if octets:
            writer.write(octets)
            if Fault.TRUNCATE in self.meter.faults:
                writer.close()

    def spoiled(self, octets: bytes) -> bytes:
        """Return an answer as it leaves under the meter's faults, empty when it stays silent."""
        faults = self.meter.faults
        if not octets or Fault.SILENT in faults:
            return b""
        self._answers += 1
        for fault in (Fault.GARBLE, Fault.TRUNCATE):
            if fault in faults:
                octets = spoil(fault, octets, self._answers * 0x9E3779B1)
        return octets


class SerialStation:
    """
    A meter on a serial line: HDLC, after a sign-on by IEC 62056-21 if it wants one.

    A new sign-on is heard at any time: it begins with another octet than any frame.
    """

    def __init__(self, server: DlmsMeterServer, *, mode_e: bool) -> None:
        """Hang the meter of `server` on a line."""
        spec = server.meter.spec
        self._server = server
        self._connection = server.hdlc()
        identification = Identification(
            maker="MLP", name=spec.meter[:32], baud_character="5", speaks_hdlc=True
        )
        self.sign_on = ModeEMeter(identification, address=spec.serial) if mode_e else None

    def receive(self, octets: bytes, /) -> bytes:
        """Take what was heard and return the answer, nothing when it is for another."""
        if Fault.DARK in self._server.meter.faults:
            return b""
        if self.sign_on is not None and (octets[:1] == b"/" or not self.sign_on.handed_over):
            return self._server.spoiled(self.sign_on.receive(octets))
        return self._server.spoiled(self._connection.receive(octets))
