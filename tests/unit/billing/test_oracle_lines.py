"""By hand: one worked figure for each kind of line and shape of ladder, oracle and kernel both."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from billing.money import parse_micros, to_text
from billing.rating.model import PastDemand, PeriodUse
from billing.rating.rules import kernel
from billing.rating.rules.columns import columns_of
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.oracle import (
    OracleCharges,
    oracle_between,
    oracle_charges,
    oracle_fee,
)
from billing.tariffs.model import Tariff
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS

CENT = {"step": "0.01", "mode": "half_up"}
WHOLE = {"step": "1", "mode": "half_up"}
TOU = [
    {"name": "peak", "spans": [{"from": "08:00", "to": "20:00"}]},
    {"name": "off", "spans": [{"from": "00:00", "to": "08:00"}, {"from": "20:00", "to": "24:00"}]},
]
LIMITS = {
    "energy_kwh": "1000000", "counter_kwh": "1000000", "reactive_kvarh": "1000000",
    "export_kwh": "1000000", "demand_kw": "10000", "contract_kw": "10000",
    "capacity_kva": "10000", "customers": 10, "households": 10, "meters": 10,
}  # fmt: skip
LADDER = [("100", "0.10"), ("300", "0.20"), (None, "0.30")]


def steps(*pairs: tuple[str | None, str], unit: str = "kwh") -> list[dict[str, Any]]:
    found, low = [], "0"
    for upto, price in pairs:
        found.append({f"over_{unit}": low, f"upto_{unit}": upto, "price": price})
        low = upto or low
    return found


def scope(widths: Any = "fixed", reset: str = "period", mode: str = "marginal") -> dict[str, Any]:
    return {"widths": widths, "reset": reset, "mode": mode, "width_round": WHOLE}


def line(kind: str, name: str, **more: Any) -> dict[str, Any]:
    given = {"label": {"en": name}, "ledger_code": "revenue_energy", "round": CENT}
    return {"kind": kind, "id": name, **given, **more}


def energy(name: str = "energy", **more: Any) -> dict[str, Any]:
    return line("energy", name, **{"scope": scope(), "steps": steps((None, "0.10")), **more})


def value(kind: str, name: str, price: str, **more: Any) -> dict[str, Any]:
    more = {"qty": "CUSTOMERS", "per": "period", "prorate": "none", **more}
    if more["qty"] in ("DAYS", "MONTHS"):
        del more["per"]
    return line(kind, name, price=price, **more)


def tariff(*lines: dict[str, Any], tou: bool = False, **more: Any) -> Tariff:
    names = ["peak", "off"] if tou else ["all"]
    usage = {
        "period": {"start": "2026-01-01", "end": "2026-02-01"}, "quality": "actual",
        "kwh": dict.fromkeys(names, "0"),
    }  # fmt: skip
    body = {
        "code": "t", "version": 1, "currency": "CNY", "minor_units": 2, "zone": "Asia/Shanghai",
        "valid_from": "2020-01-01", "basis": "period", "limits": LIMITS,
        "vat_included": False, "legal_ref": "none", "sources": ["by hand"],
        "touperiods": TOU if tou else [], "lines": list(lines), "total_round": CENT,
        "test_cases": [{"name": "none", "usage": usage, "total": "0"}], **more,
    }  # fmt: skip
    return Tariff.model_validate(body)


def use(*kwh: int, **more: Any) -> PeriodUse:
    given: dict[str, Any] = {
        "start": date(2026, 1, 1), "end": date(2026, 2, 1), "days": 31 * DAY_PARTS,
        "months": MONTH_PARTS, "energy_wh": tuple(each * 1000 for each in kwh),
        "quality": "actual", **more,
    }  # fmt: skip
    given.setdefault("whole_days", given["days"])
    given.setdefault("whole_months", given["months"])
    return PeriodUse(**given)


def both(found: Tariff, asked: PeriodUse) -> OracleCharges:
    """Return the oracle's charges, which the kernel must share line by line."""
    second = oracle_charges(found, asked)
    compiled = compile_tariff(found, "by hand")
    first = kernel.price(compiled, columns_of(compiled, [asked]))
    assert first.lines[:, 0].tolist() == list(second.lines.values())
    assert int(first.total[0]) == second.total
    return second


