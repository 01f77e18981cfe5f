"""
DLMS/COSEM at a line: which client addresses the meter lets in, how, and what it shows them.

Without keys nothing is guessed: an association without authentication is asked for at the usual
client addresses, and where the meter refuses, its refusal tells what it wants. No password is
tried, because meters lock after a few wrong ones.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from edge.probe.causes import DIAGNOSTICS
from edge.probe.model import Line, Outcome, Step
from edge.probe.steps import step_of
from edge.probe.talk import UnreadableError, ask
from protocols.dlms import acse
from protocols.dlms.apdu import (
    Attribute,
    Get,
    GetAnswer,
    GetBlock,
    GetNext,
    decode_response,
    encode_request,
)
from protocols.dlms.axdr import decode_whole
from protocols.dlms.classes.association_ln import CLASS_ID as ASSOCIATION_CLASS
from protocols.dlms.hdlc import HdlcAddress
from protocols.dlms.hdlc_client import HdlcClient, HdlcSettings, HdlcTurn
from protocols.dlms.initiate import OURS, InitiateRequest
from protocols.dlms.initiate import decode_response as decode_initiate
from protocols.dlms.names import CLASS_NAMES
from protocols.dlms.obis import ASSOCIATION, DEVICE_NAME, INVOCATION_COUNTER, obis_text
from protocols.dlms.values import Value, as_integer, as_items, as_octets, as_text
from protocols.dlms.wrapper import Unwrapper, pack
from protocols.errors import PeerError

PUBLIC = 16
USUAL_CLIENTS = (PUBLIC, 1, 2, 3, 32, 48, 102)
"""Public, management, two more, SPODES reader and configurator, pre-established (IDIS)."""

_DATA_CLASS, _VALUE, _OBJECTS = 1, 2, 2
_MAX_BLOCKS = 4096
_SHOWN = 400
_EXCEPTION = 0xD8


class Asker(Protocol):
    """Carries one APDU there and the answer back."""

    async def ask(self, apdu: bytes) -> bytes:
        """Return the answer. Raises: PeerError, UnreadableError."""
        ...


AskerOf = Callable[[Line, int], Awaitable[Asker]]
"""Makes ready to ask as a client address. Raises: PeerError, UnreadableError."""


class WrapperAsker:
    """APDUs in the TCP wrapper."""

    def __init__(self, line: Line, client_sap: int, *, server_sap: int, seconds: float) -> None:
        """Stand on an open line."""
        self._line = line
        self._saps = (client_sap, server_sap)
        self._seconds = seconds

    async def ask(self, apdu: bytes) -> bytes:
        """Return the answer. Raises: PeerError, UnreadableError."""
        frames = Unwrapper()

        def search(octets: bytes) -> bytes | None:
            try:
                found = frames.feed(octets)
            except PeerError:
                raise UnreadableError(octets) from None
            return found[0].apdu if found else None

        octets = pack(*self._saps, apdu)
        return await ask(self._line, octets, search, seconds=self._seconds)


class HdlcAsker:
    """APDUs over an HDLC link that is connected on first use."""

    def __init__(self, line: Line, client_sap: int, *, server: HdlcAddress, seconds: float) -> None:
        """Stand on an open line."""
        settings = HdlcSettings(client_sap=client_sap, server=server, retries=0)
        self._client = HdlcClient(settings=settings)
        self._line = line
        self._seconds = seconds

    async def connect(self) -> None:
        """Bring up the link. Raises: PeerError `hdlc.refused`, others; UnreadableError."""
        await self._exchange(self._client.connect())

    async def ask(self, apdu: bytes) -> bytes:
        """Return the answer. Raises: PeerError, UnreadableError."""
        return (await self._exchange(self._client.send(apdu))).apdu

    async def _exchange(self, octets: bytes) -> HdlcTurn:
        turn = HdlcTurn(send=octets)
        while not turn.done:
            turn = await ask(self._line, turn.send, self._search, seconds=self._seconds)
        return turn

    def _search(self, octets: bytes) -> HdlcTurn | None:
        turn = self._client.receive(octets)
        return turn if turn.done or turn.send else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What one client address met. `offers` is none, lls, hls5 or what else the meter wants."""

    client_sap: int
    accepted: bool
    offers: str
    words: str


async def associate(asker: Asker, client_sap: int) -> Admission:
    """Ask to be let in without proof. Raises: PeerError, UnreadableError when nobody answers."""
    initiate = InitiateRequest(conformance=OURS, max_pdu=0xFFFF).encode()
    aarq = acse.Aarq(context=acse.Context.LN_PLAIN, initiate=initiate)
    answer = await asker.ask(acse.encode_aarq(aarq))
    if answer[:1] == bytes((_EXCEPTION,)):
        return Admission(
            client_sap=client_sap,
            accepted=False,
            offers="",
            words="knows no such client, or no such server address",
        )
    aare = acse.decode_aare(answer)
    if aare.result == acse.Result.ACCEPTED and aare.diagnostic == acse.Diagnostic.NONE:
        granted = decode_initiate(aare.initiate)
        words = f"accepts without authentication; PDU of {granted.max_pdu} octets"
        return Admission(client_sap=client_sap, accepted=True, offers="none", words=words)
    offers = _wanted(aare)
    reason = DIAGNOSTICS.get(aare.diagnostic, f"diagnostic {aare.diagnostic}")
    return Admission(
        client_sap=client_sap, accepted=False, offers=offers, words=f"refuses: {reason}"
    )


