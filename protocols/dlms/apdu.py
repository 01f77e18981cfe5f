"""
xDLMS services: what a client asks and what a server answers, in both directions.

    C0 get request     01 normal  02 next block  03 with list
    C4 get response    01 normal  02 block       03 with list
    C1/C5 set          01 normal
    C3/C7 action       01 normal, the answer with or without a return value
    D8 exception       state, service, and for service 6 the counter that the server stands at

Blocks of requests, SET and ACTION lists are not spoken: the conformance block does not offer them.
*Source*: IEC 62056-5-3 clause 7.3 and Annex E (GET, SET, ACTION, exception-response).
"""

from dataclasses import dataclass
from enum import IntEnum

from protocols.dlms.axdr import encode
from protocols.dlms.leaf import write_length
from protocols.dlms.obis import Obis, obis_text
from protocols.dlms.octets import Octets
from protocols.dlms.values import Value
from protocols.errors import PeerError

GET_REQUEST, SET_REQUEST, ACTION_REQUEST = 0xC0, 0xC1, 0xC3
GET_RESPONSE, SET_RESPONSE, ACTION_RESPONSE = 0xC4, 0xC5, 0xC7
EXCEPTION = 0xD8
NORMAL, BLOCK, LIST = 1, 2, 3
MAX_LIST = 64
VALUE_AT = 4
_VALUE_HEAD = bytes((GET_RESPONSE, NORMAL))
_CONFIRMED_HIGH = 0xC0
"""Invoke-id-and-priority octet: confirmed service, high priority; the low four bits number it."""


