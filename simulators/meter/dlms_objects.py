"""
The COSEM objects of a simulated meter: which attributes there are and how each is told.

Public client: clock, device name, invocation counter. Management client: everything.
*Source*: IEC 62056-6-2 classes 1, 3, 7, 8, 70; the others stand in parts of their own.
"""

from collections.abc import Callable, Iterable

from protocols.dlms.apdu import Access, Attribute, Got
from protocols.dlms.classes import clock, disconnect, image, profile, security_setup
from protocols.dlms.classes.association_ln import OBJECT_LIST, ObjectEntry, encode_object_list
from protocols.dlms.classes.register import (
    CHANNEL_NAME,
    DATA_CLASS,
    SCALER_UNIT,
    VALUE,
    channel_unit,
    register,
)
from protocols.dlms.classes.register import CLASS_ID as REGISTER_CLASS
from protocols.dlms.obis import (
    CLOCK,
    DEVICE_NAME,
    DISCONNECT_CONTROL,
    INVOCATION_COUNTER,
    LOAD_PROFILE,
    Obis,
    obis,
)
from protocols.dlms.server import AccessRefusedError, CounterFloor
from protocols.dlms.values import (
    Tag,
    Value,
    array,
    as_octets,
    boolean,
    double_long_unsigned,
    enum,
    octet_string,
    unsigned,
)
from protocols.errors import PeerError
from protocols.reading import REGISTERS, Channel
from protocols.timeline import to_ms
from simulators.meter.dlms_care import ImageStore, KeyStore
from simulators.meter.dlms_control import Automatics
from simulators.meter.dlms_demand import demand_of
from simulators.meter.dlms_logs import logs_of
from simulators.meter.dlms_parts import DEVIATION, Key, Part, Teller, stamp, union
from simulators.meter.state import ProfileRows, SimulatedMeter, Snapshot
from simulators.meter.token_gateway import TokenGateway

_SCALER = {
    Channel.IMPORT_WH: 0,
    Channel.IMPORT_INTERVAL_WH: 0,
    Channel.POWER_W: 0,
    Channel.VOLTAGE_L1_MV: 2,
    Channel.VOLTAGE_L2_MV: 2,
    Channel.VOLTAGE_L3_MV: 2,
    Channel.CURRENT_L1_MA: 1,
    Channel.CURRENT_L2_MA: 1,
    Channel.CURRENT_L3_MA: 1,
}
"""Power of ten in the channel's unit: voltage in 0.1 V, current in 0.01 A, as meters do."""

_MAKERS_CLASS, _MAKERS_NAME = 8192, bytes((0, 0, 128, 96, 0, 255))
"""An object of a class that only its maker knows, as real meters list them."""

FIRMWARE = obis("1-0:0.2.0")
"""Identifier of the firmware that runs."""
_TIME: Key = (clock.CLASS_ID, CLOCK, clock.TIME)
_BUFFER: Key = (profile.CLASS_ID, LOAD_PROFILE, profile.BUFFER)
_COLUMNS = (
    profile.CLOCK_COLUMN,
    profile.STATUS_COLUMN,
    profile.CaptureObject(class_id=REGISTER_CLASS, name=CHANNEL_NAME[Channel.IMPORT_INTERVAL_WH]),
)
_TRIGGERS = {
    disconnect.REMOTE_DISCONNECT: disconnect.Trigger.REMOTE_DISCONNECT,
    disconnect.REMOTE_RECONNECT: disconnect.Trigger.REMOTE_RECONNECT,
}


class PublicDevice:
    """What anyone may read: enough to find out who this is and where its counter stands."""

    def __init__(self, meter: SimulatedMeter, client_counter: CounterFloor) -> None:
        """Show `meter`."""
        self._meter = meter
        self._tellers: dict[Key, Teller] = {
            _TIME: lambda now: stamp(now.device_ms),
            (DATA_CLASS, DEVICE_NAME, VALUE): lambda _: octet_string(meter.identity.encode()),
            (DATA_CLASS, INVOCATION_COUNTER, VALUE): lambda _: double_long_unsigned(
                max(client_counter.value, 0)
            ),
        }

    def get(self, attributes: tuple[Attribute, ...]) -> tuple[Got, ...]:
        """Return the values of one request, all of one instant."""
        now = self._meter.snapshot()
        return tuple(self._tell(attribute, now) for attribute in attributes)

    def set(self, _attribute: Attribute, _value: Value, /) -> None:
        """Refuse: the public writes nothing."""
        raise AccessRefusedError(Access.DENIED)

    def act(self, _method: Attribute, _parameter: Value | None, /) -> Value | None:
        """Refuse: the public orders nothing."""
        raise AccessRefusedError(Access.DENIED)

    def _tell(self, attribute: Attribute, now: Snapshot) -> Got:
        key = (attribute.class_id, bytes(attribute.name), attribute.index)
        teller = self._tellers.get(key)
        if teller is None:
            return Access.UNDEFINED
        return Access.DENIED if attribute.selector else teller(now)


