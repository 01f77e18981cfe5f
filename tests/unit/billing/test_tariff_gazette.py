"""A gazette's table as a tariff file: what its rows say, and what they may not."""

import json
from datetime import date
from typing import Any

import pytest

from billing.money import to_text
from billing.rating.rules import kernel
from billing.rating.rules.columns import columns_of
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.oracle import oracle_charges
from billing.rating.rules.usage import use_of
from billing.tariffs.model import Tariff
from billing.tariffs.model.usage import UsageFile
from billing.tariffs.rules import read_tariff
from billing.tariffs.rules.gazette import tariff_from_gazette
from billing.tariffs.rules.import_terms import ImportTerms
from protocols.errors import RefusedError

UZBEK = """line,kind,label_en,label_uz,over,upto,price
energy,energy,Household,Aholi,0,200,600
energy,energy,,,200,500,800
energy,energy,,,500,1000,1000
energy,energy,,,1000,,1500
"""
INDUSTRY = """line;kind;label_en;periods;over;upto;price;per;percent;base;coef;months;days;from;to
peak;tou;;;;;;;;;;;1-6;08:00;12:00
peak;tou;;;;;;;;;;;1-6;18:00;22:00
flat;tou;;;;;;;;;;;1-6;00:00;08:00
flat;tou;;;;;;;;;;;1-6;12:00;18:00
flat;tou;;;;;;;;;;;1-6;22:00;24:00
flat;tou;;;;;;;;;;;7;00:00;24:00
2026-10-01;holiday;;;;;;;;;;;7;;
peak_energy;energy;Peak;peak;0;;0.80;;;;3/2;;;;
flat_energy;energy;Flat;flat;0;;0.80;;;;;;;;
summer;energy;Summer surcharge;peak;0;;0.10;;;;;6-8;;;
demand;demand;Maximum demand;;0;100;40;month;;;;;;;
demand;demand;;;100;;30;;;;;;;;
kva;capacity;Capacity;;0;;26;month;;;;;;;
service;fixed;Service;;;;12.50;;;;;;;;
tax;percent;Tax;;;;;;13;peak_energy flat_energy summer demand kva service;;;;;
"""


def terms(**more: Any) -> ImportTerms:
    given = {"code": "table", "zone": "Asia/Tashkent", "currency": "UZS",
             "valid_from": date(2025, 5, 1)}  # fmt: skip
    return ImportTerms(**{**given, **more})


def imported(table: str, **more: Any) -> Tariff:
    found = tariff_from_gazette(table.encode(), terms(**more))
    names = [period["name"] for period in found.get("touperiods", [])] or ["all"]
    usage = {
        "period": {"start": "2026-02-01", "end": "2026-03-01"}, "quality": "actual",
        "kwh": dict.fromkeys(names, "0"),
    }  # fmt: skip
    first = {"name": "nothing used", "usage": usage, "total": "0"}
    return read_tariff(json.dumps({**found, "test_cases": [first]}).encode())


def priced(tariff: Tariff, start: str, end: str, **usage: Any) -> dict[str, str]:
    given = {"period": {"start": start, "end": end}, "quality": "actual", **usage}
    use = use_of(tariff, UsageFile.model_validate(given))
    second = oracle_charges(tariff, use)
    compiled = compile_tariff(tariff, "table")
    first = kernel.price(compiled, columns_of(compiled, [use]))
    assert first.lines[:, 0].tolist() == list(second.lines.values())
    assert int(first.total[0]) == second.total
    lines = {name: to_text(amount) for name, amount in second.lines.items()}
    return {**lines, "total": to_text(second.total)}


@pytest.mark.req("G2")
def test_rows_of_one_line_are_its_steps() -> None:
    tariff = imported(UZBEK)
    assert tariff.lines[0].label == {"en": "Household", "uz": "Aholi"}
    assert priced(tariff, "2025-05-01", "2025-06-01", kwh={"all": "500"})["total"] == "360000.00"
    assert priced(tariff, "2025-05-01", "2025-06-01", kwh={"all": "1100"})["total"] == "1010000.00"


def test_digits_of_any_script_and_a_byte_order_mark_are_read() -> None:
    table = UZBEK.replace("200", "\u06f2\u06f0\u06f0").replace("800", "\u0668\u0660\u0660")
    assert imported("\ufeff" + table).lines == imported(UZBEK).lines


