"""Rule sets: every value with its source, valid from a date, per customer class."""

import json
from datetime import date
from typing import Any

import pytest

from cloud.vee import service
from cloud.vee.model import ExceptionKind
from cloud.vee.rules.checks import CHECKS, check_series
from cloud.vee.rules.findings import Severity
from cloud.vee.rules.parameters import PARAMETERS
from cloud.vee.rules.rule_sets import read_rule_set, rule_set_for
from protocols.errors import RefusedError
from tests.unit.vee.vee_kit import grid_of, seen_of

FILES = sorted(service.SHIPPED.glob("*.json"))


def shipped() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((service.SHIPPED / "household.v1.json").read_bytes())
    return found


def refused(plain: dict[str, Any]) -> str:
    with pytest.raises(RefusedError) as error:
        read_rule_set(json.dumps(plain).encode())
    assert error.value.fix
    return str(error.value)


def test_the_shipped_sets_use_every_check_and_name_a_source_for_every_value() -> None:
    sets = service.shipped_rule_sets()
    assert len(sets) == len(FILES)
    used = {code for each in sets for code in each.checks}
    assert used == set(PARAMETERS) == set(CHECKS)
    for each in sets:
        assert all(told.sources and all(told.sources) for told in each.checks.values())
        assert set(each.checks) >= set(CHECKS) - {ExceptionKind.DEMAND_STEP}


def test_a_class_has_its_own_values_and_rests_on_the_common_ones() -> None:
    sets = service.shipped_rule_sets()
    home = rule_set_for(sets, "household", date(2026, 1, 1))
    large = rule_set_for(sets, "large", date(2026, 1, 1))
    assert ExceptionKind.DEMAND_STEP not in home.checks
    assert large.checks[ExceptionKind.DEMAND_STEP].severity is Severity.WARNING
    assert large.checks[ExceptionKind.GAP] == home.checks[ExceptionKind.GAP]
    assert large.estimate == home.estimate


def test_the_set_of_the_day_is_the_newest_that_is_valid_then() -> None:
    old, new = shipped(), shipped()
    old |= {"valid_from": "2020-01-01"}
    new |= {"valid_from": "2026-04-01", "version": 2}
    new["checks"]["gap"]["parameters"]["allowed_slots"]["value"] = 5
    sets = [read_rule_set(json.dumps(each).encode()) for each in (new, old)]
    grid = grid_of([[1, None, None, 4]])
    found = {
        day: len(
            check_series(
                seen_of(grid), rule_set_for(sets, "any", day), now_ms=grid.frame.end_ms
            ).of(ExceptionKind.GAP)
        )
        for day in (date(2026, 3, 31), date(2026, 4, 1))
    }
    assert found == {date(2026, 3, 31): 1, date(2026, 4, 1): 0}
    with pytest.raises(RefusedError, match="2019"):
        rule_set_for(sets, "any", date(2019, 12, 31))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"surprise": 1}, "surprise"),
        ({"version": 0}, "version"),
        ({"valid_from": "soon"}, "valid_from"),
        ({"rests_on": "nobody"}, "rests_on"),
        ({"checks": {"no_such_check": None}}, "no_such_check"),
        ({"checks": {"silent": None}}, "checks.silent"),
        ({"checks": {"silent": {"severity": "error", "parameters": {}}}}, "checks.silent"),
        ({"checks": {"gap": {"severity": "mild", "parameters": {}}}}, "severity"),
        ({"checks": {"gap": {"severity": "error", "parameters": {}}}}, "allowed_slots"),
        ({"checks": {"gap": {"severity": "error", "parameters": {
            "allowed_slots": {"value": 0, "source": ""}}}}}, "source"),
        ({"checks": {"gap": {"severity": "error", "parameters": {
            "allowed_slots": {"value": 1.5, "source": "none"}}}}}, "value"),
        ({"estimate": None}, "estimate"),
    ],
)  # fmt: skip
def test_a_file_at_fault_is_refused_with_the_place(change: dict[str, Any], named: str) -> None:
    assert named in refused(shipped() | change)


def test_no_file_at_all_is_refused() -> None:
    with pytest.raises(RefusedError):
        read_rule_set(b"\xff not json")


def test_a_check_that_is_null_does_not_look_and_costly_ones_wait_for_the_night() -> None:
    plain = shipped()
    plain["checks"]["gap"] = None
    rules = read_rule_set(json.dumps(plain).encode())
    grid = grid_of([[1, None, 3]])
    found = check_series(seen_of(grid), rules, now_ms=grid.frame.end_ms, light=True)
    assert ExceptionKind.GAP not in found.by_code
    assert ExceptionKind.HIGH_LOW not in found.by_code
    assert ExceptionKind.CAPACITY in found.by_code
