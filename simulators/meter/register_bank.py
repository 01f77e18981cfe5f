"""What the registers of a simulated Modbus meter hold, by map, SunSpec, or with torn counters."""

import struct
from collections.abc import Callable, Mapping
from typing import Protocol

from protocols.modbus.pdu import ExceptionCode, RequestRefusedError
from protocols.modbus.plan import ReadRequest
from protocols.modbus.registers import UNIT_EXPONENT, Point, RegisterMap, load_map
from protocols.modbus.scaling import WordOrder, WordType, decode, encode
from protocols.modbus.sunspec import (
    BASES,
    COMMON_MODEL,
    END_MODEL,
    FLOAT_LENGTH,
    FLOAT_MODELS,
    INTEGER_LENGTH,
    MARKER,
    SUNSPEC,
)
from protocols.reading import REGISTERS, Channel
from simulators.meter.state import SimulatedMeter, Snapshot

_VOLTS = (Channel.VOLTAGE_L1_MV, Channel.VOLTAGE_L2_MV, Channel.VOLTAGE_L3_MV)
_AMPERES = (Channel.CURRENT_L1_MA, Channel.CURRENT_L2_MA, Channel.CURRENT_L3_MA)
_ABSENT = 0x8000
_NAN = (0x7FC0, 0x0000)
_COMMON_LENGTH = 66
_VENDOR_MODEL, _VENDOR_LENGTH = 64_001, 10


class RegisterBank(Protocol):
    """Registers that can be read."""

    def words(self, request: ReadRequest) -> list[int]:
        """Return the words asked for. Raises: RequestRefusedError where there are none."""
        ...


def bank_of(meter: SimulatedMeter) -> RegisterBank:
    """Return the registers of a meter's model: a map's name, or `sunspec_` and a model number."""
    name, _, number = meter.spec.model.partition("_")
    if name == SUNSPEC:
        return SunSpecBank(meter, int(number or 203))
    return MapBank(meter)


class MapBank:
    """Registers as a shipped map says."""

    def __init__(self, meter: SimulatedMeter) -> None:
        """Take the map of the meter's model. Raises: MapError when there is none."""
        self._meter = meter
        self.map: RegisterMap = load_map(meter.spec.model)

    def words(self, request: ReadRequest) -> list[int]:
        """Return the words asked for; what lies between values is zero."""
        snapshot = self._meter.snapshot()
        end = request.address + request.count
        words = [0] * request.count
        touched = False
        identity = self.map.identity
        if identity is not None and identity.fc == request.fc:
            found = encode(identity.type, self._meter.serial, identity.words)
            touched |= _place(words, request, identity.address, found)
        for point in self.map.points:
            if point.fc == request.fc and point.address < end and request.address < point.end:
                touched |= _place(words, request, point.address, self._told(point, snapshot))
        if not touched:
            raise RequestRefusedError(ExceptionCode.ILLEGAL_ADDRESS)
        return words

    def _told(self, point: Point, snapshot: Snapshot) -> tuple[int, ...]:
        scaler = point.scale + UNIT_EXPONENT[point.unit]
        value = present(snapshot).get(point.channel, 0)
        raw = value // 10**scaler if scaler >= 0 else value * 10**-scaler
        words = encode(point.type, raw, point.words, resolution=point.resolution)
        if point.channel in REGISTERS:
            # f32 cannot tell every watt-hour: what counts is what a reader gets out of it
            told = decode(point.type, words, point.words, resolution=point.resolution)
            assert told is not None  # energy is never NaN
            self._meter.note_served(snapshot, point.channel, told, scaler)
        return words