def test_hours_holidays_demand_capacity_and_tax_of_a_two_part_tariff() -> None:
    tariff = imported(INDUSTRY, zone="Asia/Shanghai", currency="CNY")
    assert tariff.period_names == ("peak", "flat")
    given = {
        "kwh": {"peak": "1000", "flat": "3000"}, "demand_kw": {"peak": "120", "flat": "150"},
        "capacity_kva": "200",
    }  # fmt: skip
    assert priced(tariff, "2026-07-01", "2026-08-01", **given) == {
        "peak_energy": "1200.00", "flat_energy": "2400.00", "summer": "100.00",
        "demand": "5500.00", "kva": "5200.00", "service": "12.50",
        "tax": "1873.63",  # 13 % of 14412.50
        "total": "16286.13",
    }  # fmt: skip
    assert priced(tariff, "2026-09-01", "2026-10-01", **given)["summer"] == "0.00"


def test_a_holiday_is_of_the_day_type_that_its_row_says() -> None:
    tariff = imported(INDUSTRY, zone="Asia/Shanghai", currency="CNY")
    hourly = {"intervals": {"start": "2026-10-01T00:00+08:00", "seconds": 3600, "wh": [1000] * 24}}
    found = priced(tariff, "2026-10-01", "2026-10-02", **hourly)
    assert (found["peak_energy"], found["flat_energy"]) == ("0.00", "19.20")
    hourly["intervals"]["start"] = "2026-10-02T00:00+08:00"
    found = priced(tariff, "2026-10-02", "2026-10-03", **hourly)
    assert (found["peak_energy"], found["flat_energy"]) == ("9.60", "12.80")


@pytest.mark.parametrize(
    ("table", "code", "says"),
    [
        ("", "tariffs.shape", "row 1: column line, kind missing"),
        ("line,kind\n", "tariffs.shape", "no rows"),
        ("line,kind,colour\na,energy,red\n", "tariffs.shape", "row 1: no column 'colour'"),
        ("line,kind,price,price\na,energy,1,2\n", "tariffs.shape", "row 1"),
        ("line,kind,price\na,energy\n", "tariffs.shape", "row 2: has more or fewer"),
        ("line,kind,price\na,energy,1,2\n", "tariffs.shape", "row 2: has more or fewer"),
        ("line,kind,price\n,energy,1\n", "tariffs.shape", "row 2: has no line"),
        ("line,kind,price\na,pf_table,1\n", "tariffs.unsupported", "row 2: kind 'pf_table'"),
        ("line,kind,price,percent\na,energy,1,2\n", "tariffs.shape", "a energy has no percent"),
        ('line,kind,price\na,energy,"0,52"\n', "tariffs.shape", "price has a comma"),
        ("line,kind,over\na,energy,0\n", "tariffs.shape", "no price"),
        ("line,kind,price,round_step\na,energy,1,0.01\n", "tariffs.rounding", "half a rounding"),
        ("line,kind,price,coef\na,energy,1,1.5\n", "tariffs.shape", "is no fraction"),
        ("line,kind,price,months\na,energy,1,June\n", "tariffs.shape", "is no number"),
        ("line,kind,price,upto\na,energy,1,10\n", "tariffs.steps", "must be open"),
        ("line,kind,price\na,energy,1\nb,energy,1\na,energy,2\n", "tariffs.shape", "stand apart"),
        ("line,kind,price,label_en\na,energy,1,x\na,energy,2,y\n", "tariffs.shape", "label_en"),
        ("line,kind,price\na,energy,1\na,fixed,2\n", "tariffs.shape", "differ in kind"),
        ("line,kind,price\na,energy,cheap\n", "tariffs.shape", "cheap"),
    ],
)
def test_a_table_that_is_unclear_is_refused(table: str, code: str, says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        imported(table)
    assert caught.value.refusal.value == code, str(caught.value)
    assert says in str(caught.value)
    assert caught.value.fix


def test_a_table_needs_a_day_from_which_it_holds_and_must_be_text() -> None:
    with pytest.raises(RefusedError, match="--valid-from"):
        imported(UZBEK, valid_from=None)
    with pytest.raises(RefusedError, match="UTF-8"):
        tariff_from_gazette(b"line,kind\n\xff,energy\n", terms())
