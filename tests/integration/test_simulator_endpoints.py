"""The file that says where meters listen."""

import json
import stat
from datetime import UTC, datetime

import pytest

from simulators.endpoints import EndpointError, allocate, load_state
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
