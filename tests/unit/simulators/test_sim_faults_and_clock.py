"""Spoilt octets and the simulator's clock."""

from datetime import UTC, datetime

from protocols.timeline import TimeScale
from simulators.clock import SimulatorClock
from simulators.faults import Fault, spoil

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)


def test_spoilt_octets_differ_and_a_cut_answer_is_shorter():
    octets = bytes(range(40))
    for draw in (0, 1, 99, 2**31 - 1, 0x9E3779B1 * 7):
        garbled = spoil(Fault.GARBLE, octets, draw)
        assert len(garbled) == 40
        assert sum(a != b for a, b in zip(octets, garbled, strict=True)) == 1
        assert octets.startswith(spoil(Fault.TRUNCATE, octets, draw))
        assert len(spoil(Fault.TRUNCATE, octets, draw)) < 40
    assert spoil(Fault.GARBLE, b"", 5) == b""
    assert spoil(Fault.SILENT, octets, 5) == octets


def test_the_clock_runs_on_the_scale_and_never_backwards(monkeypatch):
    wall = datetime(2026, 11, 21, tzinfo=UTC)
    clock = SimulatorClock(scale=TimeScale(wall_origin=wall, origin=ORIGIN, speed=4320))
    at = int(wall.timestamp()) * 10**9
    monkeypatch.setattr("time.time_ns", lambda: at + 20 * 10**9)
    assert clock.now_ms() == int(ORIGIN.timestamp() * 1000) + 86_400_000
    monkeypatch.setattr("time.time_ns", lambda: at)
    assert clock.now_ms() == int(ORIGIN.timestamp() * 1000) + 86_400_000
