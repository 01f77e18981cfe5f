"""The fleet and its loads are pure functions of a seed."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.fleet import Fleet, make_fleet
from simulators.load import SLOTS_PER_DAY, Household, draw

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)
HOUSE = Household(key=7, daily_wh=10_000, shape=0)


def test_one_seed_makes_one_fleet_and_another_seed_another():
    assert make_fleet(seed=7, origin=ORIGIN) == make_fleet(seed=7, origin=ORIGIN)
    assert make_fleet(seed=7, origin=ORIGIN) != make_fleet(seed=8, origin=ORIGIN)


@pytest.mark.req("A9")
def test_the_fleet_mixes_protocols_and_hangs_as_the_network_does():
    fleet = make_fleet(seed=7, origin=ORIGIN)
    customers = list(fleet.customers)
    kinds = Counter((meter.protocol, meter.authentication) for meter in customers)
    assert len(customers) == 200
    assert len(list(fleet.heads)) == 8
    assert {meter.concentrator for meter in fleet.meters} == {"C-01", "C-02", "C-03", "C-04"}
    assert kinds["dlms", "hls5"] >= 80
    assert kinds["dlms", "lls"] >= 55
    assert kinds["modbus", "none"] >= 45
    assert {m.model for m in customers if m.protocol == "modbus"} == {"sdm630", "abb_b23"}
    below = Counter(meter.transformer for meter in customers)
    assert set(below.values()) == {25}
    assert all(m.has_relay == (m.protocol == "dlms") for m in customers)
    assert sum(m.control_mode == 3 for m in customers) >= 20


def test_names_addresses_and_titles_are_unique():
    meters = make_fleet(seed=7, origin=ORIGIN).meters
    assert len({meter.meter for meter in meters}) == len(meters)
    assert len({meter.usage_point for meter in meters}) == len(meters)
    assert len({meter.serial for meter in meters}) == len(meters)
    titles = [meter.system_title for meter in meters if meter.system_title]
    assert len(set(titles)) == len(titles)
    assert {len(title) for title in titles} == {8}


@pytest.mark.parametrize(
    ("name", "number", "authentication", "mode"),
    [
        ("story", 42, "hls5", 4),
        ("arms", 43, "hls5", 3),
        ("race", 60, "lls", 4),
        ("stuck_relay", 77, "hls5", 4),
        ("protected", 88, "lls", 4),
        ("silent", 120, "lls", 4),
    ],
)
def test_planted_meters_stand_where_the_story_looks_for_them(name, number, authentication, mode):
    found = make_fleet(seed=3, origin=ORIGIN).planted(name)
    assert (found.number, found.authentication, found.control_mode) == (
        number,
        authentication,
        mode,
    )


def test_the_drifting_meter_is_seven_minutes_ahead():
    assert make_fleet(seed=3, origin=ORIGIN).planted("drift").clock_offset_ms == 420_000


def test_a_fleet_survives_its_file_and_a_damaged_one_is_refused():
    fleet = make_fleet(seed=7, customers=30, origin=ORIGIN)
    assert Fleet.from_json(fleet.to_json()) == fleet
    with pytest.raises(ValueError, match="not a fleet"):
        Fleet.from_json(fleet.to_json().replace('"password"', '"passwort"', 1))
    with pytest.raises(ValueError, match="at least one customer"):
        make_fleet(seed=1, customers=0, origin=ORIGIN)


def test_keys_do_not_show_in_logs():
    meter = make_fleet(seed=7, origin=ORIGIN).planted("story")
    assert meter.password.decode() not in repr(meter)
    assert repr(meter.encryption_key) not in repr(meter)


@given(first=st.integers(0, 3_000_000), cut=st.integers(1, 300))
def test_a_slot_is_the_same_whatever_it_is_computed_with(first, cut):
    whole = draw(HOUSE, first, 400)
    np.testing.assert_array_equal(whole[cut:], draw(HOUSE, first + cut, 400 - cut))


def test_a_year_draws_about_the_stated_size_and_evenings_more_than_nights():
    first = int(ORIGIN.timestamp()) // 900
    year = draw(HOUSE, first, 365 * SLOTS_PER_DAY)
    assert 0.9 < year.sum() / 365 / HOUSE.daily_wh < 1.15
    assert year.min() >= 0
    by_quarter = year.reshape(365, SLOTS_PER_DAY).sum(axis=0)
    hour = (np.arange(SLOTS_PER_DAY) // 4 + 8) % 24
    assert by_quarter[hour == 19].sum() > 3 * by_quarter[hour == 3].sum()


def test_summer_draws_more_than_spring():
    july = draw(HOUSE, int(datetime(2026, 7, 10, tzinfo=UTC).timestamp()) // 900, 96 * 10)
    april = draw(HOUSE, int(datetime(2026, 4, 10, tzinfo=UTC).timestamp()) // 900, 96 * 10)
    assert july.sum() > 1.3 * april.sum()
