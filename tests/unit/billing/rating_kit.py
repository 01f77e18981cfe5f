"""Random tariffs of every kind of line, and random use of them, small enough to be read."""

import json
from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st

from billing.rating.model import PastDemand, PeriodUse
from billing.tariffs.model import Tariff
from billing.tariffs.model.numbers import DAY_PARTS
from billing.tariffs.rules import read_tariff
from billing.tariffs.rules.calendar import months_between

MODES = ["half_up", "half_even", "down", "up"]
TIMES = ["per_day", "per_30d", "per_month"]
LIMITS = {
    "energy_kwh": "2000000", "counter_kwh": "9000000", "reactive_kvarh": "2000000",
    "export_kwh": "900000", "demand_kw": "90000", "contract_kw": "90000", "capacity_kva": "90000",
    "customers": 50, "households": 50, "meters": 50,
}  # fmt: skip
PERIODS = [
    {"name": "peak", "spans": [{"day_types": ["work"], "from": "08:00", "to": "22:00"}]},
    {"name": "night",
     "spans": [{"from": "00:00", "to": "08:00"}, {"from": "22:00", "to": "24:00"}]},
    {"name": "rest", "spans": [{"day_types": ["free"], "from": "08:00", "to": "22:00"}]},
]  # fmt: skip
BODY: dict[str, Any] = {
    "code": "any", "version": 1, "currency": "XXX", "minor_units": 2, "zone": "Asia/Shanghai",
    "valid_from": "2020-01-01", "basis": "period", "limits": LIMITS, "vat_included": False,
    "legal_ref": "none", "sources": ["made for a test"],
    "attributes": {
        "veteran": {"kind": "bool", "default": False},
        "voltage": {"kind": "int", "default": 0},
        "region": {"kind": "text", "values": ["north", "south"], "default": "north"},
    },
    "calendar": {
        "day_types": [
            {"name": "work", "weekdays": [1, 2, 3, 4, 5]}, {"name": "free", "weekdays": [6, 7]}
        ]
    },
    "touperiods": PERIODS,
    "test_cases": [
        {
            "name": "stands here because every file has one; it is not priced",
            "usage": {
                "period": {"start": "2026-01-01", "end": "2026-02-01"}, "quality": "actual",
                "kwh": {"peak": "0", "night": "0", "rest": "0"},
            },
            "total": "0",
        }
    ],
}  # fmt: skip


def number(most: int, decimals: int, least: int = 0) -> st.SearchStrategy[str]:
    """Return decimal texts of whole numbers of units of the last decimal."""

    def text(value: int) -> str:
        whole, part = divmod(abs(value), 10**decimals)
        tail = f".{part:0{decimals}}" if decimals else ""
        return f"{'-' if value < 0 else ''}{whole}{tail}"

    return st.integers(least, most).map(text)


roundings = st.fixed_dictionaries(
    {
        "step": st.sampled_from(["0.01", "0.05", "1", "0.0001", "0.000001"]),
        "mode": st.sampled_from(MODES),
    }
)
qty_roundings = st.fixed_dictionaries(
    {"step": st.sampled_from(["0.001", "0.1", "1", "10"]), "mode": st.sampled_from(MODES)}
)
prices = number(3_000_000, 6)
signed_prices = number(3_000_000, 6, -200_000)
coefs = st.none() | st.fixed_dictionaries(
    {"a": st.integers(1, 300), "b": st.integers(1, 300), "round": roundings}
)


@st.composite
def steps(draw: st.DrawFn, *, unit: str = "kwh", price: Any = signed_prices) -> list[dict]:
    edges = sorted(draw(st.sets(st.integers(1, 900_000), max_size=3)))
    tops = [f"{edge // 1000}.{edge % 1000:03}" for edge in edges]
    return [
        {f"over_{unit}": low, f"upto_{unit}": high, "price": draw(price)}
        for low, high in zip(["0", *tops], [*tops, None], strict=True)
    ]


@st.composite
def scopes(draw: st.DrawFn, modes: list[str], resets: list[str]) -> dict[str, Any]:
    reset = draw(st.sampled_from(resets))
    counted = draw(st.sampled_from(["", "per_household", "per_meter"]))
    timed = draw(st.sampled_from(["", *TIMES])) if reset == "period" else ""
    found: dict[str, Any] = {
        "widths": [each for each in (timed, counted) if each] or ["fixed"],
        "reset": reset, "mode": draw(st.sampled_from(modes)),
    }  # fmt: skip
    if timed:
        found["width_round"] = draw(qty_roundings)
    return found


