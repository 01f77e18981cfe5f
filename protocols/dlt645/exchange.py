"""
Requests and what counts as their answer.

On a shared line an octet-perfect frame may still belong to another meter or to an earlier
question. `Expectation.judge` says of every frame heard whether it is the answer: address, function
and, where the answer repeats it, the data identifier and sequence number must fit.
*Source*: DL/T 645-2007, 7 and 8.
"""

from dataclasses import dataclass
from enum import IntFlag, StrEnum

from protocols.dlt645.bcd import encode_bcd
from protocols.dlt645.frame import BROADCAST, WILDCARD, Control, Frame
from protocols.dlt645.items import DI_OCTETS, encode_di
from protocols.errors import PeerError

PASSWORD_OCTETS = 4
"""PA P0 P1 P2 as sent: level, then the six digits low octet first."""
OPERATOR_OCTETS = 4


class ErrorWord(IntFlag):
    """Why a meter refuses. *Source*: DL/T 645-2007, annex D, ERR."""

    OTHER = 1 << 0
    NO_SUCH_ITEM = 1 << 1
    PASSWORD = 1 << 2
    BAUD = 1 << 3
    TOO_MANY_ZONES = 1 << 4
    TOO_MANY_PERIODS = 1 << 5
    TOO_MANY_TARIFFS = 1 << 6


class SecurityError(IntFlag):
    """Why the security module refuses a token. *Source*: supplement of 2013, SERR."""

    OTHER = 1 << 0
    REPEATED = 1 << 1
    MODULE = 1 << 2
    AUTHENTICATION = 1 << 3
    CUSTOMER_NUMBER = 1 << 4
    PURCHASE_COUNT = 1 << 5
    OVER_LIMIT = 1 << 6


_NAMES = {
    ErrorWord.OTHER: "refused",
    ErrorWord.NO_SUCH_ITEM: "no_such_item",
    ErrorWord.PASSWORD: "password",
    ErrorWord.BAUD: "baud",
}


class Judgement(StrEnum):
    """What a frame is to the one who asked."""

    ANSWER = "answer"
    ECHO = "echo"
    """A request: our own, heard back over a two-wire line, or another master's."""
    FOREIGN = "foreign"
    """Another meter's word."""
    STALE = "stale"
    """The right meter, but not this question's answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the answer must show. `di` None: the answer does not repeat an identifier."""

    address: str
    control: Control
    di: int | None = None
    sequence: int | None = None

    def judge(self, frame: Frame) -> Judgement:
        """Return what `frame` is, seen from this question."""
        if not frame.is_answer:
            return Judgement.ECHO
        if self.address not in (WILDCARD, frame.address):
            return Judgement.FOREIGN
        if frame.function != self.control:
            return Judgement.STALE
        if frame.is_refusal or self.di is None:
            return Judgement.ANSWER
        if frame.content[:DI_OCTETS] != encode_di(self.di):
            return Judgement.STALE
        if self.sequence is not None and frame.content[-1:] != bytes((self.sequence,)):
            return Judgement.STALE
        return Judgement.ANSWER

    def content(self, frame: Frame) -> bytes:
        """
        Return the data of an answer without identifier and sequence number.

        Raises: PeerError `dlt645.no_such_item`, `.password`, `.refused`, `.baud` with the error
        word as evidence; `.shape` when it is too short.
        """
        if frame.is_refusal:
            raise refused(frame, peer=self.address)
        front = 0 if self.di is None else DI_OCTETS
        back = 0 if self.sequence is None else 1
        if len(frame.content) < front + back:
            raise PeerError("dlt645.shape", f"{len(frame.content)} octets are no answer")
        return frame.content[front : len(frame.content) - back]


