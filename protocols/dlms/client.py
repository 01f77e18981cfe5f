"""
The client's side of a connection: requests to octets, octets to answers, nothing in between.

No I/O: `open`, `get`, `set`, `act`, `release` return octets to send; `receive` takes what came and
returns a `Turn`: octets to send next (a challenge to answer, a block to fetch) and, when an
exchange is over, its answer. One request is outstanding at a time.

What is checked on a ciphered association: the tag, before the text is looked at; the server's
title; the server's counter, strictly rising above everything seen before; that no answer comes
plain. Only an exception-response may: it carries no value and can do no more than a cut wire.
That the server is alive, and not a recording, is proven by its answer to our fresh challenge; its
counter then stands above every frame recorded before, so nothing old can be slipped in later.
*Source*: IEC 62056-5-3 clauses 5.3, 7.2, 7.3.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from protocols.dlms import acse
from protocols.dlms.apdu import (
    EXCEPTION,
    VALUE_AT,
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
    ServiceException,
    Set,
    SetAnswer,
    decode_response,
    encode_request,
    is_plain_value,
    read_results,
)
from protocols.dlms.association import Authentication, ClientEvent, ClientState, client_step
from protocols.dlms.axdr import decode_whole
from protocols.dlms.classes.association_ln import REPLY_TO_HLS
from protocols.dlms.general_glo import (
    GENERAL_GLO,
    GLO_INITIATE_REQUEST,
    GLO_INITIATE_RESPONSE,
    GLO_RESPONSES,
    OVERHEAD,
    decode_ciphered,
    encode_ciphered,
    encode_glo_initiate,
)
from protocols.dlms.initiate import (
    OURS,
    Conformance,
    InitiateRequest,
    InitiateResponse,
)
from protocols.dlms.initiate import (
    decode_response as decode_initiate,
)
from protocols.dlms.octets import Octets
from protocols.dlms.security import (
    TITLE_OCTETS,
    Keys,
    check_challenge,
    check_gmac,
    gmac,
    seal,
    unseal,
)
from protocols.dlms.values import Value, as_octets, octet_string
from protocols.dlms.wrapper import Framing, WrapperFraming
from protocols.errors import PeerError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Who speaks to whom and how. *Units*: octets."""

    client_sap: int
    server_sap: int
    authentication: Authentication
    password: bytes = field(default=b"", repr=False)
    title: bytes = b""
    keys: Keys | None = field(default=None, repr=False)
    max_pdu: int = 0xFFFF
    max_answer: int = 4_194_304


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The association stands; the server may be asked."""

    conformance: Conformance
    server_title: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The association has ended in agreement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecoded:
    """One value as the octets it came in, for a caller that knows a quicker way to read it."""

    octets: bytes


Answer = (
    Opened | Undecoded | tuple[Got, ...] | SetAnswer | ActionAnswer | ServiceException | Released
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What to send now, and the answer if the exchange is over."""

    send: bytes = b""
    answer: Answer | None = None


_NOTHING = Turn()


