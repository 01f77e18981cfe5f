"""
Captured frames in words: every layer from the line to the value, as far as keys allow.

A capture is followed as a conversation: titles and dedicated keys from the association open later
frames, requests name the values of their answers, segments and blocks are put together. Octets that
are corrupt end it with the PeerError of the layer that found them; `frame` in its evidence counts
from 1. Passwords and keys are not told.
*Source*: IEC 62056-46, 62056-47, 62056-5-3.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from protocols.dlms import acse, gbt
from protocols.dlms.apdu import (
    Action,
    ActionAnswer,
    Attribute,
    Get,
    GetAnswer,
    GetBlock,
    Request,
    Response,
    ServiceException,
    Set,
    SetAnswer,
    decode_request,
    decode_response,
    read_results,
)
from protocols.dlms.axdr import decode_whole
from protocols.dlms.explain_value import Scales, got_of, name_of, value_of
from protocols.dlms.general_glo import (
    DED_REQUESTS,
    DED_RESPONSES,
    GENERAL_DED,
    GENERAL_GLO,
    GLO_INITIATE_REQUEST,
    GLO_INITIATE_RESPONSE,
    GLO_REQUESTS,
    GLO_RESPONSES,
    decode_ciphered,
)
from protocols.dlms.hdlc import Deframer, Frame, decode_address
from protocols.dlms.hdlc_control import Unnumbered
from protocols.dlms.initiate import REQUEST as INITIATE_REQUEST
from protocols.dlms.initiate import InitiateRequest, InitiateResponse
from protocols.dlms.initiate import decode_request as decode_initiate_request
from protocols.dlms.initiate import decode_response as decode_initiate_response
from protocols.dlms.leaf import truncated
from protocols.dlms.notification import (
    DATA_NOTIFICATION,
    DataNotification,
    decode_notification,
)
from protocols.dlms.octets import Octets
from protocols.dlms.reference import DataBlock
from protocols.dlms.security import (
    AUTHENTICATED,
    ENCRYPTED,
    SEALED,
    Keys,
    split_header,
    unseal,
    unseal_unproven,
)
from protocols.dlms.transfer import Incoming
from protocols.dlms.wrapper import HEADER, Unwrapper
from protocols.dlms.writing import (
    ActionAnswerBlock,
    ActionBlock,
    ActionList,
    ActionListAnswer,
    SetBlock,
    SetEnd,
    SetList,
    SetListAnswer,
)
from protocols.errors import PeerError

_LIMIT = 4_194_304
_LLC = {b"\xe6\xe6\x00": "request", b"\xe6\xe7\x00": "response"}
_GLO = GLO_REQUESTS | GLO_RESPONSES | {0xCA}
_DED = DED_REQUESTS | DED_RESPONSES | {0xD2}
_FROM_CLIENT = GLO_REQUESTS | DED_REQUESTS | {GLO_INITIATE_REQUEST}
_EVENT = 0xC2


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of one frame."""

    name: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One frame: its octets and its layers from the outside in."""

    number: int
    octets: bytes
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBook:
    """What opens ciphered frames; titles are also learnt from the association in the capture."""

    keys: Keys | None = None
    dedicated_key: bytes = field(default=b"", repr=False)
    client_title: bytes = b""
    server_title: bytes = b""


def explain(octets: bytes, book: KeyBook | None = None) -> Iterator[Explained]:
    """
    Yield the frames of a capture: HDLC, TCP wrapper, or one APDU alone.

    Raises: PeerError at the first frame that is corrupt, with `frame` in its evidence.
    """
    talk = _Conversation(book or KeyBook())
    number = 1
    try:
        for frame, layers, apdu in _frames(octets, talk):
            told = list(layers)
            if apdu:
                told += talk.apdu(apdu)
            yield Explained(number=number, octets=frame, layers=tuple(told))
            number += 1
    except PeerError as error:
        error.evidence.setdefault("frame", number)
        raise


_Cut = tuple[bytes, list[Layer], bytes]


def _frames(octets: bytes, talk: "_Conversation") -> Iterator[_Cut]:
    at = 0
    if not octets:
        raise truncated(0)
    while at < len(octets):
        if octets[at] == 0x7E:
            end = _hdlc_end(octets, at)
            frame = octets[at:end]
            yield (frame, *talk.hdlc(frame))
            # the closing flag of one frame may open the next
            shared = end < len(octets) and octets[end] & 0xF0 == 0xA0
            at = end - 1 if shared else end
        elif octets[at : at + 2] == b"\x00\x01":
            end = at + HEADER.size
            if end > len(octets):
                raise truncated(at)
            end += int.from_bytes(octets[at + 6 : at + 8], "big")
            if end > len(octets):
                raise truncated(at)
            (wpdu,) = Unwrapper().feed(octets[at:end])
            fields = {
                "source": wpdu.source,
                "destination": wpdu.destination,
                "octets": len(wpdu.apdu),
            }
            yield octets[at:end], [Layer(name="wrapper", fields=fields)], wpdu.apdu
            at = end
        else:
            yield octets[at:], [], octets[at:]
            return


def _hdlc_end(octets: bytes, at: int) -> int:
    """Return where a frame ends by its length. Raises: PeerError `dlms.truncated` and others."""
    form = int.from_bytes(octets[at + 1 : at + 3], "big")
    end = at + 2 + (form & 0x7FF)
    if form & 0xF000 != 0xA000:
        raise PeerError("hdlc.frame", "no HDLC frame behind its flag", evidence={"offset": at})
    if end > len(octets):
        raise truncated(at)
    return end


class _Conversation:
    """What earlier frames told that later ones need."""

    def __init__(self, book: KeyBook) -> None:
        self._book = book
        self._client_title = book.client_title
        self._server_title = book.server_title
        self._dedicated = book.dedicated_key
        self._asked: tuple[Attribute, ...] = ()
        self._scales = Scales()
        self._segments: dict[tuple[bytes, bytes, int], bytearray] = {}
        self._general: dict[bool, gbt.GeneralReceiver] = {}
        self._incoming = Incoming()
        self._pieces = Incoming()

    def hdlc(self, octets: bytes) -> tuple[list[Layer], bytes]:
        """Return the layers of one frame, and the APDU it completes."""
        frames = Deframer().feed(octets)
        if len(frames) != 1:
            raise PeerError("hdlc.frame", "a check sequence of an HDLC frame is wrong")
        (frame,) = frames
        fields: dict[str, Any] = {
            "destination": _address(frame.destination),
            "source": _address(frame.source),
            "control": f"{frame.control:#04x} {_control_name(frame.control)}",
            "segmented": frame.segmented,
            "octets": len(octets),
        }
        layers = [Layer(name="hdlc", fields=fields)]
        # pushes come unnumbered (UI), all else that holds text comes numbered (I)
        if (frame.control & 1 and frame.control | 0x10 != Unnumbered.UI) or not frame.text:
            return layers, b""
        return layers, self._segment(frame, layers)

    def _segment(self, frame: Frame, layers: list[Layer]) -> bytes:
        way = (frame.source, frame.destination, frame.control & 1)
        parts = self._segments.setdefault(way, bytearray())
        parts += frame.text
        if len(parts) > _LIMIT:
            raise PeerError("dlms.too_long", "segments that never end")
        if frame.segmented:
            return b""
        whole = bytes(parts)
        del self._segments[way]
        kind = _LLC.get(whole[:3])
        if kind is None:
            raise PeerError("hdlc.llc", "no LLC header before the APDU")
        layers.append(Layer(name="llc", fields={"kind": kind}))
        return whole[3:]

    def apdu(self, octets: bytes) -> Iterator[Layer]:
        """Yield the layers of one APDU."""
        tag = octets[0]
        if tag in (acse.AARQ, acse.AARE):
            yield from self._association(octets)
        elif tag in (acse.RLRQ, acse.RLRE):
            acse.decode_release(octets, tag)
            yield Layer(name="release", fields={"kind": "RLRQ" if tag == acse.RLRQ else "RLRE"})
        elif tag == gbt.GENERAL_BLOCK:
            yield from self._general_block(octets)
        elif tag in (GENERAL_GLO, GENERAL_DED) or tag in _GLO | _DED:
            yield from self._ciphered(octets)
        elif tag in (DATA_NOTIFICATION, _EVENT):
            yield self._notification(octets)
        elif tag in (0xC0, 0xC1, 0xC3):
            yield self._request(decode_request(octets))
        else:
            yield self._response(decode_response(octets))

    def _association(self, octets: bytes) -> Iterator[Layer]:
        fields: dict[str, Any]
        if octets[0] == acse.AARQ:
            asked = acse.decode_aarq(octets)
            self._client_title = asked.title or self._client_title
            mechanism, initiate, title = asked.mechanism, asked.initiate, asked.title
            fields = {"kind": "AARQ"}
            proof = asked.authentication
        else:
            told = acse.decode_aare(octets)
            self._server_title = told.title or self._server_title
            mechanism, initiate, title = told.mechanism, told.initiate, told.title
            fields = {"kind": "AARE", "result": told.result, "diagnostic": told.diagnostic}
            proof = told.authentication
        fields["mechanism"] = _mechanism_name(mechanism)
        if title:
            fields["title"] = title.hex()
        if proof:
            hidden = mechanism == acse.Mechanism.LLS
            shown = f"password of {len(proof)} octets" if hidden else proof.hex()
            fields["authentication"] = shown
        yield Layer(name="association", fields=fields)
        if initiate:
            yield from self._initiate(initiate)

    def _initiate(self, octets: bytes) -> Iterator[Layer]:
        if octets[0] in (GLO_INITIATE_REQUEST, GLO_INITIATE_RESPONSE):
            envelope = decode_ciphered(octets, octets[0])
            layer, text = self._open(envelope.sealed, octets[0], b"")
            yield layer
            if text is None:
                return
            octets = text
        told: InitiateRequest | InitiateResponse
        if octets[:1] == bytes((INITIATE_REQUEST,)):
            told = decode_initiate_request(octets)
            self._dedicated = told.dedicated_key or self._dedicated
        else:
            told = decode_initiate_response(octets)
        fields = {
            "conformance": [str(bit.name).lower() for bit in told.conformance],
            "max_pdu": told.max_pdu,
        }
        if isinstance(told, InitiateRequest):
            fields["dedicated_key"] = bool(told.dedicated_key)
        yield Layer(name="initiate", fields=fields)

    def _general_block(self, octets: bytes) -> Iterator[Layer]:
        block = gbt.decode_block(octets)
        yield Layer(
            name="general-block",
            fields={
                "last": block.last,
                "streaming": block.streaming,
                "window": block.window,
                "number": block.number,
                "acknowledged": block.acknowledged,
                "octets": len(block.text),
            },
        )
        if not block.text:
            return
        receiver = self._general.setdefault(True, gbt.GeneralReceiver(limit=_LIMIT))
        whole = receiver.feed(octets).whole
        if whole is not None:
            del self._general[True]
            if not whole or whole[0] == gbt.GENERAL_BLOCK:
                raise PeerError("dlms.blocks", "general blocks that hold no APDU")
            yield from self.apdu(whole)

    def _ciphered(self, octets: bytes) -> Iterator[Layer]:
        envelope = decode_ciphered(octets, octets[0])
        layer, text = self._open(envelope.sealed, envelope.tag, envelope.title)
        yield layer
        if text is not None:
            if not text or text[0] in _GLO | _DED | {GENERAL_GLO, GENERAL_DED, gbt.GENERAL_BLOCK}:
                raise PeerError("dlms.choice", "a ciphered APDU that holds no service")
            yield from self.apdu(text)

    def _open(self, sealed: bytes, tag: int, title: bytes) -> tuple[Layer, bytes | None]:
        control, counter = split_header(sealed, tag=0)
        kind = control & SEALED
        dedicated = tag == GENERAL_DED or tag in _DED
        sender = title or (self._client_title if tag in _FROM_CLIENT else self._server_title)
        fields: dict[str, Any] = {
            "tag": f"{tag:#04x}",
            "title": sender.hex(),
            "security_control": f"{control:#04x}",
            "suite": control & 0x0F,
            "counter": counter,
            "key": "dedicated" if dedicated else "broadcast" if control & 0x40 else "global",
        }
        keys = self._keys(dedicated=dedicated)
        if kind == 0:
            fields["protected"] = False
            return Layer(name="ciphering", fields=fields), sealed[5:]
        missing = "" if keys else "no key was given"
        missing = missing or ("" if len(sender) == 8 else "the sender's title is not known")
        if keys and control & 0x0F != keys.suite:
            missing = f"the key is of suite {keys.suite}"
        if missing or keys is None:
            fields["closed"] = missing
            return Layer(name="ciphering", fields=fields), None
        if kind == ENCRYPTED:
            bare = bytes((ENCRYPTED | keys.suite,)) + sealed[1:]
            _, text = unseal_unproven(keys, sender, bare)
            fields["authenticated"] = False
        else:
            # a broadcast frame names another key, which the book must then hold as its own
            wanted = AUTHENTICATED if kind == AUTHENTICATED else SEALED
            _, text = unseal(keys, sender, sealed, control=wanted | control & 0xC0)
            fields["authenticated"] = True
        return Layer(name="ciphering", fields=fields), text

    def _keys(self, *, dedicated: bool) -> Keys | None:
        keys = self._book.keys
        if keys is None or not dedicated:
            return keys
        if len(self._dedicated) != len(keys.encryption):
            return None
        return Keys(encryption=self._dedicated, authentication=keys.authentication)

    def _notification(self, octets: bytes) -> Layer:
        told = decode_notification(octets)
        at = told.at.isoformat() if told.at else None
        if isinstance(told, DataNotification):
            fields = {"invoke": told.invoke, "at": at, "body": value_of(told.body)}
            return Layer(name="data-notification", fields=fields)
        fields = {"at": at, **self._scales.explain(told.attribute, told.value)}
        return Layer(name="event-notification", fields=fields)

    def _request(self, request: Request) -> Layer:
        fields: dict[str, Any] = {"invoke": request.invoke}
        match request:
            case Get(attributes=attributes):
                self._asked, self._incoming = attributes, Incoming()
                fields["attributes"] = [name_of(attribute) for attribute in attributes]
            case Set(attribute=attribute, value=value):
                fields["attributes"] = [self._scales.explain(attribute, value)]
            case SetList(attributes=names, values=values):
                fields["attributes"] = [
                    self._scales.explain(name, value)
                    for name, value in zip(names, values, strict=True)
                ]
            case Action(method=method, parameter=parameter):
                self._incoming = Incoming()
                fields["methods"] = [name_of(method)]
                fields["parameter"] = None if parameter is None else value_of(parameter)
            case ActionList(methods=names, parameters=values):
                self._incoming = Incoming()
                fields["methods"] = [name_of(name) for name in names]
                fields["parameters"] = [value_of(value) for value in values]
            case SetBlock(attributes=names, block=block) | ActionBlock(methods=names, block=block):
                if names:
                    self._pieces = Incoming()
                    fields["of"] = [name_of(name) for name in names]
                fields |= _block(block)
                self._add(self._pieces, block)
            case _:
                fields["block"] = request.block
        return Layer(name=_words(type(request).__name__), fields=fields)

    def _response(self, response: Response) -> Layer:
        if isinstance(response, ServiceException):
            fields: dict[str, Any] = {"state": response.state, "service": response.service}
            if response.counter is not None:
                fields["counter"] = response.counter
            return Layer(name="exception", fields=fields)
        fields = {"invoke": response.invoke}
        match response:
            case GetAnswer(values=values):
                fields["values"] = self._values(values)
            case GetBlock():
                fields |= self._answer_block(response)
            case SetAnswer(result=result):
                fields["result"] = result.name.lower()
            case SetListAnswer(results=results) | SetEnd(results=results):
                fields["results"] = [result.name.lower() for result in results]
            case ActionAnswer(result=result, returned=returned):
                fields["result"] = result.name.lower()
                fields["returned"] = None if returned is None else got_of(returned)
            case ActionListAnswer(outcomes=outcomes):
                fields["results"] = [outcome.result.name.lower() for outcome in outcomes]
            case ActionAnswerBlock(block=block):
                fields |= _block(block)
            case _:
                fields["block"] = response.block
        return Layer(name=_words(type(response).__name__), fields=fields)

    def _answer_block(self, response: GetBlock) -> dict[str, Any]:
        if response.error:
            return {"number": response.block, "error": response.error}
        block = DataBlock(last=response.last, number=response.block, raw=response.raw)
        fields = _block(block)
        whole = self._add(self._incoming, block)
        if whole is not None and len(self._asked) > 1:
            reader = Octets(whole)
            fields["values"] = self._values(read_results(reader))
        elif whole is not None:
            fields["values"] = self._values((decode_whole(whole),))
        return fields

    @staticmethod
    def _add(incoming: Incoming, block: DataBlock) -> bytes | None:
        """Take a block; a capture may begin in the middle, which is no fault of the frames."""
        if block.number != incoming.number + 1 and incoming.number == 0:
            return None
        return incoming.add(block)

    def _values(self, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        if len(values) == len(self._asked):
            pairs = zip(self._asked, values, strict=True)
            return [self._scales.explain(attribute, got) for attribute, got in pairs]
        return [got_of(got) for got in values]


def _block(block: DataBlock) -> dict[str, Any]:
    return {"number": block.number, "last": block.last, "octets": len(block.raw)}


def _address(octets: bytes) -> str:
    address = decode_address(octets)
    lower = "" if address.physical is None else f"/{address.physical}"
    return f"{address.logical}{lower}"


def _control_name(control: int) -> str:
    if not control & 1:
        return f"I sent {control >> 1 & 7} expects {control >> 5}"
    if control & 0x0F in (0x01, 0x05):
        return f"{'RR' if control & 0x0F == 1 else 'RNR'} expects {control >> 5}"
    names = {0x83: "SNRM", 0x63: "UA", 0x43: "DISC", 0x0F: "DM", 0x87: "FRMR", 0x03: "UI"}
    return names.get(control & 0xEF, "unknown")


def _mechanism_name(mechanism: int) -> str:
    try:
        return acse.Mechanism(mechanism).name.lower()
    except ValueError:
        return str(mechanism)


def _words(name: str) -> str:
    """Return `get-answer` for `GetAnswer`."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]
