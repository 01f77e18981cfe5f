"""
SunSpec: meters that describe themselves. Find the marker, walk the models, make a register map.

`survey` asks through its caller: it yields requests and takes words, or None where the device
refused. Everything is bounded: marker places, number of models, lengths.
*Source*: SunSpec Device Information Model Specification 1.2; models 1, 201-204, 211-213.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from protocols.errors import PeerError
from protocols.modbus.pdu import MAX_COUNT
from protocols.modbus.plan import ReadRequest, text_in
from protocols.modbus.registers import IdentityText, Point, Probe, RegisterMap, SerialLine
from protocols.modbus.scaling import WordType
from protocols.reading import OBIS, Channel

SUNSPEC = "sunspec"
"""The model name in a configuration that means: ask the meter."""
BASES = (40000, 50000, 0)
"""Where the marker may stand, in the order in which the specification has them tried."""
MARKER = (0x5375, 0x6E53)
"""`SunS`."""
END_MODEL = 0xFFFF
COMMON_MODEL = 1
INTEGER_MODELS = (201, 202, 203, 204)
FLOAT_MODELS = (211, 212, 213)
INTEGER_LENGTH, FLOAT_LENGTH = 105, 124

_MOST_MODELS = 64
_FC: Final = 3
_ABSENT_I16 = -0x8000
_ROLLOVER = 1 << 32
_MAKER, _TYPE, _SERIAL, _NAME_WORDS = 2, 18, 50, 16
_PHASES = {201: 1, 202: 2, 203: 3, 204: 3, 211: 1, 212: 2, 213: 3}
_VOLTS = (Channel.VOLTAGE_L1_MV, Channel.VOLTAGE_L2_MV, Channel.VOLTAGE_L3_MV)
_AMPERES = (Channel.CURRENT_L1_MA, Channel.CURRENT_L2_MA, Channel.CURRENT_L3_MA)

Ask = Generator[ReadRequest, Sequence[int] | None, "SunSpecMeter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One block of the device's description; `address` is that of its id register."""

    id: int
    address: int
    length: int

    @property
    def end(self) -> int:
        """Return the address of the next block's id register."""
        return self.address + 2 + self.length


@dataclass(frozen=True, slots=True, kw_only=True)
class SunSpecMeter:
    """What a device says about itself, and the meter model among its blocks that we read."""

    maker: str
    type: str
    serial: str
    models: tuple[Model, ...]
    meter: Model
    common: Model | None


def survey() -> Ask:
    """
    Find the device's models: a generator of requests that is sent the words, or None.

    Prefers integer blocks to float ones: a float loses watt-hours above 16.7 MWh.
    Raises: PeerError `sunspec.absent` when there is no marker, `sunspec.shape` when the walk leads
    nowhere, `sunspec.no_meter` when none of the blocks is a meter that we read.
    """
    base = yield from _marker()
    models: list[Model] = []
    place = base + 2
    while len(models) < _MOST_MODELS:
        if place + 2 > 0x10000:
            raise PeerError("sunspec.shape", "the models run past the last register")
        head = yield ReadRequest(fc=_FC, address=place, count=2)
        if head is None or len(head) != 2:
            raise PeerError("sunspec.shape", f"no model header at {place}")
        if head[0] == END_MODEL:
            break
        found = Model(id=head[0], address=place, length=head[1])
        if found.length == 0 or found.end > 0x10000:
            raise PeerError("sunspec.shape", f"model {found.id} at {place} has length {head[1]}")
        models.append(found)
        place = found.end
    meter = _meter_among(models)
    common = next((item for item in models if item.id == COMMON_MODEL), None)
    names = ("", "", "")
    if common is not None and common.length >= _SERIAL + _NAME_WORDS - 2:
        words = yield ReadRequest(fc=_FC, address=common.address, count=_SERIAL + _NAME_WORDS)
        if words is not None and len(words) == _SERIAL + _NAME_WORDS:
            names = (
                text_in(words[_MAKER : _MAKER + _NAME_WORDS]),
                text_in(words[_TYPE : _TYPE + _NAME_WORDS]),
                text_in(words[_SERIAL:]),
            )
        else:
            common = None
    else:
        common = None
    return SunSpecMeter(
        maker=names[0],
        type=names[1],
        serial=names[2],
        models=tuple(models),
        meter=meter,
        common=common,
    )


