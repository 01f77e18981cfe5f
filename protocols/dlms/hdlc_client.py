"""
The client's end of an HDLC link: APDUs to frames and back, nothing in between.

    client      connect     accepted  refused  send     answered  disconnect  ended
    IDLE        CONNECTING
    CONNECTING              READY     IDLE
    READY                                      WAITING            CLOSING
    WAITING                                             READY
    CLOSING                                                                   IDLE
    BROKEN

A fault leads to BROKEN from every state and nothing leads out but a new link. No I/O and no clock:
the caller says when the meter has been silent for too long (`timeout`) and gets the octets to send
again. A repeated frame carries the same number, so a meter that has already obeyed it answers
again and does not act again.
*Source*: IEC 62056-46 clause 6 (normal response mode, unbalanced).
"""

from dataclasses import dataclass, field
from enum import StrEnum

from protocols.dlms.hdlc import Deframer, Frame, HdlcAddress
from protocols.dlms.hdlc_control import (
    FINAL,
    LLC_REQUEST,
    LLC_RESPONSE,
    MAX_APDU,
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
from protocols.errors import PeerError


class LinkState(StrEnum):
    """Where the client's end stands."""

    IDLE = "idle"
    CONNECTING = "connecting"
    READY = "ready"
    WAITING = "waiting"
    CLOSING = "closing"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class HdlcSettings:
    """Who speaks to whom; `segment_octets` is offered both ways, `retries` are sent in silence."""

    client_sap: int
    server: HdlcAddress
    segment_octets: int = 128
    retries: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class HdlcTurn:
    """What to send now; `done` when the exchange is over, with its APDU if it brought one."""

    send: bytes = b""
    apdu: bytes = b""
    done: bool = False


@dataclass(slots=True)
class HdlcClient:
    """One link with one server. `foreign` counts frames on the line that were not for us."""

    settings: HdlcSettings
    state: LinkState = LinkState.IDLE
    limits: LinkLimits = field(default_factory=LinkLimits)
    foreign: int = 0
    deframer: Deframer = field(default_factory=Deframer)
    _own: bytes = field(init=False)
    _server: bytes = field(init=False)
    _sent: int = 0
    _expected: int = 0
    _unsent: list[bytes] = field(default_factory=list)
    _last: bytes = b""
    _tries: int = 0
    _acknowledged: bool = False
    _parts: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        """Encode both addresses. Raises: ValueError on a client access point beyond 127."""
        self._own = HdlcAddress(logical=self.settings.client_sap).encode()
        self._server = self.settings.server.encode()

    def connect(self) -> bytes:
        """Return SNRM with the sizes we offer."""
        self._must(LinkState.IDLE)
        size = self.settings.segment_octets
        offered = LinkLimits(send=size, receive=size).encode()
        self.state = LinkState.CONNECTING
        return self._say(Unnumbered.SNRM, offered)

    def send(self, apdu: bytes) -> bytes:
        """Return the first segment of a request; the others follow from `receive`."""
        self._must(LinkState.READY)
        if not 0 < len(apdu) <= MAX_APDU:
            raise ValueError(f"an APDU has 1..{MAX_APDU} octets, not {len(apdu)}")
        self.state = LinkState.WAITING
        self._unsent = segments(LLC_REQUEST + apdu, self.limits.send)
        self._parts.clear()
        return self._next_segment()

    def disconnect(self) -> bytes:
        """Return DISC."""
        self._must(LinkState.READY)
        self.state = LinkState.CLOSING
        return self._say(Unnumbered.DISC)

    def timeout(self) -> bytes:
        """
        Return what to send after a silence: the last frame again, with the same number.

        Raises: PeerError `hdlc.timeout` when that has been done often enough.
        """
        self.deframer.reset()
        if self._tries >= self.settings.retries:
            self.state = LinkState.BROKEN
            raise PeerError("hdlc.timeout", f"no answer to {self._tries + 1} frames")
        self._tries += 1
        if self.state is LinkState.WAITING and self._acknowledged:
            # it has our request and owes the answer: ask for that, do not repeat ourselves
            return self._frame(receive_ready(self._expected))
        return self._last

    def receive(self, octets: bytes) -> HdlcTurn:
        """
        Take received octets; return what to do next, nothing while a frame is incomplete.

        Raises: PeerError; the link is then BROKEN.
        """
        try:
            turn = HdlcTurn()
            for frame in self.deframer.feed(octets):
                if (frame.destination, frame.source) != (self._own, self._server):
                    self.foreign += 1
                    continue
                found = self._on_frame(frame)
                if found.send or found.done:
                    if turn.done:
                        raise PeerError("hdlc.unexpected", "a frame after the answer")
                    turn = found
        except PeerError:
            self.state = LinkState.BROKEN
            raise
        return turn

    def _must(self, state: LinkState) -> None:
        if self.state is not state:
            raise RuntimeError(f"an HDLC link that is {self.state} where it must be {state}")

    def _frame(self, control: int, text: bytes = b"", *, segmented: bool = False) -> bytes:
        return Frame(
            destination=self._server,
            source=self._own,
            control=control,
            text=text,
            segmented=segmented,
        ).encode()

    def _say(self, control: int, text: bytes = b"", *, segmented: bool = False) -> bytes:
        """Return a frame to which an answer must come, and remember it."""
        self._last = self._frame(control, text, segmented=segmented)
        self._tries = 0
        self._acknowledged = False
        return self._last

    def _next_segment(self) -> bytes:
        text = self._unsent.pop(0)
        control = information(sent=self._sent, expected=self._expected)
        self._sent = after(self._sent)
        return self._say(control, text, segmented=bool(self._unsent))

    def _on_frame(self, frame: Frame) -> HdlcTurn:
        control = frame.control
        if control | FINAL == Unnumbered.FRMR:
            raise PeerError(
                "hdlc.rejected", "the meter rejects a frame", evidence={"text": frame.text.hex()}
            )
        match self.state:
            case LinkState.CONNECTING:
                return self._on_connecting(frame)
            case LinkState.CLOSING if control in {Unnumbered.UA, Unnumbered.DM}:
                self.state = LinkState.IDLE
                return HdlcTurn(done=True)
            case LinkState.WAITING:
                return self._on_waiting(frame)
            case LinkState.READY if is_information(control) and not self._repeats(control):
                raise PeerError("hdlc.unexpected", "an answer to nothing that was asked")
            case _:
                return HdlcTurn()  # late twins of what has been answered

    def _on_connecting(self, frame: Frame) -> HdlcTurn:
        if frame.control == Unnumbered.DM:
            self.state = LinkState.IDLE
            raise PeerError("hdlc.refused", "the meter refuses the link")
        if frame.control != Unnumbered.UA:
            return HdlcTurn()
        own = LinkLimits(send=self.settings.segment_octets, receive=self.settings.segment_octets)
        self.limits = own.with_peer(decode_limits(frame.text))
        self._sent = self._expected = 0
        self.state = LinkState.READY
        return HdlcTurn(done=True)

    def _on_waiting(self, frame: Frame) -> HdlcTurn:
        control = frame.control
        if control == Unnumbered.DM:
            raise PeerError("hdlc.disconnected", "the meter has dropped the link")
        if is_information(control):
            return self._on_information(frame)
        if not (is_ready(control) or is_not_ready(control)):
            return HdlcTurn()
        if expected_of(control) != self._sent:
            return HdlcTurn()  # it lacks our last frame: its silence will bring that again
        self._acknowledged = True
        if is_ready(control) and self._unsent:
            return HdlcTurn(send=self._next_segment())
        return HdlcTurn()

    def _on_information(self, frame: Frame) -> HdlcTurn:
        control = frame.control
        if self._repeats(control):
            return HdlcTurn()
        if self._unsent or expected_of(control) != self._sent:
            raise PeerError("hdlc.sequence", "an answer before all of the request was taken")
        if number_of(control) != self._expected:
            raise PeerError("hdlc.sequence", f"frame {number_of(control)} where another was due")
        if not frame.text or len(frame.text) > self.limits.receive:
            raise PeerError("hdlc.too_long", f"a segment of {len(frame.text)} octets")
        self._expected = after(self._expected)
        self._acknowledged = True
        self._parts += frame.text
        if len(self._parts) > MAX_APDU + len(LLC_RESPONSE):
            raise PeerError("hdlc.too_long", f"an APDU beyond {MAX_APDU} octets")
        if frame.segmented:
            return HdlcTurn(send=self._say(receive_ready(self._expected)))
        text = bytes(self._parts)
        if not text.startswith(LLC_RESPONSE) or len(text) == len(LLC_RESPONSE):
            raise PeerError("hdlc.llc", "no LLC header", evidence={"octets": text[:4].hex()})
        self.state = LinkState.READY
        return HdlcTurn(apdu=text[len(LLC_RESPONSE) :], done=True)

    def _repeats(self, control: int) -> bool:
        """Tell an I frame that came once already: its answer was late, not lost."""
        return after(number_of(control)) == self._expected
