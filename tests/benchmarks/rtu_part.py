"""
RTU throughput on a pseudo-terminal, as a share of what the baud rate allows.

    python tests/benchmarks/rtu_part.py [--seconds 5]

The simulated meters take the time that their octets take on a real line. Two bounds: `wire` counts
the octets of requests and answers alone, which no half-duplex bus can reach; `bus` adds what every
exchange must have: the meter's turn-round and the silence its model wants. Nothing is asserted.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict, dataclass

from edge.acquire.bus import SILENT_OCTETS, UnitTiming
from edge.acquire.modbus_rtu import bus_on_port
from edge.clock import EdgeClock
from edge.links.serial import SerialSettings
from protocols.modbus.plan import ReadRequest
from protocols.modbus.rtu import REQUEST_OCTETS, RtuRead
from simulators.meter.rtu_bus import HostilePlan, RtuMeters, RtuPort, UnitTraits

TURN_ROUND = 0.005
UNITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RtuShare:
    """One line under load. `of_wire` and `of_bus` are shares of the two bounds, 0..1."""

    baud: int
    registers: int
    gap_ms: float
    hostile_permille: int
    reads_per_s: float
    of_wire: float
    of_bus: float
    timeouts: int
    recovered: int

    @property
    def name(self) -> str:
        """Return what was measured, in words."""
        hostile = f", {self.hostile_permille / 10:.0f} % spoilt" if self.hostile_permille else ""
        return f"RTU {self.baud} Bd, {self.registers} registers, gap {self.gap_ms:g} ms{hostile}"


class _Numbers:
    def words(self, request: ReadRequest) -> list[int]:
        return [n & 0xFFFF for n in range(request.address, request.address + request.count)]


async def rtu_share(
    *,
    baud: int = 9600,
    registers: int = 20,
    gap: float = 0.0,
    hostile_permille: int = 0,
    seconds: float = 5.0,
) -> RtuShare:
    """Read as fast as one bus allows for `seconds`, eight units by turns, and check each value."""
    settings = SerialSettings(baud=baud)
    octet = settings.octet_seconds
    gap = max(gap, SILENT_OCTETS * octet)
    timing = UnitTiming(gap=gap, timeout=0.2, latency=0.3)
    port = RtuPort()
    plan = HostilePlan(permille=hostile_permille, timeout_seconds=0.2, late_seconds=0.1)
    bank = _Numbers()
    port.serve(
        RtuMeters(
            dict.fromkeys(range(1, UNITS + 1), bank), port.send, octet_seconds=octet,
            traits=UnitTraits(turn_round=TURN_ROUND), plan=plan,
        )
    )  # fmt: skip
    bus = bus_on_port(port.path, settings, monotonic=EdgeClock().monotonic)
    loop = asyncio.get_running_loop()

    async def keep_reading(unit: int, until: float) -> int:
        done = 0
        while loop.time() < until:
            request = ReadRequest(fc=4, address=unit * 100 + done % 50, count=registers)
            answer = await bus.ask(
                RtuRead(unit=unit, request=request), unit=str(unit), timing=timing, tries=10
            )
            assert list(answer.words) == bank.words(request)
            done += 1
        return done

    warm = RtuRead(unit=1, request=ReadRequest(fc=4, address=0, count=registers))
    await bus.ask(warm, unit="1", timing=timing, tries=10)
    began = loop.time()
    counts = await asyncio.gather(
        *(keep_reading(unit, began + seconds) for unit in range(1, UNITS + 1))
    )
    took = loop.time() - began
    await bus.close()
    await port.close()
    wire = (REQUEST_OCTETS + warm.answer_octets) * octet
    rate = sum(counts) / took
    return RtuShare(
        baud=baud,
        registers=registers,
        gap_ms=round(gap * 1000, 1),
        hostile_permille=hostile_permille,
        reads_per_s=round(rate, 2),
        of_wire=round(rate * wire, 3),
        of_bus=round(rate * (wire + TURN_ROUND + gap), 3),
        timeouts=bus.counts.timeouts,
        recovered=bus.counts.recovered,
    )


async def measure(seconds: float = 5.0) -> list[RtuShare]:
    """Return the figures of the usual lines, one after the other."""
    return [
        await rtu_share(baud=9600, registers=20, seconds=seconds),
        await rtu_share(baud=9600, registers=20, gap=0.06, seconds=seconds),
        await rtu_share(baud=19_200, registers=60, seconds=seconds),
        await rtu_share(baud=9600, registers=20, hostile_permille=50, seconds=seconds),
    ]


def main() -> None:
    """Measure and print a line each, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load")
    found = asyncio.run(measure(parser.parse_args().seconds))
    for share in found:
        sys.stdout.write(
            f"{share.name}: {share.reads_per_s} reads/s, {share.of_bus:.1%} of the bus's bound, "
            f"{share.of_wire:.1%} of the bare wire; {share.timeouts} time-outs\n"
        )
    sys.stdout.write(json.dumps({share.name: asdict(share) for share in found}) + "\n")


if __name__ == "__main__":
    main()
