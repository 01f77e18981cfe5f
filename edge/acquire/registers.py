"""
What every Modbus meter has in common, however its octets travel: map, identity, belief.

A value is stamped when it was received, for such a meter has no clock of its own. The serial
number is read with every visit where the model shows one: a valid frame of another meter behind
the same address must never be booked here. An energy register that is new, steps back or leaps
is looked at again before it is believed (`protocols.modbus.counters`). On an error there is no
value: never the last one again, never a zero.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from edge.acquire.driver import ReadOut, Sample
from protocols.errors import PeerError
from protocols.identity import MeterId
from protocols.modbus.counters import Stand, doubtful, stand_of, stepped_back
from protocols.modbus.plan import (
    Answers,
    ReadRequest,
    Value,
    identity_in,
    requests_for,
    values_in,
    words_of,
)
from protocols.modbus.registers import MapError, RegisterMap, load_map, parse_map
from protocols.modbus.scaling import decode
from protocols.modbus.sunspec import SUNSPEC, map_of, survey
from protocols.mqtt.downlink import Verb
from protocols.reading import OBIS, RelayReading
from protocols.timeline import Interval

_GROUPS = ("fast", "slow")
_LOOKS = 4
"""How often a visit looks at registers that do not settle."""
_STUBBORN = 3
"""After so many visits that saw it, a register below its last stand is what the meter says."""
_LARGEST_MAP = 262_144


class Now(Protocol):
    """The part of the edge's clock that a driver needs."""

    def now(self) -> datetime:
        """Return business time, UTC."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterTarget:
    """
    Which meter it must be and what its registers mean.

    `model` names a shipped map, or is `sunspec`; `map_file` is a map of the installation's own
    and goes before it. `serial` is the serial number that the meter must show, empty when the
    installation does not know it.
    """

    meter: MeterId
    unit: int = 1
    model: str = ""
    map_file: str = ""
    serial: str = ""


def map_for(model: str, map_file: str = "") -> RegisterMap:
    """Return the shipped map of `model`, or the one in `map_file`. Raises: MapError."""
    if not map_file:
        return load_map(model)
    path = Path(map_file)
    try:
        if path.stat().st_size > _LARGEST_MAP:
            raise MapError("is no register map: too large", source=map_file, fix="name a YAML map")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise MapError(reason, source=map_file, fix="correct map_file") from error
    except UnicodeDecodeError as error:
        raise MapError("is not UTF-8 text", source=map_file, fix="save it as UTF-8") from error
    return parse_map(text, source=map_file)


@dataclass(frozen=True, slots=True)
class _Look:
    """All registers at one visit, decoded."""

    values: tuple[Value, ...]
    identity: str
    stand: Stand


class RegisterMeter(ABC):
    """A meter that is a bank of registers; satisfies `MeterDriver` once it can ask."""

    has_profile = False
    has_relay = False

    def __init__(self, target: RegisterTarget, clock: Now) -> None:
        """Nothing is read yet; a map that is wrong is told at the first visit, and only there."""
        self.meter = target.meter
        self._target = target
        self._clock = clock
        self._map: RegisterMap | None = None
        self._requests: tuple[ReadRequest, ...] = ()
        self._stand: Stand | None = None
        self._fallen = 0

    async def read_now(self) -> ReadOut:
        """
        Read all registers and momentary values in one visit.

        Raises: PeerError `modbus.map`, `.unreachable`, `.timeout`, `.exception`, `.frame`,
        `.shape`, `.value`, `.foreign`, `.implausible`, `.torn`, `.step_back`, `sunspec.*`,
        `bus.*`, `link.*`; the session is then closed.
        """
        try:
            if self._map is None:
                self._map = await self._found_map()
                self._requests = requests_for(self._map, _GROUPS)
            look = await self._believed(self._map)
        except PeerError:
            await self._failed()
            raise
        return ReadOut(
            samples=tuple(
                Sample(channel=value.channel, at=look.stand.at, raw=value.raw, scaler=value.scaler)
                for value in look.values
            ),
            identity=look.identity,
            raw={OBIS[value.channel]: _printable(value) for value in look.values},
        )

    async def read_profile(self, span: Interval) -> tuple[Sample, ...]:
        """Raise PeerError `meter.no_profile`: such a meter keeps none."""
        raise PeerError("meter.no_profile", f"no profile for {span.start}", peer=self.meter)

    async def read_relay(self) -> RelayReading:
        """Raise PeerError `meter.no_relay`: such a meter has none."""
        raise PeerError("meter.no_relay", "a Modbus meter has no relay", peer=self.meter)

    async def operate(self, verb: Verb) -> None:
        """Raise PeerError `meter.no_relay`: such a meter has none."""
        raise PeerError("meter.no_relay", f"no relay to {verb.value}", peer=self.meter)

    async def set_clock(self, offset_ms: int) -> None:
        """Raise PeerError `meter.no_clock`: such a meter has none."""
        raise PeerError("meter.no_clock", f"no clock to move by {-offset_ms} ms", peer=self.meter)

    @abstractmethod
    async def close(self) -> None:
        """End the session; never raises."""

    @abstractmethod
    async def _ask(self, request: ReadRequest) -> Sequence[int]:
        """Return as many words as `request` asks for, proven to answer it. Raises: PeerError."""

    async def _failed(self) -> None:
        """Clean up after a failed visit."""
        await self.close()

    def _fails(self, code: str, message: str) -> PeerError:
        return PeerError(f"modbus.{code}", message[:400], peer=self.meter)

    async def _found_map(self) -> RegisterMap:
        if self._target.model == SUNSPEC and not self._target.map_file:
            return await self._surveyed()
        try:
            return map_for(self._target.model, self._target.map_file)
        except MapError as error:
            raise PeerError(
                "modbus.map",
                str(error)[:400],
                peer=self.meter,
                evidence={"file": error.source, "key": error.key, "fix": error.fix},
            ) from error

    async def _surveyed(self) -> RegisterMap:
        walk = survey()
        silent: PeerError | None = None
        words: Sequence[int] | None = None
        try:
            request = next(walk)
            while True:
                try:
                    words = await self._ask(request)
                except PeerError as error:
                    # some devices refuse a register that they have not, some are just silent
                    if error.code not in {"modbus.exception", "modbus.timeout", "bus.timeout"}:
                        raise
                    silent = error if error.code != "modbus.exception" else silent
                    words = None
                request = walk.send(words)
        except StopIteration as found:
            return map_of(found.value)
        except PeerError as error:
            if error.code == "sunspec.absent" and silent is not None:
                raise silent from error
            raise

    async def _believed(self, register_map: RegisterMap) -> _Look:
        """Return a look whose energy registers are credible. Raises: PeerError."""
        look = await self._look(register_map)
        for _ in range(_LOOKS - 1):
            if not doubtful(self._stand, look.stand):
                break
            again = await self._look(register_map)
            if not doubtful(look.stand, again.stand):
                self._refuse_fall(register_map, again)
                look = again
                break
            look = again
        else:
            raise self._fails("torn", f"energy registers do not settle in {_LOOKS} looks")
        self._stand = look.stand
        self._fallen = 0
        return look

    def _refuse_fall(self, register_map: RegisterMap, look: _Look) -> None:
        rollover = {
            point.channel: point.rollover for point in register_map.points if point.rollover
        }
        fallen = stepped_back(self._stand, look.stand, rollover)
        if not fallen:
            return
        self._fallen += 1
        if self._fallen >= _STUBBORN:
            return  # it stays: exchanged, reset or rolled over is for validation to judge
        before = self._stand.registers if self._stand else {}
        seen = {item.name: _printable(look.stand.registers[item]) for item in fallen}
        raise PeerError(
            "modbus.step_back",
            f"an energy register fell: {seen}; was the meter exchanged or reset?",
            peer=self.meter,
            evidence={"now": seen, "before": {i.name: _printable(before[i]) for i in fallen}},
        )

    async def _look(self, register_map: RegisterMap) -> _Look:
        answers = {request: await self._ask(request) for request in self._requests}
        at = self._clock.now()
        identity = self._check_identity(register_map, answers)
        values = values_in(register_map, _GROUPS, answers)
        return _Look(values, identity, stand_of(values, at))

    def _check_identity(self, register_map: RegisterMap, answers: Answers) -> str:
        found = identity_in(register_map, answers)
        if found is None:
            self._check_plausible(register_map, answers)
            return ""
        if self._target.serial and found != self._target.serial:
            raise PeerError(
                "modbus.foreign",
                f"serial {found} answered for {self._target.serial}",
                peer=self.meter,
                evidence={"found": found, "expected": self._target.serial},
            )
        return found

    def _check_plausible(self, register_map: RegisterMap, answers: Answers) -> None:
        probe = register_map.probe
        raw = decode(probe.type, words_of(probe, answers), probe.words, resolution=probe.resolution)
        low, high = (bound * 10**-probe.scale for bound in probe.expect)
        if raw is None or not low <= raw <= high:
            raise self._fails("implausible", f"probe register says {raw}, not {low}..{high}")


def _printable(value: Value) -> str:
    return f"{value.raw}e{value.scaler}" if value.scaler else str(value.raw)
