"""
DL/T 645-2007 meters: registers, load records, orders to the relay, keep-power, clock, tokens.

A present value is stamped when it was received, for the protocol stamps only records. Success of
an order proves nothing; state word 3 does. An order carries a time until which it is valid on the
meter's own clock, read just before, so an order that was held up on the way does nothing later.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Protocol, TypeVar

from edge.acquire.dlt645_events import Dlt645Events
from edge.acquire.dlt645_line import MeterLine
from edge.acquire.driver import ClockReading, EventMark, EventsRead, ReadOut, Sample
from protocols.dlt645 import bcd, exchange, items, records
from protocols.dlt645.exchange import Request
from protocols.dlt645.frame import Frame
from protocols.dlt645.items import Item
from protocols.dlt645.relay import (
    Edition,
    Order,
    RelayOrder,
    StateWord,
    decode_state_word,
    encode_order,
    relay_reading,
)
from protocols.errors import PeerError
from protocols.identity import MeterId
from protocols.mqtt.downlink import KEEPING, Verb
from protocols.reading import OBIS, Channel, RelayReading
from protocols.timeline import Interval, TimeScale

_MOST_PARTS = 255
_RECORDS_A_TRIP = 48
_SECOND = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)
_ORDER_VALID = 30.0
"""Wall seconds that an order is valid; as long as the go of a cut."""
_ROLLOVER_MARGIN = 100_000
"""Registers within 1000 kWh of both ends of their range have rolled over, no others have."""
_T = TypeVar("_T")

_GROUPS: tuple[tuple[tuple[Item, ...], ...], ...] = (
    ((items.IMPORT,),),
    ((items.EXPORT,),),
    ((items.POWER,),),
    ((items.VOLTAGES,), items.VOLTAGE_OF),
    ((items.CURRENTS,), items.CURRENT_OF),
    ((items.FREQUENCY,),),
)
"""What is read; where a meter has no block, as single-phase meters have not, phase by phase."""


class Clock(Protocol):
    """The part of the edge's clock that this driver needs."""

    @property
    def scale(self) -> TimeScale:
        """Return the factor by which business time runs."""
        ...

    def now(self) -> datetime:
        """Return business time, UTC."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dlt645Target:
    """
    Who the meter is and how it is spoken to. `timeout_seconds` is wall time, per exchange.

    `address` is the number on its plate, up to 12 digits. `password` is PA P0 P1 P2 as sent, level
    02 for orders. `closes_remotely` False: its breaker is closed by hand, an order can only lift
    the trip. `arms_itself`: an external breaker, closed by hand from a minute after each trip on.
    """

    meter: MeterId
    address: str
    interval_seconds: int | None = None
    has_relay: bool = False
    closes_remotely: bool = True
    arms_itself: bool = False
    edition: Edition = Edition.SUPPLEMENT
    password: bytes = field(default=bytes(exchange.PASSWORD_OCTETS), repr=False)
    operator: bytes = bytes(exchange.OPERATOR_OCTETS)
    utc_offset: timedelta = timedelta(hours=8)
    timeout_seconds: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenRegisters:
    """Registers frozen at `at`, UTC. *Units*: 10 Wh; total first, then per tariff."""

    at: datetime
    import_raw: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer:
    """What the meter said to a token, and its balance after it where it tells one."""

    answer: bytes
    balance_cents: int | None

    @property
    def evidence(self) -> Mapping[str, Any]:
        """Return what is told of it: the module's word as hex and the balance, if there is one."""
        return {"answer": self.answer.hex(), "balance_cents": self.balance_cents}