def map_of(meter: SunSpecMeter, serial: SerialLine | None = None) -> RegisterMap:
    """
    Return the register map of a surveyed meter.

    Its model id stands for plausibility. `serial` says how it talks on RS-485.
    """
    block = meter.meter
    points = _float_points(block) if block.id in FLOAT_MODELS else _integer_points(block)
    identity = None
    if meter.common is not None and meter.serial:
        identity = IdentityText(fc=_FC, address=meter.common.address + _SERIAL, count=_NAME_WORDS)
    return RegisterMap(
        model=f"{SUNSPEC}_{block.id}",
        source=f"the meter's own description: {meter.maker} {meter.type}".strip(),
        probe=Probe(fc=_FC, address=block.address, type=WordType.U16, expect=(block.id, block.id)),
        identity_text=identity,
        serial=serial or SerialLine(baud=9600, parity="N", gap_ms=50, timeout_ms=1000),
        max_registers=MAX_COUNT,
        points=tuple(points),
    )


def _marker() -> Generator[ReadRequest, Sequence[int] | None, int]:
    for base in BASES:
        words = yield ReadRequest(fc=_FC, address=base, count=2)
        if words is not None and tuple(words) == MARKER:
            return base
    tried = ", ".join(str(base) for base in BASES)
    raise PeerError("sunspec.absent", f"no SunS marker at {tried}; give the meter's model instead")


def _meter_among(models: Iterable[Model]) -> Model:
    found = {item.id: item for item in models}
    for wanted, length in (
        *((number, INTEGER_LENGTH) for number in reversed(INTEGER_MODELS)),
        *((number, FLOAT_LENGTH) for number in reversed(FLOAT_MODELS)),
    ):
        block = found.get(wanted)
        if block is None:
            continue
        if block.length != length:
            raise PeerError(
                "sunspec.shape", f"model {wanted} has {block.length} registers, not {length}"
            )
        return block
    seen = ", ".join(str(number) for number in found) or "none"
    raise PeerError("sunspec.no_meter", f"no meter among the models: {seen}")


def _integer_points(block: Model) -> Iterable[Point]:
    def point(
        channel: Channel, offset: int, scale_at: int, unit: str, kind: WordType = WordType.I16
    ) -> Point:
        energy = kind is WordType.ACC32
        return Point(
            obis=OBIS[channel],
            fc=_FC,
            address=block.address + offset,
            type=kind,
            scale_from=block.address + scale_at,
            unit=unit,
            nan=() if energy else (_ABSENT_I16,),
            rollover=_ROLLOVER if energy else None,
            group="slow" if energy else "fast",
        )

    for phase in range(_PHASES[block.id]):
        yield point(_AMPERES[phase], 3 + phase, 6, "A")
        yield point(_VOLTS[phase], 8 + phase, 15, "V")
    yield point(Channel.FREQUENCY_MHZ, 16, 17, "Hz")
    yield point(Channel.POWER_W, 18, 22, "W")
    yield point(Channel.EXPORT_WH, 38, 54, "Wh", WordType.ACC32)
    yield point(Channel.IMPORT_WH, 46, 54, "Wh", WordType.ACC32)


def _float_points(block: Model) -> Iterable[Point]:
    def point(channel: Channel, offset: int, unit: str, scale: int, group: str = "fast") -> Point:
        return Point.model_validate({
            "obis": OBIS[channel], "fc": _FC, "address": block.address + offset,
            "type": WordType.F32, "scale": scale, "unit": unit, "group": group,
        })  # fmt: skip

    for phase in range(_PHASES[block.id]):
        yield point(_AMPERES[phase], 4 + 2 * phase, "A", -3)
        yield point(_VOLTS[phase], 12 + 2 * phase, "V", -1)
    yield point(Channel.FREQUENCY_MHZ, 26, "Hz", -2)
    yield point(Channel.POWER_W, 28, "W", 0)
    yield point(Channel.EXPORT_WH, 60, "Wh", 0, "slow")
    yield point(Channel.IMPORT_WH, 68, "Wh", 0, "slow")
