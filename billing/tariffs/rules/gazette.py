"""
From the table of a gazette, typed into a CSV file, to a tariff file.

One row is one step of a line, a stretch of hours or a holiday; rows with the same `line` add steps
to it. The columns are those of `COLUMNS`; `docs/tariff-import.md` tells them. Cells are text:
decimal points, no thousands, digits of any script.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from billing.tariffs.model import Refusal
from billing.tariffs.rules.gazette_rows import (
    LANGUAGES,
    OF_STEPS,
    STEPPED,
    VALUED,
    Row,
    numbers,
    read_rows,
    stated,
)
from billing.tariffs.rules.import_terms import ImportTerms
from protocols.errors import RefusedError

_FINE = {"step": "0.001", "mode": "half_up"}
_FINE_PRICE = {"step": "0.000001", "mode": "half_up"}
_EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)


def tariff_from_gazette(document: bytes, terms: ImportTerms) -> dict[str, Any]:
    """
    Return the table as a tariff file without test cases, which the caller adds.

    Raises: RefusedError `tariffs.shape`, naming row and column, or `tariffs.unsupported`.
    """
    rows = read_rows(document)
    if terms.valid_from is None:
        raise RefusedError(
            Refusal.SHAPE, "a table does not say from when its prices hold",
            fix="say --valid-from",
        )  # fmt: skip
    charged = [row for row in rows if row["kind"] not in ("tou", "holiday")]
    groups = [
        list(of_line) for _, of_line in groupby(charged, key=lambda row: (row["line"], row["kind"]))
    ]
    if len({of_line[0]["line"] for of_line in groups}) < len(groups):
        raise RefusedError(
            Refusal.SHAPE, "rows of one line stand apart or differ in kind",
            fix="write the steps of a line one under the other",
        )  # fmt: skip
    hours = [row for row in rows if row["kind"] == "tou"]
    holidays = [row for row in rows if row["kind"] == "holiday"]
    lines = [_line(of_line, terms) for of_line in groups]
    found: dict[str, Any] = {
        "code": terms.code, "version": terms.version, "currency": terms.currency,
        "minor_units": terms.minor_units, "zone": terms.zone,
        "valid_from": terms.valid_from.isoformat(), "valid_to": None, "basis": "period",
        "limits": {"energy_kwh": "1000000", **_limits(lines), **terms.limits},
        "vat_included": terms.vat_included, "legal_ref": terms.legal_ref or "gazette table",
        "sources": list(terms.sources) or ["gazette table"],
    }  # fmt: skip
    if hours:
        found |= {"calendar": _calendar(hours, holidays), "touperiods": _touperiods(hours)}
    return found | {"lines": lines, "total_round": terms.cent}


def _line(rows: Sequence[Row], terms: ImportTerms) -> dict[str, Any]:
    first, kind = rows[0], rows[0]["kind"]
    for row in rows[1:]:
        again = {name for name in row if name not in OF_STEPS and row[name] != first.get(name)}
        if again or kind not in STEPPED:
            raise RefusedError(
                Refusal.SHAPE,
                f"line {first['line']}: a further row states {', '.join(sorted(again)) or kind}",
                fix="further rows of a line hold over, upto and price alone",
            )
    labels = {name: first[f"label_{name}"] for name in LANGUAGES if f"label_{name}" in first}
    found: dict[str, Any] = {
        "kind": kind, "id": first["line"], "label": labels or {"en": first["line"]},
        "ledger_code": first.get("ledger_code", f"revenue_{kind}"), "round": _round(first, terms),
    }  # fmt: skip
    if "months" in first:
        found["when"] = {"months": numbers(first, "months")}
    if "periods" in first:
        found["periods"] = first["periods"].split()
    if "base" in first:
        found["base"] = first["base"].split()
    for name in ("qty", "per", "share", "prorate"):
        if name in first:
            found[name] = first[name]
    if "coef" in first:
        found["coef"] = _coef(first)
    return found | _priced(kind, rows)


def _priced(kind: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return what only some kinds have: steps and scope, value and time, or a share."""
    first = rows[0]
    if kind in STEPPED:
        unit = STEPPED[kind]
        steps = [
            {f"over_{unit}": row.get("over", "0"), f"upto_{unit}": row.get("upto"),
             "price": stated(row, "price")}
            for row in rows
        ]  # fmt: skip
        if unit == "kw":
            return {"steps": steps, "per": first.get("per", "month"),
                    "prorate": first.get("prorate", "none")}  # fmt: skip
        shared = {"edge_round": _FINE} if first.get("share") == "pro_rata" else {}
        return {"steps": steps, "scope": _scope(first), **shared}
    if kind in VALUED:
        return {"qty": first.get("qty", "MONTHS"), "price": stated(first, "price"),
                "prorate": first.get("prorate", "none")}  # fmt: skip
    return {"percent": stated(first, "percent")} if kind == "percent" else {}