class Access(IntEnum):
    """Data-Access-Result and, with the same numbers, Action-Result."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    DENIED = 3
    UNDEFINED = 4
    CLASS_INCONSISTENT = 9
    UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_VIOLATED = 13
    BLOCK_UNAVAILABLE = 14
    LONG_GET_ABORTED = 15
    NO_LONG_GET = 16
    BLOCK_NUMBER_INVALID = 19
    OTHER = 250


class ExceptionService(IntEnum):
    """The service-error of an exception-response."""

    IMPOSSIBLE = 1
    UNSUPPORTED = 2
    OTHER = 3
    PDU_TOO_LONG = 4
    DECIPHERING = 5
    INVOCATION_COUNTER = 6


class ExceptionState(IntEnum):
    """The state-error of an exception-response."""

    NOT_ALLOWED = 1
    UNKNOWN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute (or method) of one object, with selective access where wanted."""

    class_id: int
    name: Obis
    index: int
    selector: int = 0
    selection: Value | None = None

    def __str__(self) -> str:
        """Return `3/1-0:1.8.0*255/2`."""
        return f"{self.class_id}/{obis_text(self.name)}/{self.index}"

    def encode(self) -> bytes:
        """Return class, name and index; selective access follows apart."""
        return self.class_id.to_bytes(2, "big") + self.name + bytes((self.index,))

    def encode_selection(self) -> bytes:
        """Return the optional selector and its parameter."""
        if self.selection is None:
            return b"\x00"
        return bytes((1, self.selector)) + encode(self.selection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Get:
    """Ask for attributes: one is normal, more are a list."""

    invoke: int
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetNext:
    """Ask for the block after `block`."""

    invoke: int
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """Write one attribute."""

    invoke: int
    attribute: Attribute
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Invoke one method."""

    invoke: int
    method: Attribute
    parameter: Value | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBlock:
    """One block of a long answer; `error` ends the transfer."""

    invoke: int
    last: bool
    block: int
    raw: bytes = b""
    error: int = Access.SUCCESS


Got = Value | Access
"""One attribute's value, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAnswer:
    """The values in the order asked; `listed` tells the form they came in."""

    invoke: int
    values: tuple[Got, ...]
    listed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAnswer:
    """What came of a SET."""

    invoke: int
    result: Access


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionAnswer:
    """What came of an ACTION, and what the method returned."""

    invoke: int
    result: Access
    returned: Got | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceException:
    """The server could not take the request at all; the association stays usable."""

    state: int
    service: int
    counter: int | None = None


Request = Get | GetNext | Set | Action
Response = GetAnswer | GetBlock | SetAnswer | ActionAnswer | ServiceException


def access(code: int) -> Access:
    """Return the result, an unknown code as OTHER: no meter's private code may break a read."""
    try:
        return Access(code)
    except ValueError:
        return Access.OTHER


def _head(tag: int, kind: int, invoke: int) -> bytes:
    return bytes((tag, kind, _CONFIRMED_HIGH | (invoke & 0x0F)))


def encode_request(request: Request) -> bytes:
    """Return the octets of a request. Raises: ValueError on an empty or too long list."""
    match request:
        case Get(attributes=(attribute,)):
            head = _head(GET_REQUEST, NORMAL, request.invoke)
            return head + attribute.encode() + attribute.encode_selection()
        case Get():
            count = len(request.attributes)
            if not 1 <= count <= MAX_LIST:
                raise ValueError(f"a GET asks for 1..{MAX_LIST} attributes, not {count}")
            head = _head(GET_REQUEST, LIST, request.invoke)
            listed = [item.encode() + item.encode_selection() for item in request.attributes]
            return head + write_length(count) + b"".join(listed)
        case GetNext():
            head = _head(GET_REQUEST, BLOCK, request.invoke)
            return head + request.block.to_bytes(4, "big")
        case Set():
            attribute = request.attribute
            head = _head(SET_REQUEST, NORMAL, request.invoke) + attribute.encode()
            return head + attribute.encode_selection() + encode(request.value)
        case Action():
            head = _head(ACTION_REQUEST, NORMAL, request.invoke) + request.method.encode()
            if request.parameter is None:
                return head + b"\x00"
            return head + b"\x01" + encode(request.parameter)


def encode_got(got: Got) -> bytes:
    """Return a Get-Data-Result: `00` and the value, or `01` and the reason."""
    return bytes((1, got)) if isinstance(got, Access) else b"\x00" + encode(got)


def encode_response(response: Response) -> bytes:
    """Return the octets of an answer."""
    match response:
        case GetAnswer(listed=False, values=(got,)):
            return _head(GET_RESPONSE, NORMAL, response.invoke) + encode_got(got)
        case GetAnswer():
            head = _head(GET_RESPONSE, LIST, response.invoke)
            return head + encode_results(response.values)
        case GetBlock():
            head = _head(GET_RESPONSE, BLOCK, response.invoke)
            head += bytes((response.last,)) + response.block.to_bytes(4, "big")
            if response.error:
                return head + bytes((1, response.error))
            return head + b"\x00" + write_length(len(response.raw)) + response.raw
        case SetAnswer():
            return _head(SET_RESPONSE, NORMAL, response.invoke) + bytes((response.result,))
        case ActionAnswer():
            head = _head(ACTION_RESPONSE, NORMAL, response.invoke) + bytes((response.result,))
            if response.returned is None:
                return head + b"\x00"
            return head + b"\x01" + encode_got(response.returned)
        case ServiceException():
            head = bytes((EXCEPTION, response.state, response.service))
            return head if response.counter is None else head + response.counter.to_bytes(4, "big")


def encode_results(values: tuple[Got, ...]) -> bytes:
    """Return a list of Get-Data-Results with its count: the body of a list, blocked or not."""
    return write_length(len(values)) + b"".join(encode_got(got) for got in values)


def _read_attribute(reader: Octets) -> Attribute:
    class_id = reader.number(2)
    return Attribute(class_id=class_id, name=Obis(reader.take(6)), index=reader.number(1))


def _read_selected(reader: Octets) -> Attribute:
    plain = _read_attribute(reader)
    if not reader.choice(0, 1):
        return plain
    return Attribute(
        class_id=plain.class_id,
        name=plain.name,
        index=plain.index,
        selector=reader.number(1),
        selection=reader.value(),
    )


def _read_got(reader: Octets) -> Got:
    return access(reader.number(1)) if reader.choice(0, 1) else reader.value()


def read_results(reader: Octets) -> tuple[Got, ...]:
    """Return a list of Get-Data-Results. Raises: PeerError `dlms.list`, others as decoding."""
    count = reader.length()
    if not 1 <= count <= MAX_LIST:
        raise PeerError("dlms.list", f"a list of {count} results")
    return tuple(_read_got(reader) for _ in range(count))


def _read_get(reader: Octets) -> Get | GetNext:
    kind = reader.choice(NORMAL, BLOCK, LIST)
    invoke = reader.number(1) & 0x0F
    if kind == NORMAL:
        return Get(invoke=invoke, attributes=(_read_selected(reader),))
    if kind == BLOCK:
        return GetNext(invoke=invoke, block=reader.number(4))
    count = reader.length()
    if not 1 <= count <= MAX_LIST:
        raise PeerError("dlms.list", f"a list of {count} attributes")
    return Get(invoke=invoke, attributes=tuple(_read_selected(reader) for _ in range(count)))


def decode_request(octets: bytes) -> Request:
    """Return a request. Raises: PeerError on octets that are none, or are one we do not offer."""
    reader = Octets(octets)
    tag = reader.choice(GET_REQUEST, SET_REQUEST, ACTION_REQUEST)
    request: Request
    if tag == GET_REQUEST:
        request = _read_get(reader)
    else:
        reader.choice(NORMAL)
        invoke = reader.number(1) & 0x0F
        if tag == SET_REQUEST:
            attribute = _read_selected(reader)
            request = Set(invoke=invoke, attribute=attribute, value=reader.value())
        else:
            method = _read_attribute(reader)
            parameter = reader.value() if reader.choice(0, 1) else None
            request = Action(invoke=invoke, method=method, parameter=parameter)
    reader.end()
    return request


def _read_get_response(reader: Octets) -> GetAnswer | GetBlock:
    kind = reader.choice(NORMAL, BLOCK, LIST)
    invoke = reader.number(1) & 0x0F
    if kind == NORMAL:
        return GetAnswer(invoke=invoke, values=(_read_got(reader),))
    if kind == LIST:
        return GetAnswer(invoke=invoke, values=read_results(reader), listed=True)
    last, block = bool(reader.number(1)), reader.number(4)
    if reader.choice(0, 1):
        error = access(reader.number(1)) or Access.OTHER
        return GetBlock(invoke=invoke, last=True, block=block, error=error)
    return GetBlock(invoke=invoke, last=last, block=block, raw=reader.string())


def is_plain_value(octets: bytes) -> bool:
    """Tell whether this is a normal GET answer that holds a value, which begins at `VALUE_AT`."""
    return len(octets) > VALUE_AT and octets[:2] == _VALUE_HEAD and octets[3] == 0


def _read_exception(reader: Octets) -> ServiceException:
    state, service = reader.number(1), reader.number(1)
    counter = reader.number(4) if service == ExceptionService.INVOCATION_COUNTER else None
    return ServiceException(state=state, service=service, counter=counter)


def decode_response(octets: bytes) -> Response:
    """Return an answer. Raises: PeerError on octets that are none."""
    reader = Octets(octets)
    tag = reader.choice(GET_RESPONSE, SET_RESPONSE, ACTION_RESPONSE, EXCEPTION)
    response: Response
    if tag == GET_RESPONSE:
        response = _read_get_response(reader)
    elif tag == EXCEPTION:
        response = _read_exception(reader)
    else:
        reader.choice(NORMAL)
        invoke, result = reader.number(1) & 0x0F, access(reader.number(1))
        if tag == SET_RESPONSE:
            response = SetAnswer(invoke=invoke, result=result)
        else:
            returned = _read_got(reader) if reader.choice(0, 1) else None
            response = ActionAnswer(invoke=invoke, result=result, returned=returned)
    reader.end()
    return response