def lines_of(found: Tariff, asked: PeriodUse) -> dict[str, str]:
    return {name: to_text(each) for name, each in both(found, asked).lines.items()}


def total_of(found: Tariff, asked: PeriodUse) -> str:
    return to_text(both(found, asked).total)


@pytest.mark.parametrize(
    ("kwh", "total"), [(0, "0.00"), (100, "10.00"), (101, "10.20"), (300, "50.00"), (400, "80.00")]
)
def test_each_part_of_the_use_has_its_own_steps_price(kwh: int, total: str) -> None:
    assert total_of(tariff(energy(steps=steps(*LADDER))), use(kwh)) == total


@pytest.mark.parametrize(("kwh", "total"), [(100, "10.00"), (101, "20.20"), (301, "90.30")])
def test_a_whole_band_prices_all_use_at_the_step_reached(kwh: int, total: str) -> None:
    band = energy(steps=steps(*LADDER), scope=scope(mode="whole_band"))
    assert total_of(tariff(band), use(kwh)) == total


@pytest.mark.parametrize(("kwh", "total"), [(100, "10.00"), (101, "50.50"), (200, "90.00")])
def test_the_use_chooses_the_schedule_whose_steps_are_marginal(kwh: int, total: str) -> None:
    schedules = [
        {"over_kwh": "0", "upto_kwh": "100", "steps": steps((None, "0.10"))},
        {"over_kwh": "100", "upto_kwh": None, "steps": steps(("150", "0.50"), (None, "0.30"))},
    ]
    switch = energy(schedules=schedules, scope=scope(mode="schedule_switch"))
    del switch["steps"]
    assert total_of(tariff(switch), use(kwh)) == total


def test_an_annual_ladder_goes_on_from_the_counter_before() -> None:
    ladder = energy(steps=steps(*LADDER), scope=scope(reset="calendar_year"))
    counters = {"calendar_year": (90_000,)}
    # 10 kWh at 0.10 and 10 kWh at 0.20
    assert total_of(tariff(ladder), use(20, before_wh=counters)) == "3.00"
    assert total_of(tariff(ladder), use(20, before_wh={"purchase_month": (90_000,)})) == "2.00"


@pytest.mark.parametrize(
    ("widths", "more", "first"),
    [
        ("fixed", {}, 100),
        ("per_day", {"days": 2 * DAY_PARTS}, 200),
        ("per_30d", {"days": 45 * DAY_PARTS}, 150),
        ("per_month", {"months": 2 * MONTH_PARTS}, 200),
        ("per_household", {"households": 3}, 300),
        (["per_month", "per_meter"], {"months": 2 * MONTH_PARTS, "meters": 2}, 400),
    ],
)
def test_edges_scale_with_what_the_scope_names(
    widths: Any, more: dict[str, Any], first: int
) -> None:
    counted = energy(steps=steps(("100", "1"), (None, "0")), scope=scope(widths))
    assert total_of(tariff(counted), use(1000, **more)) == f"{first}.00"