def _round(row: Row, terms: ImportTerms) -> dict[str, str]:
    if ("round_step" in row) != ("round_mode" in row):
        raise RefusedError(
            Refusal.ROUNDING, f"line {row['line']}: half a rounding is stated",
            fix="state round_step and round_mode, or neither for the minor unit half up",
        )  # fmt: skip
    if "round_step" in row:
        return {"step": row["round_step"], "mode": row["round_mode"]}
    return terms.cent


def _scope(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "widths": row.get("widths", "fixed").split(), "reset": row.get("reset", "period"),
        "mode": row.get("mode", "marginal"),
    }  # fmt: skip
    if any(width in ("per_day", "per_30d", "per_month") for width in found["widths"]):
        found["width_round"] = _FINE
    return found


def _coef(row: Row) -> dict[str, Any]:
    above, _, below = row["coef"].partition("/")
    if not above.isdigit() or not (below or "1").isdigit():
        raise RefusedError(
            Refusal.SHAPE, f"line {row['line']}: coef {row['coef']!r} is no fraction",
            fix="write 3/2 for half as much again",
        )  # fmt: skip
    return {"a": int(above), "b": int(below or "1"), "round": _FINE_PRICE}


def _limits(lines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    kinds = {line["kind"] for line in lines}
    quantities = {line.get("qty") for line in lines}
    found = {"counter_kwh": "10000000"}
    if "demand" in kinds:
        found |= {"demand_kw": "100000", "contract_kw": "100000"}
    if "CONTRACT_KW" in quantities:
        found["contract_kw"] = "100000"
    if "capacity" in kinds or "CAPACITY_KVA" in quantities:
        found["capacity_kva"] = "100000"
    if "REACTIVE" in quantities:
        found["reactive_kvarh"] = "1000000"
    if "export" in kinds:
        found["export_kwh"] = "1000000"
    return found


def _days(row: Row) -> tuple[int, ...]:
    return tuple(numbers(row, "days")) if "days" in row else _EVERY_DAY


def _day_type(days: Sequence[int]) -> str:
    return "days_" + "_".join(str(day) for day in days)


def _calendar(hours: Sequence[Row], holidays: Sequence[Row]) -> dict[str, Any]:
    """Return the day types that the rows tell apart, and the dates that are of another."""
    types = list(dict.fromkeys(days for row in hours if (days := _days(row)) != _EVERY_DAY))
    named = [{"name": _day_type(days), "weekdays": list(days)} for days in types]
    return {
        "day_types": named or [{"name": "every", "weekdays": list(_EVERY_DAY)}],
        "special_days": [
            {"date": row["line"], "day_type": _day_type(_days(row))} for row in holidays
        ],
    }


def _touperiods(hours: Sequence[Row]) -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in hours:
        span: dict[str, Any] = {"from": stated(row, "from"), "to": stated(row, "to")}
        if "months" in row:
            span["months"] = numbers(row, "months")
        if _days(row) != _EVERY_DAY:
            span["day_types"] = [_day_type(_days(row))]
        found.setdefault(row["line"], []).append(span)
    return [{"name": name, "spans": spans} for name, spans in found.items()]
