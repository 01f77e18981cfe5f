"""Modbus TCP meters: one session with one meter behind one address."""

import asyncio
from dataclasses import dataclass

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException

from edge.acquire.registers import Now, RegisterMeter, RegisterTarget
from protocols.modbus.plan import ReadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusTarget(RegisterTarget):
    """Where a Modbus TCP meter is and who it must be. `timeout_seconds` is wall time."""

    host: str
    port: int
    timeout_seconds: float = 3.0


class ModbusDriver(RegisterMeter):
    """One TCP session with one meter; satisfies `MeterDriver`."""

    def __init__(self, target: ModbusTarget, clock: Now) -> None:
        """Nothing is opened yet."""
        super().__init__(target, clock)
        self._address = target
        self._client: AsyncModbusTcpClient | None = None

    async def close(self) -> None:
        """End the session; never raises."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _ask(self, request: ReadRequest) -> list[int]:
        target = self._address
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
        target = self._address
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
