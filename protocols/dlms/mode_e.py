r"""
Sign-on by IEC 62056-21 and hand-over to HDLC (mode E), for optical ports and old modems.

    client, 300 7E1      /?address!               ->
    meter,  300 7E1                               <-  /ABC 5 \2 W identification
    client, 300 7E1      ACK 2 5 2                ->
    meter,  300 7E1                               <-  ACK 2 5 2
    both, baud of "5" (9600) 8N1: SNRM and so on

`5` is the meter's fastest rate; `\2W` before the identification says that it can mode E. Lines
end in CR LF. Some meters send no confirmation, so its absence is no error.
*Source*: IEC 62056-21 clauses 6.3, 6.4.5 and annex E; IEC 62056-46 annex A.
"""

import re
from dataclasses import dataclass

from protocols.errors import PeerError

BAUDS = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19_200}
"""Rates by their character in protocol mode E."""
FIRST_BAUD = 300
MAX_LINE = 96
_MODE = "2"
_ACK = 0x06
_IDENTIFICATION = re.compile(
    rb"/(?P<maker>[A-Za-z]{3})(?P<baud>[0-6])(?P<modes>(?:\\[^\r\n/!])*)(?P<name>[^\r\n/!]{0,32})\r\n"
)
_REQUEST = re.compile(rb"/\?(?P<address>[0-9A-Za-z ]{0,32})!\r\n")
_CHOICE = re.compile(rb"\x06(?P<protocol>.)(?P<baud>[0-6])(?P<mode>.)\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """Who answered the sign-on, and the rate it offers."""

    maker: str
    name: str
    baud_character: str
    speaks_hdlc: bool

    @property
    def baud(self) -> int:
        """Return the fastest rate the meter offers."""
        return BAUDS[self.baud_character]

    def encode(self) -> bytes:
        """Return the line that the meter sends."""
        mark = "\\2" if self.speaks_hdlc else ""
        return f"/{self.maker}{self.baud_character}{mark}{self.name}\r\n".encode("ascii")


def sign_on(address: str = "") -> bytes:
    """Return the request message; `address` is the meter's number, empty for whoever is there."""
    line = f"/?{address}!\r\n".encode("ascii")
    if _REQUEST.fullmatch(line) is None:
        raise ValueError("a mode E address has up to 32 letters and digits")
    return line


def choice(character: str) -> bytes:
    """Return the acknowledgement that chooses HDLC at a rate; the meter confirms with the same."""
    return bytes((_ACK,)) + f"{_MODE}{character}{_MODE}\r\n".encode("ascii")


def fastest(identification: Identification, most: int) -> str:
    """Return the character of the fastest rate that both can do."""
    return max(
        (
            character
            for character, baud in BAUDS.items()
            if baud <= min(most, identification.baud) or baud == FIRST_BAUD
        ),
        key=lambda character: BAUDS[character],
    )


class SignOn:
    """
    The client's side: sign-on, identification, choice, confirmation.

    `receive` drops what stands before a line's first octet, as drivers turning round leave noise.
    """

    def __init__(self) -> None:
        """Begin with nothing received."""
        self._buffer = bytearray()

    def identification(self, octets: bytes) -> Identification | None:
        """
        Take octets; return who it is, None while the line is incomplete.

        Raises: PeerError `mode_e.identification`, `mode_e.no_hdlc`.
        """
        line = self._line(octets, b"/")
        if line is not None and _REQUEST.fullmatch(line):
            line = self._line(b"", b"/")  # an optical head hears its own light
        if line is None:
            return None
        found = _IDENTIFICATION.fullmatch(line)
        if found is None:
            raise PeerError(
                "mode_e.identification",
                "the answer to the sign-on is no identification; check baud rate and parity",
                evidence={"line": line[:32].hex()},
            )
        identification = Identification(
            maker=found["maker"].decode("ascii"),
            name=found["name"].decode("latin-1"),
            baud_character=found["baud"].decode("ascii"),
            speaks_hdlc=b"\\2" in found["modes"],
        )
        if not identification.speaks_hdlc:
            raise PeerError(
                "mode_e.no_hdlc",
                "this meter does not offer mode E; it speaks IEC 62056-21 alone",
                evidence={"name": identification.name},
            )
        return identification

    def confirmed(self, octets: bytes, chosen: bytes) -> bool:
        """Take octets; tell whether the confirmation has come. Raises: PeerError."""
        line = self._line(octets, chosen[:1])
        if line is None:
            return False
        if line != chosen:
            raise PeerError(
                "mode_e.choice",
                "the meter confirms another mode or rate",
                evidence={"line": line[:16].hex()},
            )
        return True

    def _line(self, octets: bytes, first: bytes) -> bytes | None:
        self._buffer += octets
        begin = self._buffer.find(first)
        del self._buffer[: begin if begin >= 0 else len(self._buffer)]
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_LINE:
                raise PeerError("mode_e.line", f"no line end in {MAX_LINE} octets")
            return None
        line = bytes(self._buffer[: end + 2])
        del self._buffer[: end + 2]
        return line


class ModeEMeter:
    """The meter's side: answers sign-on and choice until HDLC begins."""

    def __init__(self, identification: Identification, *, address: str = "") -> None:
        """Answer as `identification` to `address` or to no address."""
        self._identification = identification
        self._address = address
        self._buffer = bytearray()
        self.handed_over = 0
        """The rate of HDLC once it has been agreed, 0 before."""

    def receive(self, octets: bytes) -> bytes:
        """Take octets and return the answer; octets that are no line of ours are dropped."""
        self._buffer += octets
        answer = b""
        while (end := self._buffer.find(b"\r\n")) >= 0:
            line = bytes(self._buffer[: end + 2])
            del self._buffer[: end + 2]
            answer += self._on_line(line)
        del self._buffer[:-MAX_LINE]
        return answer

    def _on_line(self, line: bytes) -> bytes:
        request = _REQUEST.search(line)
        if request is not None:
            wanted = request["address"].decode("ascii").strip()
            if wanted not in {"", self._address}:
                return b""
            self.handed_over = 0
            return self._identification.encode()
        chosen = _CHOICE.search(line)
        if chosen is None or (chosen["protocol"], chosen["mode"]) != (b"2", b"2"):
            return b""
        baud = BAUDS[chosen["baud"].decode("ascii")]
        if baud > self._identification.baud:
            return b""
        self.handed_over = baud
        return chosen[0]
