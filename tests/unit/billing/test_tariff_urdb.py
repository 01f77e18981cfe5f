"""OpenEI's rates as tariff files: every priced field becomes a line or is refused by its name."""

import json
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
from billing.tariffs.rules.import_terms import ImportTerms
from billing.tariffs.rules.urdb import tariff_from_urdb
from protocols.errors import RefusedError

ALL_DAY = [[0] * 24 for _ in range(12)]
SUMMER = range(5, 9)
# Florida Power & Light, GSLD-1, 2025-01-01: label 6776fc805a742cce3901ecd8 of the database
FPL = {
    "label": "6776fc805a742cce3901ecd8", "utility": "Florida Power & Light Co.",
    "uri": "https://apps.openei.org/IURDB/rate/view/6776fc805a742cce3901ecd8",
    "name": "GSLD-1 (General Service Large Demand)", "startdate": 1735714800,
    "approved": True, "eiaid": 6452, "country": "USA", "peakkwcapacitymin": 500,
    "demandunits": "kW", "flatdemandunit": "kW", "demandrateunit": "kW",
    "flatdemandstructure": [[{"rate": 13.59, "adj": 2.06}]], "flatdemandmonths": [0] * 12,
    "energyratestructure": [[{"unit": "kWh", "rate": 0.01958, "adj": 0.03544}]],
    "energyweekdayschedule": ALL_DAY, "energyweekendschedule": ALL_DAY,
    "fixedchargefirstmeter": 88.67, "fixedchargeunits": "$/month",
    "mincharge": 6833.67, "minchargeunits": "$/month",
}  # fmt: skip
TOU = {
    "name": "steps, hours, seasons", "startdate": 1609459200, "enddate": 1640908800,
    "energyratestructure": [
        [{"max": 500, "rate": 0.10, "unit": "kWh"}, {"rate": 0.15, "unit": "kWh"}],
        [{"rate": 0.30, "sell": 0.05}],
    ],
    "energyweekdayschedule": [[0] * 14 + [1] * 6 + [0] * 4 if m in SUMMER else [0] * 24
                              for m in range(12)],
    "energyweekendschedule": ALL_DAY,
    "demandratestructure": [[{"rate": 0}], [{"max": 10, "rate": 4}, {"rate": 6}]],
    "demandweekdayschedule": [[0] * 12 + [1] * 12 for _ in range(12)],
    "demandweekendschedule": ALL_DAY,
    "fueladjustmentsmonthly": [0.01] * 6 + [0] * 6,
    "fixedchargefirstmeter": 0.5, "fixedchargeunits": "$/day",
}  # fmt: skip


def terms(**more: Any) -> ImportTerms:
    return ImportTerms(**{"code": "imported", "zone": "America/New_York", **more})


def imported(rate: dict[str, Any], **more: Any) -> Tariff:
    """Return the rate as a validated tariff; its one case is that nothing costs what it must."""
    found = tariff_from_urdb(json.dumps({"items": [rate]}).encode(), terms(**more))
    names = [period["name"] for period in found.get("touperiods", [])] or ["all"]
    usage = {
        "period": {"start": found["valid_from"], "end": found["valid_from"][:8] + "02"},
        "quality": "estimated", "kwh": dict.fromkeys(names, "0"),
    }  # fmt: skip
    case = {"name": "nothing", "usage": usage, "total": "0"}
    return read_tariff(json.dumps({**found, "test_cases": [case]}).encode())


def priced(tariff: Tariff, **usage: Any) -> dict[str, str]:
    given = {"period": {"start": "2025-06-01", "end": "2025-07-01"}, "quality": "actual", **usage}
    use = use_of(tariff, UsageFile.model_validate(given))
    second = oracle_charges(tariff, use)
    compiled = compile_tariff(tariff, "imported")
    first = kernel.price(compiled, columns_of(compiled, [use]))
    assert first.lines[:, 0].tolist() == list(second.lines.values())
    assert int(first.total[0]) == second.total
    lines = {name: to_text(amount) for name, amount in second.lines.items()}
    return {**lines, "total": to_text(second.total)}


