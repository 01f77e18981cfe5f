"""
What a DL/T 645-2007 meter says to a frame: items, load records, freezes, orders, clock, tokens.

Two kinds are on the wall. `dlt645_relay` has its relay inside and closes when told. `dlt645_pilot`
is the hardware of Chongqing's pilot (D9-D12): it authenticates the order and trips an external
breaker at once; that breaker no order can close; a minute later the meter allows closing by hand.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np

from protocols.dlms.classes.disconnect import Trigger
from protocols.dlt645 import bcd, items, records
from protocols.dlt645.exchange import (
    OPERATOR_OCTETS,
    PASSWORD_OCTETS,
    ErrorWord,
    SecurityError,
)
from protocols.dlt645.frame import (
    ANSWER,
    BROADCAST,
    MAX_READ,
    MORE,
    REFUSED,
    WILDCARD,
    Control,
    Frame,
    encode_address,
)
from protocols.dlt645.relay import Order, StateWord, decode_order, encode_state_word
from protocols.errors import PeerError
from protocols.reading import Channel, RelayState
from protocols.timeline import from_ms, to_ms
from simulators.fleet import SimMeter
from simulators.meter.dlt645_events import told_event
from simulators.meter.dlt645_refusal import ZONE, RefusedError
from simulators.meter.state import SimulatedMeter, Snapshot

BALANCE, PURCHASES = "balance_cents", "purchases"
TOKEN_OCTETS = 12
_AMOUNT = 4
_FROZEN_MS, _FROZEN_RAW = "frozen_ms", "frozen_raw"
_BROADCAST_DAY = "broadcast_day"
_BROADCAST_LIMIT = timedelta(minutes=5)
_AUTHORITY = PASSWORD_OCTETS + OPERATOR_OCTETS
_PART = MAX_READ - items.DI_OCTETS - 1
_EVERY = b"\x99"


class Dlt645Objects:
    """The answers of one meter; every frame heard on its line may be shown to it."""

    def __init__(self, meter: SimulatedMeter) -> None:
        """Take the meter whose state is told."""
        self._meter = meter
        self._parts: dict[int, list[bytes]] = {}
        self._functions: Mapping[int, Callable[[bytes], bytes]] = {
            Control.READ_NEXT: self._next_part,
            Control.WRITE: self._write,
            Control.FREEZE: self._freeze,
            Control.RELAY: self._relay,
            Control.SECURITY: self._token,
        }

    @property
    def address(self) -> str:
        """Return the address that the meter answers with."""
        return f"{self._meter.serial:012d}"

    def answer(self, frame: Frame) -> Frame | None:
        """Return the answer; None where the frame is not for this meter or wants no answer."""
        if frame.is_answer:
            return None
        if frame.address == BROADCAST:
            self._heard_by_all(frame)
            return None
        if frame.address not in (self._meter.spec.serial.rjust(12, "0"), WILDCARD):
            return None
        try:
            control, content = self._obeyed(frame)
        except RefusedError as no:
            return self._frame(frame.control | ANSWER | REFUSED, no.word)
        except PeerError:
            # octets that make no sense in a frame that is whole: every meter says "other"
            return self._frame(frame.control | ANSWER | REFUSED, bytes((ErrorWord.OTHER,)))
        return self._frame(control | ANSWER, content)

    def _frame(self, control: int, content: bytes) -> Frame:
        return Frame(address=self.address, control=control, content=content)

    def _obeyed(self, frame: Frame) -> tuple[int, bytes]:
        if frame.control == Control.READ_ADDRESS:
            return frame.control, encode_address(self.address)
        if frame.control == Control.READ:
            return self._first_part(frame.content)
        function = self._functions.get(frame.control)
        if function is None:
            raise RefusedError(ErrorWord.OTHER)
        content = function(frame.content)
        if frame.control == Control.READ_NEXT:
            di, sequence = int.from_bytes(frame.content[:4], "little"), frame.content[4]
            more = MORE if sequence + 1 < len(self._parts[di]) else 0
            return frame.control | more, content
        return frame.control, content

    def _first_part(self, octets: bytes) -> tuple[int, bytes]:
        di, argument = items.split_di(octets)
        content = self._item(di, argument)
        parts = [content[at : at + _PART] for at in range(0, len(content), _PART)]
        self._parts = {di: parts}
        return Control.READ | (MORE if len(parts) > 1 else 0), items.encode_di(di) + parts[0]

    def _next_part(self, octets: bytes) -> bytes:
        di, sequence = items.split_di(octets)
        parts = self._parts.get(di, [])
        if len(sequence) != 1 or not 0 < sequence[0] < len(parts):
            raise RefusedError(ErrorWord.NO_SUCH_ITEM)
        return items.encode_di(di) + parts[sequence[0]] + sequence

    def _item(self, di: int, argument: bytes) -> bytes:
        snapshot = self._meter.snapshot()
        event = told_event(self._meter.book, di, snapshot)
        if event is not None:
            return event
        match di >> 24:
            case 0x05:
                return self._frozen(di, snapshot)
            case 0x06:
                return self._records(di, argument, snapshot)
        local = _local(snapshot)
        if di == items.DATE_TIME and not self._meter.spec.has_external_breaker:
            raise RefusedError(ErrorWord.NO_SUCH_ITEM)  # built by the first edition
        match di:
            case items.DATE:
                return bcd.encode_date(local)
            case items.TIME:
                return bcd.encode_time(local)
            case items.DATE_TIME:
                return bcd.encode_time(local) + bcd.encode_date(local)
            case items.ADDRESS | items.METER_NUMBER:
                return encode_address(self.address)
            case items.STATE_WORD_3:
                return encode_state_word(self._state(snapshot))
            case items.MAX_DEMAND:
                return items.encode_demand(self._demand(snapshot))
            case items.BALANCE:
                return bcd.encode_bcd(self._meter.remembered(BALANCE), items.MONEY.octets)
        return self._measured(di, snapshot)

    def _measured(self, di: int, snapshot: Snapshot) -> bytes:
        item = items.ITEMS.get(di)
        if item is None or (item.is_block and len(snapshot.voltage_mv) == 1):
            raise RefusedError(ErrorWord.NO_SUCH_ITEM)  # blocks are for three phases
        told = tuple(_told(channel, snapshot) for channel in item.channels)
        values = tuple(value for value in told if value is not None)
        if not values:
            raise RefusedError(ErrorWord.NO_SUCH_ITEM)
        digits = tuple(_digits(value, item.scaler) for value in values)
        if item is items.IMPORT:
            digits = (digits[0] % items.ENERGY_ROLLOVER,)
            self._meter.note_served(snapshot, Channel.IMPORT_WH, digits[0], item.scaler)
        return items.encode_fields(item, digits)

    def _state(self, snapshot: Snapshot) -> StateWord:
        relay = snapshot.relay
        if relay is None:
            raise RefusedError(ErrorWord.NO_SUCH_ITEM)
        return StateWord(
            relay_open=not relay.output_closed,
            command_open=relay.control_state is RelayState.DISCONNECTED,
            keeps_power=self._meter.keeps_power,
        )

    def _demand(self, snapshot: Snapshot) -> items.Demand:
        month = _local(snapshot).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        rows = self._meter.profile_at(
            snapshot.true_ms, first_end_ms=to_ms(month.replace(tzinfo=ZONE)) + 1
        )
        if not len(rows):
            return items.Demand(raw=0, at=None)
        best = int(np.argmax(rows.wh))
        raw = int(rows.wh[best]) * 3600 * 10 // rows.seconds
        return items.Demand(raw=raw, at=_naive(int(rows.ends_ms[best])))

    def _records(self, di: int, argument: bytes, snapshot: Snapshot) -> bytes:
        seconds = self._meter.spec.interval_seconds
        class_, which = di >> 16 & 0xFF, di & 0xFFFF
        if seconds is None or class_ not in (records.ALL_CLASSES, records.ENERGY_CLASS):
            raise RefusedError(ErrorWord.NO_SUCH_ITEM)
        if which != records.GIVEN_TIME:
            raise RefusedError(ErrorWord.NO_SUCH_ITEM)
        count, local = records.split_given_time(argument)
        first_ms = to_ms(local.replace(tzinfo=ZONE))
        stamps = self._stamps(snapshot, first_ms, count, seconds * 1000)
        if not stamps:
            raise RefusedError(ErrorWord.NO_SUCH_ITEM)
        wh = self._meter.recorded_wh(np.array(stamps, dtype=np.int64)).tolist()
        return b"".join(
            records.encode_record(
                records.LoadRecord(
                    at=_naive(stamp), import_raw=value // 10 % items.ENERGY_ROLLOVER, export_raw=0
                )
            )
            for stamp, value in zip(stamps, wh, strict=True)
        )

    def _stamps(self, snapshot: Snapshot, first_ms: int, count: int, grid: int) -> list[int]:
        """Return the stamps of up to `count` records from the first at or after `first_ms` on."""
        now, last_ms = snapshot.true_ms, first_ms + count * grid
        rows = self._meter.profile_at(now, first_end_ms=first_ms, last_end_ms=last_ms)
        if not len(rows):
            rows = self._meter.profile_at(now, first_end_ms=first_ms)
        ends: list[int] = rows.ends_ms.tolist()
        if ends and ends[0] - grid >= first_ms:
            ends.insert(0, ends[0] - grid)  # the record with which the oldest interval begins
        return ends[:count]

    def _frozen(self, di: int, snapshot: Snapshot) -> bytes:
        freeze, part, back = di >> 16 & 0xFF, di >> 8 & 0xFF, di & 0xFF
        if freeze == records.Freeze.DAILY and back:
            midnight = _local(snapshot).replace(hour=0, minute=0, second=0, microsecond=0)
            day = (midnight - timedelta(days=back - 1)).replace(tzinfo=ZONE)
            at_ms = to_ms(day.astimezone(UTC))
            raw = int(self._meter.recorded_wh(np.array([at_ms], dtype=np.int64))[0]) // 10
        elif freeze == records.Freeze.INSTANT and back == 1 and self._meter.remembered(_FROZEN_MS):
            at_ms = self._meter.remembered(_FROZEN_MS)
            raw = self._meter.remembered(_FROZEN_RAW)
        else:
            raise RefusedError(ErrorWord.NO_SUCH_ITEM)
        match part:
            case records.FreezePart.STAMP:
                return bcd.encode_minute(_naive(at_ms))
            case records.FreezePart.IMPORT:
                return records.encode_frozen([raw])
            case records.FreezePart.EXPORT:
                return records.encode_frozen([0])
        raise RefusedError(ErrorWord.NO_SUCH_ITEM)

    def _freeze(self, octets: bytes) -> bytes:
        if octets != _EVERY * 4:
            raise RefusedError(ErrorWord.OTHER)  # its own schedule is not for sale
        snapshot = self._meter.snapshot()
        self._meter.remember(_FROZEN_RAW, snapshot.register_wh // 10)
        self._meter.remember(_FROZEN_MS, snapshot.device_ms)
        return b""

    def _write(self, octets: bytes) -> bytes:
        di, rest = items.split_di(octets)
        value = self._authorised(rest)
        local = _local(self._meter.snapshot())
        if di == items.DATE:
            wanted = bcd.decode_date_and_time(value, bcd.encode_time(local))
        elif di == items.TIME:
            wanted = bcd.decode_date_and_time(bcd.encode_date(local), value)
        else:
            raise RefusedError(ErrorWord.NO_SUCH_ITEM)
        self._meter.set_clock(to_ms(wanted.replace(tzinfo=ZONE)))
        return b""

    def _relay(self, octets: bytes) -> bytes:
        """Authenticate an order and carry it out at once (D9, D10)."""
        told = decode_order(self._authorised(octets))
        if told.valid_until < _local(self._meter.snapshot()):
            raise RefusedError(ErrorWord.OTHER)
        obeyed = True
        match told.order:
            case Order.TRIP:
                obeyed = self._meter.ordered(RelayState.DISCONNECTED, Trigger.REMOTE_DISCONNECT)
            case Order.ALLOW_CLOSE:
                obeyed = self._meter.ordered(RelayState.ARMED, Trigger.REMOTE_RECONNECT)
            case Order.CLOSE:
                # no wire leads to the handle of an external breaker (D12)
                obeyed = not self._meter.spec.has_external_breaker and self._meter.ordered(
                    RelayState.CONNECTED, Trigger.REMOTE_RECONNECT
                )
            case Order.KEEP_POWER | Order.END_KEEP_POWER:
                self._meter.keep_power(on=told.order is Order.KEEP_POWER)
            case Order.ALARM | Order.END_ALARM:
                self._meter.remember("alarm", int(told.order is Order.ALARM))
        if not obeyed:
            raise RefusedError(ErrorWord.OTHER)
        return b""

    def _authorised(self, octets: bytes) -> bytes:
        if octets[:PASSWORD_OCTETS] != self._meter.spec.password or len(octets) < _AUTHORITY:
            raise RefusedError(ErrorWord.PASSWORD)
        return octets[_AUTHORITY:]

    def _heard_by_all(self, frame: Frame) -> None:
        if frame.control == Control.FREEZE and frame.content == _EVERY * 4:
            self._freeze(frame.content)
        if frame.control != Control.BROADCAST_TIME:
            return
        try:
            wanted = bcd.decode_date_time(frame.content)
        except PeerError:
            return
        local = _local(self._meter.snapshot())
        today = local.toordinal()
        near = abs(wanted - local) <= _BROADCAST_LIMIT
        if near and self._meter.remembered(_BROADCAST_DAY) != today:
            self._meter.remember(_BROADCAST_DAY, today)
            self._meter.set_clock(to_ms(wanted.replace(tzinfo=ZONE)))

    def _token(self, octets: bytes) -> bytes:
        di, rest = items.split_di(octets)
        token = rest[OPERATOR_OCTETS:]
        if di != items.RECHARGE or len(token) != TOKEN_OCTETS:
            raise RefusedError(SecurityError.OTHER, 2)
        if token[-_AMOUNT:] != _seal(self._meter.spec, token[:-_AMOUNT]):
            raise RefusedError(SecurityError.MODULE, 2)
        cents, count = bcd.decode_bcd(token[:_AMOUNT]), bcd.decode_bcd(token[_AMOUNT:8])
        bought = self._meter.remembered(PURCHASES)
        if count <= bought:
            raise RefusedError(SecurityError.REPEATED, 2)
        if count != bought + 1:
            raise RefusedError(SecurityError.PURCHASE_COUNT, 2)
        self._meter.remember(BALANCE, self._meter.remembered(BALANCE) + cents)
        self._meter.remember(PURCHASES, count)
        return items.encode_di(di)


def issue_token(spec: SimMeter, *, cents: int, count: int) -> bytes:
    """Return the recharge that a vending station would issue for the `count`-th purchase."""
    plain = bcd.encode_bcd(cents, _AMOUNT) + bcd.encode_bcd(count, _AMOUNT)
    return plain + _seal(spec, plain)


def _seal(spec: SimMeter, plain: bytes) -> bytes:
    # stands in for the security module, whose keys no program of ours ever holds
    return hashlib.blake2b(plain, key=spec.password, digest_size=4).digest()


def _told(channel: Channel, snapshot: Snapshot) -> int | None:
    phases = len(snapshot.voltage_mv)
    match channel:
        case Channel.IMPORT_WH:
            return snapshot.register_wh
        case Channel.EXPORT_WH:
            return 0
        case Channel.POWER_W:
            return snapshot.power_w
        case Channel.FREQUENCY_MHZ:
            return snapshot.frequency_mhz
    if channel in (Channel.VOLTAGE_L1_MV, Channel.VOLTAGE_L2_MV, Channel.VOLTAGE_L3_MV):
        phase = channel - Channel.VOLTAGE_L1_MV
        return snapshot.voltage_mv[phase] if phase < phases else None
    phase = channel - Channel.CURRENT_L1_MA
    return snapshot.current_ma[phase] if phase < phases else None


def _digits(value: int, scaler: int) -> int:
    power: int = 10 ** abs(scaler)
    return value // power if scaler >= 0 else value * power


def _local(snapshot: Snapshot) -> datetime:
    return _naive(snapshot.device_ms)


def _naive(device_ms: int) -> datetime:
    return from_ms(device_ms).astimezone(ZONE).replace(tzinfo=None)
