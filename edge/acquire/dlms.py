"""
DLMS meters: registers and switch in one list, profiles by range, orders to the switch, the clock.

Scaler, unit and profile columns are asked of the meter once and kept while the driver lives; the
device name is read with every visit, because an LLS answer carries no proof of who gave it.
*Source*: IEC 62056-5-3, IEC 62056-6-2 classes 1, 3, 7, 8, 70.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from edge.acquire import dlms_care, dlms_relay, dlms_tokens
from edge.acquire.dlms_care import Progress
from edge.acquire.dlms_events import LogReader
from edge.acquire.dlms_relay import RELAY
from edge.acquire.dlms_session import (
    CounterBlock,
    CounterStore,
    DlmsSession,
    DlmsTarget,
    KnownMeter,
    denied,
    present,
)
from edge.acquire.driver import (
    ClockReading,
    EventMark,
    EventsRead,
    KeyKeeper,
    ReadOut,
    Sample,
    Turn,
)
from protocols.dlms.apdu import Access, Attribute, Got
from protocols.dlms.classes import clock as clock_class
from protocols.dlms.classes import profile
from protocols.dlms.classes.association_ln import ObjectView
from protocols.dlms.classes.columns import ProfileColumns, read_columns
from protocols.dlms.classes.profile import status_of
from protocols.dlms.classes.register import (
    CHANNEL_NAME,
    DATA_CLASS,
    SCALER_UNIT,
    VALUE,
    channel_scaler,
    decode_scaler_unit,
    register,
)
from protocols.dlms.classes.typed import Typed
from protocols.dlms.event_codes import Dialect
from protocols.dlms.initiate import Conformance
from protocols.dlms.obis import CLOCK, DEVICE_NAME, LOAD_PROFILE, Obis, obis_text
from protocols.dlms.values import as_integer, as_octets, as_text, octet_string
from protocols.errors import PeerError
from protocols.identity import MeterId
from protocols.mqtt.downlink import KEEPING, Verb
from protocols.mqtt.upkeep import NewKeys
from protocols.reading import Channel, RelayReading
from protocols.timeline import EPOCH, Interval, from_ms, to_ms

__all__ = ["CounterStore", "DlmsDriver", "DlmsTarget"]

_NOW_CHANNELS = (
    Channel.IMPORT_WH,
    Channel.EXPORT_WH,
    Channel.POWER_W,
    Channel.VOLTAGE_L1_MV,
    Channel.VOLTAGE_L2_MV,
    Channel.VOLTAGE_L3_MV,
    Channel.CURRENT_L1_MA,
    Channel.CURRENT_L2_MA,
    Channel.CURRENT_L3_MA,
)
_CALL_EXCHANGES = 64
"""One call may take so many deadlines at most: blocks that trickle end here."""
_TIME = Attribute(class_id=clock_class.CLASS_ID, name=CLOCK, index=clock_class.TIME)
_NAME = Attribute(class_id=DATA_CLASS, name=DEVICE_NAME, index=VALUE)
_CAPTURED = Attribute(class_id=profile.CLASS_ID, name=LOAD_PROFILE, index=profile.CAPTURE_OBJECTS)
_PERIOD = Attribute(class_id=profile.CLASS_ID, name=LOAD_PROFILE, index=profile.CAPTURE_PERIOD)
_BUFFER = Attribute(class_id=profile.CLASS_ID, name=LOAD_PROFILE, index=profile.BUFFER)
_OTHER_KEYS = frozenset(
    {
        "dlms.rejected", "dlms.tag_mismatch", "dlms.authentication", "dlms.exception",
        "dlms.security_control",
    }
)  # fmt: skip
"""How a meter with other keys answers."""
_HUNDREDTH = timedelta(milliseconds=10)
_INTERVAL_OF = {
    Channel.IMPORT_INTERVAL_WH: Channel.IMPORT_WH,
    Channel.EXPORT_INTERVAL_WH: Channel.EXPORT_WH,
}
_T = TypeVar("_T")
_Kind = TypeVar("_Kind", bound=Typed)


class Now(Protocol):
    """The part of the edge's clock that a driver needs."""

    def now(self) -> datetime:
        """Return business time, UTC."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """Where in a row a channel's energy stands; `cumulative` when it is a register to subtract."""

    channel: Channel
    at: int
    scaler: int
    cumulative: bool


