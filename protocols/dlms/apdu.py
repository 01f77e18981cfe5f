"""
xDLMS services: what a client asks and what a server answers, in both directions.

    C0 get request     01 normal  02 next block  03 with list
    C4 get response    01 normal  02 block       03 with list
    C1/C5 set, C3/C7 action                      see `writing`
    D8 exception       state, service, and for service 6 the counter that the server stands at

*Source*: IEC 62056-5-3 clause 7.3 and Annex E (GET, SET, ACTION, exception-response).
"""

from dataclasses import dataclass
from enum import IntEnum

from protocols.dlms.leaf import write_length
from protocols.dlms.octets import Octets
from protocols.dlms.reference import (
    MAX_LIST,
    Access,
    Attribute,
    DataBlock,
    Got,
    access,
    check_count,
    encode_got,
    head_of,
    read_got,
    read_invoke,
    read_selected,
)
from protocols.dlms.writing import (
    ACTION_REQUEST,
    ACTION_RESPONSE,
    SET_REQUEST,
    SET_RESPONSE,
    Action,
    ActionAnswer,
    Set,
    SetAnswer,
    WriteRequest,
    WriteResponse,
    encode_write,
    encode_written,
    read_write,
    read_written,
)

__all__ = [
    "ACTION_REQUEST",
    "ACTION_RESPONSE",
    "BLOCK",
    "EXCEPTION",
    "GET_REQUEST",
    "GET_RESPONSE",
    "LIST",
    "MAX_LIST",
    "NORMAL",
    "SET_REQUEST",
    "SET_RESPONSE",
    "VALUE_AT",
    "Access",
    "Action",
    "ActionAnswer",
    "Attribute",
    "DataBlock",
    "ExceptionService",
    "ExceptionState",
    "Get",
    "GetAnswer",
    "GetBlock",
    "GetNext",
    "Got",
    "Request",
    "Response",
    "ServiceException",
    "Set",
    "SetAnswer",
    "access",
    "decode_request",
    "decode_response",
    "encode_got",
    "encode_request",
    "encode_response",
    "encode_results",
    "is_plain_value",
    "read_results",
]

GET_REQUEST, GET_RESPONSE = 0xC0, 0xC4
EXCEPTION = 0xD8
NORMAL, BLOCK, LIST = 1, 2, 3
VALUE_AT = 4
_VALUE_HEAD = bytes((GET_RESPONSE, NORMAL))


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
class GetBlock:
    """One block of a long answer; `error` ends the transfer."""

    invoke: int
    last: bool
    block: int
    raw: bytes = b""
    error: int = Access.SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAnswer:
    """The values in the order asked; `listed` tells the form they came in."""

    invoke: int
    values: tuple[Got, ...]
    listed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceException:
    """The server could not take the request at all; the association stays usable."""

    state: int
    service: int
    counter: int | None = None


Request = Get | GetNext | WriteRequest
Response = GetAnswer | GetBlock | ServiceException | WriteResponse


def encode_request(request: Request) -> bytes:
    """Return the octets of a request. Raises: ValueError on an empty or too long list."""
    match request:
        case Get(attributes=(attribute,)):
            head = head_of(GET_REQUEST, NORMAL, request.invoke)
            return head + attribute.encode() + attribute.encode_selection()
        case Get():
            count = len(request.attributes)
            if not 1 <= count <= MAX_LIST:
                raise ValueError(f"a GET asks for 1..{MAX_LIST} attributes, not {count}")
            head = head_of(GET_REQUEST, LIST, request.invoke)
            listed = [item.encode() + item.encode_selection() for item in request.attributes]
            return head + write_length(count) + b"".join(listed)
        case GetNext():
            head = head_of(GET_REQUEST, BLOCK, request.invoke)
            return head + request.block.to_bytes(4, "big")
        case _:
            return encode_write(request)


def encode_response(response: Response) -> bytes:
    """Return the octets of an answer."""
    match response:
        case GetAnswer(listed=False, values=(got,)):
            return head_of(GET_RESPONSE, NORMAL, response.invoke) + encode_got(got)
        case GetAnswer():
            head = head_of(GET_RESPONSE, LIST, response.invoke)
            return head + encode_results(response.values)
        case GetBlock():
            head = head_of(GET_RESPONSE, BLOCK, response.invoke)
            head += bytes((response.last,)) + response.block.to_bytes(4, "big")
            if response.error:
                return head + bytes((1, response.error))
            return head + b"\x00" + write_length(len(response.raw)) + response.raw
        case ServiceException():
            head = bytes((EXCEPTION, response.state, response.service))
            return head if response.counter is None else head + response.counter.to_bytes(4, "big")
        case _:
            return encode_written(response)


def encode_results(values: tuple[Got, ...]) -> bytes:
    """Return a list of Get-Data-Results with its count: the body of a list, blocked or not."""
    return write_length(len(values)) + b"".join(encode_got(got) for got in values)


def read_results(reader: Octets) -> tuple[Got, ...]:
    """Return a list of Get-Data-Results. Raises: PeerError `dlms.list`, others as decoding."""
    return tuple(read_got(reader) for _ in range(check_count(reader.length())))


def _read_get(reader: Octets) -> Get | GetNext:
    kind = reader.choice(NORMAL, BLOCK, LIST)
    invoke = read_invoke(reader)
    if kind == NORMAL:
        return Get(invoke=invoke, attributes=(read_selected(reader),))
    if kind == BLOCK:
        return GetNext(invoke=invoke, block=reader.number(4))
    count = check_count(reader.length())
    return Get(invoke=invoke, attributes=tuple(read_selected(reader) for _ in range(count)))


def decode_request(octets: bytes) -> Request:
    """Return a request. Raises: PeerError on octets that are none, or are one we do not offer."""
    reader = Octets(octets)
    tag = reader.choice(GET_REQUEST, SET_REQUEST, ACTION_REQUEST)
    request: Request = _read_get(reader) if tag == GET_REQUEST else read_write(reader, tag)
    reader.end()
    return request


def _read_get_response(reader: Octets) -> GetAnswer | GetBlock:
    kind = reader.choice(NORMAL, BLOCK, LIST)
    invoke = read_invoke(reader)
    if kind == NORMAL:
        return GetAnswer(invoke=invoke, values=(read_got(reader),))
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
        response = read_written(reader, tag)
    reader.end()
    return response
