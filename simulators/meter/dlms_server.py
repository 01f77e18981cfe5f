"""A meter that speaks DLMS over TCP: the codec's server role over a simulated meter's state."""

import asyncio
import logging
import secrets
from collections.abc import Iterator

from protocols.dlms.association import Authentication
from protocols.dlms.security import Keys
from protocols.dlms.server import CounterFloor, ServerConnection, ServerProfile
from protocols.errors import PeerError
from simulators.faults import Fault, spoil
from simulators.meter.dlms_objects import ManagementDevice, PublicDevice
from simulators.meter.state import SimulatedMeter

_LOG = logging.getLogger(__name__)
_READ_SIZE = 65_536
_COUNTER_BLOCK = 256
_CHALLENGE_OCTETS = 16

PUBLIC_SAP = 16
MANAGEMENT_SAP = 1
SERVER_SAP = 1


class DlmsMeterServer:
    """
    Listens for one meter; each connection has its own associations, counters are the meter's.

    Faults strike where octets leave: silent, dark, garbled, truncated. A stuck relay and a
    foreign name are the state's own affair.
    """

    def __init__(self, meter: SimulatedMeter) -> None:
        """Prepare the public association and the meter's own. Raises: ValueError on bad keys."""
        self._meter = meter
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._answers = 0
        self._counters: Iterator[int] = iter(())
        self._profiles = self._make_profiles()

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises: OSError when the port is in use."""
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
        if self._server is not None:
            self._server.close()
        for writer in list(self._connections):
            writer.close()

    def connection(self) -> ServerConnection:
        """Return the codec's side of a new connection."""
        return ServerConnection(self._profiles, server_sap=SERVER_SAP)

    def _make_profiles(self) -> dict[int, ServerProfile]:
        spec = self._meter.spec
        floor = CounterFloor()
        authentication = Authentication(spec.authentication)
        keys = None
        if authentication is Authentication.HLS5:
            keys = Keys(encryption=spec.encryption_key, authentication=spec.authentication_key)
        return {
            PUBLIC_SAP: ServerProfile(device=PublicDevice(self._meter, floor)),
            MANAGEMENT_SAP: ServerProfile(
                device=ManagementDevice(self._meter, floor),
                authentication=authentication,
                password=spec.password,
                title=spec.system_title,
                keys=keys,
                client_counter=floor,
                counter=self._next_counter,
                challenge=lambda: secrets.token_bytes(_CHALLENGE_OCTETS),
            ),
        }

    def _next_counter(self) -> int:
        counter = next(self._counters, None)
        if counter is None:
            self._counters = iter(self._meter.reserve_counters(_COUNTER_BLOCK))
            counter = next(self._counters)
        return counter

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        connection = self.connection()
        try:
            while Fault.DARK not in self._meter.faults and (
                octets := await reader.read(_READ_SIZE)
            ):
                self._send(writer, connection.receive(octets))
                await writer.drain()
        except (PeerError, OSError) as error:
            _LOG.info(
                "simulator.dlms.connection_lost",
                extra={"fields": {"meter": self._meter.spec.meter, "cause": str(error)[:120]}},
            )
        finally:
            self._connections.discard(writer)
            writer.close()

    def _send(self, writer: asyncio.StreamWriter, octets: bytes) -> None:
        faults = self._meter.faults
        if not octets or Fault.SILENT in faults:
            return
        self._answers += 1
        for fault in (Fault.GARBLE, Fault.TRUNCATE):
            if fault in faults:
                octets = spoil(fault, octets, self._answers * 0x9E3779B1)
        writer.write(octets)
        if Fault.TRUNCATE in faults:
            writer.close()