@st.composite
def predicates(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    kind = draw(st.integers(0, 8 if depth else 5))
    part = predicates(depth - 1) if depth else st.nothing()
    edge = draw(st.integers(0, 500))
    return [
        lambda: {"attr": "veteran", "eq": draw(st.booleans())},
        lambda: {"attr": "region", "in": draw(st.sampled_from([["south"], ["north", "south"]]))},
        lambda: {"attr": "voltage", draw(st.sampled_from(["lt", "le", "gt", "ge"])): 10},
        lambda: {"attr": "voltage", "ge": 5, "lt": 20},
        lambda: {"months": draw(st.lists(st.integers(1, 12), min_size=1, max_size=9))},
        lambda: {
            "qty": draw(
                st.sampled_from(["ENERGY", "DEMAND_MAX", "CONTRACT_KW", "CAPACITY_KVA"])
            ),
            "over": str(edge), "upto": draw(st.sampled_from([None, str(edge + 300)])),
            "widths": draw(st.sampled_from(["fixed", *TIMES, "per_household"])),
        },
        lambda: {"and": [draw(part), draw(part)]},
        lambda: {"or": [draw(part), draw(part)]},
        lambda: {"not": draw(part)},
    ][kind]()  # fmt: skip


def some_periods(draw: st.DrawFn) -> list[str]:
    return draw(st.lists(st.sampled_from(["peak", "night", "rest"]), unique=True, max_size=3))


@st.composite
def energy(draw: st.DrawFn, modes: tuple[str, ...] = ()) -> dict[str, Any]:
    known = list(modes) or ["marginal", "whole_band", "schedule_switch"]
    resets = ["period", "calendar_year", "tariff_year", "purchase_month"]
    line: dict[str, Any] = {
        "kind": "energy",
        "scope": draw(scopes(known, resets)),
        "periods": some_periods(draw),
    }
    if line["scope"]["mode"] == "schedule_switch":
        line["schedules"] = [
            {"over_kwh": "0", "upto_kwh": "200", "steps": draw(steps())},
            {"over_kwh": "200", "upto_kwh": None, "steps": draw(steps())},
        ]
    else:
        line["steps"] = draw(steps())
    if draw(st.booleans()):
        line.update(share="pro_rata", edge_round=draw(qty_roundings))
    line["qty_round"] = draw(st.none() | qty_roundings)
    line["coef"] = draw(coefs)
    return line


@st.composite
def reactive(draw: st.DrawFn) -> dict[str, Any]:
    free = draw(st.none() | number(99_999_999, 6))
    rounding = draw(qty_roundings) if free else draw(st.none() | qty_roundings)
    return {
        "kind": "energy", "qty": "REACTIVE", "steps": draw(steps()), "free_percent": free,
        "qty_round": rounding, "scope": draw(scopes(["marginal", "whole_band"], ["period"])),
    }  # fmt: skip


@st.composite
def export(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "kind": "export", "periods": some_periods(draw), "steps": draw(steps()),
        "scope": draw(scopes(["marginal"], ["period"])), "coef": draw(coefs),
        "qty_round": draw(st.none() | qty_roundings),
    }  # fmt: skip


@st.composite
def power(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["demand", "capacity"]))
    sized = {"demand": ["DEMAND_MAX", "CONTRACT_KW"], "capacity": ["CAPACITY_KVA", "CONTRACT_KW"]}
    line: dict[str, Any] = {
        "kind": kind, "qty": draw(st.sampled_from(sized[kind])),
        "per": draw(st.sampled_from(["day", "month", "period"])), "coef": draw(coefs),
        "steps": draw(steps(unit="kw")), "qty_round": draw(st.none() | qty_roundings),
        "prorate": draw(st.sampled_from(["days", "none"])),
    }  # fmt: skip
    if kind == "capacity":
        return line
    line["periods"] = some_periods(draw)
    if draw(st.booleans()):
        line.update(above_contract_percent=draw(number(120_000_000, 6)),
                    qty_round=draw(qty_roundings))  # fmt: skip
    if line["qty"] == "DEMAND_MAX" and draw(st.booleans()):
        line["ratchet"] = {
            "percent": draw(number(100, 0)), "lookback_months": draw(st.integers(0, 12)),
            "months": draw(st.lists(st.integers(1, 12), max_size=4)),
            "periods": some_periods(draw), "floor_kw": draw(number(50_000, 3)),
            "floor_contract_percent": draw(number(99, 0)), "round": draw(qty_roundings),
        }  # fmt: skip
    return line


@st.composite
def value(draw: st.DrawFn, kind: str, base: list[str]) -> dict[str, Any]:
    qty = draw(st.sampled_from(["DAYS", "MONTHS", "CUSTOMERS", "CONTRACT_KW", "CAPACITY_KVA"]))
    line = {
        "kind": kind, "qty": qty, "price": draw(number(900_000_000, 6)), "coef": draw(coefs),
        "prorate": draw(st.sampled_from(["days", "none"])),
    }  # fmt: skip
    if qty not in ("DAYS", "MONTHS"):
        line["per"] = draw(st.sampled_from(["day", "month", "period"]))
    if kind != "fixed" and (base or kind != "subsidy"):
        line["base"] = base
    return line


