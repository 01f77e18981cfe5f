"""
The client's side of a connection: requests to octets, octets to answers, nothing in between.

No I/O: `open`, `get`, `set`, `act`, `release` return octets to send; `receive` takes what came and
returns a `Turn`: octets to send next (a challenge to answer, a block to fetch or to follow) and,
when an exchange is over, its answer. One request is outstanding at a time. A request too long for
the server goes out in blocks.

What is checked on a ciphered association: the tag, before the text is looked at; the server's
title; the server's counter, strictly rising above everything seen before; that no answer comes
plain. Only an exception-response may: it carries no value and can do no more than a cut wire.
That the server is alive, and not a recording, is proven by its answer to our fresh challenge; its
counter then stands above every frame recorded before, so nothing old can be slipped in later.
*Source*: IEC 62056-5-3 clauses 5.3, 6.13, 7.2, 7.3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from protocols.dlms import acse
from protocols.dlms.apdu import (
    EXCEPTION,
    Access,
    Action,
    ActionAnswer,
    Attribute,
    Get,
    ServiceException,
    Set,
    decode_response,
    encode_request,
)
from protocols.dlms.association import Authentication, ClientEvent, ClientState, client_step
from protocols.dlms.ciphering import Ciphering, CounterFloor
from protocols.dlms.classes.association_ln import REPLY_TO_HLS
from protocols.dlms.exchange import Exchange, Follow, ServiceAnswer, Undecoded
from protocols.dlms.gbt import GENERAL_BLOCK, GeneralReceiver
from protocols.dlms.general_glo import (
    DED_RESPONSES,
    GENERAL_DED,
    GENERAL_GLO,
    GLO_INITIATE_REQUEST,
    GLO_INITIATE_RESPONSE,
    GLO_RESPONSES,
    OVERHEAD,
    Form,
)
from protocols.dlms.hls import (
    MECHANISM_OF,
    PROVEN,
    TITLED,
    WEAK,
    Secret,
    Side,
    check_peer_title,
    check_proof,
    prove,
)
from protocols.dlms.initiate import (
    OFFERED,
    Conformance,
    InitiateRequest,
    InitiateResponse,
)
from protocols.dlms.initiate import (
    decode_response as decode_initiate,
)
from protocols.dlms.security import TITLE_OCTETS, Keys, check_challenge
from protocols.dlms.transfer import MAX_TEXT
from protocols.dlms.values import Value, as_octets, octet_string
from protocols.dlms.wrapper import Framing, WrapperFraming
from protocols.dlms.writing import ActionList, SetList, parameter_or_null
from protocols.errors import PeerError

__all__ = [
    "Answer",
    "ClientConnection",
    "ClientSettings",
    "Opened",
    "Released",
    "Turn",
    "Undecoded",
]

_CIPHERED_ANSWERS = GLO_RESPONSES | DED_RESPONSES | {GENERAL_GLO, GENERAL_DED}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """
    Who speaks to whom and how. *Units*: octets.

    `password` is also the secret of the hashed proofs. `ciphered` None means: with HLS5 alone.
    `weak_hls` must be said to use MD5 or SHA1.
    """

    client_sap: int
    server_sap: int
    authentication: Authentication
    password: bytes = field(default=b"", repr=False)
    title: bytes = b""
    keys: Keys | None = field(default=None, repr=False)
    max_pdu: int = 0xFFFF
    max_answer: int = MAX_TEXT
    ciphered: bool | None = None
    form: Form = Form.GENERAL_GLO
    weak_hls: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be spoken. Raises: ValueError that says what is missing."""
        titled = self.is_ciphered or self.authentication in TITLED
        if self.is_ciphered and self.keys is None:
            raise ValueError("ciphering needs the meter's keys; check the meter's keys file")
        if titled and len(self.title) != TITLE_OCTETS:
            raise ValueError("a client system title of 8 octets is needed; set system_title")
        if self.authentication in WEAK and not self.weak_hls:
            raise ValueError(f"{self.authentication} is broken and off; allow weak_hls to use it")

    @property
    def is_ciphered(self) -> bool:
        """Tell whether every APDU is ciphered."""
        if self.ciphered is None:
            return self.authentication is Authentication.HLS5
        return self.ciphered


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The association stands; the server may be asked."""

    conformance: Conformance
    server_title: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The association has ended in agreement."""


