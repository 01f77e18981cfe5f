"""
What a server does with a request: asks its device, cuts long answers, puts long requests together.

No association and no ciphering here. A refusal is an answer; nothing a client sends raises but
PeerError on a text that does not decode, and then nothing has been done.
*Source*: IEC 62056-5-3 clauses 6.8 to 6.10.
"""

from dataclasses import dataclass
from typing import Protocol

from protocols.dlms import writing
from protocols.dlms.apdu import (
    Access,
    Action,
    ActionAnswer,
    Attribute,
    Get,
    GetAnswer,
    GetBlock,
    GetNext,
    Got,
    Request,
    Response,
    Set,
    SetAnswer,
    encode_response,
    encode_results,
)
from protocols.dlms.axdr import decode_whole, encode
from protocols.dlms.initiate import Conformance
from protocols.dlms.octets import Octets
from protocols.dlms.reference import read_values
from protocols.dlms.transfer import BLOCK_HEAD, Incoming, Outgoing
from protocols.dlms.values import NULL, Tag, Value
from protocols.errors import PeerError

_MAX_REQUEST = 1_048_576


class AccessRefusedError(Exception):
    """The device has no such attribute, or not for this client, or cannot give it now."""

    def __init__(self, result: Access) -> None:
        """Keep the result that the client is told."""
        super().__init__(result.name)
        self.result = result


class Device(Protocol):
    """What stands behind one association; every call raises `AccessRefusedError` to refuse."""

    def get(self, attributes: tuple[Attribute, ...], /) -> tuple[Got, ...]:
        """Return the values of one request, all of one instant, refusals among them."""
        ...

    def set(self, attribute: Attribute, value: Value, /) -> None:
        """Write an attribute."""
        ...

    def act(self, method: Attribute, parameter: Value | None, /) -> Value | None:
        """Invoke a method and return what it returns."""
        ...


@dataclass(slots=True, kw_only=True)
class _Long:
    """A request that comes in pieces."""

    first: writing.SetBlock | writing.ActionBlock
    incoming: Incoming


class Serving:
    """The requests of one association, one after another."""

    def __init__(self, device: Device) -> None:
        """Begin with no transfer under way."""
        self._device = device
        self._answer: Outgoing | None = None
        self._long: _Long | None = None

    def answer(self, request: Request, *, room: int, granted: Conformance) -> Response:
        """Return the answer to one request, of at most `room` octets. Raises: PeerError."""
        match request:
            case GetNext() | writing.ActionNext():
                return self._next_block(request, room)
            case writing.SetBlock() | writing.ActionBlock():
                return self._on_piece(request, room, granted)
            case _:
                self._answer = self._long = None
                return self._fit(self._carry_out(request), room, granted)

    def _carry_out(self, request: Request) -> Response:
        invoke = request.invoke
        match request:
            case Get(attributes=attributes):
                values = self._device.get(attributes)
                return GetAnswer(invoke=invoke, values=values, listed=len(attributes) > 1)
            case Set():
                return SetAnswer(invoke=invoke, result=self._set(request.attribute, request.value))
            case writing.SetList():
                results = tuple(
                    self._set(attribute, value)
                    for attribute, value in zip(request.attributes, request.values, strict=True)
                )
                return writing.SetListAnswer(invoke=invoke, results=results)
            case Action():
                result, returned = self._act(request.method, request.parameter)
                return ActionAnswer(invoke=invoke, result=result, returned=returned)
            case writing.ActionList():
                outcomes = tuple(
                    self._act(method, None if parameter == NULL else parameter)
                    for method, parameter in zip(request.methods, request.parameters, strict=True)
                )
                return writing.ActionListAnswer(invoke=invoke, outcomes=outcomes)
            case _:
                raise RuntimeError("a block is no whole request")

    def _set(self, attribute: Attribute, value: Value) -> Access:
        try:
            self._device.set(attribute, value)
        except AccessRefusedError as refused:
            return refused.result
        return Access.SUCCESS

    def _act(self, method: Attribute, parameter: Value | None) -> writing.Outcome:
        try:
            return writing.Outcome(Access.SUCCESS, self._device.act(method, parameter))
        except AccessRefusedError as refused:
            return writing.Outcome(refused.result)

    def _fit(self, response: Response, room: int, granted: Conformance) -> Response:
        """Return the answer, or its first block when it is too long for the client."""
        if len(encode_response(response)) <= room:
            return response
        size = room - BLOCK_HEAD
        match response:
            case GetAnswer(listed=False, values=(Value() as value,)):
                self._answer = Outgoing(encode(value), size=size)
                return self._next_block(GetNext(invoke=response.invoke, block=0), room)
            case GetAnswer():
                self._answer = Outgoing(encode_results(response.values), size=size)
                return self._next_block(GetNext(invoke=response.invoke, block=0), room)
            case ActionAnswer() if Conformance.BLOCK_ACTION in granted:
                text = writing.encode_outcome(writing.Outcome(response.result, response.returned))
            case writing.ActionListAnswer() if Conformance.BLOCK_ACTION in granted:
                text = writing.encode_outcomes(response.outcomes)
            case ActionAnswer():
                return ActionAnswer(invoke=response.invoke, result=Access.OTHER)
            case _:
                raise PeerError("dlms.too_long", "an answer that the client cannot take")
        self._answer = Outgoing(text, size=size)
        return self._next_block(writing.ActionNext(invoke=response.invoke, block=0), room)

    def _next_block(self, request: GetNext | writing.ActionNext, room: int) -> Response:
        invoke, answer = request.invoke, self._answer
        if answer is None or answer.done:
            return _aborted(request, Access.NO_LONG_GET)
        if request.block != answer.number or room <= BLOCK_HEAD:
            self._answer = None
            return _aborted(request, Access.BLOCK_NUMBER_INVALID)
        block = answer.next()
        if isinstance(request, writing.ActionNext):
            return writing.ActionAnswerBlock(invoke=invoke, block=block)
        return GetBlock(invoke=invoke, last=block.last, block=block.number, raw=block.raw)

    def _on_piece(
        self, piece: writing.SetBlock | writing.ActionBlock, room: int, granted: Conformance
    ) -> Response:
        self._answer = None
        names = piece.attributes if isinstance(piece, writing.SetBlock) else piece.methods
        if names:
            self._long = _Long(first=piece, incoming=Incoming(limit=_MAX_REQUEST))
        long = self._long
        if long is None or type(long.first) is not type(piece):
            return _piece_refused(piece, Access.NO_LONG_SET)
        try:
            text = long.incoming.add(piece.block)
        except PeerError:
            self._long = None
            return _piece_refused(piece, Access.BLOCK_NUMBER_INVALID)
        if text is None:
            number = piece.block.number
            if isinstance(piece, writing.SetBlock):
                return writing.SetGoOn(invoke=piece.invoke, block=number)
            return writing.ActionGoOn(invoke=piece.invoke, block=number)
        self._long = None
        try:
            values = _values_in(text, listed=long.first.listed)
        except PeerError:
            return _piece_refused(piece, Access.TYPE_UNMATCHED)
        response = self._carry_out(_whole_request(long.first, values, piece.invoke))
        return self._fit(_as_end(response, piece.block.number), room, granted)


