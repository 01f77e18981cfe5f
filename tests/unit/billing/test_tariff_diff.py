"""Two versions side by side: what changed, the steps cut at the edges of both, who pays more."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from billing.rating.rules.impact import AccountImpact, impact_of
from billing.tariffs.rules.diff import About, Change, StepChange, changes_of, step_changes


def file(**more: Any) -> dict[str, Any]:
    steps = [{"over_kwh": "0", "upto_kwh": "100", "price": "0.50"},
             {"over_kwh": "100", "upto_kwh": None, "price": "0.80"}]  # fmt: skip
    lines = [{"id": "energy", "kind": "energy", "steps": steps},
             {"id": "service", "kind": "fixed", "price": "5"},
             {"id": "tax", "kind": "percent", "percent": "13", "base": ["energy"]}]  # fmt: skip
    return {"code": "t", "version": 1, "valid_from": "2026-01-01", "lines": lines, **more}


def changed(**more: Any) -> dict[str, Any]:
    return deepcopy(file(**more))


def test_a_file_does_not_differ_from_itself() -> None:
    assert changes_of(file(), changed()) == []
    assert all(step.basis_points == 0 for step in step_changes(file(), changed()))


def test_every_changed_field_is_named_by_line_and_place() -> None:
    after = changed(version=2, valid_from="2027-01-01")
    after["lines"][0]["steps"][1]["price"] = "0.88"
    after["lines"][2]["base"] = ["energy", "service"]
    found = {change.place: change for change in changes_of(file(), after)}
    assert found["lines.energy.steps.2.price"] == Change(
        place="lines.energy.steps.2.price", before="0.80", after="0.88", about=About.PRICE
    )
    assert (found["lines.tax.base.2"].before, found["lines.tax.base.2"].after) == (None, "service")
    assert found["version"].about is found["valid_from"].about is About.PAPER
    assert len(found) == 4


def test_lines_that_come_go_or_move_are_told() -> None:
    after = changed()
    after["lines"] = [after["lines"][2], after["lines"][0], {"id": "new", "kind": "fixed"}]
    found = {change.place: (change.before, change.after) for change in changes_of(file(), after)}
    assert found == {
        "lines.service": ("id service, kind fixed, price 5", None),
        "lines.new": (None, "id new, kind fixed"),
        "lines (order)": ("energy tax", "tax energy"),
    }


def test_truth_and_lists_are_told_as_the_file_writes_them() -> None:
    found = changes_of(file(vat_included=True, tags=["a", "b"]), changed(vat_included=False))
    assert [(each.before, each.after) for each in found] == [("true", "false"), ("a; b", None)]


def test_ladders_are_cut_at_the_edges_of_both() -> None:
    after = changed()
    after["lines"][0]["steps"] = [
        {"over_kwh": "0", "upto_kwh": "60", "price": "0.50"},
        {"over_kwh": "60", "upto_kwh": "100.0", "price": "0.60"},
        {"over_kwh": "100.0", "upto_kwh": None, "price": "0.60"},
    ]
    found = [step for step in step_changes(file(), after) if step.line == "energy"]
    assert [(step.over, step.upto, step.before, step.after) for step in found] == [
        ("0", "60", "0.50", "0.50"),
        ("60", "100.0", "0.50", "0.60"),
        ("100.0", None, "0.80", "0.60"),
    ]
    assert [step.basis_points for step in found] == [0, 2000, -2500]


def test_schedules_power_steps_and_single_prices_are_ladders_too() -> None:
    power = {"over_kw": "0", "upto_kw": None, "price": "40"}
    steps = [{"over_kwh": "0", "upto_kwh": None, "price": "1"}]
    after = changed()
    after["lines"] = [
        {"id": "demand", "kind": "demand", "steps": [power]},
        {"id": "energy", "kind": "energy", "schedules": [
            {"upto_kwh": "50", "steps": steps}, {"upto_kwh": None, "steps": steps}]},
    ]  # fmt: skip
    found = [(step.line, step.before, step.after) for step in step_changes(file(), after)]
    assert found == [
        ("energy", "0.50", None), ("energy", "0.80", None), ("service", "5", None),
        ("demand", None, "40"), ("energy (use to 50)", None, "1"),
        ("energy (use to more)", None, "1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "points"),
    [("0.5", "0.505", 100), ("3", "2", -3333), ("0", "0", 0), ("0", "1", None),
     (None, "1", None), ("1", None, None), ("-2", "-1", 5000), ("-1", "-2", -10000)],
)  # fmt: skip
def test_a_change_in_hundredths_of_a_percent(
    before: str | None, after: str | None, points: int | None
) -> None:
    step = StepChange(line="x", over="0", upto=None, before=before, after=after)
    assert step.basis_points == points


def test_the_impact_counts_everyone_once_and_adds_up() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    before = np.array([100, 100, 100, 0, 0, 10_000], dtype=np.int64) * 1_000_000
    after = np.array([100, 101, 40, 7, 0, 9_999], dtype=np.int64) * 1_000_000
    found = impact_of(names, before, after, top=2)
    assert (found.up, found.down, found.same, found.accounts) == (2, 2, 2, 6)
    assert found.change_micros == -53_000_000
    assert sum(band.accounts for band in found.bands) == 6
    assert sum(band.change_micros for band in found.bands) == found.change_micros
    held = {(band.over, band.upto): band.accounts for band in found.bands if band.accounts}
    # +1 % exactly, -60 %, from nothing to 7, -0.01 %
    assert held == {(0, 0): 2, (0, 100): 1, (None, -5000): 1, (5000, None): 1, (-100, 0): 1}
    assert found.gainers == (
        AccountImpact(account="c", before_micros=100_000_000, after_micros=40_000_000),
        AccountImpact(account="f", before_micros=10_000_000_000, after_micros=9_999_000_000),
    )
    assert [each.account for each in found.losers] == ["d", "b"]


def test_sums_of_many_large_bills_stay_exact() -> None:
    most = np.full(4, 2**62, dtype=np.int64)
    found = impact_of(list("abcd"), most, most, top=3)
    assert found.before_micros == found.after_micros == 2**64
    assert found.gainers == found.losers == ()