class DlmsDriver:
    """One session with one meter; satisfies the protocols of `edge.acquire.driver`."""

    token_kind = "dlms115"  # noqa: S105

    def __init__(self, target: DlmsTarget, counters: CounterStore, clock: Now) -> None:
        """Open nothing yet. Raises: ValueError on keys or an authentication that cannot be."""
        target.settings()
        self.meter: MeterId = target.meter
        self.has_profile = target.interval_seconds is not None
        self.has_relay = target.has_relay
        self._target = target
        self._clock = clock
        self._rule = clock_class.ClockRule(assumed_deviation=target.assumed_deviation)
        self._counters = CounterBlock(counters, target)
        self._store = counters
        self._known = KnownMeter.recall(counters, target)
        self._session: DlmsSession | None = None
        self._lock = asyncio.Lock()
        self._scalers: dict[Channel, int] | None = None
        self._layout: profile.Layout | None = None
        self._columns: tuple[_Column, ...] = ()
        self._deviation = 0
        self._logs = LogReader(
            meter=target.meter, dialect=Dialect(target.event_profile), rule=self._rule
        )

    async def read_now(self) -> ReadOut:
        """Read name, clock, registers, momentary values and switch in one list."""
        return await self._call(self._read_now)

    async def read_profile(self, span: Interval) -> tuple[Sample, ...]:
        """Read the intervals whose start lies in `span`; what is not in the meter is absent."""
        return await self._call(lambda session: self._read_profile(session, span))

    async def read_relay(self) -> RelayReading:
        """Read the switch. Raises: PeerError `meter.no_relay`, and as any call."""
        self._need_relay()
        return await self._call(dlms_relay.read_relay)

    async def operate(self, verb: Verb) -> None:
        """
        Ask the meter to open or close; success proves nothing, read the switch.

        Raises: PeerError `dlms.action_refused`, `meter.no_relay`, and as any call.
        """
        self._need_relay()
        if verb in KEEPING:
            raise PeerError("meter.no_keep_power", "class 70 knows no keep-power", peer=self.meter)
        if verb is not Verb.READ_RELAY:
            await self._call(lambda session: dlms_relay.operate(session, verb))

    async def set_clock(self, offset_ms: int) -> None:
        """Move the meter's clock by `-offset_ms`."""
        await self._call(lambda session: self._set_clock(session, offset_ms))

    async def transfer_image(
        self, blob: bytes, identifier: bytes, progress: Progress, turn: Turn = nullcontext
    ) -> None:
        """
        Bring firmware into the meter and have it verified; nothing is activated.

        A transfer that broke goes on where it stood. What turns out to be other firmware begins
        anew, once. Raises: PeerError `dlms.image_refused`, `dlms.image_disabled`, as any call.
        """
        await dlms_care.transfer_image(self._in_turns(turn), blob, identifier, progress)

    async def activate_image(self, turn: Turn = nullcontext) -> None:
        """
        Activate what was verified; nothing is done when it is active already.

        Raises: PeerError `dlms.image_refused`, as any call.
        """
        await dlms_care.activate_image(self._in_turns(turn))

    async def deliver_token(self, opaque: bytes) -> dlms_tokens.DlmsTokenAnswer:
        """
        Enter a token at the gateway (class 115) once, unread.

        Raises: PeerError `dlms.token_refused` where it was surely not taken; any other is in doubt.
        """
        return await dlms_tokens.deliver(self._call, opaque)

    async def change_keys(self, keys: NewKeys, *, master: bytes, keeper: KeyKeeper) -> None:
        """
        Give the meter new global keys; use them once it has answered with them.

        Raises: PeerError `dlms.keys_unchanged` when it goes on with the old ones, as any call.
        With any other error the outcome is not known: `settle_keys` finds it out.
        """
        keeper.pend(keys)
        try:
            await self._call(lambda session: dlms_care.send_keys(session, master, keys))
        except PeerError as error:
            if error.code != "dlms.action_refused":
                raise
            keeper.drop(keys)
            raise
        if not await self.settle_keys(keys, keeper=keeper):
            message = "the meter took the keys and goes on with the old ones; order it again"
            raise PeerError("dlms.keys_unchanged", message, peer=self.meter)

    async def settle_keys(self, keys: NewKeys, *, keeper: KeyKeeper) -> bool:
        """
        Find out by asking which keys the meter has; tell whether they are `keys`, and use them.

        Raises: PeerError when it answers to neither: the keys stay pending.
        """
        async with self._lock:
            self._drop()
        old, known = self._target, self._known
        self._target = replace(
            old, encryption_key=keys.encryption_key, authentication_key=keys.authentication_key
        )
        # the counters of a new key begin anew on the meter's side
        self._known = KnownMeter(title=known.title)
        try:
            await self._call(self._ask_name)
        except PeerError as error:
            self._target, self._known = old, known
            if error.code not in _OTHER_KEYS:
                raise
            await self._call(self._ask_name)
            keeper.drop(keys)
            return False
        keeper.promote(keys)
        return True

    async def _ask_name(self, session: DlmsSession) -> None:
        self._check_name(await session.get_one(_NAME))

    async def read_events(self, before: EventMark | None) -> EventsRead:
        """Read logs and alarm registers since `before`. Raises: PeerError as any call."""
        return await self._call(
            lambda session: self._logs.read(session, before, now=self._clock.now())
        )

    async def read_typed(self, kind: type[_Kind], name: Obis) -> _Kind:
        """Read one object of a typed class. Raises: PeerError `dlms.access`, as any call."""
        return await self._call(lambda session: dlms_care.read_typed(session, kind, name))

    async def run_script(self, table: Obis, number: int) -> None:
        """Run a script (class 9). Raises: PeerError `dlms.action_refused`, as any call."""
        await self._call(lambda session: dlms_care.run_script(session, table, number))

    async def set_limit(self, raw: int, *, over_seconds: int) -> None:
        """Let the limiter trip above `raw` for so long; 0 is no limit. Raises: PeerError."""
        await self._call(lambda session: dlms_care.set_limit(session, raw, over_seconds))

    async def read_objects(self) -> ObjectView:
        """Return what objects the meter shows us, unknown classes among them."""
        return await self._call(dlms_care.read_objects)

    async def close(self) -> None:
        """End the session politely; never raises."""
        async with self._lock:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    async def _call(self, work: Callable[[DlmsSession], Awaitable[_T]]) -> _T:
        """Run `work` on an open session under one deadline; any failure ends the session."""
        async with self._lock:
            try:
                async with asyncio.timeout(self._target.timeout_seconds * _CALL_EXCHANGES):
                    done = await work(await self._open())
                    self._known.keep(self._store, self._target)
                    return done
            except PeerError as error:
                self._drop()
                error.peer = error.peer or self.meter
                raise
            except TimeoutError:
                self._drop()
                raise PeerError("link.timeout", "the call took too long", peer=self.meter) from None
            except BaseException:
                # Cancelled in the middle of an exchange: the answer would be taken for the next.
                self._drop()
                raise

    def _in_turns(self, turn: Turn) -> dlms_care.Call:
        async def call(work: Callable[[DlmsSession], Awaitable[_T]]) -> _T:
            async with turn():
                return await self._call(work)

        return call

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.abort()

    async def _open(self) -> DlmsSession:
        """Return the open session, or a new one with the meter that is expected."""
        if self._session is not None and self._session.is_open:
            return self._session
        self._drop()
        self._known.keep(self._store, self._target)
        session = await DlmsSession.open(self._target, self._counters, self._known)
        self._known.keep(self._store, self._target)
        self._session = session
        self._check_name(await session.get_one(_NAME))
        if self._scalers is None:
            self._scalers = await self._read_scalers(session, _NOW_CHANNELS)
        return session

    def _check_name(self, got: Got) -> str:
        name = as_text(present(_NAME, got))
        if name != self._target.expected_device_name:
            raise PeerError(
                "dlms.foreign",
                "another meter answers here",
                evidence={"name": name[:64], "expected": self._target.expected_device_name},
            )
        return name

    async def _read_scalers(
        self, session: DlmsSession, channels: tuple[Channel, ...]
    ) -> dict[Channel, int]:
        """Return the scaler of each channel that the meter has."""
        asked = tuple(register(channel, SCALER_UNIT) for channel in channels)
        scalers: dict[Channel, int] = {}
        for channel, got in zip(channels, await session.get(*asked), strict=True):
            if not isinstance(got, Access):
                scalers[channel] = channel_scaler(channel, decode_scaler_unit(got))
        return scalers

    async def _read_now(self, session: DlmsSession) -> ReadOut:
        scalers = self._scalers or {}
        asked = (_NAME, _TIME, *(register(channel) for channel in scalers))
        if self.has_relay:
            asked += RELAY
        before = self._clock.now()
        got = await session.get(*asked)
        after = self._clock.now()
        identity = self._check_name(got[0])
        moment = clock_class.decode_moment(as_octets(present(_TIME, got[1])), self._rule)
        self._deviation = moment.deviation or 0
        samples: list[Sample] = []
        raw: dict[str, Any] = {obis_text(CLOCK): moment.instant.isoformat()}
        for (channel, scaler), value in zip(scalers.items(), got[2:], strict=False):
            if isinstance(value, Access):
                continue
            number = as_integer(value)
            raw[obis_text(CHANNEL_NAME[channel])] = f"{number}e{scaler}"
            samples.append(Sample(channel=channel, at=moment.instant, raw=number, scaler=scaler))
        relay = dlms_relay.decode_relay(got[-len(RELAY) :]) if self.has_relay else None
        return ReadOut(
            samples=tuple(samples),
            clock=_compare(moment.instant, before, after),
            relay=relay,
            identity=identity,
            raw=raw,
        )

    async def _set_clock(self, session: DlmsSession, offset_ms: int) -> None:
        before = self._clock.now()
        octets = as_octets(await session.get_one(_TIME))
        after = self._clock.now()
        moment = clock_class.decode_moment(octets, self._rule)
        told_at = before + (after - before) / 2
        wanted = moment.instant + (self._clock.now() - told_at) - timedelta(milliseconds=offset_ms)
        written = clock_class.encode_moment(
            wanted, deviation=moment.deviation or 0, rule=self._rule
        )
        await session.set(_TIME, octet_string(written))

    async def _read_layout(self, session: DlmsSession) -> profile.Layout:
        """Ask once what the profile captures and how its energy is scaled."""
        if self._layout is not None:
            return self._layout
        captured, period = await session.get(_CAPTURED, _PERIOD)
        layout = profile.Layout.of(
            profile.decode_capture_objects(present(_CAPTURED, captured)),
            as_integer(present(_PERIOD, period)),
        )
        found: list[tuple[Channel, Channel, int]] = []
        for channel, cumulative in _INTERVAL_OF.items():
            for source in (channel, cumulative):
                at = layout.find(CHANNEL_NAME[source])
                if at is not None:
                    found.append((channel, source, at))
                    break
        if not found:
            raise PeerError("dlms.profile", "the load profile holds no energy")
        scalers = await self._read_scalers(session, tuple(source for _, source, _ in found))
        for _, source, _ in found:
            if source not in scalers:
                raise denied(register(source, SCALER_UNIT), Access.UNDEFINED)
        self._columns = tuple(
            _Column(
                channel=channel, at=at, scaler=scalers[source], cumulative=source is not channel
            )
            for channel, source, at in found
        )
        self._layout = layout
        return layout

    async def _read_profile(self, session: DlmsSession, span: Interval) -> tuple[Sample, ...]:
        layout = await self._read_layout(session)
        period = timedelta(seconds=layout.period)
        asked = _BUFFER
        if Conformance.SELECTIVE_ACCESS in session.conformance:
            # The row that ends where the span begins is only needed to subtract registers.
            differs = any(column.cumulative for column in self._columns)
            first_end = span.start if differs else span.start + period
            last_end = span.end + period - _HUNDREDTH
            asked = profile.by_range(first_end, last_end, deviation=self._deviation)
        wanted = tuple(column.at for column in self._columns)
        octets = await session.get_octets(asked)
        columns = read_columns(octets, layout, wanted, self._rule).sorted()
        return self._samples(columns, layout.period, span)

    def _samples(self, columns: ProfileColumns, seconds: int, span: Interval) -> tuple[Sample, ...]:
        """Return what lies in `span`, in order of time; of a register what it rose by."""
        starts = columns.starts_ms
        first, last, step = to_ms(span.start), to_ms(span.end), seconds * 1000
        inside = [row for row, start in enumerate(starts) if first <= start < last]
        follows = [row for row in inside if row and starts[row] - starts[row - 1] == step]
        instants = _instants(starts, timedelta(seconds=seconds))
        found: list[tuple[int, Sample]] = []
        for column in self._columns:
            numbers = columns.numbers[column.at]
            for row in follows if column.cumulative else inside:
                raw = numbers[row] - numbers[row - 1] if column.cumulative else numbers[row]
                sample = Sample(
                    channel=column.channel,
                    at=instants[row],
                    seconds=seconds,
                    raw=raw,
                    scaler=column.scaler,
                    status=status_of(columns.status[row]),
                )
                found.append((row, sample))
        if len(self._columns) > 1:
            found.sort(key=lambda pair: pair[0])
        return tuple(sample for _, sample in found)

    def _need_relay(self) -> None:
        if not self.has_relay:
            raise PeerError("meter.no_relay", "this meter has no switch", peer=self.meter)


def _instants(starts_ms: Sequence[int], period: timedelta) -> list[datetime]:
    """Return the instants; most follow the one before by a period, which is quicker to add."""
    instants: list[datetime] = []
    step, at, expected = period // timedelta(milliseconds=1), EPOCH, 0
    for start in starts_ms:
        at = at + period if start == expected else from_ms(start)
        expected = start + step
        instants.append(at)
    return instants


def _compare(meter: datetime, before: datetime, after: datetime) -> ClockReading:
    """Return meter time minus the midpoint of the exchange; half the trip is the uncertainty."""
    half = (after - before) / 2
    millisecond = timedelta(milliseconds=1)
    return ClockReading(
        offset_ms=(meter - (before + half)) // millisecond,
        uncertainty_ms=half // millisecond + 10,
    )