class Dlt645Driver:
    """One meter on a line; satisfies `MeterDriver`, `KeepPowerDriver` and `TokenDriver`."""

    token_kind = "dlt645"  # noqa: S105

    def __init__(self, target: Dlt645Target, line: MeterLine, clock: Clock) -> None:
        """Open nothing yet. Raises: ValueError on an address or a password that cannot be."""
        exchange.write(
            target.address, 0, b"", password=target.password, operator=target.operator
        )  # refuses lengths that cannot be, before anything is on the line
        self.meter = target.meter
        self.has_profile = target.interval_seconds is not None
        self.has_relay = target.has_relay
        self._target = target
        self._address = target.address.rjust(12, "0")
        self._line = line
        self._clock = clock
        self._zone = timezone(target.utc_offset)
        self._absent: set[int] = set()
        self._lock = asyncio.Lock()
        self._events = Dlt645Events(target.meter, read=self._read_if_there, utc=self._utc)

    async def read_now(self) -> ReadOut:
        """Read registers, momentary values, switch and clock."""
        return await self._call(self._read_now())

    async def read_profile(self, span: Interval) -> tuple[Sample, ...]:
        """Read the intervals whose start lies in `span`: differences of recorded registers."""
        return await self._call(self._read_profile(span))

    async def read_relay(self) -> RelayReading:
        """Read the switch. Raises: PeerError `meter.no_relay`, and as any call."""
        self._need_relay()
        return await self._call(self._read_relay())

    async def operate(self, verb: Verb) -> None:
        """
        Order a trip, or a close; where only a hand can close, lift the trip.

        Raises: PeerError `dlt645.refused`, `.password`, `meter.no_relay`, and as any call.
        """
        self._need_relay()
        if verb is Verb.DISCONNECT:
            await self._call(self._order(Order.TRIP))
        elif verb is Verb.RECONNECT:
            close = Order.CLOSE if self._target.closes_remotely else Order.ALLOW_CLOSE
            await self._call(self._order(close))
        elif verb in KEEPING:
            await self.keep_power(on=verb is Verb.KEEP_POWER)

    async def set_clock(self, offset_ms: int) -> None:
        """Move the meter's clock by `-offset_ms`, to the nearest second it can show."""
        await self._call(self._set_clock(offset_ms))

    async def close(self) -> None:
        """Give the line back; never raises."""
        await self._line.close()

    async def keep_power(self, *, on: bool) -> bool:
        """
        Order the meter to refuse trips from now on, or to obey them again; return what it says.

        Raises: PeerError `meter.no_relay`, `dlt645.refused`, `.password`, and as any call.
        """
        self._need_relay()
        return await self._call(self._keep_power(on=on))

    async def read_state(self) -> StateWord:
        """Read state word 3."""
        return await self._call(self._read_state())

    async def read_demand(self) -> items.Demand:
        """Read the highest demand of the month; its stamp is local time of the meter."""
        return items.decode_demand(await self._call(self._read(items.MAX_DEMAND)))

    async def freeze(self) -> None:
        """Order registers to be frozen now."""
        await self._call(self._ask(exchange.freeze(self._address)))

    async def read_frozen(self, freeze: records.Freeze, back: int) -> FrozenRegisters:
        """Read the freeze `back` times ago. Raises: PeerError `dlt645.no_such_item`, and others."""
        return await self._call(self._read_frozen(freeze, back))

    async def broadcast_time(self) -> None:
        """
        Call our time out on the line; no meter answers.

        A meter takes it once a day, and only within five minutes of its own time.
        """
        local = self._clock.now().astimezone(self._zone)
        await self._call(self._ask(exchange.broadcast_time(bcd.encode_date_time(local))))

    async def deliver_token(self, opaque: bytes) -> TokenAnswer:
        """
        Carry a recharge frame to the security module, unread, once: it is never sent again here.

        Raises: PeerError `dlt645.token_refused` with the module's word as evidence, or when it
        fits no frame; any other PeerError leaves in doubt whether it is in the meter.
        """
        return await self._call(self._deliver(opaque))

    async def read_events(self, before: EventMark | None) -> EventsRead:
        """Read state words and event records. Raises: PeerError as any call."""
        return await self._call(self._read_events(before))

    async def _read_events(self, before: EventMark | None) -> EventsRead:
        shown = await self._read_clock()
        return await self._events.read(before, shown=shown, now=self._clock.now())

    async def _call(self, work: Awaitable[_T]) -> _T:
        async with self._lock:
            try:
                return await work
            except PeerError as error:
                error.peer = self.meter
                raise

    async def _ask(self, request: Request) -> bytes:
        """Return the content of the answer. Raises: PeerError."""
        answer = await self._asked(request)
        return b"" if answer is None or request.expect is None else request.expect.content(answer)

    async def _asked(self, request: Request) -> Frame | None:
        return await self._line.ask(request, seconds=self._target.timeout_seconds)

    async def _read(self, di: int, argument: bytes = b"") -> bytes:
        """Return all that an item holds, however many frames it takes."""
        first = exchange.read(self._address, di, argument)
        frame = await self._asked(first)
        assert frame is not None  # a read has an answer or raises
        assert first.expect is not None
        parts = [first.expect.content(frame)]
        for sequence in range(1, _MOST_PARTS + 1):
            if not frame.more_follows:
                return b"".join(parts)
            request = exchange.read_next(self._address, di, sequence)
            frame = await self._asked(request)
            assert frame is not None
            assert request.expect is not None
            parts.append(request.expect.content(frame))
        raise PeerError("dlt645.endless", f"item {di:08X} has more than {_MOST_PARTS} parts")

    async def _read_if_there(self, di: int) -> bytes | None:
        """Return an item's octets, None when the meter has no such item; asked only once."""
        if di in self._absent:
            return None
        try:
            return await self._read(di)
        except PeerError as error:
            if error.code != "dlt645.no_such_item":
                raise
            self._absent.add(di)
            return None

    async def _read_now(self) -> ReadOut:
        samples: list[Sample] = []
        raw: dict[str, object] = {}
        for options in _GROUPS:
            for option in options:
                found = await self._read_option(option)
                if found:
                    break
            samples += found
        if not any(sample.channel is Channel.IMPORT_WH for sample in samples):
            raise PeerError("dlt645.no_such_item", "the meter tells no import register")
        for sample in samples:
            raw[OBIS[sample.channel]] = f"{sample.raw}e{sample.scaler}"
        relay = None
        if self.has_relay:
            state = await self._read_state()
            raw["state word 3"] = f"{state.word:04X}"
            relay = self._relay_of(state)
        before = self._clock.now()
        shown = await self._read_clock()
        after = self._clock.now()
        raw["clock"] = shown.isoformat()
        return ReadOut(
            samples=tuple(samples),
            clock=_compare(shown, before, after),
            relay=relay,
            identity=self._address,
            raw=raw,
        )

    async def _read_option(self, option: tuple[Item, ...]) -> list[Sample]:
        samples: list[Sample] = []
        for item in option:
            octets = await self._read_if_there(item.di)
            if octets is None:
                continue
            at = self._clock.now()
            numbers = items.decode_fields(item, octets)
            samples += [
                Sample(channel=channel, at=at, raw=number, scaler=item.scaler)
                for channel, number in zip(item.channels, numbers, strict=False)
                if number is not None
            ]
        return samples

    async def _read_clock(self) -> datetime:
        """Return what the meter's clock shows, UTC, rounded down to its second."""
        both = await self._read_if_there(items.DATE_TIME)
        if both is not None:
            local = bcd.decode_date_and_time(both[3:], both[:3])
            return self._utc(local)
        while True:
            # date and time are two questions: midnight must not pass between them
            date = await self._read(items.DATE)
            time = await self._read(items.TIME)
            if await self._read(items.DATE) == date:
                return self._utc(bcd.decode_date_and_time(date, time))

    async def _read_state(self) -> StateWord:
        return decode_state_word(await self._read(items.STATE_WORD_3))

    async def _read_relay(self) -> RelayReading:
        return self._relay_of(await self._read_state())

    def _relay_of(self, state: StateWord) -> RelayReading:
        return relay_reading(
            state,
            edition=self._target.edition,
            closes_remotely=self._target.closes_remotely,
            arms_itself=self._target.arms_itself,
        )

    async def _order(self, order: Order) -> None:
        shown = (await self._read_clock()).astimezone(self._zone)
        valid = self._clock.scale.stretch(_ORDER_VALID)
        until = shown.replace(tzinfo=None) + max(valid, _SECOND)
        octets = encode_order(RelayOrder(order=order, valid_until=until))
        await self._ask(
            exchange.relay(
                self._address,
                octets,
                password=self._target.password,
                operator=self._target.operator,
            )
        )

    async def _keep_power(self, *, on: bool) -> bool:
        await self._order(Order.KEEP_POWER if on else Order.END_KEEP_POWER)
        return (await self._read_state()).keeps_power

    async def _set_clock(self, offset_ms: int) -> None:
        shown = await self._read_clock()
        wanted = (shown - timedelta(milliseconds=offset_ms) + _SECOND / 2).astimezone(self._zone)
        if wanted.date() != shown.astimezone(self._zone).date():
            await self._write(items.DATE, bcd.encode_date(wanted))
        await self._write(items.TIME, bcd.encode_time(wanted))

    async def _write(self, di: int, value: bytes) -> None:
        target = self._target
        await self._ask(
            exchange.write(
                self._address, di, value, password=target.password, operator=target.operator
            )
        )

    async def _read_profile(self, span: Interval) -> tuple[Sample, ...]:
        seconds = self._target.interval_seconds
        if seconds is None:
            raise PeerError("meter.no_profile", f"no load records for {span.start}")
        period = timedelta(seconds=seconds)
        kept: dict[datetime, records.LoadRecord] = {}
        at = span.start
        while at <= span.end:
            count = min((span.end - at) // period + 1, _RECORDS_A_TRIP)
            found = await self._read_records(at, count)
            fresh = [stamp for stamp in found if at <= stamp]
            if not fresh:
                break
            kept |= {stamp: found[stamp] for stamp in fresh if stamp <= span.end}
            at = max(fresh) + period
        return tuple(
            sample
            for start in sorted(kept)
            if start in span and start + period in kept
            for sample in _interval(start, seconds, kept[start], kept[start + period])
        )

    async def _read_records(self, at: datetime, count: int) -> dict[datetime, records.LoadRecord]:
        di = records.load_di(records.ENERGY_CLASS, records.GIVEN_TIME)
        local = at.astimezone(self._zone).replace(tzinfo=None)
        try:
            octets = await self._read(di, records.given_time(count, local))
        except PeerError as error:
            if error.code != "dlt645.no_such_item":
                raise
            return {}
        return {self._utc(record.at): record for record in records.decode_records(octets)}

    async def _read_frozen(self, freeze: records.Freeze, back: int) -> FrozenRegisters:
        stamp, energies = [
            await self._read(records.freeze_di(freeze, part, back))
            for part in (records.FreezePart.STAMP, records.FreezePart.IMPORT)
        ]
        return FrozenRegisters(
            at=self._utc(bcd.decode_minute(stamp)), import_raw=records.decode_frozen(energies)
        )

    async def _deliver(self, opaque: bytes) -> TokenAnswer:
        try:
            request = exchange.token(
                self._address, items.RECHARGE, opaque, operator=self._target.operator
            )
        except ValueError as error:
            raise PeerError("dlt645.token_refused", str(error)) from error
        answer = await self._ask(request)
        return TokenAnswer(answer=answer, balance_cents=await self._balance())

    async def _balance(self) -> int | None:
        """Return the balance; None where the meter tells none, or not now: the token is in."""
        try:
            balance = await self._read_if_there(items.BALANCE)
            return None if balance is None else items.decode_fields(items.MONEY, balance)[0]
        except PeerError:
            return None

    def _utc(self, local: datetime) -> datetime:
        return local.replace(tzinfo=self._zone).astimezone(UTC)

    def _need_relay(self) -> None:
        if not self.has_relay:
            raise PeerError("meter.no_relay", "this meter has no switch", peer=self.meter)


def _interval(
    start: datetime, seconds: int, before: records.LoadRecord, after: records.LoadRecord
) -> list[Sample]:
    pairs = (
        (Channel.IMPORT_INTERVAL_WH, before.import_raw, after.import_raw),
        (Channel.EXPORT_INTERVAL_WH, before.export_raw, after.export_raw),
    )
    return [
        Sample(channel=channel, at=start, seconds=seconds, raw=raw, scaler=items.IMPORT.scaler)
        for channel, first, last in pairs
        if first is not None and last is not None and (raw := _flowed(first, last)) is not None
    ]


def _flowed(first: int, last: int) -> int | None:
    """Return what flowed between two registers; None when the register was set back."""
    if last >= first:
        return last - first
    top = items.ENERGY_ROLLOVER
    rolled = first >= top - _ROLLOVER_MARGIN and last < _ROLLOVER_MARGIN
    return last + top - first if rolled else None


def _compare(shown: datetime, before: datetime, after: datetime) -> ClockReading:
    """Return meter time minus the midpoint; the clock shows whole seconds, begun somewhere."""
    half = (after - before) / 2
    return ClockReading(
        offset_ms=(shown + _SECOND / 2 - (before + half)) // _MILLISECOND,
        uncertainty_ms=(half + _SECOND / 2) // _MILLISECOND + 1,
    )
