"""What to ask in one request: neighbouring registers together, and values back out of answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocols.errors import PeerError
from protocols.modbus.registers import (
    UNIT_EXPONENT,
    IdentityText,
    Located,
    Point,
    RegisterMap,
)
from protocols.modbus.scaling import WordOrder, WordType, decode
from protocols.reading import Channel

MERGE_GAP = 8
"""Registers it is cheaper to read along than to ask again for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """`count` registers from `address` with function code `fc`: 3 holding, 4 input."""

    fc: int
    address: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One quantity as the meter gave it. *Units*: `raw * 10**scaler` in the channel's unit."""

    channel: Channel
    raw: int
    scaler: int


Answers = Mapping[ReadRequest, Sequence[int]]
"""The words that came back for each request."""


def requests_for(register_map: RegisterMap, groups: Iterable[str]) -> tuple[ReadRequest, ...]:
    """
    Return the fewest requests that cover all points of `groups` and the identity (else the probe).

    A value is never split over two requests, so a counter cannot tear; a request never crosses a
    declared hole nor exceeds what the model answers at once.
    """
    wanted = set(groups)
    located: list[tuple[int, int, int]] = []
    for point in register_map.points:
        if point.group in wanted:
            located.append((point.fc, point.address, point.end))
            if point.scale_from is not None:
                located.append((point.fc, point.scale_from, point.scale_from + 1))
    proof = register_map.identity or register_map.identity_text or register_map.probe
    located.append((proof.fc, proof.address, proof.end))
    requests: list[ReadRequest] = []
    for fc, start, end in sorted(located):
        last = requests[-1] if requests else None
        if last is not None and _joins(register_map, last, fc, start, end):
            count = max(last.count, end - last.address)
            requests[-1] = ReadRequest(fc=fc, address=last.address, count=count)
        else:
            requests.append(ReadRequest(fc=fc, address=start, count=end - start))
    return tuple(requests)


def values_in(
    register_map: RegisterMap, groups: Iterable[str], answers: Answers
) -> tuple[Value, ...]:
    """
    Return the values of all points of `groups`; a point without a value (NaN) is absent.

    Raises: PeerError `modbus.shape` when an answer is short, `modbus.value` when it makes no sense.
    """
    wanted = set(groups)
    found = (_value(point, answers) for point in register_map.points if point.group in wanted)
    return tuple(value for value in found if value is not None)


def identity_in(register_map: RegisterMap, answers: Answers) -> str | None:
    """Return the serial number in the answers; None where the model shows none."""
    identity, text = register_map.identity, register_map.identity_text
    if text is not None:
        return text_in(words_of(text, answers))
    if identity is None:
        return None
    return str(decode(identity.type, words_of(identity, answers), identity.words))


def text_in(words: Sequence[int]) -> str:
    """Return the text in registers, two ASCII characters each, as far as it can be printed."""
    octets = b"".join((word & 0xFFFF).to_bytes(2, "big") for word in words)
    text = octets.split(b"\0", 1)[0].decode("ascii", errors="replace")
    return "".join(letter for letter in text if letter.isprintable()).strip()


def words_of(located: Located | IdentityText, answers: Answers) -> Sequence[int]:
    """Return the words of one located value. Raises: PeerError `modbus.shape`."""
    for request, words in answers.items():
        offset = located.address - request.address
        if (
            request.fc == located.fc
            and offset >= 0
            and located.end <= request.address + request.count
        ):
            if len(words) != request.count:
                raise PeerError(
                    "modbus.shape", f"{len(words)} registers came for {request.count} asked"
                )
            return words[offset : located.end - request.address]
    raise PeerError("modbus.shape", f"no answer covers register {located.address:#x}")


def _joins(register_map: RegisterMap, last: ReadRequest, fc: int, start: int, end: int) -> bool:
    reached = last.address + last.count
    return (
        fc == last.fc
        and start - reached <= MERGE_GAP
        and max(end, reached) - last.address <= register_map.max_registers
        and not any(low < end and last.address < high for low, high in register_map.holes)
    )


def _value(point: Point, answers: Answers) -> Value | None:
    raw = decode(point.type, words_of(point, answers), point.words, resolution=point.resolution)
    if raw is None or raw in point.nan:
        return None
    scaler = point.scale + UNIT_EXPONENT[point.unit]
    if point.scale_from is not None:
        beside = Located(fc=point.fc, address=point.scale_from, type=WordType.I16)
        power = decode(WordType.I16, words_of(beside, answers), WordOrder.BIG)
        if power is None or not -10 <= power <= 10:  # 8000h: SunSpec's "not there"
            return None
        scaler += power
    return Value(channel=point.channel, raw=point.sign * raw, scaler=scaler)
