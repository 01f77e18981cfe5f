"""Modbus RTU meters: many units on one serial line or behind one transparent gateway."""

import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from edge.acquire.bus import Lane, Line, SerialBus, UnitTiming
from edge.acquire.registers import Now, RegisterMeter, RegisterTarget
from edge.links.serial import SerialLink, SerialSettings
from edge.links.tcp import TcpLink
from protocols.errors import PeerError
from protocols.modbus.plan import ReadRequest
from protocols.modbus.registers import SerialLine
from protocols.modbus.rtu import RtuRead

_UNKNOWN_LINE = SerialLine(baud=9600, parity="N", gap_ms=60, timeout_ms=1000)
"""How a meter is asked whose map is still to be found out."""
_CONNECT_SECONDS = 5.0

_BUSES: weakref.WeakValueDictionary[str, SerialBus] = weakref.WeakValueDictionary()
"""A port has one owner in a process, however many meters are behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusRtuTarget(RegisterTarget):
    """Who the meter must be; None in `gap_ms` or `timeout_ms` is what its map says."""

    gap_ms: int | None = None
    timeout_ms: int | None = None


class ModbusRtuDriver(RegisterMeter):
    """One unit on a bus; satisfies `MeterDriver`. The bus outlives a failed visit."""

    def __init__(self, target: ModbusRtuTarget, bus: SerialBus, clock: Now) -> None:
        """Join the bus; nothing is asked yet."""
        super().__init__(target, clock)
        self._unit = target
        self._bus = bus
        bus.join(self.meter)

    async def close(self) -> None:
        """Leave the bus; the last meter that leaves gives the port back. Never raises."""
        await self._bus.leave(self.meter)

    async def _failed(self) -> None:
        """Keep the port: the bus has drained it, and others are on it."""

    async def _ask(self, request: ReadRequest) -> Sequence[int]:
        self._bus.join(self.meter)
        answer = await self._bus.ask(
            RtuRead(unit=self._unit.unit, request=request),
            unit=f"{self._unit.unit}",
            timing=self._timing(),
            lane=self._lane(request),
        )
        if answer.exception:
            raise self._fails("exception", f"exception {answer.exception} at {request.address:#x}")
        return answer.words

    def _timing(self) -> UnitTiming:
        line = self._map.serial if self._map is not None else _UNKNOWN_LINE
        gap = line.gap_ms if self._unit.gap_ms is None else self._unit.gap_ms
        timeout = line.timeout_ms if self._unit.timeout_ms is None else self._unit.timeout_ms
        late = max(line.late_ms, timeout)
        return UnitTiming(gap=gap / 1000, timeout=timeout / 1000, latency=late / 1000)

    def _lane(self, request: ReadRequest) -> Lane:
        if self._map is None:
            return Lane.PROBING
        reached = request.address + request.count
        fast = any(
            point.group == "fast"
            and point.fc == request.fc
            and request.address <= point.address < reached
            for point in self._map.points
        )
        return Lane.FAST if fast else Lane.SLOW


def bus_on_port(
    path: str, settings: SerialSettings, *, monotonic: Callable[[], float]
) -> SerialBus:
    """
    Return the bus of a serial port, the same for every meter on it.

    Raises: PeerError `link.settings` when another meter has it at other settings.
    """
    return _bus(path, settings, lambda: SerialLink.open(path, settings), monotonic)


def bus_on_gateway(
    host: str, port: int, settings: SerialSettings, *, monotonic: Callable[[], float]
) -> SerialBus:
    """
    Return the bus behind a gateway that passes octets on as they are.

    `settings` are those of its serial side. Raises: PeerError `link.settings` as above.
    """

    async def connect() -> Line:
        return await TcpLink.connect(host, port, seconds=_CONNECT_SECONDS)

    return _bus(f"{host}:{port}", settings, connect, monotonic)


def _bus(
    name: str,
    settings: SerialSettings,
    open_line: Callable[[], Awaitable[Line]],
    monotonic: Callable[[], float],
) -> SerialBus:
    bus = _BUSES.get(name)
    if bus is None or (bus.settings != settings and not bus.members):
        bus = SerialBus(name, open_line, settings=settings, monotonic=monotonic)
        _BUSES[name] = bus
    elif bus.settings != settings:
        raise PeerError(
            "link.settings",
            f"{name} is wanted at {bus.settings} and at {settings}; give all its meters the "
            "same baud, parity and stop_bits",
            peer=name,
        )
    return bus