def _wanted(aare: acse.Aare) -> str:
    if aare.context == acse.Context.LN_CIPHERED or aare.diagnostic in (
        acse.Diagnostic.CONTEXT_UNSUPPORTED,
        acse.Diagnostic.AUTHENTICATION_REQUIRED,
    ):
        return "hls5"
    if aare.diagnostic in (
        acse.Diagnostic.MECHANISM_REQUIRED,
        acse.Diagnostic.MECHANISM_UNRECOGNISED,
        acse.Diagnostic.AUTHENTICATION_FAILURE,
    ):
        return "lls"
    return ""


async def look_around(asker: Asker) -> dict[str, Any]:
    """Return what the open association shows: name, counter, objects; what it hides is absent."""
    facts: dict[str, Any] = {}
    name = await _value(asker, 1, Attribute(class_id=_DATA_CLASS, name=DEVICE_NAME, index=_VALUE))
    if name is not None:
        facts["logical_device_name"] = as_text(name)
    counter = Attribute(class_id=_DATA_CLASS, name=INVOCATION_COUNTER, index=_VALUE)
    number = await _value(asker, 2, counter)
    if number is not None:
        facts["invocation_counter"] = as_integer(number)
    objects = Attribute(class_id=ASSOCIATION_CLASS, name=ASSOCIATION, index=_OBJECTS)
    listed = await _value(asker, 3, objects)
    if listed is not None:
        facts |= _objects(listed)
    return facts


def _objects(listed: Value) -> dict[str, Any]:
    rows = list(_rows(listed))
    kinds = Counter(CLASS_NAMES.get(class_id, f"class {class_id}") for class_id, _ in rows)
    return {
        "objects": len(rows),
        "classes": dict(kinds.most_common()),
        "object_list": [f"{class_id} {obis_text(name)}" for class_id, name in rows[:_SHOWN]],
    }


def _rows(listed: Value) -> Iterator[tuple[int, bytes]]:
    """Yield class and name of each object; unknown classes too, rows that are none are passed."""
    for item in as_items(listed):
        try:
            fields = as_items(item)
            name = as_octets(fields[2])
            if len(name) == 6:
                yield as_integer(fields[0]), name
        except (PeerError, IndexError):
            continue


async def _value(asker: Asker, invoke: int, attribute: Attribute) -> Value | None:
    """Return an attribute's value; None where the meter will not give it. Raises: PeerError."""
    octets = encode_request(Get(invoke=invoke, attributes=(attribute,)))
    blocks: list[bytes] = []
    for _ in range(_MAX_BLOCKS):
        answer = decode_response(await asker.ask(octets))
        if isinstance(answer, GetAnswer):
            return answer.values[0] if isinstance(answer.values[0], Value) else None
        if not isinstance(answer, GetBlock) or answer.error:
            return None
        blocks.append(answer.raw)
        if answer.last:
            return decode_whole(b"".join(blocks))
        octets = encode_request(GetNext(invoke=invoke, block=answer.block))
    return None


async def survey(
    open_line: Callable[[], Awaitable[Line]],
    asker_of: AskerOf,
    clients: tuple[int, ...],
    tried: str,
) -> tuple[dict[str, Any], list[Step]]:
    """
    Return the facts about the meter on a line, none if nobody speaks DLMS there, and the steps.

    Each client address has its own line. Silence at two addresses ends the survey.
    """
    facts: dict[str, Any] = {}
    steps: list[Step] = []
    clients_told: dict[str, str] = {}
    silent = 0
    for client_sap in clients:
        what = f"{tried}, client {client_sap}"
        try:
            line = await open_line()
        except PeerError as error:
            steps.append(step_of(what, error))
            break
        try:
            asker = await asker_of(line, client_sap)
            admission = await associate(asker, client_sap)
            words = admission.words
            if admission.accepted:
                facts |= {k: v for k, v in (await look_around(asker)).items() if k not in facts}
        except (PeerError, UnreadableError) as error:
            step = step_of(what, error)
            steps.append(step)
            silent += 1
            if not clients_told and (silent >= 2 or step.outcome is Outcome.UNREADABLE):
                break
            continue
        finally:
            line.close()
        if admission.offers:
            clients_told[str(client_sap)] = admission.offers
        outcome = Outcome.FOUND if admission.accepted else Outcome.REFUSED
        fix = _fix(admission)
        steps.append(Step(tried=what, outcome=outcome, words=words, fix=fix))
    if clients_told:
        facts["clients"] = clients_told
    return facts, steps


def _fix(admission: Admission) -> str:
    match admission.offers:
        case "hls5":
            return "read it with --authentication hls5 and the meter's two keys"
        case "lls":
            return "read it with --authentication lls and its password"
        case "none":
            return ""
        case _:
            return "not this one: try the other client addresses, or another --server-sap"