def test_a_scaled_ladder_of_a_period_starts_anew_in_each_of_its_parts() -> None:
    counted = energy(steps=steps(("100", "1"), (None, "0")), scope=scope("per_month"))
    half = use(60, months=MONTH_PARTS // 2, before_wh={"period": (60_000,)})
    assert total_of(tariff(counted), half) == "50.00"


def test_touperiods_climb_their_own_ladder_or_share_one() -> None:
    def split(share: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            energy(name, periods=[name], steps=steps(("100", "1"), (None, "2")), **share)
            for name in ("peak", "off")
        ]

    asked = use(60, 120)
    own = lines_of(tariff(*split({}), tou=True), asked)
    assert own == {"peak": "60.00", "off": "140.00"}
    shared = {"share": "pro_rata", "edge_round": {"step": "1", "mode": "half_up"}}
    # of the first 100 kWh a third, 33, is peak and two thirds, 67, are off peak
    assert lines_of(tariff(*split(shared), tou=True), asked) == {"peak": "87.00", "off": "173.00"}


def test_a_coefficient_is_rounded_into_the_price() -> None:
    fine = {"step": "0.000001", "mode": "half_up"}
    night = energy(steps=steps((None, "800")), coef={"a": 2, "b": 3, "round": fine})
    assert total_of(tariff(night), use(3)) == "1600.00"
    assert total_of(tariff(night), use(1000)) == "533333.33"


def test_reactive_energy_is_priced_beyond_its_free_share() -> None:
    free = energy("kvarh", qty="REACTIVE", free_percent="50", qty_round=WHOLE,
                  steps=steps((None, "0.05")))  # fmt: skip
    assert total_of(tariff(free), use(101, reactive_varh=150_000)) == "5.00"
    assert total_of(tariff(free), use(400, reactive_varh=150_000)) == "0.00"


def test_export_is_a_credit() -> None:
    sold = line("export", "sold", scope=scope(), steps=steps((None, "0.04")))
    assert total_of(tariff(energy(), sold), use(100, export_wh=(50_000,))) == "8.00"


DEMAND = {"steps": [{"over_kw": "0", "upto_kw": None, "price": "10"}], "prorate": "none"}
RATCHET = {"percent": "80", "lookback_months": 11, "round": WHOLE}


@pytest.mark.parametrize(
    ("more", "asked", "total"),
    [
        ({}, {"demand_w": (7_000,)}, "70.00"),
        ({"per": "day"}, {"demand_w": (7_000,)}, "2170.00"),
        ({"qty": "CONTRACT_KW"}, {"contract_w": 9_000}, "90.00"),
        ({"above_contract_percent": "105", "qty_round": WHOLE},
         {"demand_w": (12_600,), "contract_w": 10_000}, "20.00"),
        ({"ratchet": RATCHET}, {"demand_w": (4_000,), "past": (11, 10_000)}, "80.00"),
        ({"ratchet": RATCHET}, {"demand_w": (4_000,), "past": (12, 10_000)}, "40.00"),
        ({"ratchet": {**RATCHET, "months": [6]}},
         {"demand_w": (4_000,), "past": (7, 10_000)}, "80.00"),
        ({"ratchet": {**RATCHET, "months": [7]}},
         {"demand_w": (4_000,), "past": (7, 10_000)}, "40.00"),
        ({"ratchet": {**RATCHET, "floor_kw": "5"}}, {"demand_w": (4_000,)}, "50.00"),
        ({"ratchet": {**RATCHET, "floor_contract_percent": "40"}},
         {"demand_w": (1_000,), "contract_w": 15_000}, "60.00"),
    ],
)  # fmt: skip
def test_power_is_priced_by_peak_contract_and_ratchet(
    more: dict[str, Any], asked: dict[str, Any], total: str
) -> None:
    ago, peak = asked.pop("past", (1, 0))
    month = (1 - ago - 1) % 12 + 1
    past = (PastDemand(month=month, months_ago=ago, demand_w=(peak,)),)
    demand = line("demand", "demand", **{"per": "month", **DEMAND, **more})
    assert total_of(tariff(demand), use(0, past_demand=past, **asked)) == total


def test_capacity_steps_are_marginal() -> None:
    kva = steps(("100", "26"), (None, "20"), unit="kw")
    capacity = line("capacity", "kva", per="month", steps=kva, prorate="days")
    assert total_of(tariff(capacity), use(0, capacity_va=150_000)) == "3600.00"
    half = use(0, capacity_va=150_000, months=MONTH_PARTS // 2)
    assert total_of(tariff(capacity), half) == "1800.00"


@pytest.mark.parametrize(
    ("more", "asked", "total"),
    [
        ({"qty": "DAYS"}, {}, "62.00"),
        ({"qty": "MONTHS"}, {"months": 3 * MONTH_PARTS}, "6.00"),
        ({"qty": "CUSTOMERS"}, {"customers": 4}, "8.00"),
        ({"qty": "CAPACITY_KVA", "per": "month"}, {"capacity_va": 2_500}, "5.00"),
        ({"qty": "CONTRACT_KW", "per": "day"}, {"contract_w": 1_500}, "93.00"),
        ({"qty": "DAYS", "prorate": "days"}, {"days": 10 * DAY_PARTS}, "20.00"),
        ({"qty": "DAYS"}, {"days": 10 * DAY_PARTS, "whole_days": 31 * DAY_PARTS}, "62.00"),
        ({"qty": "DAYS"}, {"closing": False}, "0.00"),
        ({"qty": "DAYS", "prorate": "days"}, {"closing": False}, "62.00"),
    ],
)
def test_a_standing_charge_counts_time_and_size(
    more: dict[str, Any], asked: dict[str, Any], total: str
) -> None:
    assert total_of(tariff(value("fixed", "fixed", "2", **more)), use(0, **asked)) == total


def test_minimum_maximum_and_subsidy_look_at_their_base() -> None:
    found = tariff(
        energy(), value("minimum", "least", "5", base=["energy"]),
        value("maximum", "most", "20", base=["energy", "least"]),
        value("subsidy", "help", "8", base=["energy", "least", "most"]),
        value("subsidy", "gift", "1"),
    )  # fmt: skip
    first = {"energy": "1.00", "least": "4.00", "most": "0.00", "help": "-5.00", "gift": "-1.00"}
    assert lines_of(found, use(10)) == first
    last = {"energy": "30.00", "least": "0.00", "most": "-10.00", "help": "-8.00", "gift": "-1.00"}
    assert lines_of(found, use(300)) == last


def test_free_energy_is_never_more_than_was_used() -> None:
    free = line("credit_kwh", "free", kwh="10", widths="per_month", width_round=WHOLE,
                price="0.52", base=["energy"])  # fmt: skip
    found = tariff(energy(steps=steps((None, "0.52"))), free)
    assert total_of(found, use(4)) == "0.00"
    assert total_of(found, use(30)) == "10.40"
    assert total_of(found, use(30, months=2 * MONTH_PARTS)) == "5.20"


def test_percents_follow_each_other_and_a_subtotal_is_not_added_again() -> None:
    found = tariff(
        energy(), line("percent", "levy", percent="2.5", base=["energy"]),
        line("sum", "subtotal", base=["energy", "levy"]),
        line("percent", "off", percent="-10", coef={"a": 1, "b": 2}, base=["energy"]),
        line("percent", "tax", percent="13", base=["subtotal", "off"]),
    )  # fmt: skip
    amounts = lines_of(found, use(1234))
    assert amounts == {
        "energy": "123.40", "levy": "3.09", "subtotal": "126.49", "off": "-6.17", "tax": "15.64",
    }  # fmt: skip
    assert total_of(found, use(1234)) == "135.96"


BANDS = [
    {"from": "0.00", "to": "0.64", "percent": "145", "per_point": "-2"},
    {"from": "0.65", "to": "0.69", "percent": "15", "per_point": "-1"},
    {"from": "0.70", "to": "0.89", "percent": "10", "per_point": "-0.5"},
    {"from": "0.90", "to": "0.95", "percent": "0", "per_point": "-0.15"},
    {"from": "0.96", "to": "1.00", "percent": "-0.75"},
]


@pytest.mark.parametrize(
    ("kvarh", "amount"),
    [
        (0, "-7.50"),
        (484, "0.00"),  # factor 0.900
        (750, "50.00"),  # factor 0.800: ten points below 0.90, half a percent each
        (1020, "100.00"),  # factor 0.700
        (1169, "150.00"),  # factor 0.650
        (1333, "250.00"),  # factor 0.600: 15 % and five points more of 2 % each
    ],
)
def test_the_power_factor_has_the_percent_of_its_band(kvarh: int, amount: str) -> None:
    table = line("pf_table", "factor", standard="0.90", bands=BANDS, base=["energy"])
    found = tariff(energy(steps=steps((None, "1"))), table)
    assert lines_of(found, use(1000, reactive_varh=kvarh * 1000))["factor"] == amount
    assert lines_of(found, use(0))["factor"] == "0.00"


@pytest.mark.parametrize(
    ("predicate", "asked", "due"),
    [
        ({"attr": "veteran", "eq": True}, {"attributes": {"veteran": True}}, True),
        ({"attr": "veteran", "eq": True}, {}, False),
        ({"attr": "class", "in": ["farm", "school"]}, {"attributes": {"class": "farm"}}, True),
        ({"attr": "class", "in": ["farm", "school"]}, {"attributes": {"class": "home"}}, False),
        ({"attr": "kv", "ge": 1, "lt": 10}, {"attributes": {"kv": 9}}, True),
        ({"attr": "kv", "ge": 1, "lt": 10}, {"attributes": {"kv": 10}}, False),
        ({"not": {"attr": "kv", "gt": 1}}, {"attributes": {"kv": 1}}, True),
        ({"and": [{"months": [1]}, {"attr": "kv", "le": 3}]}, {"attributes": {"kv": 3}}, True),
        ({"or": [{"months": [2]}, {"attr": "kv", "le": 2}]}, {"attributes": {"kv": 3}}, False),
        ({"qty": "ENERGY", "over": "0", "upto": "100"}, {}, True),
        ({"qty": "ENERGY", "over": "100", "upto": None}, {}, False),
        ({"qty": "ENERGY", "over": "50", "upto": None, "widths": "per_month"},
         {"months": 2 * MONTH_PARTS}, False),
        ({"qty": "DEMAND_MAX", "over": "5", "upto": "8"}, {"demand_w": (8_000,)}, True),
        ({"qty": "CONTRACT_KW", "over": "5", "upto": "8"}, {"contract_w": 5_000}, False),
        ({"qty": "CAPACITY_KVA", "over": "0", "upto": "8"}, {}, True),
    ],
)  # fmt: skip
def test_a_line_is_due_when_its_predicate_holds(
    predicate: dict[str, Any], asked: dict[str, Any], due: bool
) -> None:
    attributes = {
        "veteran": {"kind": "bool", "default": False},
        "class": {"kind": "text", "values": ["home", "farm", "school"], "default": "home"},
        "kv": {"kind": "int", "default": 0},
    }
    found = tariff(energy(when=predicate), attributes=attributes)
    assert total_of(found, use(100, **asked)) == ("10.00" if due else "0.00")


@pytest.mark.parametrize(
    ("mode", "plus", "minus"),
    [("half_up", "0.13", "-0.13"), ("half_even", "0.12", "-0.12"), ("down", "0.12", "-0.12"),
     ("up", "0.13", "-0.13")],
)  # fmt: skip
def test_roundings_are_symmetric_in_sign(mode: str, plus: str, minus: str) -> None:
    rule = {"step": "0.01", "mode": mode}
    for price, amount in (("0.125", plus), ("-0.125", minus)):
        found = tariff(energy(steps=steps((None, price)), round=rule))
        assert total_of(found, use(1)) == amount


def test_parts_of_a_micro_are_never_dropped() -> None:
    none = {"step": "0.01", "mode": "none"}
    found = tariff(energy(steps=steps((None, "0.000001")), round=none))
    with pytest.raises(ValueError, match="parts of a micro"):
        oracle_charges(found, replace(use(0), energy_wh=(1,)))


def test_a_ladder_year_charges_the_difference_of_two_cumulatives() -> None:
    found = Tariff.model_validate(
        {
            "code": "year", "version": 1, "currency": "CNY", "minor_units": 2,
            "zone": "Asia/Shanghai", "valid_from": "2020-01-01", "basis": "ladder_year",
            "largest_year_kwh": "10000", "vat_included": True, "legal_ref": "none",
            "sources": ["by hand"], "total_round": CENT,
            "lines": [energy(steps=steps(("1", "0.004"), (None, "0.006")),
                             scope={"widths": "fixed", "reset": "calendar_year",
                                    "mode": "marginal"})],
            "test_cases": [{"name": "none", "from_kwh": "0", "to_kwh": "0", "total": "0"}],
        }
    )  # fmt: skip
    assert [oracle_fee(found, wh) for wh in (0, 1000, 2000, 3000)] == [
        parse_micros(text) for text in ("0", "0", "0.01", "0.02")
    ]
    assert oracle_between(found, 1000, 3000) == parse_micros("0.02")
    piece = use(2, before_wh={"calendar_year": (1000,)})
    assert oracle_charges(found, piece).total == parse_micros("0.02")
