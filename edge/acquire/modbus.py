"""
Modbus TCP meters: registers and momentary values by the model's map; no relay, profile or clock.

A value is stamped when it was received, for such a meter has no clock of its own. The serial
number is read with every visit where the model shows one: a valid frame of another meter behind
the same address must never be booked here.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException

from edge.acquire.driver import ReadOut, Sample
from protocols.errors import PeerError
from protocols.identity import MeterId
from protocols.modbus.plan import (
    Answers,
    ReadRequest,
    Value,
    identity_in,
    requests_for,
    values_in,
    words_of,
)
from protocols.modbus.registers import RegisterMap, load_map
from protocols.modbus.scaling import decode
from protocols.mqtt.downlink import Verb
from protocols.reading import OBIS, RelayReading
from protocols.timeline import Interval

_GROUPS = ("fast", "slow")


class Now(Protocol):
    """The part of the edge's clock that a driver needs."""

    def now(self) -> datetime:
        """Return business time, UTC."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusTarget:
    """Where a Modbus TCP meter is and who it must be. `timeout_seconds` is wall time."""

    meter: MeterId
    host: str
    port: int
    unit: int = 1
    model: str
    serial: str
    """The serial number it must show; empty when the installation does not know it."""
    timeout_seconds: float = 3.0


class ModbusDriver:
    """One TCP session with one meter; satisfies `MeterDriver`."""

    has_profile = False
    has_relay = False

    def __init__(self, target: ModbusTarget, clock: Now) -> None:
        """Take the model's map; nothing is opened yet. Raises: MapError when there is none."""
        self.meter = target.meter
        self._target = target
        self._clock = clock
        self._map: RegisterMap = load_map(target.model)
        self._requests = requests_for(self._map, _GROUPS)
        self._client: AsyncModbusTcpClient | None = None

    async def read_now(self) -> ReadOut:
        """
        Read all registers and momentary values in one visit.

        Raises: PeerError `modbus.unreachable`, `.timeout`, `.exception`, `.frame`, `.shape`,
        `.value`, `.foreign`, `.implausible`; the session is then closed.
        """
        try:
            answers = {request: await self._ask(request) for request in self._requests}
            at = self._clock.now()
            identity = self._check_identity(answers)
            values = values_in(self._map, _GROUPS, answers)
        except PeerError:
            await self.close()
            raise
        return ReadOut(
            samples=tuple(
                Sample(channel=value.channel, at=at, raw=value.raw, scaler=value.scaler)
                for value in values
            ),
            identity=identity,
            raw={OBIS[value.channel]: _printable(value) for value in values},
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

    async def close(self) -> None:
        """End the session; never raises."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _ask(self, request: ReadRequest) -> list[int]:
        target = self._target
        try:
            async with asyncio.timeout(target.timeout_seconds):
                client = await self._connected()
                read = (
                    client.read_holding_registers
                    if request.fc == 3
                    else client.read_input_registers
                )
                answer = await read(request.address, count=request.count, device_id=target.unit)
        except TimeoutError as error:
            raise self._fails("timeout", f"no answer in {target.timeout_seconds} s") from error
        except ConnectionException as error:
            raise self._fails("unreachable", str(error)) from error
        except ModbusException as error:
            # the library reports silence and spoilt frames alike
            raise self._fails("timeout", str(error)) from error
        except OSError as error:
            raise self._fails("unreachable", str(error)) from error
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            raise self._fails("exception", f"exception {code} at {request.address:#x}")
        if answer.dev_id != target.unit:
            raise self._fails("foreign", f"unit {answer.dev_id} answered for {target.unit}")
        words = list(answer.registers)
        if len(words) != request.count:
            raise self._fails("shape", f"{len(words)} registers for {request.count} asked")
        return words

    async def _connected(self) -> AsyncModbusTcpClient:
        if self._client is not None and self._client.connected:
            return self._client
        target = self._target
        # no retries and no reconnecting inside the library: supervision is ours, and counted
        client = AsyncModbusTcpClient(
            target.host, port=target.port, timeout=target.timeout_seconds, retries=0,
            reconnect_delay=0,
        )  # fmt: skip
        self._client = client
        if not await client.connect():
            self._client = None
            raise ConnectionException(f"{target.host}:{target.port} refuses the connection")
        return client

    def _check_identity(self, answers: Answers) -> str:
        found = identity_in(self._map, answers)
        if found is None:
            self._check_plausible(answers)
            return ""
        if self._target.serial and found != self._target.serial:
            raise PeerError(
                "modbus.foreign",
                f"serial {found} answered for {self._target.serial}",
                peer=self.meter,
                evidence={"found": found, "expected": self._target.serial},
            )
        return found

    def _check_plausible(self, answers: Answers) -> None:
        probe = self._map.probe
        raw = decode(probe.type, words_of(probe, answers), probe.words, resolution=probe.resolution)
        low, high = (bound * 10**-probe.scale for bound in probe.expect)
        if raw is None or not low <= raw <= high:
            raise self._fails("implausible", f"probe register says {raw}, not {low}..{high}")

    def _fails(self, code: str, message: str) -> PeerError:
        return PeerError(f"modbus.{code}", message[:200], peer=self.meter)


def _printable(value: Value) -> str:
    return f"{value.raw}e{value.scaler}" if value.scaler else str(value.raw)
