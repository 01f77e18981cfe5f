"""A DL/T 645 meter in memory, at instants the test chooses."""

from datetime import UTC, datetime

from protocols.dlt645 import relay
from protocols.dlt645.exchange import read
from protocols.dlt645.exchange import relay as relay_request
from protocols.dlt645.frame import Frame
from protocols.dlt645.items import STATE_WORD_3
from protocols.timeline import from_ms, to_ms
from simulators.energy import SwitchedEnergy, household_curve
from simulators.fleet import make_fleet
from simulators.meter.dlt645_objects import ZONE, Dlt645Objects
from simulators.meter.state import SimulatedMeter

ORIGIN = datetime(2026, 3, 1, 4, 17, 30, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=25, origin=ORIGIN, dlt645=2)
SINCE = to_ms(FLEET.history_from)


class MemoryLedger:
    """A ledger that keeps what is asked of it in lists."""

    def __init__(self):
        self.moves, self.settings, self.logs = [], {}, []

    def relay(self, meter, at_ms, *, output, control_state, cause):
        self.moves.append((at_ms, output, control_state, cause))

    def setting(self, meter, at_ms, name, value):
        self.settings[name] = value

    def logged(self, meter, at_ms, device_ms, log, code):
        self.logs.append((log, code, device_ms))

    def clock_set(self, meter, at_ms, device_ms):
        pass

    def served(self, meter, at_ms, channel, raw, scaler):
        pass

    def intervals(self, meter, seconds, starts_ms, wh):
        pass


class WallMeter:
    """One meter of a model, its protocol side, and the time it believes in."""

    def __init__(self, model):
        self.now = to_ms(ORIGIN)
        self.ledger = MemoryLedger()
        self.spec = next(m for m in FLEET.meters if m.model == model)
        energy = SwitchedEnergy(
            household_curve(FLEET.household(self.spec), SINCE), self.spec.opening_register_wh
        )
        self.meter = SimulatedMeter(
            self.spec, energy, now_ms=lambda: self.now, ledger=self.ledger, since_ms=SINCE
        )
        self.objects = Dlt645Objects(self.meter)
        self.address = self.spec.serial

    def local(self, seconds=0):
        """Return what the meter's clock shows, so many seconds from now."""
        shown = self.meter.snapshot().device_ms + seconds * 1000
        return from_ms(shown).astimezone(ZONE).replace(tzinfo=None)

    def ask(self, request) -> Frame:
        return self.objects.answer(request.frame)

    def order(self, order, *, valid_for=30, password=None) -> Frame:
        octets = relay.encode_order(
            relay.RelayOrder(order=order, valid_until=self.local(valid_for))
        )
        return self.ask(
            relay_request(
                self.address, octets,
                password=self.spec.password if password is None else password,
                operator=bytes(4),
            )
        )  # fmt: skip

    def state(self) -> relay.StateWord:
        request = read(self.address, STATE_WORD_3)
        return relay.decode_state_word(request.expect.content(self.ask(request)))
