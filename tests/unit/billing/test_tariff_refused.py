"""What a tariff of periods may not say, one wrong file each."""

import copy
import json
from typing import Any

import pytest

from billing.rating.service import prove
from billing.tariffs.service import shipped
from protocols.errors import RefusedError

CN = json.loads(shipped("cn-industry-two-part"))
UZ = json.loads(shipped("uz-household"))
CENTS = {"step": "0.01", "mode": "half_up"}
KWH = {"step": "0.001", "mode": "half_up"}
NONE = {"step": "0.01", "mode": "none"}
OPEN = [{"over_kwh": "0", "upto_kwh": None, "price": "1"}]
LINE = {"label": {"en": "x"}, "ledger_code": "revenue_x", "round": CENTS}
SCOPE = {"widths": "fixed", "reset": "period", "mode": "marginal"}


def changed(body: dict[str, Any], place: str, value: Any) -> bytes:
    """Return a file with one place changed; `+` at the end of a place appends to a list."""
    body = copy.deepcopy(body)
    found: Any = body
    *way, last = place.split(".")
    for part in way:
        found = found[int(part)] if isinstance(found, list) else found[part]
    if last == "+":
        found.append(value)
    elif value is DROP:
        del found[last]
    else:
        found[int(last) if isinstance(found, list) else last] = value
    return json.dumps(body).encode()