def test_a_flat_rate_with_demand_and_minimum() -> None:
    tariff = imported(FPL)
    assert (tariff.code, str(tariff.valid_from)) == ("imported", "2025-01-01")
    assert tariff.sources == (FPL["uri"],)
    assert "peakkwcapacitymin: 500" in tariff.legal_ref
    assert "rounding half up" in tariff.legal_ref
    # 200,000 x 0.05502, 600 x 15.65
    assert priced(tariff, kwh={"all": "200000"}, demand_kw={"all": "600"}) == {
        "energy_0": "11004.00", "flat_demand_0": "9390.00", "fixedchargefirstmeter": "88.67",
        "mincharge": "0.00", "total": "20482.67",
    }  # fmt: skip
    assert priced(tariff, kwh={"all": "0"})["total"] == "6833.67"


def test_hours_and_steps_of_energy_and_demand_share_one_partition_of_the_year() -> None:
    tariff = imported(TOU, share="own")
    assert tariff.period_names == ("e0_d0", "e0_d1", "e1_d1")
    assert (str(tariff.valid_from), str(tariff.valid_to)) == ("2021-01-01", "2022-01-01")
    hours = {(day, month, hour) for day in ("workday", "weekend") for month in range(1, 13)
             for hour in range(24)}  # fmt: skip
    for period in tariff.touperiods:
        for span in period.spans:
            for month in span.months:
                for hour in range(span.from_minute // 60, span.to_minute // 60):
                    (day,) = span.day_types
                    hours.remove((day, month, hour))
                    word = {"workday": "weekday", "weekend": "weekend"}[day]
                    energy = TOU[f"energy{word}schedule"][month - 1][hour]
                    demand = TOU[f"demand{word}schedule"][month - 1][hour]
                    assert period.name == f"e{energy}_d{demand}"
    assert not hours


def test_a_rate_of_hours_and_steps_is_priced() -> None:
    given = {
        "kwh": {"e0_d0": "400", "e0_d1": "300", "e1_d1": "100"},
        "export_kwh": {"e1_d1": "40"}, "demand_kw": {"e0_d0": "20", "e0_d1": "9", "e1_d1": "12"},
    }  # fmt: skip
    june = {"period": {"start": "2021-06-01", "end": "2021-07-01"}, **given}
    assert priced(imported(TOU, share="own"), **june) == {
        "energy_0": "80.00",  # 500 x 0.10, 200 x 0.15
        "energy_1": "30.00", "fuel_1": "8.00", "export_1": "-2.00",
        "demand_1": "52.00",  # the peak of d1 is 12 kW: 10 x 4, 2 x 6
        "fixedchargefirstmeter": "15.00", "total": "183.00",
    }  # fmt: skip
    # one ladder of 800 kWh: of its first 500 kWh seven eighths, 437.5, are of this period
    assert priced(imported(TOU, share="pro_rata"), **june)["energy_0"] == "83.13"
    july = {"period": {"start": "2021-07-01", "end": "2021-08-01"}, **given}
    assert priced(imported(TOU, share="own"), **july)["fuel_1"] == "0.00"


def test_a_ratchet_comes_from_the_look_back() -> None:
    looked = {**FPL, "lookbackPercent": 0.8, "lookbackRange": 11,
              "lookbackMonths": [0] * 5 + [1] * 4 + [0] * 3}  # fmt: skip
    del looked["mincharge"]
    tariff = imported(looked)
    peaks = [{"month": "2024-07", "kw": {"all": "900"}}, {"month": "2025-02", "kw": {"all": "950"}}]
    found = priced(tariff, kwh={"all": "0"}, demand_kw={"all": "600"}, past_peaks=peaks)
    # of July's 900 kW 80 % are billed; February does not count
    assert found["flat_demand_0"] == "11268.00"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dgrules": "Net Metering"}, "dgrules"),
        ({"usenetmetering": True}, "usenetmetering"),
        ({"demandreactivepowercharge": 0.41}, "demandreactivepowercharge"),
        ({"demandratchetpercentage": [0.8] * 12}, "demandratchetpercentage"),
        ({"coincidentratestructure": [[{"rate": 2}]]}, "coincidentratestructure"),
        ({"annualmincharge": 100}, "annualmincharge"),
        ({"fixedchargeeaaddl": 5}, "fixedchargeeaaddl"),
        ({"energyattrs": [{"rider": "$1 a kW"}]}, "energyattrs"),
        ({"flatdemandunit": "kVA"}, "flatdemandunit"),
        ({"fixedchargeunits": "$/week"}, "fixedchargeunits"),
        ({"minchargeunits": "$/year"}, "minchargeunits"),
        ({"energyratestructure": [[{"rate": 0.1, "max": 300, "unit": "kWh/kW"},
                                   {"rate": 0.2, "unit": "kWh/kW"}]]}, "energyratestructure.unit"),
        ({"energyratestructure": [[{"rate": 0.1, "max": 300}]]}, "energyratestructure.max"),
        ({"energyratestructure": [[{"rate": 0.1}, {"rate": 0.2}]]}, "energyratestructure.max"),
        ({"energyratestructure": [[{"rate": 0.1, "tou": 1}]]}, "energyratestructure.tou"),
        ({"energyratestructure": [[{"rate": 0.0123456}]]}, "energyratestructure.rate"),
        ({"energyratestructure": []}, "energyratestructure"),
        ({"energyweekendschedule": ALL_DAY[:11]}, "energyweekendschedule"),
        ({"energyweekdayschedule": [[3] * 24] * 12}, "energyweekdayschedule"),
        ({"flatdemandmonths": [1] * 12}, "flatdemandmonths"),
        ({"fueladjustmentsmonthly": [0.01] * 11}, "fueladjustmentsmonthly"),
        ({"lookbackPercent": 80}, "lookbackpercent"),
        ({"startdate": None}, "startdate"),
    ],
)  # fmt: skip
def test_what_cannot_be_represented_is_refused_by_its_name(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        imported({**FPL, **changes})
    assert caught.value.refusal.value == "tariffs.unsupported"
    assert caught.value.message.startswith(f"{named}: ")
    assert caught.value.fix


def test_steps_beside_other_periods_need_a_word_on_how_they_share() -> None:
    with pytest.raises(RefusedError, match="--share own"):
        imported(TOU)


def test_a_field_is_left_out_only_by_name_and_the_file_says_so() -> None:
    tariff = imported({**FPL, "dgrules": "Net Metering"}, left_out=("dgrules",))
    assert "left out on import: dgrules" in tariff.legal_ref
    with pytest.raises(RefusedError, match="does not state it"):
        imported(FPL, left_out=("dgrules",))


def test_what_says_nothing_is_no_obstacle() -> None:
    empty = {"demandratchetpercentage": [0] * 12, "energyattrs": [], "demandattrs": None,
             "coincidentratestructure": [[{"rate": 0, "adj": 0.0}]], "usenetmetering": False,
             "annualmincharge": 0.0, "demandratestructure": [[{"rate": 0}]]}  # fmt: skip
    assert imported({**FPL, **empty}).lines == imported(FPL).lines


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"null", b"7", b'{"items": []}', b"\xff"])
def test_garbage_is_no_rate(garbage: bytes) -> None:
    with pytest.raises(RefusedError):
        tariff_from_urdb(garbage, terms())


def test_numbers_are_read_as_they_are_written() -> None:
    document = json.dumps({**FPL, "energyratestructure": [[{"rate": "RATE"}]]})
    for text, price in (("1.5e-3", 1_500), ("0.1234560000", 123_456), ("2E1", 20_000_000)):
        rate = document.replace('"RATE"', text).encode()
        (line, *_) = tariff_from_urdb(rate, terms())["lines"]
        assert line["steps"][0]["price"] == to_text(price, 0)
