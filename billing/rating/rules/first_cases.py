"""Cases of an imported tariff: what the oracle charges for a month without and with use."""

import json
from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Any

from billing.money import to_text
from billing.rating.rules.oracle import oracle_charges
from billing.rating.rules.usage import use_of
from billing.tariffs.model import Tariff
from billing.tariffs.model.usage import UsageFile
from billing.tariffs.rules import read_tariff

_PLAIN = {
    "demand_w": ("demand_kw", 10), "export_wh": ("export_kwh", 100),
    "contract_w": ("contract_kw", 10), "capacity_va": ("capacity_kva", 10),
}  # fmt: skip
_BY_PERIOD = frozenset({"demand_kw", "export_kwh"})
_ENERGY_KWH = 500


def with_first_cases(found: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the file with computed cases; they pin what it says now, and are no proof of its source.

    Raises: RefusedError when the file is no tariff.
    """
    names = [period["name"] for period in found.get("touperiods", [])] or ["all"]
    start = date.fromisoformat(found["valid_from"])
    end = _month_later(start)
    if found.get("valid_to"):
        end = min(end, date.fromisoformat(found["valid_to"]))
    nothing = {
        "period": {"start": str(start), "end": str(end)},
        "quality": "actual", "kwh": dict.fromkeys(names, "0"),
    }  # fmt: skip
    tariff = _read(found, [{"name": "nothing", "usage": nothing, "total": "0"}])
    some = {**nothing, **_some(tariff, names)}
    cases = [
        _case(tariff, "nothing used, computed on import", nothing),
        _case(tariff, f"{some['said']}, computed on import", {**some, "said": None}),
    ]
    return {**found, "test_cases": cases}


def _some(tariff: Tariff, names: list[str]) -> dict[str, Any]:
    """Return an ordinary use inside the limits of the class."""
    whole_kwh = min(_ENERGY_KWH, tariff.limits.energy_wh // 1000 if tariff.limits else _ENERGY_KWH)
    edges = [whole_kwh * n // len(names) for n in range(len(names) + 1)]
    shares = [high - low for low, high in pairwise(edges)]
    found: dict[str, Any] = {
        "kwh": {name: str(share) for name, share in zip(names, shares, strict=True)},
        "said": f"{whole_kwh} kWh",
    }
    for limit, (name, plain) in _PLAIN.items():
        value = min(plain, getattr(tariff.limits, limit) // 1000) if tariff.limits else 0
        if value:
            text = str(value)
            found[name] = dict.fromkeys(names, text) if name in _BY_PERIOD else text
            found["said"] += f", {name.replace('_', ' ')} {text}"
    return found


def _case(tariff: Tariff, name: str, usage: dict[str, Any]) -> dict[str, Any]:
    usage = {key: value for key, value in usage.items() if value is not None}
    charges = oracle_charges(tariff, use_of(tariff, UsageFile.model_validate(usage)))
    return {
        "name": name, "usage": usage,
        "lines": {line: to_text(amount) for line, amount in charges.lines.items()},
        "total": to_text(charges.total),
    }  # fmt: skip


def _read(found: Mapping[str, Any], cases: list[dict[str, Any]]) -> Tariff:
    return read_tariff(json.dumps({**found, "test_cases": cases}).encode())


def _month_later(day: date) -> date:
    """Return the same day of the next month, or that month's first day after it."""
    year, month = day.year + day.month // 12, day.month % 12 + 1
    try:
        return day.replace(year=year, month=month)
    except ValueError:
        return date(year + month // 12, month % 12 + 1, 1)
