"""All simulated meters of a fleet, as they were left."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from protocols.timeline import to_ms
from simulators.energy import LoadCurve, SummedEnergy, SwitchedEnergy, household_curve
from simulators.faults import Fault
from simulators.fleet import HEAD_LOSS_PERMILLE, Fleet, SimMeter
from simulators.meter.state import SimulatedMeter
from simulators.truth import TruthLedger


class World:
    """
    The meters by name, heads summing their customers.

    Built from the fleet and the ledger alone: the same two give the same world, to the watt-hour.
    """

    def __init__(
        self,
        fleet: Fleet,
        ledger: TruthLedger,
        *,
        now_ms: Callable[[], int],
        curve: Callable[[SimMeter], LoadCurve] | None = None,
        profile_slots: int | None = None,
    ) -> None:
        """Hang every meter and take up what the ledger remembers of it."""
        self._now_ms = now_ms
        self._ledger = ledger
        self._since_ms = to_ms(fleet.history_from)
        self._profile_slots = profile_slots
        self.meters: Mapping[str, SimulatedMeter] = self._hang(fleet, curve or self._made_up(fleet))
        self._restore()

    def close_intervals(self) -> int:
        """Write into the ledger what all profiles closed since; return how many intervals."""
        with self._ledger.together():
            return sum(meter.close_intervals() for meter in self.meters.values())

    def _made_up(self, fleet: Fleet) -> Callable[[SimMeter], LoadCurve]:
        def curve(meter: SimMeter) -> LoadCurve:
            return household_curve(fleet.household(meter), self._since_ms)

        return curve

    def _hang(
        self, fleet: Fleet, curve: Callable[[SimMeter], LoadCurve]
    ) -> dict[str, SimulatedMeter]:
        below: dict[str, list[SwitchedEnergy]] = {}
        meters: dict[str, SimulatedMeter] = {}
        for spec in fleet.customers:
            energy = SwitchedEnergy(curve(spec), spec.opening_register_wh)
            below.setdefault(spec.transformer, []).append(energy)
            meters[spec.meter] = self._meter(spec, energy)
        for spec in fleet.heads:
            total = SummedEnergy(
                below[spec.transformer],
                opening_wh=spec.opening_register_wh,
                loss_permille=HEAD_LOSS_PERMILLE,
            )
            meters[spec.meter] = self._meter(spec, total)
        return meters

    def _meter(self, spec: SimMeter, energy: SwitchedEnergy | SummedEnergy) -> SimulatedMeter:
        return SimulatedMeter(
            spec,
            energy,
            now_ms=self._now_ms,
            ledger=self._ledger,
            since_ms=self._since_ms,
            profile_slots=self._profile_slots,
        )

    def _restore(self) -> None:
        for meter, closed_until_ms in self._ledger.closed_until().items():
            self.meters[meter].restore_profile(closed_until_ms)
        for _, step in sorted(self._steps(), key=lambda item: item[0]):
            step()
        for meter, at_ms, device_ms in self._ledger.clock_sets():
            self.meters[meter].clock.set(at_ms, device_ms)
        for meter, name, value in self._ledger.settings():
            self.meters[meter].memory.restore(name, value)
        for meter, log, code, device_ms in self._ledger.logs():
            self.meters[meter].book.restore(log, code, device_ms)
        for meter, name, octets in self._ledger.kept():
            self.meters[meter].memory.restore_octets(name, octets)

    def _steps(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """Yield when and how each switch moved and each fault came or went."""
        for move in self._ledger.relay_moves():
            yield (
                move.at_ms,
                partial(
                    self.meters[move.meter].restore_relay,
                    move.at_ms,
                    output=move.output,
                    control_state=move.control_state,
                ),
            )
        for meter, at_ms, name, begins in self._ledger.faults():
            found = self.meters[meter]
            yield at_ms, partial(found.restore_fault, Fault(name), at_ms, on=bool(begins))
