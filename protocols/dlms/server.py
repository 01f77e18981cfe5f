"""
The server's side: octets in, octets out, over whatever `Device` stands behind an association.

Each client access point has its own association with its own device view and its own proof. A
server never raises on what a client sends: it answers with a refusal or, where a frame has no
boundary any more, `receive` raises PeerError and the connection must be closed.
*Source*: IEC 62056-5-3 clauses 5.3, 6, 7.2, 7.3.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from protocols.dlms import acse
from protocols.dlms.apdu import (
    Access,
    Action,
    ActionAnswer,
    Attribute,
    ExceptionService,
    ExceptionState,
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
    decode_request,
    encode_response,
    encode_results,
)
from protocols.dlms.association import Authentication, ServerEvent, ServerState, server_step
from protocols.dlms.axdr import encode
from protocols.dlms.classes.association_ln import REPLY_TO_HLS
from protocols.dlms.general_glo import (
    GENERAL_GLO,
    GLO_INITIATE_REQUEST,
    GLO_INITIATE_RESPONSE,
    GLO_REQUESTS,
    OVERHEAD,
    decode_ciphered,
    encode_ciphered,
    encode_glo_initiate,
    encode_service_glo,
)
from protocols.dlms.initiate import (
    MIN_PDU,
    OURS,
    Conformance,
    InitiateRequest,
    InitiateResponse,
)
from protocols.dlms.initiate import (
    decode_request as decode_initiate,
)
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
from protocols.dlms.wrapper import MAX_APDU, Unwrapper, Wpdu, pack
from protocols.errors import PeerError

_STALE_COUNTER = "dlms.replayed"
_BLOCK_HEAD = 16
"""Octets around the raw part of a block: tags, invoke id, number, length."""


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
class CounterFloor:
    """The highest invocation counter accepted from a client; one for all connections of a meter."""

    value: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProfile:
    """
    One association that a meter offers. *Units*: `max_pdu` in octets.

    `counter` hands out our own frame counters, never one twice; `challenge` draws 16 fresh octets.
    """

    device: Device
    authentication: Authentication = Authentication.NONE
    password: bytes = field(default=b"", repr=False)
    title: bytes = b""
    keys: Keys | None = field(default=None, repr=False)
    client_counter: CounterFloor = field(default_factory=CounterFloor)
    counter: Callable[[], int] | None = None
    challenge: Callable[[], bytes] | None = None
    max_pdu: int = 1024
    conformance: Conformance = OURS
    """What this meter can do at most; a plain one takes no lists and no ranges."""
    service_glo: bool = False
    """Answer in the service specific ciphered form instead of general-glo."""


class ServerAssociation:
    """One client's association with one device view."""

    def __init__(self, profile: ServerProfile) -> None:
        """Begin unassociated."""
        self.state = ServerState.IDLE
        self._profile = profile
        self._ciphered = profile.authentication is Authentication.HLS5
        self._client_title = b""
        self._client_challenge = b""
        self._own_challenge = b""
        self._client_max_pdu = 0
        self._pending = b""
        self._block = 0
        if self._ciphered and not (profile.keys and profile.counter and profile.challenge):
            raise ValueError("HLS needs keys, a frame counter and a source of challenges")

    def answer(self, apdu: bytes) -> bytes:
        """Return the answer to one APDU."""
        try:
            if apdu[0] == acse.AARQ:
                return self._on_aarq(apdu)
            if apdu[0] == acse.RLRQ:
                acse.decode_release(apdu, acse.RLRQ)
                self.state = server_step(self.state, ServerEvent.RELEASE)
                return acse.encode_release(acse.RLRE)
            return self._on_service(apdu)
        except PeerError:
            return _exception(ExceptionService.OTHER)

    def _on_aarq(self, octets: bytes) -> bytes:
        try:
            aarq = acse.decode_aarq(octets)
            diagnostic = self._check_aarq(aarq)
            if diagnostic is acse.Diagnostic.NONE:
                return self._accept(aarq)
        except PeerError as error:
            if error.code == _STALE_COUNTER:
                return self._counter_exception()
            diagnostic = acse.Diagnostic.NO_REASON
        self.state = server_step(self.state, ServerEvent.REFUSE)
        return acse.encode_aare(
            acse.Aare(
                context=acse.Context.LN_CIPHERED if self._ciphered else acse.Context.LN_PLAIN,
                result=acse.Result.REJECTED_PERMANENT,
                diagnostic=diagnostic,
            )
        )

    def _check_aarq(self, aarq: acse.Aarq) -> acse.Diagnostic:
        profile = self._profile
        wanted = acse.Context.LN_CIPHERED if self._ciphered else acse.Context.LN_PLAIN
        if aarq.context != wanted:
            return acse.Diagnostic.CONTEXT_UNSUPPORTED
        mechanism = {
            Authentication.NONE: acse.Mechanism.NONE,
            Authentication.LLS: acse.Mechanism.LLS,
            Authentication.HLS5: acse.Mechanism.HLS_GMAC,
        }[profile.authentication]
        if aarq.mechanism != mechanism:
            if aarq.mechanism == acse.Mechanism.NONE:
                return acse.Diagnostic.MECHANISM_REQUIRED
            return acse.Diagnostic.MECHANISM_UNRECOGNISED
        if mechanism is acse.Mechanism.LLS and not hmac.compare_digest(
            aarq.authentication, profile.password
        ):
            return acse.Diagnostic.AUTHENTICATION_FAILURE
        return acse.Diagnostic.NONE

    def _accept(self, aarq: acse.Aarq) -> bytes:
        profile = self._profile
        self._pending, self._block = b"", 0
        if not self._ciphered:
            initiate = decode_initiate(aarq.initiate)
            granted = self._grant(initiate)
            self.state = server_step(self.state, ServerEvent.ACCEPT)
            return acse.encode_aare(
                acse.Aare(
                    context=acse.Context.LN_PLAIN,
                    result=acse.Result.ACCEPTED,
                    diagnostic=acse.Diagnostic.NONE,
                    initiate=granted.encode(),
                )
            )
        if len(aarq.title) != TITLE_OCTETS or profile.challenge is None:
            raise PeerError("dlms.title", "a client system title has 8 octets")
        self._client_title = aarq.title
        self._own_challenge = profile.challenge()
        check_challenge(aarq.authentication, own=self._own_challenge)
        self._client_challenge = aarq.authentication
        envelope = decode_ciphered(aarq.initiate, GLO_INITIATE_REQUEST)
        granted = self._grant(decode_initiate(self._unseal(envelope.sealed)))
        self.state = server_step(self.state, ServerEvent.CHALLENGE)
        return acse.encode_aare(
            acse.Aare(
                context=acse.Context.LN_CIPHERED,
                result=acse.Result.ACCEPTED,
                diagnostic=acse.Diagnostic.AUTHENTICATION_REQUIRED,
                mechanism=acse.Mechanism.HLS_GMAC,
                title=profile.title,
                authentication=self._own_challenge,
                initiate=encode_glo_initiate(GLO_INITIATE_RESPONSE, self._seal(granted.encode())),
            )
        )

    def _grant(self, asked: InitiateRequest) -> InitiateResponse:
        self._client_max_pdu = asked.max_pdu or MAX_APDU
        if self._client_max_pdu < MIN_PDU:
            raise PeerError("dlms.conformance", "a client that takes so little cannot be answered")
        granted = Conformance(asked.conformance & OURS & self._profile.conformance)
        return InitiateResponse(conformance=granted, max_pdu=self._profile.max_pdu)

    def _keys(self) -> Keys:
        if self._profile.keys is None:
            raise RuntimeError("ciphering without keys")
        return self._profile.keys

    def _seal(self, apdu: bytes) -> bytes:
        if self._profile.counter is None:
            raise RuntimeError("ciphering without a frame counter")
        return seal(self._keys(), self._profile.title, self._profile.counter(), apdu)

    def _unseal(self, sealed: bytes) -> bytes:
        """Return the text. Raises: PeerError; `dlms.replayed` when the counter did not rise."""
        counter, text = unseal(self._keys(), self._client_title, sealed)
        floor = self._profile.client_counter
        if counter <= floor.value:
            raise PeerError(_STALE_COUNTER, "the client's counter did not rise")
        floor.value = counter
        return text

    def _counter_exception(self) -> bytes:
        """Tell the client where its counter stands, so that it can go on above it."""
        floor = self._profile.client_counter.value
        return _exception(ExceptionService.INVOCATION_COUNTER, counter=floor)

    def _on_service(self, apdu: bytes) -> bytes:
        if not self._ciphered:
            return encode_response(self._serve(decode_request(apdu)))
        try:
            envelope = decode_ciphered(apdu, GENERAL_GLO, *GLO_REQUESTS)
            if envelope.title not in (b"", self._client_title):
                raise PeerError("dlms.foreign", "a title that did not ask for the association")
            text = self._unseal(envelope.sealed)
        except PeerError as error:
            if error.code == _STALE_COUNTER:
                return self._counter_exception()
            return _exception(ExceptionService.DECIPHERING)
        answer = encode_response(self._serve(decode_request(text)))
        sealed = self._seal(answer)
        if self._profile.service_glo:
            return encode_service_glo(answer[0], sealed)
        return encode_ciphered(self._profile.title, sealed)

    def _serve(self, request: Request) -> Response:
        if self.state is ServerState.PROVING:
            return self._check_proof(request)
        self.state = server_step(self.state, ServerEvent.REQUEST)
        device = self._profile.device
        match request:
            case Get():
                self._pending, self._block = b"", 0
                values = device.get(request.attributes)
                return self._fit(
                    GetAnswer(
                        invoke=request.invoke, values=values, listed=len(request.attributes) > 1
                    )
                )
            case GetNext():
                return self._next_block(request)
            case Set():
                try:
                    device.set(request.attribute, request.value)
                except AccessRefusedError as refused:
                    return SetAnswer(invoke=request.invoke, result=refused.result)
                return SetAnswer(invoke=request.invoke, result=Access.SUCCESS)
            case Action():
                try:
                    returned = device.act(request.method, request.parameter)
                except AccessRefusedError as refused:
                    return ActionAnswer(invoke=request.invoke, result=refused.result)
                return ActionAnswer(invoke=request.invoke, result=Access.SUCCESS, returned=returned)

    def _check_proof(self, request: Request) -> Response:
        """Answer pass 3 with pass 4, and nothing else before it."""
        try:
            if not isinstance(request, Action) or request.method != REPLY_TO_HLS:
                raise PeerError("dlms.unexpected", "a request before the proof")
            if request.parameter is None:
                raise PeerError("dlms.authentication", "no proof")
            proof = as_octets(request.parameter)
            check_gmac(self._keys(), self._client_title, self._own_challenge, proof)
        except PeerError:
            self.state = server_step(self.state, ServerEvent.DISPROVEN)
            return ActionAnswer(invoke=request.invoke, result=Access.DENIED)
        if self._profile.counter is None:
            raise RuntimeError("ciphering without a frame counter")
        self.state = server_step(self.state, ServerEvent.PROVEN)
        counter = self._profile.counter()
        reply = gmac(self._keys(), self._profile.title, counter, self._client_challenge)
        return ActionAnswer(
            invoke=request.invoke, result=Access.SUCCESS, returned=octet_string(reply)
        )

    def _room(self) -> int:
        limit = min(self._client_max_pdu, self._profile.max_pdu)
        return limit - (OVERHEAD if self._ciphered else 0)

    def _fit(self, answer: GetAnswer) -> Response:
        """Return the answer, or its first block when it is too long for the client."""
        octets = encode_response(answer)
        if len(octets) <= self._room():
            return answer
        if answer.listed:
            self._pending = encode_results(answer.values)
        else:
            got = answer.values[0]
            if isinstance(got, Access):
                return answer
            self._pending = encode(got)
        return self._next_block(GetNext(invoke=answer.invoke, block=0))

    def _next_block(self, request: GetNext) -> Response:
        invoke, block = request.invoke, request.block
        if not self._pending:
            return GetBlock(invoke=invoke, last=True, block=block, error=Access.NO_LONG_GET)
        if block != self._block:
            self._pending = b""
            return GetBlock(
                invoke=invoke, last=True, block=block, error=Access.BLOCK_NUMBER_INVALID
            )
        size = self._room() - _BLOCK_HEAD
        raw, self._pending = self._pending[:size], self._pending[size:]
        self._block += 1
        return GetBlock(invoke=invoke, last=not self._pending, block=self._block, raw=raw)


