"""
Takes what meters push unasked: whose it is, whether it is proven, what it says.

A push is a meter's own when it comes from the meter's host and is sealed with the meter's keys
under the title that its sessions have shown, with a counter above every one before. A plain one is
refused unless `plain_pushes` allows it for that meter; then it must bear the meter's logical device
name, and what it says is marked as unauthenticated. Everything else is counted, told once as an
event of the meter that it pretended to be, and dropped.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime

from edge.acquire.dlms_session import CounterStore, DlmsTarget, KnownMeter
from edge.acquire.piece import Piece, Sink
from edge.acquire.push_body import Pushed, read_body, read_object
from edge.clock import EdgeClock
from edge.config import MeterConfig, MeterKeys
from edge.links.push import Push, PushListener
from edge.outbox.database import OutboxError
from edge.outbox.push_floors import PushFloors
from protocols.dlms.ciphering import CounterFloor
from protocols.dlms.event_codes import Dialect
from protocols.dlms.notification import DataNotification, Heard, Listener
from protocols.dlms.obis import obis_text
from protocols.dlms.security import Keys
from protocols.errors import PeerError
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import MeterId
from protocols.reading import Status

_LOG = logging.getLogger(__name__)
_NO_STATUS = Status(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pusher:
    """One meter that may have pushed, with the title and counter that its sessions have shown."""

    config: MeterConfig
    keys: Keys | None
    title: bytes
    counter: int

    @property
    def meter(self) -> MeterId:
        return self.config.meter

    @property
    def key_print(self) -> str:
        key = b"" if self.keys is None else self.keys.encryption
        return hashlib.sha256(b"push floor" + key).hexdigest()[:16]


class PushDesk:
    """The pushes of one agent, from the listener to the outbox."""

    def __init__(
        self,
        meters: tuple[MeterConfig, ...],
        *,
        keys_of: Callable[[MeterId], MeterKeys],
        counters: CounterStore,
        floors: PushFloors,
        clock: EdgeClock,
        sink: Sink,
        status: MutableMapping[str, int | str],
    ) -> None:
        """Know the DLMS meters among `meters`; `keys_of` gives the keys that hold at the time."""
        self._by_host: dict[str, list[MeterConfig]] = {}
        for config in meters:
            if config.protocol == "dlms" and config.host:
                host = "127.0.0.1" if config.host == "localhost" else config.host
                self._by_host.setdefault(host, []).append(config)
        self._keys_of = keys_of
        self._counters = counters
        self._floors = floors
        self._clock = clock
        self._sink = sink
        self._status = status
        self._told: set[tuple[MeterId, EventCode]] = set()
        self._floor = CounterFloor()

    async def run(self, listener: PushListener) -> None:
        """Take what comes, for ever."""
        while True:
            await self.take(await listener.receive())

    async def take(self, push: Push) -> None:
        """Take one push. Never raises on what a peer sent."""
        known = self._by_host.get(push.host, [])
        if not known:
            self._count("pushes_foreign")
            _LOG.warning("edge.push.foreign", extra={"fields": {"host": push.host}})
            return
        pushers = await asyncio.to_thread(lambda: [self._pusher(config) for config in known])
        try:
            pusher, heard = self._heard(push, pushers)
            piece = self._piece(pusher, heard)
            if heard.authenticated:
                counter = self._floor.value
                await asyncio.to_thread(self._floors.rise, pusher.meter, pusher.key_print, counter)
        except OutboxError as error:
            # it is a copy of what the meter keeps: not taken rather than taken twice
            self._count("pushes_unwritten")
            _LOG.error("edge.outbox.refused", extra={"fields": {"cause": error.message}})
        except PeerError as error:
            self._refused(push, pushers, error)
        else:
            self._count("pushes")
            self._told = {told for told in self._told if told[0] != pusher.meter}
            self._sink.add(piece)

    def _heard(self, push: Push, pushers: list[_Pusher]) -> tuple[_Pusher, Heard]:
        """Return whose push it is and what it holds. Raises: PeerError."""
        self._floor = CounterFloor()
        titled = {pusher.title: pusher for pusher in pushers if pusher.title and pusher.keys}
        alone = pushers[0] if len(pushers) == 1 else None

        def keys_of(title: bytes) -> Keys | None:
            return titled[title].keys if title in titled else None

        def floor_of(title: bytes) -> CounterFloor:
            pusher = titled[title]
            kept = self._floors.of(pusher.meter, pusher.key_print)
            self._floor.value = kept if kept >= 0 else pusher.counter
            return self._floor

        listener = Listener(
            keys_of=keys_of,
            floor_of=floor_of,
            title=alone.title if alone else b"",
            allow_plain=any(pusher.config.plain_pushes for pusher in pushers),
        )
        heard = listener.hear(push.apdu)
        if heard.authenticated:
            return titled[heard.title], heard
        return self._named(heard, pushers), heard

    def _named(self, heard: Heard, pushers: list[_Pusher]) -> _Pusher:
        """Return the meter whose name a plain push bears. Raises: PeerError."""
        if isinstance(heard.notification, DataNotification):
            for pusher in pushers:
                if not pusher.config.plain_pushes:
                    continue
                try:
                    said = self._read(pusher, heard)
                except PeerError:
                    continue
                if said.name == pusher.meter:
                    return pusher
        raise PeerError(
            "push.nameless", "a plain push without the name of a meter that may send it"
        )

    def _read(self, pusher: _Pusher, heard: Heard) -> Pushed:
        dialect = Dialect(pusher.config.event_profile)
        notification = heard.notification
        if isinstance(notification, DataNotification):
            return read_body(notification.body, pusher.config.push_objects, dialect=dialect)
        pushed = Pushed()
        name = obis_text(notification.attribute.name)
        read_object(pushed, name, notification.value, dialect=dialect)
        return pushed

    def _piece(self, pusher: _Pusher, heard: Heard) -> Piece:
        """Return what a push brings. Raises: PeerError, also `push.foreign` on another's name."""
        said = self._read(pusher, heard)
        if said.name and said.name != pusher.meter:
            raise PeerError("push.foreign", "the push bears another meter's name")
        now = self._clock.now()
        at = said.at or heard.notification.at or now
        proven = heard.authenticated
        samples = said.samples(at, _NO_STATUS if proven else Status.UNAUTHENTICATED)
        if said.unscaled:
            self._count("pushes_unscaled")
        mark = "" if proven else "unauthenticated push "
        events = tuple(
            EndDeviceEvent(
                meter=pusher.meter,
                code=code,
                at=at,
                origin=origin,
                detail=f"{mark}{detail}".strip(),
            )
            for code, origin, detail in said.events
        )
        return Piece(meter=pusher.meter, received=now, samples=samples, events=events)

    def _refused(self, push: Push, pushers: list[_Pusher], error: PeerError) -> None:
        self._count("pushes_refused")
        _LOG.warning(
            "edge.push.refused", extra={"fields": {"host": push.host, "cause": error.code}}
        )
        if len(pushers) != 1:
            return  # nobody can tell whom it pretended to be
        code = EventCode.PROTOCOL_BROKEN
        if error.code in {"push.foreign", "push.nameless", "dlms.unknown_title", "dlms.plain_push"}:
            code = EventCode.FOREIGN_ANSWER
        meter = pushers[0].meter
        if (meter, code) not in self._told:
            self._told.add((meter, code))
            self._sink.add(self._event(meter, code, self._clock.now(), f"push: {error.code}"))

    @staticmethod
    def _event(meter: MeterId, code: EventCode, at: datetime, detail: str) -> Piece:
        event = EndDeviceEvent(meter=meter, code=code, at=at, origin="push", detail=detail)
        return Piece(meter=meter, received=at, events=(event,))

    def _pusher(self, config: MeterConfig) -> _Pusher:
        """Return what is known of a meter at this moment; keys may have been changed."""
        secrets = self._keys_of(config.meter)
        if not secrets.encryption_key:
            return _Pusher(config=config, keys=None, title=b"", counter=-1)
        target = DlmsTarget(
            meter=config.meter,
            encryption_key=secrets.encryption_key,
            expected_device_name=config.meter,
        )
        known = KnownMeter.recall(self._counters, target)
        keys = Keys(encryption=secrets.encryption_key, authentication=secrets.authentication_key)
        return _Pusher(config=config, keys=keys, title=known.title, counter=known.counter)

    def _count(self, name: str) -> None:
        self._status[name] = int(self._status.get(name, 0)) + 1
