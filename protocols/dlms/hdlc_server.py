"""
The meter's end of HDLC: any number of clients on one line, each with its own link.

    server        snrm          disc            request, answer, acknowledgement
    DISCONNECTED  CONNECTED/UA  -/DM            -/DM
    CONNECTED     CONNECTED/UA  DISCONNECTED/UA CONNECTED/I, RR or FRMR

A repeated request is answered again from memory and never obeyed twice. Frames for other stations
are not for us and get no answer at all, as several meters share a line.
*Source*: IEC 62056-46 clause 6; frame reject codes ISO/IEC 13239 clause 5.5.3.4.2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from protocols.dlms.hdlc import Deframer, Frame, HdlcAddress, decode_address
from protocols.dlms.hdlc_control import (
    FINAL,
    LLC_REQUEST,
    LLC_RESPONSE,
    LinkLimits,
    Unnumbered,
    after,
    decode_limits,
    expected_of,
    information,
    is_information,
    is_not_ready,
    is_ready,
    number_of,
    receive_ready,
    segments,
)
from protocols.dlms.server import ServerAssociation, ServerProfile
from protocols.errors import PeerError

Answer = Callable[[bytes], bytes]
"""What stands behind a link: one APDU in, one APDU out."""

_UNKNOWN, _TOO_LONG, _BAD_NUMBER = 0x01, 0x04, 0x08
"""Bits w, y and z of the reject information."""


@dataclass(slots=True, kw_only=True)
class HdlcServerLink:
    """One client's link. `offered` is what the meter can take and send; `max_apdu` bounds it."""

    answer: Answer
    offered: LinkLimits
    max_apdu: int = 8192
    limits: LinkLimits = field(default_factory=LinkLimits)
    _expected: int = 0
    _next: int = 0
    _parts: bytearray = field(default_factory=bytearray)
    _unsent: list[bytes] = field(default_factory=list)
    _last: Frame | None = None

    def connect(self, frame: Frame) -> Frame:
        """Return UA with the sizes that hold from now on. Raises: PeerError `hdlc.negotiation`."""
        self.limits = self.offered.with_peer(decode_limits(frame.text))
        return _reply(frame, Unnumbered.UA, self.limits.encode())

    def on_frame(self, frame: Frame) -> Frame | None:
        """Return the answer to an I, RR or RNR frame; None when there is nothing to say."""
        control = frame.control
        if is_information(control):
            return self._on_information(frame)
        if is_ready(control) or is_not_ready(control):
            return self._on_acknowledged(frame)
        return self._reject(frame, _UNKNOWN)

    def _on_information(self, frame: Frame) -> Frame | None:
        number = number_of(frame.control)
        if after(number) == self._expected and self._last is not None:
            return self._last  # the answer was lost: say it again
        if number != self._expected:
            return _reply(frame, receive_ready(self._expected))
        if expected_of(frame.control) != self._next:
            return self._reject(frame, _BAD_NUMBER)
        oversize = len(self._parts) + len(frame.text) > self.max_apdu + len(LLC_REQUEST)
        if len(frame.text) > self.limits.receive or not frame.text or oversize:
            return self._reject(frame, _TOO_LONG)
        self._expected = after(self._expected)
        self._unsent = []
        self._parts += frame.text
        if frame.segmented:
            return self._remember(_reply(frame, receive_ready(self._expected)))
        request = bytes(self._parts)
        self._parts.clear()
        if not request.startswith(LLC_REQUEST) or len(request) == len(LLC_REQUEST):
            # another user of the link layer, who is not here
            return self._remember(_reply(frame, receive_ready(self._expected)))
        apdu = self.answer(request[len(LLC_REQUEST) :])
        self._unsent = segments(LLC_RESPONSE + apdu, self.limits.send)
        return self._next_segment(frame)

    def _on_acknowledged(self, frame: Frame) -> Frame | None:
        expected = expected_of(frame.control)
        if after(expected) == self._next and self._last is not None:
            return self._last  # it lacks our last frame
        if expected != self._next:
            return self._reject(frame, _BAD_NUMBER)
        if is_not_ready(frame.control) or not self._unsent:
            return _reply(frame, receive_ready(self._expected))
        return self._next_segment(frame)

    def _next_segment(self, frame: Frame) -> Frame:
        text = self._unsent.pop(0)
        control = information(sent=self._next, expected=self._expected)
        self._next = after(self._next)
        return self._remember(_reply(frame, control, text, segmented=bool(self._unsent)))

    def _remember(self, frame: Frame) -> Frame:
        self._last = frame
        return frame

    def _reject(self, frame: Frame, reason: int) -> Frame:
        numbers = self._expected << 5 | self._next << 1
        return _reply(frame, Unnumbered.FRMR, bytes((frame.control, numbers, reason)))


class HdlcServerConnection:
    """
    One meter on one line: cuts frames, keeps a link and an association for each client.

    The same face as `ServerConnection`: octets in, octets out. It answers to its logical device
    in any form of address; `physical` is compared where the client names one.
    """

    def __init__(
        self,
        profiles: Mapping[int, ServerProfile],
        *,
        server_sap: int = 1,
        physical: int | None = None,
        segment_octets: int = 128,
    ) -> None:
        """Offer `profiles` by client access point, segments of up to `segment_octets`."""
        self._profiles = profiles
        self._logical = server_sap
        self._physical = physical
        self._offered = LinkLimits(send=segment_octets, receive=segment_octets)
        self._deframer = Deframer()
        self._links: dict[bytes, HdlcServerLink] = {}

    @property
    def damaged(self) -> int:
        """Return how many spoilt frames have come."""
        return self._deframer.damaged

    def receive(self, octets: bytes) -> bytes:
        """Take received octets and return the answers to all complete frames in them."""
        answers = (self._on_frame(frame) for frame in self._deframer.feed(octets))
        return b"".join(answer.encode() for answer in answers if answer is not None)

    def _on_frame(self, frame: Frame) -> Frame | None:
        try:
            client = decode_address(frame.source)
            server = decode_address(frame.destination)
        except PeerError:
            return None
        if client.octets != 1 or not self._is_us(server):
            return None
        command = frame.control | FINAL
        if command == Unnumbered.SNRM:
            return self._on_snrm(frame, client.logical)
        if command == Unnumbered.UI:
            return None
        link = self._links.get(frame.source)
        if link is None:
            return _reply(frame, Unnumbered.DM)
        if command == Unnumbered.DISC:
            del self._links[frame.source]
            return _reply(frame, Unnumbered.UA)
        return link.on_frame(frame)

    def _is_us(self, server: HdlcAddress) -> bool:
        same = server.physical is None or self._physical in {None, server.physical}
        return server.logical == self._logical and same

    def _on_snrm(self, frame: Frame, client_sap: int) -> Frame:
        profile = self._profiles.get(client_sap)
        if profile is None:
            return _reply(frame, Unnumbered.DM)
        link = HdlcServerLink(answer=ServerAssociation(profile).answer, offered=self._offered)
        try:
            accepted = link.connect(frame)
        except PeerError:
            return _reply(frame, Unnumbered.DM)
        self._links[frame.source] = link
        return accepted


def _reply(frame: Frame, control: int, text: bytes = b"", *, segmented: bool = False) -> Frame:
    return Frame(
        destination=frame.source,
        source=frame.destination,
        control=control,
        text=text,
        segmented=segmented,
    )
