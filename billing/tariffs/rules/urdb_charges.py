"""URDB's demand, fixed and minimum charges as lines."""

from collections.abc import Mapping, Sequence
from typing import Any

from billing.money import to_text
from billing.tariffs.rules import urdb_fields as fields
from billing.tariffs.rules.import_terms import ImportTerms, new_line
from billing.tariffs.rules.urdb_energy import FINE, MONTHS, among, due_in, steps_of
from billing.tariffs.rules.urdb_hours import Hours

_UNITS: dict[str, tuple[str, int | None]] = {
    "$/month": ("MONTHS", None),
    "$/day": ("DAYS", None),
    "$/year": ("MONTHS", 12),
}


def demand_lines(rate: Mapping[str, Any], hours: Hours, terms: ImportTerms) -> list[dict[str, Any]]:
    """Return a line for each TouPeriod whose power has a price."""
    _is_kw(rate, "demandrateunit", "demandratestructure")
    labels = rate.get("demandtoulabels", [])
    found = []
    for number, periods in hours.demand.items():
        steps, _ = steps_of("demandratestructure", rate["demandratestructure"][number], "kw")
        if any(step["price"] != "0" for step in steps):
            label = labels[number] if number < len(labels) else f"Demand {number + 1}"
            line = new_line(
                "demand", f"demand_{number}", label, terms, per="month", steps=steps,
                prorate="none",
            )  # fmt: skip
            found.append(line | among(hours, periods) | _ratchet(rate))
    return found


def flat_demand_lines(rate: Mapping[str, Any], terms: ImportTerms) -> list[dict[str, Any]]:
    """Return a line for each season's price of the month's largest power."""
    structure = rate.get("flatdemandstructure", [])
    if not structure:
        return []
    _is_kw(rate, "flatdemandunit", "flatdemandstructure")
    table = rate.get("flatdemandmonths", [])
    numbers = {str(number) for number in range(len(structure))}
    if len(table) != 12 or any(number not in numbers for number in table):
        fields.refuse("flatdemandmonths", "is not twelve of its periods", "correct the file")
    found = []
    for number, tiers in enumerate(structure):
        steps, _ = steps_of("flatdemandstructure", tiers, "kw")
        months = [month for month in MONTHS if table[month - 1] == str(number)]
        if months and any(step["price"] != "0" for step in steps):
            line = new_line(
                "demand", f"flat_demand_{number}", f"Demand of the month {number + 1}", terms,
                per="month", steps=steps, prorate="none",
            )  # fmt: skip
            found.append(line | due_in(months) | _ratchet(rate))
    return found


def _is_kw(rate: Mapping[str, Any], unit: str, structure: str) -> None:
    stated = rate.get(unit, rate.get("demandunits", "kW"))
    if structure in rate and stated != "kW":
        fields.refuse(unit, f"{stated!r} cannot be represented", "demand is priced per kW a month")


def _ratchet(rate: Mapping[str, Any]) -> dict[str, Any]:
    """Return the look-back of billed demand, where it can belong to one kind of demand alone."""
    if "lookbackpercent" not in rate:
        return {}
    if "demandratestructure" in rate and "flatdemandstructure" in rate:
        fields.refuse(
            "lookbackpercent", "does not say of which demand", "write the ratchet by hand"
        )
    months = [month for month in MONTHS if _applies(rate.get("lookbackmonths", []), month)]
    percent = fields.micros_of("lookbackpercent", rate["lookbackpercent"])
    if not 0 < percent <= 1_000_000:
        fields.refuse("lookbackpercent", "is not a share from 0 to 1", "write it as 0.8 for 80 %")
    ratchet: dict[str, Any] = {
        "percent": to_text(percent * 100, 0),
        "lookback_months": int(rate.get("lookbackrange", "11")),
        "round": FINE,
    }
    if 0 < len(months) < 12:
        ratchet["months"] = months
    return {"ratchet": ratchet}


def _applies(table: Sequence[Any], month: int) -> bool:
    return len(table) == 12 and table[month - 1] in ("1", True)


def fixed_lines(rate: Mapping[str, Any], terms: ImportTerms) -> list[dict[str, Any]]:
    """Return the standing charge."""
    found = []
    stated = (("fixedchargefirstmeter", "fixedchargeunits"), ("fixedmonthlycharge", ""))
    for name, units in stated:
        if name in rate:
            value = _value(rate, name, units, prorate="days")
            found.append(new_line("fixed", name, "Fixed charge", terms, **value))
    return found


def minimum_lines(
    rate: Mapping[str, Any], base: Sequence[str], terms: ImportTerms
) -> list[dict[str, Any]]:
    """Return the minimum, over all lines named in `base`."""
    found = []
    for name, units in (("mincharge", "minchargeunits"), ("minmonthlycharge", "")):
        if name in rate:
            if rate.get(units) == "$/year":
                fields.refuse(units, "a minimum of a year cannot be represented", "bill it by hand")
            value = _value(rate, name, units, prorate="none")
            found.append(new_line("minimum", name, "Minimum", terms, base=list(base), **value))
    return found


def _value(rate: Mapping[str, Any], name: str, units: str, *, prorate: str) -> dict[str, Any]:
    unit = str(rate.get(units, "$/month"))
    if unit not in _UNITS:
        fields.refuse(units, f"{unit!r} cannot be represented", f"use {', '.join(_UNITS)}")
    quantity, divisor = _UNITS[unit]
    price = fields.micros_of(name, rate[name])
    found: dict[str, Any] = {"qty": quantity, "price": to_text(price, 0), "prorate": prorate}
    if divisor:
        found["coef"] = {"a": 1, "b": divisor, "round": {"step": "0.000001", "mode": "half_up"}}
    return found