DROP = "(gone)"
CASES: list[tuple[dict[str, Any], str, Any, str, str]] = [
    (CN, "touperiods.1.spans.0.to", "16:59", "tariffs.tou", "no TouPeriod has 16:59"),
    (CN, "touperiods.1.spans.0.to", "17:01", "tariffs.tou", "overlaps"),
    (CN, "touperiods.1.spans.0.months", [1, 2], "tariffs.tou", "month 3"),
    (CN, "touperiods.1.spans.0.to", "11:00", "tariffs.tou", "ends where"),
    (CN, "touperiods.1.spans.0.to", "24:01", "tariffs.shape", "24:00"),
    (CN, "touperiods.1.spans.0.day_types", ["sunday"], "tariffs.tou", "not in the calendar"),
    (CN, "touperiods.1.name", "peak", "tariffs.tou", "one name"),
    (CN, "calendar", {"day_types": [{"name": "x", "weekdays": [1, 2]}]}, "tariffs.tou", "weekday"),
    (CN, "calendar", {"special_days": [{"date": "2026-01-01", "day_type": "y"}]}, "tariffs.tou",
     "not there"),
    (CN, "lines.0.periods", ["dawn"], "tariffs.tou", "not TouPeriods"),
    (CN, "lines.0.coef", {"a": 3, "b": 2}, "tariffs.rounding", "round"),
    (CN, "lines.0.share", "pro_rata", "tariffs.rounding", "edge_round"),
    (CN, "lines.0.edge_round", KWH, "tariffs.unsupported", "pro_rata"),
    (CN, "lines.4.base", ["capacity", "pf"], "tariffs.base", "a circle"),
    (CN, "lines.4.base", ["capacity", "later"], "tariffs.base", "no earlier line"),
    (CN, "lines.4.base", ["capacity", "capacity"], "tariffs.base", "twice"),
    (CN, "lines.4.bands.1.from", "0.66", "tariffs.steps", "gap"),
    (CN, "lines.4.bands.4.to", "0.99", "tariffs.steps", "1.00"),
    (CN, "lines.4.bands.4.to", "1.01", "tariffs.shape", "power factor"),
    (CN, "lines.3.steps.0.over_kw", "1", "tariffs.steps", "gap of 1000 W"),
    (CN, "lines.3.label", {"zh": "x"}, "tariffs.shape", "label"),
    (CN, "lines.3.label", {"en": "x", "xx": "y"}, "tariffs.shape", "label"),
    (CN, "lines.3.ledger_code", "cash", "tariffs.shape", "ledger_code"),
    (CN, "lines.3.prorate", "by_reading", "tariffs.shape", "prorate"),
    (CN, "lines.0.prorate", "days", "tariffs.unsupported", "cut a period"),
    (CN, "limits.capacity_kva", DROP, "tariffs.bound", "capacity_kva"),
    (CN, "limits.reactive_kvarh", DROP, "tariffs.bound", "reactive_kvarh"),
    (CN, "limits", DROP, "tariffs.shape", "limits"),
    (CN, "largest_year_kwh", "5", "tariffs.shape", "never both"),
    (CN, "limits.energy_kwh", "999999999999", "tariffs.bound", "64-bit"),
    (CN, "test_cases.0.total", "163345.66", "tariffs.case", "total: it expects"),
    (CN, "test_cases.0.lines.pf", "-1234.34", "tariffs.case", "pf: it expects"),
    (CN, "test_cases.0.lines.tax", "1", "tariffs.case", "tax"),
    (CN, "test_cases.0.usage.kwh", {"peak": "1"}, "tariffs.case", "missing"),
    (CN, "test_cases.0.usage.quality", DROP, "tariffs.shape", "quality"),
    (CN, "test_cases", [{"name": "w", "from_kwh": "0", "to_kwh": "0", "total": "0"}],
     "tariffs.case", "have usage"),
    (UZ, "lines.0.scope.width_round", DROP, "tariffs.rounding", "width_round"),
    (UZ, "lines.0.scope.width_round.mode", "none", "tariffs.rounding", "width_round"),
    (UZ, "lines.0.scope.widths", ["per_month", "per_day"], "tariffs.shape", "multiplied"),
    (UZ, "lines.0.scope.widths", "fixed", "tariffs.unsupported", "no time scales"),
    (UZ, "lines.0.scope.reset", "calendar_year", "tariffs.unsupported", "over a calendar_year"),
    (UZ, "lines.0.scope.mode", "schedule_switch", "tariffs.steps", "schedules are for"),
    (UZ, "lines.0.free_percent", "10", "tariffs.unsupported", "REACTIVE"),
    (UZ, "lines.0.kind", "custom_table", "tariffs.shape", "custom_table"),
    (UZ, "lines.0.scope", {**SCOPE, "reset": "tariff_year"}, "tariffs.bound", "counter_kwh"),
    (UZ, "lines.+", {**LINE, "kind": "fixed", "id": "f", "qty": "DAYS", "per": "day", "price": "1",
                     "prorate": "days"}, "tariffs.shape", "per is for"),
    (UZ, "lines.+", {**LINE, "kind": "fixed", "id": "f", "qty": "CUSTOMERS", "price": "1",
                     "prorate": "days"}, "tariffs.shape", "per is for"),
    (UZ, "lines.+", {**LINE, "kind": "percent", "id": "t", "percent": "1", "base": ["energy"],
                     "when": {"attr": "veteran", "eq": True}}, "tariffs.shape", "not declared"),
    (UZ, "lines.+", {**LINE, "kind": "export", "id": "e", "scope": SCOPE, "steps": OPEN},
     "tariffs.bound", "export_kwh"),
    (UZ, "lines.+", {**LINE, "kind": "demand", "id": "d", "per": "month", "prorate": "days",
                     "steps": [{"over_kw": "0", "upto_kw": None, "price": "1"}],
                     "above_contract_percent": "105"}, "tariffs.rounding", "qty_round"),
    (UZ, "lines.+", {**LINE, "kind": "credit_kwh", "id": "c", "kwh": "1", "widths": "fixed",
                     "price": "1", "base": ["energy", "energy"]}, "tariffs.base", "twice"),
    (UZ, "attributes", {"v": {"kind": "text", "default": "x"}}, "tariffs.shape", "values"),
    (UZ, "attributes", {"v": {"kind": "bool", "default": 1}}, "tariffs.shape", "kind bool"),
]  # fmt: skip


@pytest.mark.req("G3", "G4")
@pytest.mark.parametrize(
    ("body", "place", "value", "code", "says"), CASES, ids=lambda each: str(each)[:32]
)
def test_a_file_that_is_unclear_is_refused(body, place, value, code: str, says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        prove(changed(body, place, value))
    assert caught.value.refusal.value == code, str(caught.value)
    assert says in str(caught.value)
    assert caught.value.fix


def test_a_bound_beyond_64_bits_is_priced_in_wide_integers() -> None:
    """A quarter of a terawatt-hour at 1440 a kWh: products overflow, amounts do not."""
    body = copy.deepcopy(CN)
    body["limits"]["energy_kwh"] = "250000000"
    body["lines"][0]["steps"][0]["price"] = "900.00"
    body["lines"][0].update(share="pro_rata", edge_round=KWH)
    body["test_cases"] = [
        {
            "name": "all of it at the peak",
            "usage": {
                "period": {"start": "2026-01-01", "end": "2026-02-01"},
                "quality": "actual",
                "kwh": {"peak": "250000000", "flat": "0", "valley": "0"},
            },
            "lines": {"peak": "360000000000.00", "pf": "-2700000000.00"},
            "total": "357300000000.00",
        }
    ]
    _, compiled = prove(json.dumps(body).encode())
    assert compiled.wide