Answer = Opened | Released | ServiceAnswer | ServiceException


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What to send now, and the answer if the exchange is over."""

    send: bytes = b""
    answer: Answer | None = None


_NOTHING = Turn()


class ClientConnection:
    """
    One association over one connection.

    `counter` hands out invocation counters that are durable already; `challenge` and
    `dedicated_key` (empty: none) come from the operating system's randomness, new for each
    association; `server_counter` is the highest seen from this server so far and `server_title`
    the title it must have (empty: not known yet).
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        counter: Callable[[], int],
        challenge: bytes = b"",
        dedicated_key: bytes = b"",
        server_title: bytes = b"",
        server_counter: int = -1,
        framing: Framing | None = None,
    ) -> None:
        """Begin unassociated; octets stand in the TCP wrapper unless `framing` says otherwise."""
        self.state = ClientState.IDLE
        self.server_title = server_title
        self.granted = InitiateResponse(conformance=Conformance(0), max_pdu=0)
        self._settings = settings
        self._counter = counter
        self._challenge = challenge
        self._dedicated_key = dedicated_key
        self._floor = CounterFloor(value=server_counter)
        self._framing = framing or WrapperFraming(
            client_sap=settings.client_sap, server_sap=settings.server_sap
        )
        self._exchange: Exchange | None = None
        self._invoke = 0
        self._general: GeneralReceiver | None = None
        self._cipher: Ciphering | None = None
        if settings.is_ciphered and settings.keys is not None:
            self._cipher = Ciphering(
                keys=settings.keys,
                title=settings.title,
                counter=counter,
                floor=self._floor,
                peer_title=server_title,
            )
        if dedicated_key and self._cipher is None:
            raise ValueError("a dedicated key belongs to a ciphered association")
        if settings.form.dedicated and not dedicated_key:
            raise ValueError(f"{settings.form} needs a dedicated key")
        self._secret = self._make_secret()
        self._proven_side = self._side(b"")

    @property
    def server_counter(self) -> int:
        """Return the highest counter seen from this server under the global key."""
        return self._floor.value

    def open(self) -> bytes:
        """Return the octets that ask for the association."""
        self._step(ClientEvent.OPEN)
        settings = self._settings
        initiate = InitiateRequest(
            conformance=OFFERED, max_pdu=settings.max_pdu, dedicated_key=self._dedicated_key
        ).encode()
        context = acse.Context.LN_PLAIN
        if self._cipher is not None:
            self._cipher.dedicate(b"")
            initiate = self._cipher.seal_initiate(GLO_INITIATE_REQUEST, initiate)
            context = acse.Context.LN_CIPHERED
        proof = settings.password if settings.authentication is Authentication.LLS else b""
        if settings.authentication in PROVEN:
            proof = self._challenge
        aarq = acse.Aarq(
            context=context,
            mechanism=MECHANISM_OF[settings.authentication],
            title=settings.title if self._cipher or settings.authentication in TITLED else b"",
            authentication=proof,
            initiate=initiate,
        )
        return self._framing.pack(acse.encode_aarq(aarq))

    def get(self, *attributes: Attribute) -> bytes:
        """Return the octets that ask for `attributes`; more than one make a list."""
        return self._ask(Get(invoke=self._next_invoke(), attributes=attributes))

    def get_octets(self, attribute: Attribute) -> bytes:
        """Return the octets that ask for one attribute; its answer is `Undecoded` or a refusal."""
        asked = Get(invoke=self._next_invoke(), attributes=(attribute,))
        return self._ask(asked, undecoded=True)

    def set(self, attribute: Attribute, value: Value) -> bytes:
        """Return the octets that write `value`, or the first of its blocks."""
        return self._ask(Set(invoke=self._next_invoke(), attribute=attribute, value=value))

    def set_list(self, pairs: Sequence[tuple[Attribute, Value]]) -> bytes:
        """Return the octets that write several attributes, each for itself."""
        attributes = tuple(attribute for attribute, _ in pairs)
        values = tuple(value for _, value in pairs)
        return self._ask(SetList(invoke=self._next_invoke(), attributes=attributes, values=values))

    def act(self, method: Attribute, parameter: Value | None = None) -> bytes:
        """Return the octets that invoke `method`, or the first block of its parameter."""
        return self._ask(Action(invoke=self._next_invoke(), method=method, parameter=parameter))

    def act_list(self, pairs: Sequence[tuple[Attribute, Value | None]]) -> bytes:
        """Return the octets that invoke several methods in order."""
        methods = tuple(method for method, _ in pairs)
        given = tuple(parameter_or_null(parameter) for _, parameter in pairs)
        return self._ask(ActionList(invoke=self._next_invoke(), methods=methods, parameters=given))

    def release(self) -> bytes:
        """Return the octets that end the association."""
        self._step(ClientEvent.RELEASE)
        return self._framing.pack(acse.encode_release(acse.RLRQ))

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

    def _make_secret(self) -> Secret | None:
        settings = self._settings
        if settings.authentication not in PROVEN:
            return None
        return Secret(
            authentication=settings.authentication, password=settings.password, keys=settings.keys
        )

    def _next_invoke(self) -> int:
        self._invoke = (self._invoke + 1) & 0x0F
        return self._invoke

    def _room(self) -> int:
        limit = self.granted.max_pdu or 0xFFFF
        return limit - (OVERHEAD if self._cipher else 0)

    def _ask(
        self, request: Get | Set | SetList | Action | ActionList, *, undecoded: bool = False
    ) -> bytes:
        exchange = Exchange(
            request,
            room=self._room(),
            conformance=self.granted.conformance,
            limit=self._settings.max_answer,
            undecoded=undecoded,
        )
        self._step(ClientEvent.ASK)
        self._exchange = exchange
        self._general = None
        return self._protect(exchange.begin)

    def _protect(self, apdu: bytes) -> bytes:
        if self._cipher is not None:
            form = self._settings.form
            if form.dedicated and self.state is ClientState.PROVING:
                # the proof belongs to the global key, which both sides are proving to have
                form = Form.SERVICE_GLO if form is Form.SERVICE_DED else Form.GENERAL_GLO
            apdu = self._cipher.seal(apdu, form)
        return self._framing.pack(apdu)

    def _on_apdu(self, apdu: bytes) -> Turn:
        match self.state:
            case ClientState.PENDING:
                return self._on_aare(apdu)
            case ClientState.RELEASING if apdu[0] != EXCEPTION:
                acse.decode_release(apdu, acse.RLRE)
                self._step(ClientEvent.RELEASED)
                return Turn(answer=Released())
            case ClientState.WAITING if apdu[0] == GENERAL_BLOCK:
                return self._on_general_block(apdu)
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
        wanted = acse.Context.LN_PLAIN if self._cipher is None else acse.Context.LN_CIPHERED
        if aare.context != wanted or challenged != (self._secret is not None):
            raise PeerError("dlms.context", "the meter accepts another association than was asked")
        if self._secret is not None:
            self._check_challenged(aare)
        if self._cipher is None:
            self.granted = decode_initiate(aare.initiate)
        else:
            check_peer_title(aare.title, own=self._settings.title, expected=self.server_title)
            self._cipher.peer_title = self.server_title = aare.title
            initiate = self._cipher.open_initiate(aare.initiate, GLO_INITIATE_RESPONSE)
            self.granted = decode_initiate(initiate)
            self._cipher.dedicate(self._dedicated_key)
        if self._secret is None:
            self._step(ClientEvent.ACCEPTED)
            return Turn(answer=self._opened())
        return self._prove(self._secret, aare.authentication)

    def _check_challenged(self, aare: acse.Aare) -> None:
        authentication = self._settings.authentication
        if aare.mechanism != MECHANISM_OF[authentication]:
            raise PeerError(
                "dlms.mechanism", f"mechanism {aare.mechanism} where {authentication} was asked"
            )
        check_challenge(aare.authentication, own=self._challenge)
        if authentication in TITLED:
            check_peer_title(aare.title, own=self._settings.title, expected=self.server_title)
            self.server_title = aare.title

    def _side(self, peer_challenge: bytes) -> Side:
        return Side(
            title=self._settings.title,
            challenge=self._challenge,
            peer_title=self.server_title,
            peer_challenge=peer_challenge,
        )

    def _prove(self, secret: Secret, challenge: bytes) -> Turn:
        self._step(ClientEvent.CHALLENGED)
        self._proven_side = self._side(challenge)
        counter = self._counter() if secret.authentication is Authentication.HLS5 else 0
        answer = prove(secret, self._proven_side, counter)
        proof = Action(
            invoke=self._next_invoke(), method=REPLY_TO_HLS, parameter=octet_string(answer)
        )
        return Turn(send=self._protect(encode_request(proof)))

    def _opened(self) -> Opened:
        return Opened(conformance=self.granted.conformance, server_title=self.server_title)

    def _on_general_block(self, apdu: bytes) -> Turn:
        if Conformance.GENERAL_BLOCK_TRANSFER not in self.granted.conformance:
            raise PeerError("dlms.unexpected", "a general block that was not agreed")
        if self._general is None:
            self._general = GeneralReceiver(limit=self._settings.max_answer)
        step = self._general.feed(apdu)
        if step.whole is None:
            self._step(ClientEvent.BLOCK)
            return Turn(send=self._framing.pack(step.confirm)) if step.confirm else _NOTHING
        self._general = None
        if not step.whole or step.whole[0] == GENERAL_BLOCK:
            raise PeerError("dlms.blocks", "general blocks that hold no APDU")
        return self._on_response(step.whole)

    def _on_response(self, apdu: bytes) -> Turn:
        if self._cipher is not None and apdu[0] != EXCEPTION:
            if apdu[0] not in _CIPHERED_ANSWERS:
                raise PeerError("dlms.plain_answer", "a plain answer in a ciphered association")
            apdu, _form = self._cipher.open(apdu, _CIPHERED_ANSWERS)
        quick = self._exchange.undecoded(apdu) if self._exchange else None
        if quick is not None and self.state is ClientState.WAITING:
            return self._answered(quick)
        response = decode_response(apdu)
        if isinstance(response, ServiceException):
            if self.state is ClientState.PROVING:
                self._step(ClientEvent.EXCEPTION)
                raise _refused(response)
            self._step(ClientEvent.EXCEPTION)
            return Turn(answer=response)
        if self.state is ClientState.PROVING:
            if not isinstance(response, ActionAnswer) or response.invoke != self._invoke:
                raise PeerError("dlms.unexpected", "another answer where the proof must come")
            return self._on_proof(response)
        if self._exchange is None:
            raise PeerError("dlms.unexpected", "an answer to nothing that was asked")
        taken = self._exchange.take(response)
        if not isinstance(taken, Follow):
            return self._answered(taken)
        self._step(ClientEvent.BLOCK)
        return Turn(send=self._protect(encode_request(taken.request)))

    def _answered(self, answer: ServiceAnswer) -> Turn:
        self._exchange = None
        self._step(ClientEvent.ANSWER)
        return Turn(answer=answer)

    def _on_proof(self, response: ActionAnswer) -> Turn:
        """Check pass 4: the server's answer to our challenge."""
        returned = response.returned
        if response.result is not Access.SUCCESS or not isinstance(returned, Value):
            raise PeerError(
                "dlms.authentication",
                "the meter refuses our proof",
                evidence={"result": response.result},
            )
        if self._secret is None:
            raise RuntimeError("a proof without a secret")
        check_proof(self._secret, self._proven_side, as_octets(returned))
        self._step(ClientEvent.PROVEN)
        return Turn(answer=self._opened())


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
