"""One association over one link: the sans-I/O client, counters that are durable, deadlines."""

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from edge.links.apdu import ApduLink, WrapperLink
from edge.links.hdlc import HdlcLink, HdlcPlace
from edge.links.tcp import TcpLink
from protocols.dlms.apdu import (
    Access,
    ActionAnswer,
    Attribute,
    ExceptionService,
    Got,
    ServiceException,
    SetAnswer,
)
from protocols.dlms.association import Authentication, ClientState
from protocols.dlms.client import Answer, ClientConnection, ClientSettings, Opened, Undecoded
from protocols.dlms.general_glo import Form
from protocols.dlms.initiate import Conformance
from protocols.dlms.security import Keys
from protocols.dlms.values import Value
from protocols.dlms.wrapper import BareFraming
from protocols.errors import PeerError
from protocols.identity import MeterId

COUNTER_BLOCK = 256
_CHALLENGE_OCTETS = 16
_MAX_JUMP = 1 << 26
"""How far one unauthenticated demand may raise our counter: 64 such jumps use it up."""
_LIST = 24
"""Attributes asked in one list; a list longer than the meter's PDU is cut smaller."""
_REQUEST_ROOM = 80
_ATTRIBUTE_OCTETS = 10


class CounterStore(Protocol):
    """Where invocation counters live; see `edge.outbox.counters`."""

    def reserve(self, system_title: bytes, key_id: str, block: int) -> range:
        """Return counters that nobody else will have; on disk before this returns."""
        ...

    def raise_to(self, system_title: bytes, key_id: str, floor: int) -> None:
        """Let the next counter be at least `floor`."""
        ...


