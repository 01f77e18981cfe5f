"""
Register maps: one YAML file per meter model in `meters/`, checked field by field when loaded.

A map names where each OBIS quantity lies, in which type, scale and unit, what identifies the
meter, and how much it answers at once. Addresses are wire addresses, counted from 0.
"""

from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from protocols.modbus.scaling import MAX_EXPONENT, WordOrder, WordType, is_float, registers_of
from protocols.reading import CHANNEL_OF_OBIS, Channel

UNIT_EXPONENT = {"Wh": 0, "kWh": 3, "W": 0, "kW": 3, "V": 3, "A": 3, "Hz": 3}
"""Power of ten from the map's unit to the channel's: Wh, W, mV, mA, mHz."""

_UNITS_OF_CHANNEL = {
    Channel.IMPORT_WH: ("Wh", "kWh"), Channel.EXPORT_WH: ("Wh", "kWh"),
    Channel.POWER_W: ("W", "kW"), Channel.FREQUENCY_MHZ: ("Hz",),
    Channel.VOLTAGE_L1_MV: ("V",), Channel.VOLTAGE_L2_MV: ("V",), Channel.VOLTAGE_L3_MV: ("V",),
    Channel.CURRENT_L1_MA: ("A",), Channel.CURRENT_L2_MA: ("A",), Channel.CURRENT_L3_MA: ("A",),
}  # fmt: skip

_Address = Field(ge=0, le=0xFFFF)
_Exponent = Field(default=0, ge=-MAX_EXPONENT, le=MAX_EXPONENT)


_LONGEST_TEXT = 65_536


class MapError(ValueError):
    """
    A register map is wrong or there is none for the model.

    `source` names the file, `key` the field at fault ("" where it is the whole file), `fix` says
    what to do.
    """

    def __init__(self, message: str, *, source: str = "map", key: str = "", fix: str) -> None:
        """Keep the parts beside the sentence a person reads."""
        place = f"{source}: {key}: " if key else f"{source}: "
        super().__init__(f"{place}{message}. Fix: {fix}")
        self.source = source
        self.key = key
        self.fix = fix


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Located(_Strict):
    """
    Where a value lies and how. *Units*: value = raw * 10**scale.

    A float is rounded once to `scale`; where its register counts in another power of ten than one
    (tenths of a watt), that is `float_scale`.
    """

    fc: Literal[3, 4]
    address: int = _Address
    type: WordType
    words: WordOrder = WordOrder.BIG
    scale: int = _Exponent
    float_scale: int = _Exponent

    @property
    def resolution(self) -> int:
        """Return the power of ten of the register's own unit that a float is rounded to."""
        return self.scale - self.float_scale

    @property
    def end(self) -> int:
        """Return the first address behind the value."""
        return self.address + registers_of(self.type)

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if self.float_scale and not is_float(self.type):
            raise ValueError(f"float_scale says nothing about {self.type.value}; use scale")
        if self.end > 0x10000:
            raise ValueError(f"{self.type.value} at {self.address:#x} runs past the last register")
        return self


class Point(Located):
    """
    One quantity. *Units*: value = raw * 10**scale in `unit`, times `sign`.

    `scale_from` is the address of an i16 power of ten beside the value (SunSpec) that is added to
    `scale`. Raw values in `nan` mean that there is no value.
    """

    obis: str
    scale_from: int | None = Field(default=None, ge=0, le=0xFFFF)
    unit: str
    nan: tuple[int, ...] = ()
    sign: Literal[1, -1] = 1
    rollover: int | None = Field(default=None, gt=0)
    group: Literal["fast", "slow", "static"] = "fast"

    @property
    def channel(self) -> Channel:
        """Return the channel that the quantity is."""
        return CHANNEL_OF_OBIS[self.obis]

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.obis not in CHANNEL_OF_OBIS:
            raise ValueError(f"OBIS {self.obis} is no channel of ours")
        if self.unit not in _UNITS_OF_CHANNEL.get(self.channel, ()):
            raise ValueError(f"{self.obis} cannot be in {self.unit!r}")
        if is_float(self.type) and self.scale_from is not None:
            raise ValueError("a float has no scale register")
        return self


class Probe(Located):
    """A value that lies between two bounds in every healthy meter of the model."""

    expect: tuple[int, int]

    @model_validator(mode="after")
    def _fraction(self) -> Self:
        if self.scale > 0:
            raise ValueError("a probe is compared in whole units or fractions of them")
        return self