@st.composite
def follower(draw: st.DrawFn, earlier: list[str], energies: list[str]) -> dict[str, Any]:
    kind = draw(
        st.sampled_from(
            ["fixed", "minimum", "maximum", "subsidy", "credit_kwh", "percent", "pf_table", "sum"]
        )
    )
    base = draw(st.lists(st.sampled_from(earlier), unique=True, min_size=1, max_size=3))
    if kind in ("fixed", "minimum", "maximum", "subsidy"):
        return draw(value(kind, base))
    if kind == "sum":
        return {"kind": kind, "base": base}
    if kind == "percent":
        coef = draw(st.none() | st.fixed_dictionaries({"a": st.integers(1, 9), "b": st.just(7)}))
        percent = draw(number(30_000_000, 6, -30_000_000))
        return {"kind": kind, "base": base, "percent": percent, "coef": coef}
    if kind == "pf_table":
        return {
            "kind": kind, "base": base, "standard": "0.90",
            "bands": [
                {"from": "0.00", "to": "0.64", "percent": draw(number(90, 0)), "per_point": "-0.5"},
                {"from": "0.65", "to": "0.90", "percent": "15", "per_point": "-0.5"},
                {"from": "0.91", "to": "1.00", "percent": "-0.15", "per_point": "-0.05"},
            ],
        }  # fmt: skip
    widths = draw(st.sampled_from([["fixed"], ["per_month", "per_household"], ["per_day"]]))
    return {
        "kind": kind, "kwh": draw(number(90, 0, 1)), "widths": widths,
        "width_round": None if widths == ["fixed"] else draw(qty_roundings),
        "price": draw(prices), "coef": draw(coefs),
        "base": draw(st.lists(st.sampled_from(energies), unique=True, min_size=1)),
    }  # fmt: skip


@st.composite
def tariffs(draw: st.DrawFn, modes: tuple[str, ...] = ()) -> Tariff:
    """Any tariff: up to two energy lines, power, export, and lines that follow them."""
    lines = draw(st.lists(energy(modes), min_size=1, max_size=2))
    energies = [f"line{n}" for n in range(len(lines))]
    lines += draw(st.lists(reactive() | export() | power(), max_size=2))
    for _ in range(draw(st.integers(0, 4))):
        lines.append(draw(follower([f"line{n}" for n in range(len(lines))], energies)))
    for number_, line in enumerate(lines):
        line.update(
            id=f"line{number_}", label={"en": "x"}, ledger_code="revenue_x", round=draw(roundings)
        )
        if draw(st.integers(0, 3)) == 0:
            line["when"] = draw(predicates())
    body = {**BODY, "lines": lines, "total_round": draw(roundings)}
    return read_tariff(json.dumps(body).encode())


def triple(most: int) -> st.SearchStrategy[tuple[int, int, int]]:
    return st.tuples(*[st.integers(0, most)] * 3)


@st.composite
def uses(draw: st.DrawFn) -> PeriodUse:
    """Any use that those tariffs can price."""
    start = date(2026, 1, 1) + timedelta(days=draw(st.integers(0, 365)))
    end = start + timedelta(days=draw(st.integers(1, 92)))
    days, months = (end - start).days * DAY_PARTS, months_between(start, end)
    resets = ["period", "calendar_year", "tariff_year", "purchase_month"]
    past = [
        PastDemand(month=draw(st.integers(1, 12)), months_ago=ago, demand_w=draw(triple(90_000)))
        for ago in draw(st.sets(st.integers(1, 12), max_size=4))
    ]
    return PeriodUse(
        start=start, end=end, days=days, months=months, quality="actual",
        whole_days=days + draw(st.integers(0, 20)) * DAY_PARTS,
        whole_months=months + draw(st.integers(0, 300_000)), closing=draw(st.booleans()),
        energy_wh=draw(triple(600_000) | triple(3)),
        before_wh={each: draw(triple(400_000)) for each in draw(st.sets(st.sampled_from(resets)))},
        export_wh=draw(triple(200_000)), reactive_varh=draw(st.integers(0, 900_000)),
        demand_w=draw(triple(90_000)), past_demand=tuple(past),
        contract_w=draw(st.integers(0, 90_000)), capacity_va=draw(st.integers(0, 90_000)),
        customers=draw(st.integers(0, 50)), households=draw(st.integers(1, 50)),
        meters=draw(st.integers(1, 50)),
        attributes=draw(
            st.fixed_dictionaries(
                {}, optional={
                    "veteran": st.booleans(), "voltage": st.integers(0, 30),
                    "region": st.sampled_from(["north", "south"]),
                },
            )
        ),
    )  # fmt: skip
