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
from enum import StrEnum

from protocols.dlms import acse
from protocols.dlms.apdu import (
    Access,
    Action,
    ActionAnswer,
    ExceptionService,
    ExceptionState,
    Request,
    Response,
    ServiceException,
    decode_request,
    encode_response,
)
from protocols.dlms.association import Authentication, ServerEvent, ServerState, server_step
from protocols.dlms.ciphering import STALE, Ciphering, CounterFloor
from protocols.dlms.classes.association_ln import REPLY_TO_HLS
from protocols.dlms.gbt import GENERAL_BLOCK, GeneralReceiver, GeneralSender, decode_block
from protocols.dlms.general_glo import (
    DED_REQUESTS,
    GENERAL_DED,
    GENERAL_GLO,
    GLO_INITIATE_REQUEST,
    GLO_INITIATE_RESPONSE,
    GLO_REQUESTS,
    OVERHEAD,
    Form,
)
from protocols.dlms.hls import MECHANISM_OF, PROVEN, TITLED, Secret, Side, check_proof, prove
from protocols.dlms.initiate import (
    MIN_PDU,
    OFFERED,
    OURS,
    Conformance,
    InitiateRequest,
    InitiateResponse,
)
from protocols.dlms.initiate import (
    decode_request as decode_initiate,
)
from protocols.dlms.security import TITLE_OCTETS, Keys, check_challenge
from protocols.dlms.serving import AccessRefusedError, Device, Serving
from protocols.dlms.values import as_octets, octet_string
from protocols.dlms.wrapper import MAX_APDU, Unwrapper, Wpdu, pack
from protocols.errors import PeerError

__all__ = [
    "AccessRefusedError",
    "CounterFloor",
    "Device",
    "Notice",
    "ServerAssociation",
    "ServerConnection",
    "ServerProfile",
]

_CIPHERED_REQUESTS = GLO_REQUESTS | DED_REQUESTS | {GENERAL_GLO, GENERAL_DED}
_MAX_REQUEST = 1_048_576
_UNPROVEN = frozenset({"dlms.tag_mismatch", "dlms.security_control"})


class Notice(StrEnum):
    """What a meter writes down about whoever tries to get in."""

    WRONG_PASSWORD = "wrong_password"  # noqa: S105
    """A password or a proof that does not hold."""
    NOT_DECIPHERED = "not_deciphered"
    """A ciphered APDU whose tag does not fit, or a plain one where none may be."""
    REPLAYED = "replayed"
    """A counter that was used before."""


