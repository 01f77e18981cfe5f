"""The file that says where meters listen. Binds nothing that outlives a call."""

import json
import stat
from datetime import UTC, datetime

import pytest

from protocols.timeline import TimeScale
from simulators.clock import SimulatorClock
from simulators.endpoints import EndpointError, allocate, load_state
from simulators.faults import Fault, spoil
from simulators.fleet import make_fleet

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)


def test_ports_are_chosen_once_and_kept(tmp_path):
    fleet = make_fleet(seed=7, customers=30, origin=ORIGIN)
    path = tmp_path / "state" / "fleet.json"
    first = allocate(fleet, path)
    assert allocate(fleet, path) == first
    assert set(first) == {meter.meter for meter in fleet.meters}
    assert len({place.port for place in first.values()}) == len(first)
    assert load_state(path).fleet == fleet
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_of_another_fleet_or_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / "fleet.json"
    allocate(make_fleet(seed=7, customers=3, origin=ORIGIN), path)
    with pytest.raises(EndpointError, match="another fleet"):
        allocate(make_fleet(seed=8, customers=3, origin=ORIGIN), path)
    plain = json.loads(path.read_text())
    del plain["endpoints"]
    path.write_text(json.dumps(plain))
    with pytest.raises(EndpointError, match="no fleet file"):
        load_state(path)


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