class ClientConnection:
    """
    One association over one connection.

    `counter` hands out invocation counters that are durable already; `challenge` comes from the
    operating system's randomness; `server_counter` is the highest seen from this server so far
    and `server_title` the title it must have (empty: not known yet).
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        counter: Callable[[], int],
        challenge: bytes = b"",
        server_title: bytes = b"",
        server_counter: int = -1,
        framing: Framing | None = None,
    ) -> None:
        """Begin unassociated; octets stand in the TCP wrapper unless `framing` says otherwise."""
        self.state = ClientState.IDLE
        self.server_title = server_title
        self.server_counter = server_counter
        self.granted = InitiateResponse(conformance=Conformance(0), max_pdu=0)
        self._settings = settings
        self._counter = counter
        self._challenge = challenge
        self._framing = framing or WrapperFraming(
            client_sap=settings.client_sap, server_sap=settings.server_sap
        )
        self._request: Request | None = None
        self._invoke = 0
        self._blocks: list[bytes] = []
        self._block_octets = 0
        self._undecoded = False
        self._ciphered = settings.authentication is Authentication.HLS5
        if self._ciphered and (settings.keys is None or len(settings.title) != TITLE_OCTETS):
            raise ValueError("HLS needs the meter's keys and a client system title of 8 octets")

    def open(self) -> bytes:
        """Return the octets that ask for the association."""
        self._step(ClientEvent.OPEN)
        settings = self._settings
        initiate = InitiateRequest(conformance=OURS, max_pdu=settings.max_pdu).encode()
        if not self._ciphered:
            lls = settings.authentication is Authentication.LLS
            aarq = acse.Aarq(
                context=acse.Context.LN_PLAIN,
                mechanism=acse.Mechanism.LLS if lls else acse.Mechanism.NONE,
                authentication=settings.password if lls else b"",
                initiate=initiate,
            )
        else:
            sealed = seal(self._keys(), settings.title, self._counter(), initiate)
            aarq = acse.Aarq(
                context=acse.Context.LN_CIPHERED,
                mechanism=acse.Mechanism.HLS_GMAC,
                title=settings.title,
                authentication=self._challenge,
                initiate=encode_glo_initiate(GLO_INITIATE_REQUEST, sealed),
            )
        return self._pack(acse.encode_aarq(aarq))

    def get(self, *attributes: Attribute) -> bytes:
        """Return the octets that ask for `attributes`; more than one make a list."""
        return self._ask(Get(invoke=self._next_invoke(), attributes=attributes))

    def get_octets(self, attribute: Attribute) -> bytes:
        """Return the octets that ask for one attribute; its answer is `Undecoded` or a refusal."""
        octets = self._ask(Get(invoke=self._next_invoke(), attributes=(attribute,)))
        self._undecoded = True
        return octets

    def set(self, attribute: Attribute, value: Value) -> bytes:
        """Return the octets that write `value`."""
        return self._ask(Set(invoke=self._next_invoke(), attribute=attribute, value=value))

    def act(self, method: Attribute, parameter: Value | None = None) -> bytes:
        """Return the octets that invoke `method`."""
        return self._ask(Action(invoke=self._next_invoke(), method=method, parameter=parameter))

    def release(self) -> bytes:
        """Return the octets that end the association."""
        self._step(ClientEvent.RELEASE)
        return self._pack(acse.encode_release(acse.RLRQ))

    def receive(self, octets: bytes) -> Turn:
        """
        Take received octets; return what to do next, which is nothing while a frame is incomplete.

        Raises: PeerError; the connection is then BROKEN and must be closed.
        """
        try:
            turn = _NOTHING
            for apdu in self._framing.feed(octets):
                if turn.answer is not None or turn.send:
                    raise PeerError("dlms.unexpected", "an answer to nothing that was asked")
                turn = self._on_apdu(apdu)
        except PeerError:
            self.state = client_step(self.state, ClientEvent.FAULT)
            raise
        return turn

    def _step(self, event: ClientEvent) -> None:
        self.state = client_step(self.state, event)

    def _keys(self) -> Keys:
        keys = self._settings.keys
        if keys is None:
            raise RuntimeError("ciphering without keys")
        return keys

    def _pack(self, apdu: bytes) -> bytes:
        return self._framing.pack(apdu)

    def _next_invoke(self) -> int:
        self._invoke = (self._invoke + 1) & 0x0F
        return self._invoke

    def _ask(self, request: Request) -> bytes:
        self._step(ClientEvent.ASK)
        self._request = request
        self._blocks, self._block_octets = [], 0
        self._undecoded = False
        return self._protect(encode_request(request))

    def _protect(self, apdu: bytes) -> bytes:
        overhead = OVERHEAD if self._ciphered else 0
        if self.granted.max_pdu and len(apdu) + overhead > self.granted.max_pdu:
            raise ValueError(f"a request of {len(apdu)} octets; {self.granted.max_pdu} are granted")
        if self._ciphered:
            title = self._settings.title
            apdu = encode_ciphered(title, seal(self._keys(), title, self._counter(), apdu))
        return self._pack(apdu)

    def _on_apdu(self, apdu: bytes) -> Turn:
        match self.state:
            case ClientState.PENDING:
                return self._on_aare(apdu)
            case ClientState.RELEASING if apdu[0] != EXCEPTION:
                acse.decode_release(apdu, acse.RLRE)
                self._step(ClientEvent.RELEASED)
                return Turn(answer=Released())
            case ClientState.PROVING | ClientState.WAITING | ClientState.RELEASING:
                return self._on_response(apdu)
            case _:
                raise PeerError("dlms.unexpected", f"an APDU while {self.state}")

    def _on_aare(self, apdu: bytes) -> Turn:
        if apdu[0] == EXCEPTION:
            raise _refused(decode_response(apdu))
        aare = acse.decode_aare(apdu)
        challenged = (aare.result, aare.diagnostic) == (
            acse.Result.ACCEPTED,
            acse.Diagnostic.AUTHENTICATION_REQUIRED,
        )
        if aare.result != acse.Result.ACCEPTED:
            self._step(ClientEvent.REJECTED)
            raise PeerError(
                "dlms.rejected",
                "the meter refuses the association",
                evidence={"result": aare.result, "diagnostic": aare.diagnostic},
            )
        wanted = acse.Context.LN_CIPHERED if self._ciphered else acse.Context.LN_PLAIN
        if aare.context != wanted or challenged != self._ciphered:
            raise PeerError("dlms.context", "the meter accepts another association than was asked")
        if not self._ciphered:
            self.granted = decode_initiate(aare.initiate)
            self._step(ClientEvent.ACCEPTED)
            return Turn(answer=self._opened())
        return self._prove(aare)

    def _prove(self, aare: acse.Aare) -> Turn:
        if aare.mechanism != acse.Mechanism.HLS_GMAC:
            raise PeerError("dlms.mechanism", f"mechanism {aare.mechanism} where GMAC was asked")
        check_challenge(aare.authentication, own=self._challenge)
        self._check_title(aare.title)
        self.server_title = aare.title
        self.granted = decode_initiate(self._unseal(aare.initiate, GLO_INITIATE_RESPONSE))
        self._step(ClientEvent.CHALLENGED)
        own = self._settings.title
        answer = gmac(self._keys(), own, self._counter(), aare.authentication)
        self._request = Action(
            invoke=self._next_invoke(), method=REPLY_TO_HLS, parameter=octet_string(answer)
        )
        return Turn(send=self._protect(encode_request(self._request)))

    def _opened(self) -> Opened:
        return Opened(conformance=self.granted.conformance, server_title=self.server_title)

    def _check_title(self, title: bytes) -> None:
        """Refuse a title that is none, ours, or another meter's."""
        if len(title) != TITLE_OCTETS or title == self._settings.title:
            raise PeerError("dlms.title", "the meter's system title is missing or our own")
        if self.server_title and title != self.server_title:
            raise PeerError(
                "dlms.foreign", "an answer of another meter", evidence={"title": title.hex()}
            )

    def _unseal(self, octets: bytes, *tags: int) -> bytes:
        envelope = decode_ciphered(octets, *tags)
        if envelope.tag == GENERAL_GLO:
            self._check_title(envelope.title)
        counter, text = unseal(self._keys(), self.server_title, envelope.sealed)
        if counter <= self.server_counter:
            raise PeerError(
                "dlms.replayed",
                "the meter's counter did not rise",
                evidence={"counter": counter, "seen": self.server_counter},
            )
        self.server_counter = counter
        return text

    def _on_response(self, apdu: bytes) -> Turn:
        if self._ciphered and apdu[0] != EXCEPTION:
            if apdu[0] != GENERAL_GLO and apdu[0] not in GLO_RESPONSES:
                raise PeerError("dlms.plain_answer", "a plain answer in a ciphered association")
            apdu = self._unseal(apdu, GENERAL_GLO, *GLO_RESPONSES)
        if self._undecoded and is_plain_value(apdu) and apdu[2] & 0x0F == self._invoke:
            return self._on_octets(apdu[VALUE_AT:])
        response = decode_response(apdu)
        if isinstance(response, ServiceException):
            if self.state is ClientState.PROVING:
                self._step(ClientEvent.EXCEPTION)
                raise _refused(response)
            self._step(ClientEvent.EXCEPTION)
            return Turn(answer=response)
        if self._request is None or response.invoke != self._request.invoke:
            raise PeerError("dlms.unexpected", "an answer to another request")
        return self._on_answer(self._request, response)

    def _on_answer(self, asked: Request, response: Response) -> Turn:
        match asked, response:
            case Get(), GetBlock():
                return self._on_block(response)
            case Get(), GetAnswer(values=values, listed=listed):
                if listed != (len(asked.attributes) > 1):
                    raise PeerError("dlms.list", "a list where one was asked, or one for a list")
                return self._on_values(values)
            case Set(), SetAnswer():
                self._step(ClientEvent.ANSWER)
                return Turn(answer=response)
            case Action(), ActionAnswer() if self.state is ClientState.PROVING:
                return self._on_proof(response)
            case Action(), ActionAnswer():
                self._step(ClientEvent.ANSWER)
                return Turn(answer=response)
            case _:
                raise PeerError("dlms.unexpected", "an answer to another kind of request")

    def _on_proof(self, response: ActionAnswer) -> Turn:
        """Check pass 4: the server's answer to our challenge."""
        returned = response.returned
        if response.result is not Access.SUCCESS or not isinstance(returned, Value):
            raise PeerError(
                "dlms.authentication",
                "the meter refuses our proof",
                evidence={"result": response.result},
            )
        check_gmac(self._keys(), self.server_title, self._challenge, as_octets(returned))
        self._step(ClientEvent.PROVEN)
        return Turn(answer=self._opened())

    def _on_block(self, block: GetBlock) -> Turn:
        if block.error:
            raise PeerError(
                "dlms.blocks", "the meter ends a long answer", evidence={"result": block.error}
            )
        if block.block != len(self._blocks) + 1 or not (block.raw or block.last):
            raise PeerError("dlms.blocks", f"block {block.block} does not follow the last one")
        self._blocks.append(block.raw)
        self._block_octets += len(block.raw)
        if self._block_octets > self._settings.max_answer:
            raise PeerError("dlms.too_long", f"an answer beyond {self._settings.max_answer} octets")
        self._step(ClientEvent.BLOCK)
        if not block.last:
            follow = GetNext(invoke=self._invoke, block=block.block)
            return Turn(send=self._protect(encode_request(follow)))
        whole = b"".join(self._blocks)
        if self._undecoded:
            return self._on_octets(whole)
        asked = self._request
        if isinstance(asked, Get) and len(asked.attributes) > 1:
            reader = Octets(whole)
            values = read_results(reader)
            reader.end()
            return self._on_values(values)
        return self._on_values((decode_whole(whole),))

    def _on_octets(self, octets: bytes) -> Turn:
        self._step(ClientEvent.ANSWER)
        return Turn(answer=Undecoded(octets=octets))

    def _on_values(self, values: tuple[Got, ...]) -> Turn:
        asked = self._request
        if not isinstance(asked, Get) or len(values) != len(asked.attributes):
            raise PeerError("dlms.list", "more or fewer values than were asked")
        self._step(ClientEvent.ANSWER)
        return Turn(answer=values)


def _refused(response: object) -> PeerError:
    """Return the error for an association that ends in an exception-response."""
    evidence: dict[str, int] = {}
    if isinstance(response, ServiceException):
        evidence = {"state": response.state, "service": response.service}
        if response.counter is not None:
            evidence["counter"] = response.counter
            return PeerError(
                "dlms.counter_rejected", "the meter wants a higher counter", evidence=evidence
            )
    return PeerError("dlms.exception", "the meter refuses the association", evidence=evidence)