def _unheard(_notice: Notice) -> None:
    """Let a notice pass, where nobody keeps a log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProfile:
    """
    One association that a meter offers. *Units*: `max_pdu` in octets.

    `counter` hands out our own frame counters, never one twice; `challenge` draws 16 fresh octets.
    `password` is also the secret of hashed proofs; `ciphered` None means: with HLS5 alone.
    """

    device: Device
    authentication: Authentication = Authentication.NONE
    password: bytes = field(default=b"", repr=False)
    title: bytes = b""
    keys: Keys | Callable[[], Keys] | None = field(default=None, repr=False)
    """A callable where keys may be changed: each association takes those of its beginning."""
    client_counter: CounterFloor = field(default_factory=CounterFloor)
    counter: Callable[[], int] | None = None
    challenge: Callable[[], bytes] | None = None
    max_pdu: int = 1024
    conformance: Conformance = OURS
    """What this meter can do at most; a plain one takes no lists and no ranges."""
    ciphered: bool | None = None
    service_glo: bool = False
    """Answer in the service specific ciphered form whatever form was asked in."""
    general_blocks: bool = False
    """Send what is too long in general blocks, where the client has agreed to them."""
    notice: Callable[[Notice], None] = _unheard
    """Hears of every attempt that failed for want of a password, a key or a fresh counter."""

    @property
    def is_ciphered(self) -> bool:
        """Tell whether every APDU is ciphered."""
        if self.ciphered is None:
            return self.authentication is Authentication.HLS5
        return self.ciphered

    def current_keys(self) -> Keys | None:
        """Return the keys that hold now."""
        return self.keys() if callable(self.keys) else self.keys


class ServerAssociation:
    """One client's association with one device view."""

    def __init__(self, profile: ServerProfile) -> None:
        """Begin unassociated. Raises: ValueError when the profile cannot prove or cipher."""
        self.state = ServerState.IDLE
        self._profile = profile
        self._cipher: Ciphering | None = None
        self._secret: Secret | None = None
        self._side: Side | None = None
        self._client_max_pdu = 0
        self._granted = Conformance(0)
        self._serving = Serving(profile.device)
        self._receiver: GeneralReceiver | None = None
        self._sender: GeneralSender | None = None
        proven = profile.authentication in PROVEN
        if profile.is_ciphered and not (profile.keys and profile.counter):
            raise ValueError("ciphering needs keys and a frame counter")
        if proven and not profile.challenge:
            raise ValueError("HLS needs a source of challenges")
        if profile.authentication is Authentication.HLS5 and not (profile.keys and profile.counter):
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
            if apdu[0] == GENERAL_BLOCK:
                return self._on_general_block(apdu)
            self._receiver = self._sender = None
            return self._in_general_blocks(self._on_service(apdu))
        except PeerError:
            return _exception(ExceptionService.OTHER)

    def _on_aarq(self, octets: bytes) -> bytes:
        try:
            aarq = acse.decode_aarq(octets)
            diagnostic = self._check_aarq(aarq)
            if diagnostic is acse.Diagnostic.NONE:
                return self._accept(aarq)
        except PeerError as error:
            if error.code == STALE:
                return self._counter_exception()
            if error.code in _UNPROVEN:
                self._profile.notice(Notice.NOT_DECIPHERED)
            diagnostic = acse.Diagnostic.NO_REASON
        self.state = server_step(self.state, ServerEvent.REFUSE)
        return acse.encode_aare(
            acse.Aare(
                context=self._context(),
                result=acse.Result.REJECTED_PERMANENT,
                diagnostic=diagnostic,
            )
        )

    def _context(self) -> acse.Context:
        ciphered = self._profile.is_ciphered
        return acse.Context.LN_CIPHERED if ciphered else acse.Context.LN_PLAIN

    def _check_aarq(self, aarq: acse.Aarq) -> acse.Diagnostic:
        profile = self._profile
        if aarq.context != self._context():
            return acse.Diagnostic.CONTEXT_UNSUPPORTED
        mechanism = MECHANISM_OF[profile.authentication]
        if aarq.mechanism != mechanism:
            if aarq.mechanism == acse.Mechanism.NONE:
                return acse.Diagnostic.MECHANISM_REQUIRED
            return acse.Diagnostic.MECHANISM_UNRECOGNISED
        if mechanism is acse.Mechanism.LLS and not hmac.compare_digest(
            aarq.authentication, profile.password
        ):
            profile.notice(Notice.WRONG_PASSWORD)
            return acse.Diagnostic.AUTHENTICATION_FAILURE
        return acse.Diagnostic.NONE

    def _accept(self, aarq: acse.Aarq) -> bytes:
        profile = self._profile
        self._serving = Serving(profile.device)
        self._receiver = self._sender = None
        self._secret = self._side = self._cipher = None
        titled = profile.is_ciphered or profile.authentication in TITLED
        if titled and len(aarq.title) != TITLE_OCTETS:
            raise PeerError("dlms.title", "a client system title has 8 octets")
        challenge = self._challenge(aarq)
        initiate = aarq.initiate
        if profile.is_ciphered:
            self._cipher = self._make_cipher(aarq.title)
            initiate = self._cipher.open_initiate(initiate, GLO_INITIATE_REQUEST)
        asked = decode_initiate(initiate)
        answer = self._grant(asked).encode()
        if self._cipher is not None:
            self._cipher.dedicate(asked.dedicated_key)
            answer = self._cipher.seal_initiate(GLO_INITIATE_RESPONSE, answer)
        proven = profile.authentication in PROVEN
        event = ServerEvent.CHALLENGE if proven else ServerEvent.ACCEPT
        self.state = server_step(self.state, event)
        required = acse.Diagnostic.AUTHENTICATION_REQUIRED
        return acse.encode_aare(
            acse.Aare(
                context=self._context(),
                result=acse.Result.ACCEPTED,
                diagnostic=required if proven else acse.Diagnostic.NONE,
                mechanism=MECHANISM_OF[profile.authentication] if proven else acse.Mechanism.NONE,
                title=profile.title if titled else b"",
                authentication=challenge,
                initiate=answer,
            )
        )

    def _challenge(self, aarq: acse.Aarq) -> bytes:
        """Return our challenge, and keep what both sides will have to prove."""
        profile = self._profile
        if profile.authentication not in PROVEN or profile.challenge is None:
            return b""
        own = profile.challenge()
        check_challenge(aarq.authentication, own=own)
        self._secret = Secret(
            authentication=profile.authentication,
            password=profile.password,
            keys=profile.current_keys(),
        )
        self._side = Side(
            title=profile.title,
            challenge=own,
            peer_title=aarq.title,
            peer_challenge=aarq.authentication,
        )
        return own

    def _make_cipher(self, client_title: bytes) -> Ciphering:
        profile = self._profile
        keys = profile.current_keys()
        if keys is None or profile.counter is None:
            raise RuntimeError("ciphering without keys")
        return Ciphering(
            keys=keys,
            title=profile.title,
            counter=profile.counter,
            floor=profile.client_counter,
            peer_title=client_title,
        )

    def _grant(self, asked: InitiateRequest) -> InitiateResponse:
        self._client_max_pdu = asked.max_pdu or MAX_APDU
        if self._client_max_pdu < MIN_PDU:
            raise PeerError("dlms.conformance", "a client that takes so little cannot be answered")
        self._granted = Conformance(asked.conformance & OFFERED & self._profile.conformance)
        return InitiateResponse(conformance=self._granted, max_pdu=self._profile.max_pdu)

    def _counter_exception(self) -> bytes:
        """Tell the client where its counter stands, so that it can go on above it."""
        self._profile.notice(Notice.REPLAYED)
        floor = self._profile.client_counter.value
        return _exception(ExceptionService.INVOCATION_COUNTER, counter=floor)

    def _on_service(self, apdu: bytes) -> bytes:
        if self._cipher is None:
            if self._profile.is_ciphered:
                self._profile.notice(Notice.NOT_DECIPHERED)
                return _exception(ExceptionService.DECIPHERING)
            return encode_response(self._serve(decode_request(apdu)))
        try:
            text, form = self._cipher.open(apdu, _CIPHERED_REQUESTS)
        except PeerError as error:
            if error.code == STALE and not error.evidence["dedicated"]:
                return self._counter_exception()
            self._profile.notice(Notice.NOT_DECIPHERED)
            return _exception(ExceptionService.DECIPHERING)
        answer = encode_response(self._serve(decode_request(text)))
        if self._profile.service_glo:
            form = Form.SERVICE_DED if form.dedicated else Form.SERVICE_GLO
        return self._cipher.seal(answer, form)

    def _serve(self, request: Request) -> Response:
        if self.state is ServerState.PROVING:
            return self._check_proof(request)
        self.state = server_step(self.state, ServerEvent.REQUEST)
        return self._serving.answer(request, room=self._room(), granted=self._granted)

    def _check_proof(self, request: Request) -> Response:
        """Answer pass 3 with pass 4, and nothing else before it."""
        secret, side = self._secret, self._side
        if secret is None or side is None:
            raise RuntimeError("a proof without a secret")
        try:
            if not isinstance(request, Action) or request.method != REPLY_TO_HLS:
                raise PeerError("dlms.unexpected", "a request before the proof")
            if request.parameter is None:
                raise PeerError("dlms.authentication", "no proof")
            check_proof(secret, side, as_octets(request.parameter))
        except PeerError:
            self._profile.notice(Notice.WRONG_PASSWORD)
            self.state = server_step(self.state, ServerEvent.DISPROVEN)
            return ActionAnswer(invoke=request.invoke, result=Access.DENIED)
        self.state = server_step(self.state, ServerEvent.PROVEN)
        gmac = secret.authentication is Authentication.HLS5
        counter = self._profile.counter() if gmac and self._profile.counter else 0
        reply = prove(secret, side, counter)
        return ActionAnswer(
            invoke=request.invoke, result=Access.SUCCESS, returned=octet_string(reply)
        )

    def _limit(self) -> int:
        return min(self._client_max_pdu, self._profile.max_pdu)

    def _room(self) -> int:
        """Return how long an answer may be; general blocks carry one of any length."""
        if self._sends_general_blocks():
            return _MAX_REQUEST
        return self._limit() - (OVERHEAD if self._cipher else 0)

    def _sends_general_blocks(self) -> bool:
        agreed = Conformance.GENERAL_BLOCK_TRANSFER in self._granted
        return self._profile.general_blocks and agreed

    def _in_general_blocks(self, apdu: bytes) -> bytes:
        if not self._sends_general_blocks() or len(apdu) <= self._limit():
            return apdu
        self._sender = GeneralSender(apdu, size=self._limit())
        return self._sender.blocks(after=0)[0]

    def _on_general_block(self, apdu: bytes) -> bytes:
        """Take a block of a request, or the confirmation of a block of our answer."""
        if Conformance.GENERAL_BLOCK_TRANSFER not in self._granted:
            return _exception(ExceptionService.UNSUPPORTED)
        if self._sender is not None:
            told = decode_block(apdu)
            return self._sender.blocks(after=told.acknowledged, heard=told.number)[0]
        if self._receiver is None:
            self._receiver = GeneralReceiver(limit=_MAX_REQUEST)
        step = self._receiver.feed(apdu)
        if step.whole is None:
            # a streaming client must not be answered yet, and every frame here has an answer
            return step.confirm or _exception(ExceptionService.UNSUPPORTED)
        self._receiver = None
        if not step.whole or step.whole[0] in (GENERAL_BLOCK, acse.AARQ, acse.RLRQ):
            return _exception(ExceptionService.UNSUPPORTED)
        return self._in_general_blocks(self._on_service(step.whole))


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