@runtime_checkable
class PeerMemory(Protocol):
    """A counter store that also keeps what meters have shown; see `edge.outbox.counters`."""

    def peer_of(self, key_id: str, key_print: str) -> tuple[bytes, int] | None:
        """Return title and highest counter of a meter under one key."""
        ...

    def note_peer(self, key_id: str, key_print: str, title: bytes, counter: int) -> None:
        """Keep them; on disk before this returns."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DlmsTarget:
    """Where a DLMS meter is, who it must be, how to prove ourselves. Seconds are wall time."""

    meter: MeterId
    host: str = ""
    port: int = 0
    hdlc: HdlcPlace | None = None
    """How it hangs on HDLC; None is the TCP wrapper."""
    client_sap: int = 1
    server_sap: int = 1
    authentication: str = "none"
    password: bytes = field(default=b"", repr=False)
    system_title: bytes = b""
    authentication_key: bytes = field(default=b"", repr=False)
    encryption_key: bytes = field(default=b"", repr=False)
    expected_device_name: str
    interval_seconds: int | None = None
    has_relay: bool = False
    timeout_seconds: float = 3.0
    assumed_deviation: int | None = None
    """Minutes from local to UTC for a meter that sends none."""
    ciphered: bool | None = None
    """Whether every APDU is ciphered; None means with HLS5 alone."""
    dedicated: bool = False
    """Whether each association has an encryption key of its own."""
    event_profile: str = "idis"
    """The companion profile by which the meter numbers its events."""
    weak_hls: bool = False
    """Whether the broken hashes of `hls-md5` and `hls-sha1` may be used."""

    async def connect(self) -> ApduLink:
        """Return a link to the meter, on which no association stands yet. Raises: PeerError."""
        seconds, place = self.timeout_seconds, self.hdlc
        if place is None:
            line = await TcpLink.connect(self.host, self.port, seconds=seconds)
            return WrapperLink(line, client_sap=self.client_sap, server_sap=self.server_sap)
        hdlc = place.settings(client_sap=self.client_sap, server_sap=self.server_sap)
        if place.serial_port:
            return await HdlcLink.over_serial(place, hdlc, seconds=seconds)
        return await HdlcLink.over_tcp(self.host, self.port, hdlc, seconds=seconds)

    def settings(self) -> ClientSettings:
        """Return what the codec needs. Raises: ValueError on keys that cannot be."""
        authentication = Authentication(self.authentication)
        keys = None
        if authentication is Authentication.HLS5 or self.ciphered:
            keys = Keys(encryption=self.encryption_key, authentication=self.authentication_key)
        return ClientSettings(
            client_sap=self.client_sap,
            server_sap=self.server_sap,
            authentication=authentication,
            password=self.password,
            title=self.system_title,
            keys=keys,
            ciphered=self.ciphered,
            form=Form.GENERAL_DED if self.dedicated else Form.GENERAL_GLO,
            weak_hls=self.weak_hls,
        )


class CounterBlock:
    """Counters of one (title, key) in memory, from blocks reserved on disk before first use."""

    def __init__(self, store: CounterStore, target: DlmsTarget) -> None:
        """Reserve nothing yet: an LLS meter never needs one."""
        self._store = store
        self._title = target.system_title
        self._key = str(target.meter)
        self._left: Iterator[int] = iter(())
        self.last = -1

    def __call__(self) -> int:
        """Return the next counter."""
        counter = next(self._left, None)
        if counter is None:
            self._left = iter(self._store.reserve(self._title, self._key, COUNTER_BLOCK))
            counter = next(self._left)
        self.last = counter
        return counter

    def rejected(self, wanted: int) -> PeerError:
        """
        Go above the counter at which the meter says it stands; return the error to raise.

        The demand is not authenticated, so the jump is bounded. A meter that stands lower than
        we do had no reason to refuse: `dlms.counter_lowered`, an alarm, and nothing moves.
        """
        evidence = {"ours": self.last, "meter": wanted}
        if wanted < self.last:
            message = "the meter refuses our counter, yet stands below it"
            return PeerError("dlms.counter_lowered", message, evidence=evidence)
        if wanted - self.last > _MAX_JUMP:
            message = "the meter asks for too high a counter"
            return PeerError("dlms.counter_jump", message, evidence=evidence)
        self._store.raise_to(self._title, self._key, wanted + 1)
        self._left = iter(())
        return PeerError(
            "dlms.counter_rejected", "the meter wants a higher counter", evidence=evidence
        )


@dataclass(slots=True, kw_only=True)
class KnownMeter:
    """What one meter has shown in earlier sessions and may not take back."""

    title: bytes = b""
    counter: int = -1
    noted: int = -1

    @classmethod
    def recall(cls, store: CounterStore, target: DlmsTarget) -> "KnownMeter":
        """Return what is kept of a meter under its present key."""
        kept = None
        if isinstance(store, PeerMemory) and target.encryption_key:
            kept = store.peer_of(str(target.meter), _print_of(target.encryption_key))
        return cls() if kept is None else cls(title=kept[0], counter=kept[1], noted=kept[1])

    def keep(self, store: CounterStore, target: DlmsTarget) -> None:
        """Keep it once its counter has risen by a block: a replay of more would be noticed."""
        risen = self.counter - self.noted >= COUNTER_BLOCK or self.noted < 0 <= self.counter
        if risen and isinstance(store, PeerMemory):
            key = _print_of(target.encryption_key)
            store.note_peer(str(target.meter), key, self.title, self.counter)
            self.noted = self.counter


def _print_of(key: bytes) -> str:
    """Return a name for a key that does not tell it: counters begin anew with each key."""
    return hashlib.sha256(b"counter floor" + key).hexdigest()[:16]


class DlmsSession:
    """An open association; after any PeerError it is of no more use and must be closed."""

    def __init__(
        self, target: DlmsTarget, counters: CounterBlock, known: KnownMeter, link: ApduLink
    ) -> None:
        """Stand on a connected line; `open` is the way to get one."""
        self._target = target
        self._counters = counters
        self._known = known
        self._link = link
        self._client = ClientConnection(
            target.settings(),
            counter=counters,
            challenge=secrets.token_bytes(_CHALLENGE_OCTETS),
            dedicated_key=(
                secrets.token_bytes(len(target.encryption_key)) if target.dedicated else b""
            ),
            server_title=known.title,
            server_counter=known.counter,
            framing=BareFraming(),
        )

    @classmethod
    async def open(
        cls, target: DlmsTarget, counters: CounterBlock, known: KnownMeter
    ) -> "DlmsSession":
        """Connect and associate. Raises: PeerError."""
        link = await target.connect()
        try:
            session = cls(target, counters, known, link)
            answer = await session._exchange(session._client.open())
            if not isinstance(answer, Opened):
                raise PeerError("dlms.unexpected", "no association came of it")
        except BaseException:
            link.abort()
            raise
        known.title = answer.server_title
        return session

    @property
    def is_open(self) -> bool:
        """Tell whether it can still be asked."""
        return self._link.is_open and self._client.state is ClientState.READY

    @property
    def conformance(self) -> Conformance:
        """Return what the meter grants."""
        return self._client.granted.conformance

    async def get(self, *attributes: Attribute) -> tuple[Got, ...]:
        """Return the values in order, in as few trips as the meter allows. Raises: PeerError."""
        size = 1
        if Conformance.MULTIPLE_REFERENCES in self.conformance:
            room = (self._client.granted.max_pdu or 0xFFFF) - _REQUEST_ROOM
            size = max(1, min(_LIST, room // _ATTRIBUTE_OCTETS))
        got: list[Got] = []
        for at in range(0, len(attributes), size):
            answer = await self._exchange(self._client.get(*attributes[at : at + size]))
            if not isinstance(answer, tuple):
                raise PeerError("dlms.unexpected", "no values came of it")
            got.extend(answer)
        return tuple(got)

    async def get_one(self, attribute: Attribute) -> Value:
        """Return one value that must be there. Raises: PeerError `dlms.access` and others."""
        (got,) = await self.get(attribute)
        return present(attribute, got)

    async def get_octets(self, attribute: Attribute) -> bytes:
        """Return one value that must be there, as octets. Raises: PeerError as `get_one`."""
        answer = await self._exchange(self._client.get_octets(attribute))
        if isinstance(answer, Undecoded):
            return answer.octets
        if isinstance(answer, tuple) and isinstance(answer[0], Access):
            raise denied(attribute, answer[0])
        raise PeerError("dlms.unexpected", "no value came of it")

    async def set(self, attribute: Attribute, value: Value) -> None:
        """Write one attribute. Raises: PeerError `dlms.access` and others."""
        answer = await self._exchange(self._client.set(attribute, value))
        if not isinstance(answer, SetAnswer):
            raise PeerError("dlms.unexpected", "no result came of it")
        if answer.result is not Access.SUCCESS:
            raise denied(attribute, answer.result)

    async def act(self, method: Attribute, parameter: Value) -> None:
        """Invoke one method. Raises: PeerError `dlms.action_refused` and others."""
        answer = await self._exchange(self._client.act(method, parameter))
        if not isinstance(answer, ActionAnswer):
            raise PeerError("dlms.unexpected", "no result came of it")
        if answer.result is not Access.SUCCESS:
            raise PeerError(
                "dlms.action_refused",
                f"{method}: {answer.result.name}",
                evidence={"result": int(answer.result)},
            )

    async def close(self) -> None:
        """Release the association where it still stands, then end the line; never raises."""
        if self.is_open:
            with contextlib.suppress(PeerError):
                await self._exchange(self._client.release())
        await self._link.close()

    def abort(self) -> None:
        """End the line at once; never raises."""
        self._link.abort()

    async def _exchange(self, octets: bytes) -> Answer:
        """Send and wait for the answer; each frame of a long one has its own deadline."""
        seconds = self._target.timeout_seconds
        if self._link.discard():
            raise PeerError("dlms.unexpected", "octets that nobody asked for")
        while octets:
            await self._link.send(octets)
            try:
                turn = self._client.receive(await self._link.receive(seconds))
                while turn.answer is None and not turn.send:
                    turn = self._client.receive(await self._link.receive(seconds))
                if self._link.discard():
                    raise PeerError("dlms.unexpected", "more than the answer came")
            except PeerError as error:
                if error.code == "dlms.counter_rejected":
                    raise self._counters.rejected(int(error.evidence["counter"])) from error
                raise
            self._known.counter = max(self._known.counter, self._client.server_counter)
            if isinstance(turn.answer, ServiceException):
                raise self._exception(turn.answer)
            if turn.answer is not None:
                return turn.answer
            octets = turn.send
        raise RuntimeError("a turn without octets and without an answer")

    def _exception(self, exception: ServiceException) -> PeerError:
        if exception.service == ExceptionService.INVOCATION_COUNTER:
            return self._counters.rejected(exception.counter or 0)
        return PeerError(
            "dlms.exception",
            "the meter could not take the request",
            evidence={"state": exception.state, "service": exception.service},
        )


def denied(attribute: Attribute, result: Access) -> PeerError:
    """Return the error for an attribute that the meter will not give or take."""
    return PeerError("dlms.access", f"{attribute}: {result.name}", evidence={"result": int(result)})


def present(attribute: Attribute, got: Got) -> Value:
    """Return a value that must be there. Raises: PeerError `dlms.access`."""
    if isinstance(got, Access):
        raise denied(attribute, got)
    return got
