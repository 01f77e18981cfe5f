"""Whatever map a simulated meter follows, a reader of that map gets what the meter measures."""

import dataclasses
from datetime import UTC, datetime

import pytest

from protocols.modbus.pdu import Frame, FrameReader, frame_octets
from protocols.modbus.plan import identity_in, requests_for, values_in
from protocols.modbus.registers import load_map, shipped_models
from protocols.modbus.scaling import WordOrder, WordType, decode
from protocols.reading import Channel
from protocols.timeline import to_ms
from simulators.energy import SwitchedEnergy, household_curve
from simulators.fleet import make_fleet
from simulators.meter.modbus_server import ModbusMeterServer
from simulators.meter.state import SimulatedMeter

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=20, origin=ORIGIN)
SINCE = to_ms(FLEET.history_from)


class NoLedger:
    def __init__(self):
        self.values = []

    def served(self, meter, at_ms, channel, raw, scaler):
        self.values.append((channel, raw, scaler))


def serve(model, opening_wh=7_654_321):
    spec = next(m for m in FLEET.customers if m.protocol == "modbus")
    spec = dataclasses.replace(spec, model=model, opening_register_wh=opening_wh)
    energy = SwitchedEnergy(household_curve(FLEET.household(spec), SINCE), opening_wh)
    ledger = NoLedger()
    meter = SimulatedMeter(
        spec, energy, now_ms=lambda: to_ms(ORIGIN), ledger=ledger, since_ms=SINCE
    )
    return ModbusMeterServer(meter), meter, ledger


def ask(server, fc, address, count, unit=1):
    pdu = bytes((fc,)) + address.to_bytes(2, "big") + count.to_bytes(2, "big")
    octets = server.answer(Frame(transaction=9, unit=unit, pdu=pdu))
    if octets is None:
        return None
    (frame,) = FrameReader().feed(octets)
    assert (frame.transaction, frame.unit) == (9, unit)
    assert frame_octets(frame) == octets
    return frame.pdu


@pytest.mark.req("A9")
@pytest.mark.parametrize("model", shipped_models())
def test_every_shipped_map_is_served_and_read_back(model):
    server, meter, ledger = serve(model)
    found = load_map(model)
    answers = {}
    for request in requests_for(found, ("fast", "slow")):
        pdu = ask(server, request.fc, request.address, request.count)
        assert pdu[:2] == bytes((request.fc, 2 * request.count))
        answers[request] = [int.from_bytes(pdu[i : i + 2], "big") for i in range(2, len(pdu), 2)]
    values = {v.channel: (v.raw, v.scaler) for v in values_in(found, ("fast", "slow"), answers)}
    shown = meter.snapshot()
    raw, scaler = values[Channel.IMPORT_WH]
    assert raw == shown.register_wh // 10**scaler
    assert (int(Channel.IMPORT_WH), raw, scaler) in ledger.values
    raw, scaler = values[Channel.POWER_W]
    assert raw == shown.power_w * 10**-scaler
    raw, scaler = values[Channel.VOLTAGE_L1_MV]
    assert abs(raw * 10**scaler - shown.voltage_mv[0]) <= 100
    raw, scaler = values[Channel.FREQUENCY_MHZ]
    assert abs(raw * 10**scaler - shown.frequency_mhz) <= 100
    assert identity_in(found, answers) in (None, meter.spec.serial)


def test_f32_registers_note_what_a_reader_gets_not_what_was_measured():
    errors = []
    for opening in range(40_000_000, 40_000_004):
        server, meter, ledger = serve("sdm630", opening_wh=opening)
        pdu = ask(server, 4, 0x48, 2)
        words = [int.from_bytes(pdu[2:4], "big"), int.from_bytes(pdu[4:6], "big")]
        ((_, raw, scaler),) = ledger.values
        assert scaler == 0
        assert raw == decode(WordType.F32, words, WordOrder.BIG, resolution=-3)
        errors.append(abs(raw - meter.snapshot().register_wh))
    assert 0 < max(errors) <= 2


def test_what_is_not_there_is_an_exception_and_another_unit_is_not_answered():
    server, _, _ = serve("sdm630")
    assert ask(server, 4, 0x2000, 2) == bytes((0x84, 2))
    assert ask(server, 6, 0x48, 1) == bytes((0x86, 1))
    assert ask(server, 4, 0x48, 0) == bytes((0x84, 3))
    assert ask(server, 4, 0x48, 2, unit=7) is None
