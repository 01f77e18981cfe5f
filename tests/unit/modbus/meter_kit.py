"""Simulated meters without a town: any model, a clock by hand, and what they have served."""

import dataclasses
from datetime import UTC, datetime

from protocols.reading import Channel
from protocols.timeline import from_ms, to_ms
from simulators.energy import SwitchedEnergy, household_curve
from simulators.fleet import make_fleet
from simulators.meter.state import SimulatedMeter

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=20, origin=ORIGIN)
SINCE = to_ms(FLEET.history_from)


class HandTime:
    def __init__(self):
        self.ms = to_ms(ORIGIN)

    def now(self):
        return from_ms(self.ms)


class Served:
    def __init__(self):
        self.values = set()

    def served(self, meter, at_ms, channel, raw, scaler):
        self.values.add((channel, raw, scaler))

    def fault(self, meter, at_ms, name, *, on):
        pass


def meter_of(model, clock, *, unit=1, opening_wh=7_654_321, kind="customer"):
    """Return a simulated meter of any model and the ledger of what it has served."""
    spec = next(m for m in FLEET.customers if m.protocol == "modbus")
    spec = dataclasses.replace(
        spec, model=model, modbus_unit=unit, opening_register_wh=opening_wh, kind=kind,
        serial=f"{31_000_000 + unit}",
    )  # fmt: skip
    energy = SwitchedEnergy(household_curve(FLEET.household(spec), SINCE), opening_wh)
    ledger = Served()
    meter = SimulatedMeter(
        spec, energy, now_ms=lambda: clock.ms, ledger=ledger, since_ms=SINCE
    )  # fmt: skip
    return meter, ledger


def value_of(readout, channel=Channel.IMPORT_WH):
    """Return a sample's value in its channel's unit."""
    sample = next(item for item in readout.samples if item.channel is channel)
    if sample.scaler >= 0:
        return sample.raw * 10**sample.scaler
    return sample.raw // 10**-sample.scaler