def refused(frame: Frame, *, peer: str = "") -> PeerError:
    """Return the error that a refusal is; `evidence["error"]` is its word, all octets."""
    word = int.from_bytes(frame.content[:2], "little") if frame.content else int(ErrorWord.OTHER)
    if frame.function == Control.SECURITY:
        names = [flag.name or "" for flag in SecurityError if word & flag]
        return PeerError(
            "dlt645.token_refused",
            f"the security module refuses: {', '.join(names).lower() or hex(word)}",
            peer=peer, evidence={"error": word},
        )  # fmt: skip
    first = next((flag for flag in (*_NAMES,) if flag is not ErrorWord.OTHER and word & flag), None)
    name = _NAMES[first or ErrorWord.OTHER]
    return PeerError(
        f"dlt645.{name}", f"the meter refuses function {frame.function:02X}h, error {word:02X}h",
        peer=peer, evidence={"error": word},
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question: the frame to send and what to wait for; None where nobody answers."""

    frame: Frame
    expect: Expectation | None


def read(address: str, di: int, argument: bytes = b"") -> Request:
    """Return the question for an item; `argument` narrows a record (count, stamp)."""
    return Request(
        frame=Frame(address=address, control=Control.READ, content=encode_di(di) + argument),
        expect=Expectation(address=address, control=Control.READ, di=di),
    )


def read_next(address: str, di: int, sequence: int) -> Request:
    """Return the question for the part `sequence` (1..255) of an answer with more to follow."""
    part = bytes((sequence,))
    return Request(
        frame=Frame(address=address, control=Control.READ_NEXT, content=encode_di(di) + part),
        expect=Expectation(address=address, control=Control.READ_NEXT, di=di, sequence=sequence),
    )


def read_address() -> Request:
    """Return the question who is alone on the line."""
    return Request(
        frame=Frame(address=WILDCARD, control=Control.READ_ADDRESS),
        expect=Expectation(address=WILDCARD, control=Control.READ_ADDRESS),
    )


def write(address: str, di: int, value: bytes, *, password: bytes, operator: bytes) -> Request:
    """Return the order to write an item. Raises: ValueError on a password of another length."""
    content = encode_di(di) + _authority(password, operator) + value
    return Request(
        frame=Frame(address=address, control=Control.WRITE, content=content),
        expect=Expectation(address=address, control=Control.WRITE),
    )


def broadcast_time(stamp: bytes) -> Request:
    """Return the call that sets every clock on the line; `stamp` from `bcd.encode_date_time`."""
    return Request(
        frame=Frame(address=BROADCAST, control=Control.BROADCAST_TIME, content=stamp), expect=None
    )


_ANY = 99


def freeze(address: str, *, day: int = _ANY, hour: int = _ANY, minute: int = _ANY) -> Request:
    """
    Return the order to freeze registers: at once, or each hour, day or month at a given time.

    99 in a field means every; all 99 is now. A broadcast freeze is answered by nobody.
    *Source*: DL/T 645-2007, 8.9, `MMDDhhmm`, sent minute first.
    """
    content = b"".join(encode_bcd(value, 1) for value in (minute, hour, day, _ANY))
    expect = None if address == BROADCAST else Expectation(address=address, control=Control.FREEZE)
    return Request(
        frame=Frame(address=address, control=Control.FREEZE, content=content), expect=expect
    )


def token(address: str, di: int, opaque: bytes, *, operator: bytes) -> Request:
    """
    Return the frame that carries `opaque` to the security module, unread and unchanged.

    Raises: ValueError when it is longer than a frame.
    """
    if len(operator) != OPERATOR_OCTETS:
        raise ValueError(f"an operator code has {OPERATOR_OCTETS} octets")
    content = encode_di(di) + operator + opaque
    if not opaque or len(content) > 0xFF:
        raise ValueError(f"a token of {len(opaque)} octets does not fit one frame")
    return Request(
        frame=Frame(address=address, control=Control.SECURITY, content=content),
        expect=Expectation(address=address, control=Control.SECURITY, di=di),
    )


def relay(address: str, order: bytes, *, password: bytes, operator: bytes) -> Request:
    """Return the relay order that `relay.encode_order` wrote, with the authority to give it."""
    return Request(
        frame=Frame(
            address=address, control=Control.RELAY, content=_authority(password, operator) + order
        ),
        expect=Expectation(address=address, control=Control.RELAY),
    )


def _authority(password: bytes, operator: bytes) -> bytes:
    if len(password) != PASSWORD_OCTETS or len(operator) != OPERATOR_OCTETS:
        # never the octets themselves: one of them is a secret
        raise ValueError(
            f"a password has {PASSWORD_OCTETS} octets and an operator code {OPERATOR_OCTETS}"
        )
    return password + operator
