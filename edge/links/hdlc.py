"""
HDLC over a serial port or over TCP: sends again what was lost, gives up after a few silences.

On a serial port the line is taken for one exchange at a time, so several meters can hang on it,
each with its link and its association standing.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from typing import Protocol

from edge.links.serial import SerialLink, SerialSettings
from edge.links.shared_port import PortShare
from edge.links.tcp import TcpLink
from protocols.dlms.hdlc import HdlcAddress
from protocols.dlms.hdlc_client import HdlcClient, HdlcSettings, HdlcTurn, LinkState
from protocols.dlms.mode_e import BAUDS, FIRST_BAUD, SignOn, choice, fastest, sign_on
from protocols.errors import PeerError

_SIGN_ON = SerialSettings(baud=FIRST_BAUD, data_bits=7, parity="E")
_CONFIRM_SECONDS = 1.5
"""How long a meter may take to confirm the hand-over; some never do."""
_CLOSE_SECONDS = 1.0
_UNBROKEN = frozenset({LinkState.READY, LinkState.WAITING})


@dataclass(frozen=True, slots=True, kw_only=True)
class HdlcPlace:
    """
    How a meter hangs on HDLC. `serial_port` empty: over TCP, at the target's host and port.

    `physical` and `address_octets` shape the server's address; see `HdlcAddress.of_server`.
    """

    serial_port: str = ""
    serial: SerialSettings = field(default_factory=SerialSettings)
    physical: int | None = None
    address_octets: int | None = None
    segment_octets: int = 128
    mode_e: bool = False
    retries: int = 2

    def settings(self, *, client_sap: int, server_sap: int) -> HdlcSettings:
        """Return what the codec needs. Raises: ValueError on addresses that do not fit."""
        return HdlcSettings(
            client_sap=client_sap,
            server=HdlcAddress.of_server(server_sap, self.physical, octets=self.address_octets),
            segment_octets=self.segment_octets,
            retries=self.retries,
        )


class _Line(Protocol):
    """Octets out and in, whatever they run on."""

    @property
    def is_open(self) -> bool: ...

    def send(self, octets: bytes) -> None: ...

    async def receive(self) -> bytes: ...

    def discard(self) -> int: ...


class _Turns(Protocol):
    """Whose turn it is on the line."""

    @property
    def line(self) -> _Line: ...

    @property
    def is_open(self) -> bool: ...

    async def begin(self) -> None: ...

    def end(self, *, suspect: bool = False) -> None: ...

    def give_back(self, *, suspect: bool = False) -> None: ...


class _Alone:
    """A line with nobody else on it: it is always our turn."""

    def __init__(self, line: TcpLink) -> None:
        self.line = line

    @property
    def is_open(self) -> bool:
        return self.line.is_open

    async def begin(self) -> None:
        """Nothing to wait for."""

    def end(self, *, suspect: bool = False) -> None:
        """Nobody waits."""

    def give_back(self, *, suspect: bool = False) -> None:  # noqa: ARG002 - the face of PortShare
        self.line.close()


class HdlcLink:
    """APDUs over HDLC; an `ApduLink`."""

    def __init__(self, turns: _Turns, settings: HdlcSettings, seconds: float) -> None:
        """Stand on an open line; `open` is the way to get one with a link on it."""
        self._turns = turns
        self._client = HdlcClient(settings)
        self._seconds = seconds

    @classmethod
    async def over_tcp(
        cls, host: str, port: int, settings: HdlcSettings, *, seconds: float
    ) -> "HdlcLink":
        """Return a link over a TCP connection of its own. Raises: PeerError `link.*`, `hdlc.*`."""
        turns = _Alone(await TcpLink.connect(host, port, seconds=seconds))
        return await cls(turns, settings, seconds).established()

    @classmethod
    async def over_serial(
        cls, place: HdlcPlace, settings: HdlcSettings, *, seconds: float, address: str = ""
    ) -> "HdlcLink":
        """
        Return a link over a serial port, after the sign-on where the meter wants one.

        Raises: PeerError `link.*`, `hdlc.*`, `mode_e.*`.
        """
        share = await PortShare.take(place.serial_port, place.serial)
        if place.mode_e:
            try:
                await share.begin()
                share.settings = await hand_over(
                    share.line, place.serial, address=address, seconds=seconds
                )
            except BaseException:
                share.give_back(suspect=True)
                raise
        return await cls(share, settings, seconds).established()

    @property
    def is_open(self) -> bool:
        """Tell whether sending may still reach anyone."""
        return self._turns.is_open and self._client.state in _UNBROKEN

    @property
    def segment_octets(self) -> int:
        """Return the longest segment that the meter takes."""
        return self._client.limits.send

    async def send(self, apdu: bytes) -> None:
        """Take the line and send the first segment; `receive` sends the others."""
        if self._client.state is not LinkState.READY:
            raise PeerError("link.closed", "the HDLC link is down")
        await self._turns.begin()
        self._turns.line.send(self._client.send(apdu))

    async def receive(self, seconds: float) -> bytes:
        """
        Return the answer; each frame may take `seconds` and is asked for again when it does not.

        Raises: PeerError `link.timeout`, `link.closed`, `hdlc.*`.
        """
        turn = await self._exchange(seconds)
        self._turns.end()
        return turn.apdu

    def discard(self) -> int:
        """Return 0: what comes late on HDLC is known by its number and dropped there."""
        return 0

    async def close(self) -> None:
        """Take the link down, then give the line back; never raises."""
        if self.is_open and self._client.state is LinkState.READY:
            with contextlib.suppress(PeerError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._turns.begin()
                    self._turns.line.send(self._client.disconnect())
                    await self._exchange(_CLOSE_SECONDS)
        self._turns.give_back(suspect=self._client.state is not LinkState.IDLE)

    def abort(self) -> None:
        """Give the line back at once; never raises."""
        self._turns.give_back(suspect=True)

    async def established(self) -> "HdlcLink":
        """Set the link up and return it. Raises: PeerError `link.*`, `hdlc.*`."""
        try:
            await self._turns.begin()
            self._turns.line.send(self._client.connect())
            await self._exchange(self._seconds)
            self._turns.end()
        except BaseException:
            self.abort()
            raise
        return self

    async def _exchange(self, seconds: float) -> HdlcTurn:
        line, loop = self._turns.line, asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            try:
                async with asyncio.timeout_at(until):
                    turn = self._client.receive(await line.receive())
                following = turn.send
            except TimeoutError:
                turn, following = HdlcTurn(), self._again(seconds)
            if turn.done:
                return turn
            if following:
                line.send(following)
                until = loop.time() + seconds

    def _again(self, seconds: float) -> bytes:
        try:
            return self._client.timeout()
        except PeerError as error:
            raise PeerError("link.timeout", f"{error.message}, {seconds} s each") from None


async def hand_over(
    line: SerialLink, settings: SerialSettings, *, address: str = "", seconds: float
) -> SerialSettings:
    """
    Sign on at 300 7E1, hand over to HDLC and return how the line stands from then on.

    `settings` bound the rate. Raises: PeerError `link.timeout`, `mode_e.*`.
    """
    line.reconfigure(_SIGN_ON)
    talk = SignOn()
    line.send(sign_on(address))
    try:
        async with asyncio.timeout(seconds):
            while (found := talk.identification(await line.receive())) is None:
                pass
    except TimeoutError:
        raise PeerError("link.timeout", f"no answer to the sign-on in {seconds} s") from None
    character = fastest(found, settings.baud)
    chosen = choice(character)
    line.send(chosen)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CONFIRM_SECONDS):
            while not talk.confirmed(await line.receive(), chosen):
                pass
    await line.drained()
    agreed = replace(settings, baud=BAUDS[character])
    line.reconfigure(agreed)
    return agreed
