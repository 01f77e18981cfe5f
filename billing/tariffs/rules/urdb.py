"""
From a rate of the Utility Rate Database (OpenEI) to a tariff file.

Every priced field becomes a line or is refused by its name; nothing is dropped in silence. What
URDB does not say is the caller's to state: code, zone, the largest use, and, where several
TouPeriods of one month have steps, whether each climbs its own ladder or all climb one.

URDB states no rounding; lines are rounded half up to the minor unit and the file says that this
was chosen here.

*Source*: https://openei.org/services/doc/rest/util_rates/?version=8
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from billing.tariffs.model import Refusal
from billing.tariffs.rules import urdb_fields as fields
from billing.tariffs.rules.import_terms import ImportTerms
from billing.tariffs.rules.urdb_charges import (
    demand_lines,
    fixed_lines,
    flat_demand_lines,
    minimum_lines,
)
from billing.tariffs.rules.urdb_energy import energy_lines, export_lines, fuel_lines
from billing.tariffs.rules.urdb_hours import CALENDAR, hours_of
from protocols.errors import RefusedError


def tariff_from_urdb(document: bytes, terms: ImportTerms) -> dict[str, Any]:
    """
    Return the rate as a tariff file without test cases, which the caller adds.

    Raises: RefusedError `tariffs.unsupported`, naming the field, or `tariffs.shape`.
    """
    rate = fields.read_rate(document)
    fields.check_fields(rate, terms.left_out)
    rate = {name: value for name, value in rate.items() if name not in terms.left_out}
    hours = hours_of(rate)
    lines = [
        *energy_lines(rate, hours, terms),
        *fuel_lines(rate, terms),
        *export_lines(rate, hours, terms),
        *demand_lines(rate, hours, terms),
        *flat_demand_lines(rate, terms),
        *fixed_lines(rate, terms),
    ]
    lines += minimum_lines(rate, [line["id"] for line in lines], terms)
    found: dict[str, Any] = {
        "code": terms.code, "version": terms.version, "currency": terms.currency,
        "minor_units": terms.minor_units, "zone": terms.zone, **_validity(rate, terms),
        "basis": "period", "limits": _limits(lines, terms), "vat_included": terms.vat_included,
        "legal_ref": _told(rate, terms), "sources": _sources(rate, terms),
    }  # fmt: skip
    if hours.touperiods:
        found |= {"calendar": CALENDAR, "touperiods": hours.touperiods}
    return found | {"lines": lines, "total_round": terms.cent}


def _validity(rate: Mapping[str, Any], terms: ImportTerms) -> dict[str, Any]:
    start = terms.valid_from or _day(rate, "startdate")
    if start is None:
        fields.refuse("startdate", "is missing", "say from when the prices hold (--valid-from)")
    end = _day(rate, "enddate")
    last = None if end is None else end + timedelta(days=1)
    return {"valid_from": start.isoformat(), "valid_to": last.isoformat() if last else None}


def _day(rate: Mapping[str, Any], name: str) -> date | None:
    """Return the day of a Unix time; URDB's days begin at midnight of no stated zone."""
    if name not in rate:
        return None
    text = rate[name]
    if isinstance(text, str) and text.isdigit():
        return datetime.fromtimestamp(int(text), tz=UTC).date()
    try:
        return date.fromisoformat(str(text)[:10])
    except ValueError as error:
        raise RefusedError(
            Refusal.SHAPE, f"{name}: {text!r} is no day", fix="correct the file"
        ) from error


def _limits(lines: Sequence[Mapping[str, Any]], terms: ImportTerms) -> dict[str, str]:
    found = {"energy_kwh": "10000000"}
    if any(line["kind"] == "demand" for line in lines):
        found["demand_kw"] = "100000"
    if any(line["kind"] == "export" for line in lines):
        found["export_kwh"] = "10000000"
    return found | dict(terms.limits)


def _told(rate: Mapping[str, Any], terms: ImportTerms) -> str:
    words = [terms.legal_ref] if terms.legal_ref else []
    words += [f"{name}: {rate[name]}" for name in fields.TOLD if name in rate]
    words.append("rounding half up to the minor unit: chosen on import, URDB states none")
    if terms.left_out:
        words.append(f"left out on import: {', '.join(terms.left_out)}")
    return "; ".join(words)


def _sources(rate: Mapping[str, Any], terms: ImportTerms) -> list[str]:
    stated = [str(rate[name]) for name in fields.NAMED if name in rate and name != "label"]
    found = [*terms.sources, *stated] or [f"URDB label {rate.get('label', 'unknown')}"]
    return list(dict.fromkeys(found))