class ManagementDevice(PublicDevice):
    """Everything: registers, load profile, switch, the clock to be set, firmware, keys."""

    def __init__(
        self,
        meter: SimulatedMeter,
        client_counter: CounterFloor,
        images: ImageStore | None = None,
        keys: KeyStore | None = None,
    ) -> None:
        """Show `meter` with the registers, profile and switch that it has."""
        super().__init__(meter, client_counter)
        self._automatics = Automatics(meter)
        self._part = self._make_part(
            images or ImageStore(meter), keys or KeyStore(meter), TokenGateway(meter)
        )
        self._tellers |= self._part.tellers
        phases = len(meter.snapshot().voltage_mv)
        self._add_register(Channel.IMPORT_WH, lambda now: now.register_wh)
        self._add_register(Channel.POWER_W, lambda now: now.power_w)
        volts = (Channel.VOLTAGE_L1_MV, Channel.VOLTAGE_L2_MV, Channel.VOLTAGE_L3_MV)
        amperes = (Channel.CURRENT_L1_MA, Channel.CURRENT_L2_MA, Channel.CURRENT_L3_MA)
        for phase in range(phases):
            self._add_register(volts[phase], _nth_voltage(phase))
            self._add_register(amperes[phase], _nth_current(phase))
        if meter.spec.interval_seconds is not None:
            self._add_profile(meter.spec.interval_seconds)
        if meter.spec.control_mode is not None:
            self._add_switch()

    def get(self, attributes: tuple[Attribute, ...]) -> tuple[Got, ...]:
        """Return the values of one request; the limiter has seen the power of its instant."""
        self._automatics.look()
        return super().get(attributes)

    def set(self, attribute: Attribute, value: Value, /) -> None:
        """Set the clock, the limiter, or clear alarms; nothing else may be written."""
        key = (attribute.class_id, bytes(attribute.name), attribute.index)
        write = self._set_clock if key == _TIME else self._part.writers.get(key)
        if write is None:
            raise AccessRefusedError(Access.DENIED)
        try:
            write(value)
        except PeerError:
            raise AccessRefusedError(Access.TYPE_UNMATCHED) from None

    def _set_clock(self, value: Value) -> None:
        rule = clock.ClockRule(assumed_deviation=DEVIATION)
        self._meter.set_clock(to_ms(clock.decode_moment(as_octets(value), rule).instant))

    def act(self, method: Attribute, parameter: Value | None, /) -> Value | None:
        """Order the switch (class 70) or what the parts offer: firmware, keys, tokens, scripts."""
        offered = self._part.methods.get((method.class_id, bytes(method.name)))
        if offered is not None:
            try:
                offered(method.index, parameter)
            except PeerError:
                raise AccessRefusedError(Access.TYPE_UNMATCHED) from None
            return None
        is_switch = (method.class_id, method.name) == (disconnect.CLASS_ID, DISCONNECT_CONTROL)
        trigger = _TRIGGERS.get(method.index)
        if not is_switch or trigger is None or self._meter.spec.control_mode is None:
            raise AccessRefusedError(Access.UNDEFINED)
        if parameter is None or parameter.tag != Tag.INTEGER:
            raise AccessRefusedError(Access.TYPE_UNMATCHED)
        if not self._meter.remote(trigger):
            raise AccessRefusedError(Access.OTHER)
        return None

    def _tell(self, attribute: Attribute, now: Snapshot) -> Got:
        key = (attribute.class_id, bytes(attribute.name), attribute.index)
        if key == _BUFFER and self._meter.spec.interval_seconds is not None:
            try:
                return self._tell_rows(attribute, now)
            except PeerError:
                return Access.SCOPE_VIOLATED
        select = self._part.selectors.get(key)
        if select is not None:
            return select(attribute, now)
        return super()._tell(attribute, now)

    def _make_part(self, images: ImageStore, keys: KeyStore, tokens: TokenGateway) -> Part:
        care = Part()
        for class_id, name, tellers, act in (
            (image.CLASS_ID, image.IMAGE, images.tellers(), images.act),
            (security_setup.CLASS_ID, security_setup.SECURITY, keys.tellers(), keys.act),
        ):
            care.tell_all(class_id, name, tellers)
            care.let_act(class_id, name, act)
        care.tell(DATA_CLASS, FIRMWARE, VALUE, lambda _: octet_string(images.version))
        listed = OBJECT_LIST
        care.tell(listed.class_id, listed.name, listed.index, lambda _: self._tell_objects())
        parts = [care, tokens.part(), logs_of(self._meter.book), demand_of(self._meter)]
        if self._meter.spec.control_mode is not None:
            parts.append(self._automatics.part())
        return union(parts)

    def _tell_objects(self) -> Value:
        own = {(class_id, name) for class_id, name, _ in self._tellers}
        entries = [
            ObjectEntry(class_id=class_id, version=0, name=Obis(name))
            for class_id, name in sorted(own | {(_MAKERS_CLASS, _MAKERS_NAME)})
        ]
        return encode_object_list(entries)

    def _add_register(self, channel: Channel, number: Callable[[Snapshot], int]) -> None:
        scaler = _SCALER[channel]

        def tell(now: Snapshot) -> Value:
            raw = number(now) // 10**scaler
            if channel in REGISTERS:
                self._meter.note_served(now, channel, raw, scaler)
            return double_long_unsigned(raw)

        self._add_scaler(channel)
        value = register(channel)
        self._tellers[value.class_id, bytes(value.name), VALUE] = tell

    def _add_scaler(self, channel: Channel) -> None:
        told = channel_unit(channel, _SCALER[channel]).encode()
        key = (REGISTER_CLASS, bytes(CHANNEL_NAME[channel]), SCALER_UNIT)
        self._tellers[key] = lambda _: told

    def _add_profile(self, seconds: int) -> None:
        self._add_scaler(Channel.IMPORT_INTERVAL_WH)
        columns = array(column.encode() for column in _COLUMNS)
        name = bytes(LOAD_PROFILE)
        self._tellers |= {
            (profile.CLASS_ID, name, profile.CAPTURE_OBJECTS): lambda _: columns,
            (profile.CLASS_ID, name, profile.CAPTURE_PERIOD): lambda _: double_long_unsigned(
                seconds
            ),
        }

    def _add_switch(self) -> None:
        name = bytes(DISCONNECT_CONTROL)

        def output(now: Snapshot) -> Value:
            return boolean(now.relay is not None and now.relay.output_closed)

        def state(now: Snapshot) -> Value:
            assert now.relay is not None  # a meter with a control mode has a switch
            return enum(int(now.relay.control_state))

        def mode(now: Snapshot) -> Value:
            assert now.relay is not None  # a meter with a control mode has a switch
            return enum(now.relay.control_mode)

        self._tellers |= {
            (disconnect.CLASS_ID, name, disconnect.OUTPUT_STATE): output,
            (disconnect.CLASS_ID, name, disconnect.CONTROL_STATE): state,
            (disconnect.CLASS_ID, name, disconnect.CONTROL_MODE): mode,
        }

    def _tell_rows(self, attribute: Attribute, now: Snapshot) -> Got:
        """Return the buffer as selected. Raises: PeerError on a selection that is none."""
        columns: Iterable[profile.CaptureObject] = _COLUMNS
        if attribute.selection is None:
            rows = self._meter.profile_at(now.true_ms)
        elif attribute.selector == profile.BY_RANGE:
            wanted = profile.decode_range(attribute.selection)
            columns = wanted.columns or _COLUMNS
            rows = self._meter.profile_at(
                now.true_ms,
                first_end_ms=to_ms(wanted.first_end),
                last_end_ms=to_ms(wanted.last_end),
            )
        elif attribute.selector == profile.BY_ENTRY:
            entries = profile.decode_entry_selection(attribute.selection)
            rows = self._meter.profile_at(now.true_ms)
            return _encode(rows, list(_COLUMNS)[entries.columns], entries.rows)
        else:
            return Access.SCOPE_VIOLATED
        if not set(columns) <= set(_COLUMNS):
            return Access.SCOPE_VIOLATED
        return _encode(rows, columns, slice(None))


def _encode(rows: ProfileRows, columns: Iterable[profile.CaptureObject], which: slice) -> Value:
    tellers: dict[profile.CaptureObject, Callable[[int, int, int], Value]] = {
        _COLUMNS[0]: lambda end, _status, _wh: stamp(end),
        _COLUMNS[1]: lambda _end, status, _wh: unsigned(status),
        _COLUMNS[2]: lambda _end, _status, wh: double_long_unsigned(wh),
    }
    chosen = [tellers[column] for column in columns]
    cells = zip(
        rows.ends_ms[which].tolist(),
        rows.status[which].tolist(),
        rows.wh[which].tolist(),
        strict=True,
    )
    return profile.encode_rows([[tell(*cell) for tell in chosen] for cell in cells])


def _nth_voltage(phase: int) -> Callable[[Snapshot], int]:
    return lambda now: now.voltage_mv[phase]


def _nth_current(phase: int) -> Callable[[Snapshot], int]:
    return lambda now: now.current_ma[phase]