class ServerConnection:
    """One connection of one meter: cuts frames, finds the association by client access point."""

    def __init__(self, profiles: Mapping[int, ServerProfile], *, server_sap: int = 1) -> None:
        """Offer `profiles` by client access point."""
        self._profiles = profiles
        self._server_sap = server_sap
        self._unwrapper = Unwrapper(max_apdu=8192)
        self._associations: dict[int, ServerAssociation] = {}

    def receive(self, octets: bytes) -> bytes:
        """
        Take received octets and return the answers to all complete frames in them.

        Raises: PeerError `dlms.wrapper` when the stream is broken and must be closed.
        """
        return b"".join(self._on_frame(wpdu) for wpdu in self._unwrapper.feed(octets))

    def _on_frame(self, wpdu: Wpdu) -> bytes:
        profile = self._profiles.get(wpdu.source)
        if profile is None or wpdu.destination != self._server_sap:
            return pack(wpdu.destination, wpdu.source, _exception(ExceptionService.IMPOSSIBLE))
        association = self._associations.get(wpdu.source)
        if association is None:
            association = self._associations[wpdu.source] = ServerAssociation(profile)
        return pack(wpdu.destination, wpdu.source, association.answer(wpdu.apdu))


def _exception(service: ExceptionService, *, counter: int | None = None) -> bytes:
    return encode_response(
        ServiceException(state=ExceptionState.NOT_ALLOWED, service=service, counter=counter)
    )