def _values_in(text: bytes, *, listed: bool) -> tuple[Value, ...]:
    if not listed:
        return (decode_whole(text),)
    reader = Octets(text)
    values = read_values(reader)
    reader.end()
    return values


def _whole_request(
    first: writing.SetBlock | writing.ActionBlock, values: tuple[Value, ...], invoke: int
) -> Request:
    """Return the request that came in pieces. Raises: PeerError `dlms.list`."""
    if isinstance(first, writing.SetBlock):
        names = first.attributes
        if not first.listed:
            return Set(invoke=invoke, attribute=names[0], value=values[0])
    else:
        names = first.methods
        if not first.listed:
            given = None if values[0].tag == Tag.NULL else values[0]
            return Action(invoke=invoke, method=names[0], parameter=given)
    if len(values) != len(names):
        raise PeerError("dlms.list", f"{len(names)} names, {len(values)} values")
    if isinstance(first, writing.SetBlock):
        return writing.SetList(invoke=invoke, attributes=names, values=values)
    return writing.ActionList(invoke=invoke, methods=names, parameters=values)


def _as_end(response: Response, block: int) -> Response:
    """Return the answer in the form that ends a transfer."""
    match response:
        case SetAnswer(result=result):
            return writing.SetEnd(invoke=response.invoke, block=block, results=(result,))
        case writing.SetListAnswer(results=results):
            return writing.SetEnd(invoke=response.invoke, block=block, results=results, listed=True)
        case _:
            return response


def _piece_refused(piece: writing.SetBlock | writing.ActionBlock, result: Access) -> Response:
    if isinstance(piece, writing.SetBlock):
        return writing.SetEnd(invoke=piece.invoke, block=piece.block.number, results=(result,))
    return ActionAnswer(invoke=piece.invoke, result=result)


def _aborted(request: GetNext | writing.ActionNext, result: Access) -> Response:
    if isinstance(request, writing.ActionNext):
        return ActionAnswer(invoke=request.invoke, result=result)
    return GetBlock(invoke=request.invoke, last=True, block=request.block, error=result)