class IdentityText(_Strict):
    """The serial number where it stands as text, two characters a register (SunSpec)."""

    fc: Literal[3, 4]
    address: int = _Address
    count: int = Field(ge=1, le=32)

    @property
    def end(self) -> int:
        """Return the first address behind the text."""
        return self.address + self.count


class SerialLine(_Strict):
    """
    How the model talks on RS-485 by default.

    `gap_ms` is the silence it needs around a frame (some reboot when polled faster), `timeout_ms`
    the wait for its answer, `latency_ms` how much later than that an answer may still come; twice
    the time-out where nobody measured it.
    """

    baud: int = Field(gt=0, le=4_000_000)
    parity: Literal["N", "E", "O"]
    gap_ms: int = Field(ge=0, le=10_000)
    timeout_ms: int = Field(gt=0, le=60_000)
    latency_ms: int | None = Field(default=None, ge=0, le=60_000)

    @property
    def late_ms(self) -> int:
        """Return how much later than the time-out an answer may still come."""
        return 2 * self.timeout_ms if self.latency_ms is None else self.latency_ms


class RegisterMap(_Strict):
    """All that is known about one meter model."""

    model: str
    source: str
    """The vendor document that the addresses come from."""
    probe: Probe
    identity: Located | None = None
    """The serial number, where the model shows one; else the probe stands for plausibility."""
    identity_text: IdentityText | None = None
    """The serial number where it is text; not beside `identity`."""
    serial: SerialLine
    max_registers: int = Field(ge=4, le=125)
    holes: tuple[tuple[int, int], ...] = ()
    """Half-open address ranges that must not be touched, even by a merged request."""
    points: tuple[Point, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.identity is not None and self.identity_text is not None:
            raise ValueError("identity and identity_text exclude each other")
        names = [point.obis for point in self.points]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"quantities listed twice: {sorted(twice)}")
        for located in (*self.points, self.probe, *((self.identity,) if self.identity else ())):
            if any(low < located.end and located.address < high for low, high in self.holes):
                raise ValueError(f"address {located.address:#x} lies in a declared hole")
        return self


class _Loader(yaml.SafeLoader):
    """YAML without what a register map never needs: a key given twice, an alias."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases: they can make a small file huge."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases are not allowed", problem_mark=self.get_mark()
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key given twice, of which YAML keeps the last in silence."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and names.count(key.value) > 1:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


def parse_map(text: str, *, source: str = "map") -> RegisterMap:
    """Return the map in a YAML text. Raises: MapError naming `source`, the field and the fix."""
    try:
        return RegisterMap.model_validate(_plain(text, source))
    except ValidationError as error:
        raise _wrong_field(error, source) from error


@cache
def load_map(model: str) -> RegisterMap:
    """Return the shipped map of a model. Raises: MapError when we have none."""
    if model not in shipped_models():
        raise MapError(
            f"no register map for {model!r}",
            key="model",
            fix=f"choose one of {', '.join(shipped_models())}, or write a map of your own",
        )
    text = (files(__package__) / "meters" / f"{model}.yaml").read_text(encoding="utf-8")
    found = parse_map(text, source=f"{model}.yaml")
    if found.model != model:
        raise MapError(
            f"describes {found.model!r}", source=f"{model}.yaml", key="model", fix="rename the file"
        )
    return found


@cache
def shipped_models() -> tuple[str, ...]:
    """Return the models that we ship a map for."""
    folder = files(__package__) / "meters"
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def _plain(text: str, source: str) -> Any:
    if len(text) > _LONGEST_TEXT:
        raise MapError(f"is longer than {_LONGEST_TEXT} characters", source=source, fix=_COPY)
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader made stricter
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = f"not YAML: {error.problem or error.context}{place}"
        raise MapError(problem[:300], source=source, fix=_SYNTAX) from error
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        # a date that is none, a number past all bounds, brackets a thousand deep
        raise MapError(f"not YAML: {error}"[:300], source=source, fix=_SYNTAX) from error


_SYNTAX = "correct that line; indent with spaces and put names with colons in quotes"
_COPY = "begin from a map that is shipped in protocols/modbus/meters"
_FIXES = {
    "missing": "add this key",
    "extra_forbidden": "remove this key or correct its spelling",
    "literal_error": "write one of the values named",
    "enum": "write one of the values named",
    "value_error": "correct the value against the meter's register list",
}


def _wrong_field(error: ValidationError, source: str) -> MapError:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    kind = first["type"]
    fix = _FIXES.get(kind, "write a value of that kind and within these bounds")
    if not place and kind != "value_error":
        fix = _COPY
    return MapError(str(first["msg"])[:300], source=source, key=place, fix=fix)
