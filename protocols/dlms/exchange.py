"""
One request and all that belongs to it: its blocks, the blocks of its answer, and what may answer.

No association and no ciphering here: requests and responses only. `take` gives the next request to
send as `Follow`, or the answer. One answer that does not belong ends the connection.
*Source*: IEC 62056-5-3 clauses 6.8 to 6.10 (GET, SET, ACTION and their block transfer).
"""

from dataclasses import dataclass

from protocols.dlms.apdu import (
    VALUE_AT,
    Action,
    ActionAnswer,
    Attribute,
    DataBlock,
    Get,
    GetAnswer,
    GetBlock,
    GetNext,
    Got,
    Request,
    Response,
    ServiceException,
    Set,
    SetAnswer,
    encode_request,
    is_plain_value,
    read_results,
)
from protocols.dlms.axdr import decode_whole, encode
from protocols.dlms.initiate import Conformance
from protocols.dlms.octets import Octets
from protocols.dlms.reference import encode_values
from protocols.dlms.transfer import BLOCK_HEAD, MAX_TEXT, Incoming, Outgoing
from protocols.dlms.values import Value
from protocols.dlms.writing import (
    ActionAnswerBlock,
    ActionBlock,
    ActionGoOn,
    ActionList,
    ActionListAnswer,
    ActionNext,
    Outcome,
    SetBlock,
    SetEnd,
    SetGoOn,
    SetList,
    SetListAnswer,
    outcome_of_text,
    parameter_or_null,
    read_outcomes,
)
from protocols.errors import PeerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecoded:
    """One value as the octets it came in, for a caller that knows a quicker way to read it."""

    octets: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """The exchange goes on: send this next."""

    request: Request


ServiceAnswer = (
    Undecoded | tuple[Got, ...] | SetAnswer | SetListAnswer | ActionAnswer | ActionListAnswer
)

_Named = tuple[tuple[Attribute, ...], tuple[Value, ...], bool]


