"""
What a bill says, as words and figures in one language: the text that is kept, hashed and printed.

Its rows come from the trace of the pinned input, so they add up to the bill's total exactly.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from billing.bills.model import Bill, BillKind
from billing.bills.rules.pinned import Versions, kwh, pieces_in
from billing.bills.rules.words import WORDS, day, digits, number
from billing.money import to_text
from billing.rating.model import TraceLine
from billing.rating.rules.trace import trace_of

_UNITS = {"Wh": "kWh", "varh": "kvarh", "W": "kW", "VA": "kVA"}


def content_of(
    bill: Bill, versions: Versions, *, language: str, customer: str, replaces: str = ""
) -> str:
    """Return the canonical text of a bill. Raises: ValueError when rows miss the total."""
    words = WORDS[language]
    minor = _minor_units(bill, versions)
    rows = _rows(bill, versions, language, minor)
    counted = sum(int(row.pop("micros")) for row in rows)
    if counted != bill.total_micros:
        raise ValueError(f"rows of bill {bill.id} add up to {counted}, not {bill.total_micros}")
    head = [
        [words["customer"], customer],
        [words["account"], bill.account],
        [words["usage_point"], bill.usage_point],
        [words["period"], _period(bill, language)],
        [words["issued"], day(bill.issued_at.date(), language)],
        [words["due"], day(bill.due_on, language)],
    ]
    if bill.start_wh is not None and bill.end_wh is not None:
        head += [
            [words["register_from"], f"{number(kwh(bill.start_wh), language)} {words['kwh']}"],
            [words["register_to"], f"{number(kwh(bill.end_wh), language)} {words['kwh']}"],
        ]
    if bill.usage:
        head.append([words["energy"], f"{number(kwh(bill.energy_wh), language)} {words['kwh']}"])
    content = {
        "language": language, "title": words["title"], "kind": words[bill.kind.value],
        "number_word": words["number"], "number": bill.number, "head": head,
        "columns": [words[name] for name in ("line", "quantity", "price", "amount")],
        "rows": rows, "sums": _sums(bill, language, minor),
        "notes": _notes(bill, language, replaces),
        "tariff": [
            f"{words['tariff']} {versions[each][0].code} v{versions[each][0].version} · {each[:12]}"
            for each in bill.versions
        ],
    }  # fmt: skip
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _minor_units(bill: Bill, versions: Versions) -> int:
    return versions[bill.versions[0]][0].minor_units if bill.versions else 2


def _period(bill: Bill, language: str) -> str:
    last = bill.period_end - timedelta(days=1)
    return WORDS[language]["from_to"].format(
        start=day(bill.period_start, language), last=day(last, language)
    )


def _rows(bill: Bill, versions: Versions, language: str, minor: int) -> list[dict[str, Any]]:
    if not bill.usage:
        words = WORDS[language]
        amount = number(to_text(bill.total_micros, minor), language)
        cells = [words[bill.kind.value], "", "", amount]
        return [{"cells": cells, "sub": False, "micros": bill.total_micros}]
    found: list[dict[str, Any]] = []
    for digest, piece in pieces_in(bill.usage, bill.versions, versions):
        rows = trace_of(versions[digest][1], piece.use)
        found.extend(_row(row, language, minor) for row in rows)
    return found


def _row(row: TraceLine, language: str, minor: int) -> dict[str, Any]:
    words = WORDS[language]
    label = row.label.get(language) or row.label.get("en") or words.get(row.line, row.line)
    if row.step:
        label = f"{label}, {words['step']} {digits(str(row.step), language)}"
    quantity = price = ""
    if row.unit in _UNITS:
        unit = words["kwh"] if row.unit == "Wh" else _UNITS[row.unit]
        quantity = f"{number(kwh(row.quantity), language)} {unit}"
    if row.price_micros is not None:
        price = number(to_text(row.price_micros, minor), language)
    return {
        "cells": [label, quantity, price, number(to_text(row.amount_micros, minor), language)],
        "sub": not row.counts,
        "micros": row.amount_micros if row.counts else 0,
    }


def _sums(bill: Bill, language: str, minor: int) -> list[list[str]]:
    words = WORDS[language]

    def money(micros: int) -> str:
        return f"{number(to_text(micros, minor), language)} {bill.currency}"

    found = [[words["total"], money(bill.total_micros)]]
    drawn = bill.total_micros - bill.posted_micros
    if drawn:
        found.append([words["drawn"], money(-drawn)])
    if bill.posted_micros < 0:
        return [*found, [words["credit"], money(-bill.posted_micros)]]
    return [*found, [words["to_pay"], money(bill.posted_micros)]]


def _notes(bill: Bill, language: str, replaces: str) -> list[str]:
    words = WORDS[language]
    notes = []
    if bill.quality == "estimated":
        notes.append(words["estimated"])
    if replaces:
        notes.append(f"{words['replaces']} \u2066{replaces}\u2069")
    if bill.reason and bill.kind is not BillKind.CYCLE:
        notes.append(f"{words['reason']}: {bill.reason}")
    return notes


def figures_of(content: str) -> Mapping[str, Any]:
    """Return the parts of a kept text."""
    found: Mapping[str, Any] = json.loads(content)
    return found