class SunSpecBank:
    """
    Registers that describe themselves: common model, a vendor's model, the meter model.

    A vendor's model stands before the meter's, as in the field: a reader has to walk.
    """

    def __init__(self, meter: SimulatedMeter, model: int, base: int = BASES[0]) -> None:
        """Describe `meter` as SunSpec `model` (201-204, 211-213) from `base` on."""
        self._meter = meter
        self._model = model
        self._base = base
        self._float = model in FLOAT_MODELS

    def words(self, request: ReadRequest) -> list[int]:
        """Return the words asked for; nothing outside the description can be read."""
        snapshot = self._meter.snapshot()
        image = self._image(snapshot)
        start = request.address - self._base
        if request.fc != 3 or start < 0 or start + request.count > len(image):
            raise RequestRefusedError(ExceptionCode.ILLEGAL_ADDRESS)
        energy_at = self._meter_at + (68 if self._float else 46)
        if start <= energy_at < start + request.count:
            self._meter.note_served(snapshot, Channel.IMPORT_WH, self._told(snapshot), 0)
        return image[start : start + request.count]

    @property
    def _meter_at(self) -> int:
        return 2 + 2 + _COMMON_LENGTH + 2 + _VENDOR_LENGTH

    def _told(self, snapshot: Snapshot) -> int:
        if not self._float:
            return snapshot.register_wh % (1 << 32)
        words = encode(WordType.F32, snapshot.register_wh, WordOrder.BIG)
        return decode(WordType.F32, words, WordOrder.BIG) or 0

    def _image(self, snapshot: Snapshot) -> list[int]:
        common = [
            *_text("Meterloop", 16), *_text("Simulated", 16), *_text("", 8), *_text("1", 8),
            *_text(str(self._meter.serial), 16), self._meter.spec.modbus_unit, _ABSENT,
        ]  # fmt: skip
        block = self._floats(snapshot) if self._float else self._integers(snapshot)
        return [
            *MARKER,
            COMMON_MODEL, _COMMON_LENGTH, *common,
            _VENDOR_MODEL, _VENDOR_LENGTH, *range(_VENDOR_LENGTH),
            self._model, len(block) - 2, *block[2:],
            END_MODEL, 0,
        ]  # fmt: skip

    def _integers(self, snapshot: Snapshot) -> list[int]:
        block = [_ABSENT] * (INTEGER_LENGTH + 2)
        for phase, (volt, ampere) in enumerate(
            zip(snapshot.voltage_mv, snapshot.current_ma, strict=True)
        ):
            block[3 + phase] = ampere // 10 & 0xFFFF
            block[8 + phase] = volt // 100
        block[6], block[15], block[17], block[54] = 0xFFFE, 0xFFFF, 0xFFFE, 0
        block[16] = snapshot.frequency_mhz // 10
        # power past the range of i16 shifts its scale, as meters do
        large = abs(snapshot.power_w) > 0x7FFF
        block[22] = 1 if large else 0
        block[18] = (snapshot.power_w // 10 if large else snapshot.power_w) & 0xFFFF
        block[38:40] = 0, 0
        block[46:48] = encode(WordType.ACC32, snapshot.register_wh % (1 << 32), WordOrder.BIG)
        return block

    def _floats(self, snapshot: Snapshot) -> list[int]:
        block = [*_NAN] * (FLOAT_LENGTH // 2 + 1)
        for phase, (volt, ampere) in enumerate(
            zip(snapshot.voltage_mv, snapshot.current_ma, strict=True)
        ):
            block[4 + 2 * phase : 6 + 2 * phase] = _f32(ampere, -3)
            block[12 + 2 * phase : 14 + 2 * phase] = _f32(volt, -3)
        block[26:28] = _f32(snapshot.frequency_mhz, -3)
        block[28:30] = _f32(snapshot.power_w)
        block[60:62] = _f32(0)
        block[68:70] = _f32(snapshot.register_wh)
        return block


class TornBank:
    """
    Registers of a meter that changes the words of a counter one after the other.

    When `torn` answers true, a read catches the counter in between: its second word carries one
    more or one less than belongs to the last, so it is 65,536 steps off.
    """

    def __init__(self, bank: MapBank, torn: Callable[[], bool]) -> None:
        """Tear energy registers of `bank`."""
        self._bank = bank
        self._torn = torn
        self.tears = 0

    def words(self, request: ReadRequest) -> list[int]:
        """Return the words asked for, an energy register torn now and then."""
        words = self._bank.words(request)
        for point in self._bank.map.points:
            inside = request.address <= point.address and (
                point.end <= request.address + request.count
            )
            wide = point.channel in REGISTERS and point.end - point.address > 1
            if point.fc != request.fc or not inside or not wide or not self._torn():
                continue
            self.tears += 1
            first = point.address - request.address
            length = point.end - point.address
            second = first + (1 if point.words is WordOrder.LITTLE else length - 2)
            step = 1 if self.tears % 2 else -1
            words[second] = words[second] + step & 0xFFFF
        return words


def present(snapshot: Snapshot) -> Mapping[Channel, int]:
    """Return what a meter shows now, in the channels' own units."""
    values = {
        Channel.IMPORT_WH: snapshot.register_wh,
        Channel.EXPORT_WH: 0,
        Channel.POWER_W: snapshot.power_w,
        Channel.FREQUENCY_MHZ: snapshot.frequency_mhz,
    }
    values.update(zip(_VOLTS, snapshot.voltage_mv, strict=False))
    values.update(zip(_AMPERES, snapshot.current_ma, strict=False))
    return values


def _place(words: list[int], request: ReadRequest, address: int, found: tuple[int, ...]) -> bool:
    touched = False
    for offset, word in enumerate(found, start=address - request.address):
        if 0 <= offset < request.count:
            words[offset] = word
            touched = True
    return touched


def _text(text: str, count: int) -> tuple[int, ...]:
    return struct.unpack(f">{count}H", text.encode("ascii").ljust(2 * count, b"\0"))


def _f32(raw: int, exponent: int = 0) -> tuple[int, ...]:
    return encode(WordType.F32, raw, WordOrder.BIG, resolution=exponent)