class Exchange:
    """
    `room` is how many octets a request may have, `limit` how long an answer may grow.

    Raises: ValueError when the request is too long and cannot go in blocks.
    """

    def __init__(
        self,
        request: Get | Set | SetList | Action | ActionList,
        *,
        room: int,
        conformance: Conformance,
        limit: int = MAX_TEXT,
        undecoded: bool = False,
    ) -> None:
        """Find out how the request travels; `begin` is what to send first, as octets."""
        self.request = request
        self._room = room
        self._conformance = conformance
        self._undecoded = undecoded
        self._incoming = Incoming(limit=limit)
        self._outgoing: Outgoing | None = None
        self.begin = encode_request(request)
        if len(self.begin) > room:
            self.begin = encode_request(self._in_blocks(request))

    def undecoded(self, apdu: bytes) -> Undecoded | None:
        """Return the value of a plain answer as octets, if that was asked for."""
        if self._undecoded and is_plain_value(apdu) and apdu[2] & 0x0F == self.request.invoke:
            return Undecoded(octets=apdu[VALUE_AT:])
        return None

    def take(self, response: Response) -> Follow | ServiceAnswer:
        """Take an answer. Raises: PeerError `dlms.unexpected`, `dlms.blocks`, `dlms.list`."""
        if isinstance(response, ServiceException) or response.invoke != self.request.invoke:
            raise PeerError("dlms.unexpected", "an answer to another request")
        match self.request:
            case Get():
                return self._take_values(self.request, response)
            case Set() | SetList():
                return self._take_written(self.request, response)
            case Action() | ActionList():
                return self._take_outcome(self.request, response)

    def _in_blocks(self, request: Request) -> Request:
        """Return the first block of a long request. Raises: ValueError where there are none."""
        match request:
            case Set(attribute=name, value=value):
                named: _Named = ((name,), (value,), False)
                able = Conformance.BLOCK_SET
            case SetList(attributes=names, values=values):
                named, able = (names, values, True), Conformance.BLOCK_SET
            case Action(method=name, parameter=parameter):
                named = ((name,), (parameter_or_null(parameter),), False)
                able = Conformance.BLOCK_ACTION
            case ActionList(methods=names, parameters=values):
                named, able = (names, values, True), Conformance.BLOCK_ACTION
            case _:
                raise ValueError(f"a list longer than the {self._room} octets granted")
        if able not in self._conformance:
            raise ValueError(f"a request beyond the {self._room} octets granted, without blocks")
        names, values, listed = named
        text = encode_values(values) if listed else encode(values[0])
        head = sum(len(name.encode() + name.encode_selection()) for name in names)
        size = self._room - BLOCK_HEAD
        self._outgoing = Outgoing(text, size=size, first=size - head)
        block = self._outgoing.next()
        if able is Conformance.BLOCK_SET:
            return SetBlock(invoke=request.invoke, attributes=names, listed=listed, block=block)
        return ActionBlock(invoke=request.invoke, methods=names, listed=listed, block=block)

    def _next_piece(self, confirmed: int) -> DataBlock:
        outgoing = self._outgoing
        if outgoing is None or outgoing.done or confirmed != outgoing.number:
            raise PeerError("dlms.blocks", f"block {confirmed} is confirmed, and not due")
        return outgoing.next()

    def _whole(self) -> None:
        """Insist that nothing of the request is left when its answer comes."""
        if self._outgoing is not None and not self._outgoing.done:
            raise PeerError("dlms.blocks", "the meter answers before it has the whole request")

    def _take_values(self, asked: Get, response: Response) -> Follow | ServiceAnswer:
        match response:
            case GetBlock():
                return self._take_block(asked, response)
            case GetAnswer(values=values, listed=listed):
                if listed != (len(asked.attributes) > 1):
                    raise PeerError("dlms.list", "a list where one was asked, or one for a list")
                return _as_many(values, asked)
            case _:
                raise _other_kind()

    def _take_block(self, asked: Get, block: GetBlock) -> Follow | ServiceAnswer:
        if block.error:
            raise PeerError(
                "dlms.blocks", "the meter ends a long answer", evidence={"result": block.error}
            )
        if not (block.raw or block.last):
            raise PeerError("dlms.blocks", f"block {block.block} is empty and not the last")
        piece = DataBlock(last=block.last, number=block.block, raw=block.raw)
        whole = self._incoming.add(piece)
        if whole is None:
            return Follow(request=GetNext(invoke=asked.invoke, block=block.block))
        if self._undecoded:
            return Undecoded(octets=whole)
        if len(asked.attributes) > 1:
            reader = Octets(whole)
            values = read_results(reader)
            reader.end()
            return _as_many(values, asked)
        return (decode_whole(whole),)

    def _take_written(self, asked: Set | SetList, response: Response) -> Follow | ServiceAnswer:
        match asked, response:
            case _, SetGoOn(block=confirmed):
                piece = self._next_piece(confirmed)
                return Follow(request=SetBlock(invoke=asked.invoke, block=piece))
            case Set(), SetAnswer():
                self._whole_or_refused(response.result)
                return response
            case Set(), SetEnd(listed=False, results=(result,)):
                self._whole_or_refused(result)
                return SetAnswer(invoke=asked.invoke, result=result)
            case SetList(attributes=names), SetEnd(listed=True, results=results) | SetListAnswer(
                results=results
            ):
                if len(results) != len(names):
                    raise PeerError("dlms.list", "more or fewer results than were asked")
                return SetListAnswer(invoke=asked.invoke, results=results)
            case _:
                raise _other_kind()

    def _whole_or_refused(self, result: int) -> None:
        """A refusal may come in the middle; a success that has not seen all is none."""
        if not result:
            self._whole()

    def _take_outcome(
        self, asked: Action | ActionList, response: Response
    ) -> Follow | ServiceAnswer:
        match asked, response:
            case _, ActionGoOn(block=confirmed):
                piece = self._next_piece(confirmed)
                return Follow(request=ActionBlock(invoke=asked.invoke, block=piece))
            case Action(), ActionAnswer():
                self._whole_or_refused(response.result)
                return response
            case ActionList(), ActionListAnswer(outcomes=outcomes):
                return self._outcomes(asked, outcomes)
            case _, ActionAnswerBlock(block=block):
                return self._take_answer_block(asked, block)
            case _:
                raise _other_kind()

    def _take_answer_block(
        self, asked: Action | ActionList, block: DataBlock
    ) -> Follow | ServiceAnswer:
        self._whole()
        text = self._incoming.add(block)
        if text is None:
            return Follow(request=ActionNext(invoke=asked.invoke, block=block.number))
        if isinstance(asked, Action):
            result, returned = outcome_of_text(text)
            return ActionAnswer(invoke=asked.invoke, result=result, returned=returned)
        reader = Octets(text)
        outcomes = read_outcomes(reader)
        reader.end()
        return self._outcomes(asked, outcomes)

    def _outcomes(self, asked: ActionList, outcomes: tuple[Outcome, ...]) -> ServiceAnswer:
        if len(outcomes) != len(asked.methods):
            raise PeerError("dlms.list", "more or fewer outcomes than were asked")
        return ActionListAnswer(invoke=asked.invoke, outcomes=outcomes)


def _as_many(values: tuple[Got, ...], asked: Get) -> tuple[Got, ...]:
    if len(values) != len(asked.attributes):
        raise PeerError("dlms.list", "more or fewer values than were asked")
    return values


def _other_kind() -> PeerError:
    return PeerError("dlms.unexpected", "an answer to another kind of request")
