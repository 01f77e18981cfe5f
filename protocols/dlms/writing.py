"""
SET and ACTION, whole, in lists and in blocks, asked and answered.

    C1 set request     01 normal  02 first block  03 block  04 list  05 list with first block
    C5 set response    01 normal  02 go on        03 last block  04 last block of a list  05 list
    C3 action request  01 normal  02 next answer block  03 list  04 first block
                       05 list with first block  06 block
    C7 action response 01 normal  02 block  03 list  04 go on

The text that blocks of one SET or ACTION carry is the value alone; of a list, the values behind
their count; of an answer, what would stand behind the invoke id if it fitted.
*Source*: IEC 62056-5-3 clauses 6.9, 6.10, 7.3 and Annex A.
"""

from dataclasses import dataclass
from typing import NamedTuple

from protocols.dlms import reference
from protocols.dlms.axdr import encode
from protocols.dlms.leaf import write_length
from protocols.dlms.octets import Octets
from protocols.dlms.reference import Access, Attribute, DataBlock, Got
from protocols.dlms.values import NULL, Value
from protocols.errors import PeerError

SET_REQUEST, ACTION_REQUEST = 0xC1, 0xC3
SET_RESPONSE, ACTION_RESPONSE = 0xC5, 0xC7


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """Write one attribute."""

    invoke: int
    attribute: Attribute
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class SetList:
    """Write several attributes; each is taken or refused by itself."""

    invoke: int
    attributes: tuple[Attribute, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetBlock:
    """A piece of a long SET; the first names the attributes, the others none."""

    invoke: int
    attributes: tuple[Attribute, ...] = ()
    listed: bool = False
    block: DataBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Invoke one method."""

    invoke: int
    method: Attribute
    parameter: Value | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionList:
    """Invoke several methods in order; a method without parameter has a null."""

    invoke: int
    methods: tuple[Attribute, ...]
    parameters: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionBlock:
    """A piece of an ACTION's long parameter; the first names the methods, the others none."""

    invoke: int
    methods: tuple[Attribute, ...] = ()
    listed: bool = False
    block: DataBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionNext:
    """Ask for the block of the answer after `block`."""

    invoke: int
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAnswer:
    """What came of a SET."""

    invoke: int
    result: Access


@dataclass(frozen=True, slots=True, kw_only=True)
class SetListAnswer:
    """What came of each of a list."""

    invoke: int
    results: tuple[Access, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetGoOn:
    """The piece `block` has come; send the next."""

    invoke: int
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetEnd:
    """What came of a SET in pieces, of which `block` was the last."""

    invoke: int
    block: int
    results: tuple[Access, ...]
    listed: bool = False


class Outcome(NamedTuple):
    """What came of one method: its result, and what it returned if it returns anything."""

    result: Access
    returned: Got | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionAnswer:
    """What came of an ACTION, and what the method returned."""

    invoke: int
    result: Access
    returned: Got | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionListAnswer:
    """What came of each of a list."""

    invoke: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionAnswerBlock:
    """A piece of a long answer."""

    invoke: int
    block: DataBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionGoOn:
    """The piece `block` of the parameter has come; send the next."""

    invoke: int
    block: int


WriteRequest = Set | SetList | SetBlock | Action | ActionList | ActionBlock | ActionNext
WriteResponse = (
    SetAnswer | SetListAnswer | SetGoOn | SetEnd
    | ActionAnswer | ActionListAnswer | ActionAnswerBlock | ActionGoOn
)  # fmt: skip


def _selected(attributes: tuple[Attribute, ...]) -> bytes:
    listed = [item.encode() + item.encode_selection() for item in attributes]
    return write_length(reference.check_count(len(attributes))) + b"".join(listed)


def _methods(methods: tuple[Attribute, ...]) -> bytes:
    return write_length(reference.check_count(len(methods))) + b"".join(
        item.encode() for item in methods
    )


def encode_write(request: WriteRequest) -> bytes:
    """Return the octets of a request."""
    match request:
        case Set() | SetList() | SetBlock():
            return _encode_set(request)
        case _:
            return _encode_action(request)


def _encode_set(request: Set | SetList | SetBlock) -> bytes:
    invoke = request.invoke
    match request:
        case Set(attribute=attribute):
            head = reference.head_of(SET_REQUEST, 1, invoke) + attribute.encode()
            return head + attribute.encode_selection() + encode(request.value)
        case SetList():
            head = reference.head_of(SET_REQUEST, 4, invoke) + _selected(request.attributes)
            return head + reference.encode_values(request.values)
        case SetBlock(listed=True):
            head = reference.head_of(SET_REQUEST, 5, invoke) + _selected(request.attributes)
        case SetBlock(attributes=(attribute,)):
            head = reference.head_of(SET_REQUEST, 2, invoke) + attribute.encode()
            head += attribute.encode_selection()
        case SetBlock():
            head = reference.head_of(SET_REQUEST, 3, invoke)
    return head + request.block.encode()


def _encode_action(request: Action | ActionList | ActionBlock | ActionNext) -> bytes:
    invoke = request.invoke
    match request:
        case Action():
            head = reference.head_of(ACTION_REQUEST, 1, invoke) + request.method.encode()
            if request.parameter is None:
                return head + b"\x00"
            return head + b"\x01" + encode(request.parameter)
        case ActionList():
            head = reference.head_of(ACTION_REQUEST, 3, invoke) + _methods(request.methods)
            return head + reference.encode_values(request.parameters)
        case ActionNext():
            return reference.head_of(ACTION_REQUEST, 2, invoke) + request.block.to_bytes(4, "big")
        case ActionBlock(listed=True):
            head = reference.head_of(ACTION_REQUEST, 5, invoke) + _methods(request.methods)
        case ActionBlock(methods=(method,)):
            head = reference.head_of(ACTION_REQUEST, 4, invoke) + method.encode()
        case ActionBlock():
            head = reference.head_of(ACTION_REQUEST, 6, invoke)
    return head + request.block.encode()


def read_write(reader: Octets, tag: int) -> WriteRequest:
    """Return a request whose tag has been read. Raises: PeerError as decoding."""
    return _read_set(reader) if tag == SET_REQUEST else _read_action(reader)


def _read_set(reader: Octets) -> Set | SetList | SetBlock:
    kind = reader.choice(1, 2, 3, 4, 5)
    invoke = reference.read_invoke(reader)
    if kind == 1:
        attribute = reference.read_selected(reader)
        return Set(invoke=invoke, attribute=attribute, value=reader.value())
    if kind == 2:
        attributes: tuple[Attribute, ...] = (reference.read_selected(reader),)
    elif kind == 3:
        attributes = ()
    else:
        count = reference.check_count(reader.length())
        attributes = tuple(reference.read_selected(reader) for _ in range(count))
    if kind == 4:
        values = reference.read_values(reader)
        if len(values) != len(attributes):
            raise PeerError("dlms.list", f"{len(attributes)} attributes, {len(values)} values")
        return SetList(invoke=invoke, attributes=attributes, values=values)
    block = reference.read_block(reader)
    return SetBlock(invoke=invoke, attributes=attributes, listed=kind == 5, block=block)


def _read_action(reader: Octets) -> Action | ActionList | ActionBlock | ActionNext:
    kind = reader.choice(1, 2, 3, 4, 5, 6)
    invoke = reference.read_invoke(reader)
    if kind == 1:
        method = reference.read_attribute(reader)
        parameter = reader.value() if reader.choice(0, 1) else None
        return Action(invoke=invoke, method=method, parameter=parameter)
    if kind == 2:
        return ActionNext(invoke=invoke, block=reader.number(4))
    if kind == 4:
        methods: tuple[Attribute, ...] = (reference.read_attribute(reader),)
    elif kind == 6:
        methods = ()
    else:
        count = reference.check_count(reader.length())
        methods = tuple(reference.read_attribute(reader) for _ in range(count))
    if kind == 3:
        parameters = reference.read_values(reader)
        if len(parameters) != len(methods):
            raise PeerError("dlms.list", f"{len(methods)} methods, {len(parameters)} parameters")
        return ActionList(invoke=invoke, methods=methods, parameters=parameters)
    block = reference.read_block(reader)
    return ActionBlock(invoke=invoke, methods=methods, listed=kind == 5, block=block)


def encode_outcome(outcome: Outcome) -> bytes:
    """Return an Action-Response-With-Optional-Data."""
    head = bytes((outcome.result,))
    if outcome.returned is None:
        return head + b"\x00"
    return head + b"\x01" + reference.encode_got(outcome.returned)


def encode_outcomes(outcomes: tuple[Outcome, ...]) -> bytes:
    """Return outcomes behind their count."""
    return write_length(len(outcomes)) + b"".join(encode_outcome(one) for one in outcomes)


def _encode_results(results: tuple[Access, ...]) -> bytes:
    return write_length(len(results)) + bytes(results)


def encode_written(response: WriteResponse) -> bytes:
    """Return the octets of an answer."""
    invoke = response.invoke
    match response:
        case SetAnswer():
            return reference.head_of(SET_RESPONSE, 1, invoke) + bytes((response.result,))
        case SetGoOn():
            return reference.head_of(SET_RESPONSE, 2, invoke) + response.block.to_bytes(4, "big")
        case SetEnd(listed=False, results=(result,)):
            head = reference.head_of(SET_RESPONSE, 3, invoke) + bytes((result,))
            return head + response.block.to_bytes(4, "big")
        case SetEnd():
            head = reference.head_of(SET_RESPONSE, 4, invoke) + _encode_results(response.results)
            return head + response.block.to_bytes(4, "big")
        case SetListAnswer():
            return reference.head_of(SET_RESPONSE, 5, invoke) + _encode_results(response.results)
        case ActionAnswer():
            outcome = Outcome(response.result, response.returned)
            return reference.head_of(ACTION_RESPONSE, 1, invoke) + encode_outcome(outcome)
        case ActionAnswerBlock():
            return reference.head_of(ACTION_RESPONSE, 2, invoke) + response.block.encode()
        case ActionListAnswer():
            return reference.head_of(ACTION_RESPONSE, 3, invoke) + encode_outcomes(
                response.outcomes
            )
        case ActionGoOn():
            return reference.head_of(ACTION_RESPONSE, 4, invoke) + response.block.to_bytes(4, "big")


def read_outcome(reader: Octets) -> Outcome:
    """Return an Action-Response-With-Optional-Data."""
    result = reference.access(reader.number(1))
    return Outcome(result, reference.read_got(reader) if reader.choice(0, 1) else None)


def read_outcomes(reader: Octets) -> tuple[Outcome, ...]:
    """Return outcomes that stand behind their count. Raises: PeerError `dlms.list`."""
    return tuple(read_outcome(reader) for _ in range(reference.check_count(reader.length())))


def outcome_of_text(text: bytes) -> Outcome:
    """
    Return the outcome that came in blocks.

    Meters differ: some send the whole answer, some the returned value alone.
    Raises: PeerError as decoding.
    """
    reader = Octets(text)
    try:
        outcome = read_outcome(reader)
        reader.end()
    except PeerError:
        reader = Octets(text)
        outcome = Outcome(Access.SUCCESS, reader.value())
        reader.end()
    return outcome


def _read_results(reader: Octets) -> tuple[Access, ...]:
    return tuple(
        reference.access(reader.number(1)) for _ in range(reference.check_count(reader.length()))
    )


def read_written(reader: Octets, tag: int) -> WriteResponse:
    """Return an answer whose tag has been read. Raises: PeerError as decoding."""
    return _read_set_answer(reader) if tag == SET_RESPONSE else _read_action_answer(reader)


def _read_set_answer(reader: Octets) -> WriteResponse:
    kind = reader.choice(1, 2, 3, 4, 5)
    invoke = reference.read_invoke(reader)
    if kind == 1:
        return SetAnswer(invoke=invoke, result=reference.access(reader.number(1)))
    if kind == 2:
        return SetGoOn(invoke=invoke, block=reader.number(4))
    if kind == 3:
        results: tuple[Access, ...] = (reference.access(reader.number(1)),)
    else:
        results = _read_results(reader)
    if kind == 5:
        return SetListAnswer(invoke=invoke, results=results)
    return SetEnd(invoke=invoke, block=reader.number(4), results=results, listed=kind == 4)


def _read_action_answer(reader: Octets) -> WriteResponse:
    kind = reader.choice(1, 2, 3, 4)
    invoke = reference.read_invoke(reader)
    if kind == 1:
        outcome = read_outcome(reader)
        return ActionAnswer(invoke=invoke, result=outcome.result, returned=outcome.returned)
    if kind == 2:
        return ActionAnswerBlock(invoke=invoke, block=reference.read_block(reader))
    if kind == 3:
        return ActionListAnswer(invoke=invoke, outcomes=read_outcomes(reader))
    return ActionGoOn(invoke=invoke, block=reader.number(4))


def parameter_or_null(parameter: Value | None) -> Value:
    """Return what a list or a block holds for a method that takes nothing."""
    return NULL if parameter is None else parameter
