"""
Modbus at a line: which unit answers, whether it describes itself, which of our maps fit it.

A map fits when its probe register lies between its bounds and the first voltage is one that a
mains line can have. Several maps may fit; they are told in order of what else agrees.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from edge.probe.model import Line, Outcome, Step
from edge.probe.steps import step_of
from edge.probe.talk import UnreadableError, ask
from protocols.errors import PeerError
from protocols.modbus import rtu, sunspec
from protocols.modbus.pdu import Frame, FrameReader, frame_octets
from protocols.modbus.plan import ReadRequest
from protocols.modbus.registers import Located, MapError, RegisterMap, load_map, shipped_models
from protocols.modbus.scaling import decode, registers_of
from protocols.reading import Channel

USUAL_UNITS = (1, 2, 255, 0)
_GATEWAY = {10: "no path to this unit", 11: "the unit behind the gateway is silent"}
_EXCEPTIONS = {
    1: "no such function",
    2: "no such register",
    3: "no such count",
    4: "device failure",
}
_MAINS_MV = (80_000, 500_000)
_MILLI = -3


class ExceptionAnswerError(Exception):
    """The device answered with an exception code."""

    def __init__(self, code: int) -> None:
        """Keep the code."""
        words = _GATEWAY.get(code) or _EXCEPTIONS.get(code, "refused")
        super().__init__(f"exception {code}: {words}")
        self.code = code


class RegisterAsker(Protocol):
    """Reads registers of one unit."""

    async def read(self, request: ReadRequest) -> Sequence[int]:
        """Return the words. Raises: ExceptionAnswerError, PeerError, UnreadableError."""
        ...


AskerOf = Callable[[Line, int], RegisterAsker]


class TcpAsker:
    """Registers over Modbus TCP."""

    def __init__(self, line: Line, unit: int, *, seconds: float) -> None:
        """Stand on an open line."""
        self._line, self._unit, self._seconds = line, unit, seconds
        self._transaction = 0

    async def read(self, request: ReadRequest) -> Sequence[int]:
        """Return the words. Raises: ExceptionAnswerError, PeerError, UnreadableError."""
        self._transaction = self._transaction % 0xFFFF + 1
        wanted = self._transaction
        pdu = bytes((request.fc,)) + request.address.to_bytes(2) + request.count.to_bytes(2)
        frames = FrameReader()

        def search(octets: bytes) -> bytes | None:
            try:
                found = frames.feed(octets)
            except PeerError:
                raise UnreadableError(octets) from None
            return next((frame.pdu for frame in found if frame.transaction == wanted), None)

        octets = frame_octets(Frame(transaction=wanted, unit=self._unit, pdu=pdu))
        answer = await ask(self._line, octets, search, seconds=self._seconds)
        if len(answer) == 2 and answer[0] == request.fc | 0x80:
            raise ExceptionAnswerError(answer[1])
        if len(answer) != 2 + 2 * request.count or answer[0] != request.fc:
            raise PeerError("modbus.shape", f"{len(answer)} octets for {request.count} registers")
        return [int.from_bytes(answer[at : at + 2], "big") for at in range(2, len(answer), 2)]


class RtuAsker:
    """Registers over Modbus RTU, on a serial line or a gateway that passes octets on."""

    def __init__(self, line: Line, unit: int, *, seconds: float) -> None:
        """Stand on an open line."""
        self._line, self._unit, self._seconds = line, unit, seconds

    async def read(self, request: ReadRequest) -> Sequence[int]:
        """Return the words. Raises: ExceptionAnswerError, PeerError, UnreadableError."""
        wanted = rtu.RtuRead(unit=self._unit, request=request)
        answer = await ask(self._line, wanted.octets, wanted.search().feed, seconds=self._seconds)
        if answer.exception:
            raise ExceptionAnswerError(answer.exception)
        return answer.words


async def survey(
    open_line: Callable[[], Awaitable[Line]],
    asker_of: AskerOf,
    units: tuple[int, ...],
    tried: str,
) -> tuple[dict[str, Any], list[Step]]:
    """Return the facts about the first unit that answers, none if none does, and the steps."""
    steps: list[Step] = []
    for unit in units:
        what = f"{tried}, unit {unit}"
        try:
            line = await open_line()
        except PeerError as error:
            return {}, [*steps, step_of(what, error)]
        try:
            asker = asker_of(line, unit)
            greeting = await _first_answer(asker)
            facts = {"unit": unit} | await _describe(asker)
        except (PeerError, UnreadableError) as error:
            step = step_of(what, error)
            steps.append(step)
            if step.outcome is Outcome.UNREADABLE:
                break
            continue
        except ExceptionAnswerError as error:
            fix = "the gateway is right, the unit is not there: check --unit and the bus behind it"
            steps.append(Step(tried=what, outcome=Outcome.REFUSED, words=str(error), fix=fix))
            continue
        finally:
            line.close()
        steps.append(Step(tried=what, outcome=Outcome.FOUND, words=greeting))
        steps.append(_step_of_model(what, facts))
        return facts, steps
    return {}, steps


async def _first_answer(asker: RegisterAsker) -> str:
    """Provoke any answer; an exception of the device itself is one."""
    for fc in (3, 4):
        try:
            await asker.read(ReadRequest(fc=fc, address=0, count=1))
        except ExceptionAnswerError as error:
            if error.code in _GATEWAY:
                raise
            continue
        return "answers reads"
    return "answers with exceptions"


async def _describe(asker: RegisterAsker) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    described = await _sunspec(asker)
    if described is not None:
        facts["sunspec"] = {
            "maker": described.maker,
            "type": described.type,
            "serial": described.serial,
            "models": [model.id for model in described.models],
        }
    fits: list[tuple[int, str]] = []
    for model in shipped_models():
        try:
            register_map = load_map(model)
            score = await _fit(asker, register_map)
        except MapError:
            continue
        if score:
            fits.append((score, model))
            if register_map.identity is not None:
                facts.setdefault("serials", {})[model] = await _serial(asker, register_map)
    facts["models"] = [model for _, model in sorted(fits, key=lambda item: (-item[0], item[1]))]
    return facts


async def _sunspec(asker: RegisterAsker) -> sunspec.SunSpecMeter | None:
    walk = sunspec.survey()
    words: Sequence[int] | None = None
    try:
        request = next(walk)
        while True:
            try:
                words = await asker.read(request)
            except ExceptionAnswerError:
                words = None
            request = walk.send(words)
    except StopIteration as end:
        found: sunspec.SunSpecMeter = end.value
        return found
    except PeerError as error:
        if error.code.startswith("sunspec."):
            return None
        raise


async def _fit(asker: RegisterAsker, register_map: RegisterMap) -> int:
    """Return how many of probe, voltage and frequency speak for the map; 0 when one is against."""
    probe = register_map.probe
    raw = await _raw(asker, probe)
    if raw is None:
        return 0
    low, high = (bound * 10**-probe.scale for bound in probe.expect)
    if not low <= raw <= high:
        return 0
    score = 1
    for point in register_map.points:
        if point.channel is not Channel.VOLTAGE_L1_MV or point.scale_from is not None:
            continue
        raw = await _raw(asker, point)
        # the map counts in volts to a power of ten, the bounds are in millivolts
        millivolts = None if raw is None else raw * 10 ** (point.scale - _MILLI)
        if millivolts is None or not _MAINS_MV[0] <= millivolts <= _MAINS_MV[1]:
            return 0
        score += 1
    return score


async def _serial(asker: RegisterAsker, register_map: RegisterMap) -> str:
    identity = register_map.identity
    if not isinstance(identity, Located):
        return ""
    return str(await _raw(asker, identity) or "")


async def _raw(asker: RegisterAsker, located: Located) -> int | None:
    count = registers_of(located.type)
    request = ReadRequest(fc=located.fc, address=located.address, count=count)
    try:
        words = await asker.read(request)
        return decode(located.type, words, located.words, resolution=located.resolution)
    except ExceptionAnswerError:
        return None
    except PeerError as error:
        if error.code in ("modbus.value", "modbus.shape"):
            return None
        raise


def _step_of_model(what: str, facts: dict[str, Any]) -> Step:
    models = facts["models"]
    tried = f"{what}: model"
    if "sunspec" in facts:
        words = f"describes itself by SunSpec as {facts['sunspec']['type'] or 'a meter'}"
        return Step(tried=tried, outcome=Outcome.FOUND, words=words)
    if models:
        more = f", as well as {', '.join(models[1:])}" if models[1:] else ""
        return Step(tried=tried, outcome=Outcome.FOUND, words=f"fits the map {models[0]}{more}")
    return Step(
        tried=tried,
        outcome=Outcome.REFUSED,
        words="no shipped register map gives plausible values",
        fix="write a map for this model (docs/field.md) and name it with map_file",
    )
