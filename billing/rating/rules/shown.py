"""A priced use as plain values: what the command line prints and a verifier can read."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from billing.money import to_text
from billing.rating.model import CompiledTariff, PeriodUse, TraceLine
from billing.rating.rules.kernel import VERSION, price_uses
from billing.rating.rules.trace import trace_of
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedUse:
    """One use under one version: what was asked, every row, and the total."""

    tariff: CompiledTariff
    use: PeriodUse
    known_by: str
    rows: Sequence[TraceLine]
    total_micros: int


def priced(tariff: CompiledTariff, use: PeriodUse, known_by: str) -> PricedUse:
    """Return a use with its rows. Raises: RefusedError `usage.attribute`."""
    rows = trace_of(tariff, use)
    total = int(price_uses(tariff, [use]).total[0])
    return PricedUse(tariff=tariff, use=use, known_by=known_by, rows=rows, total_micros=total)


def as_plain(found: Sequence[PricedUse]) -> dict[str, Any]:
    """Return a period's parts as one object: lines, taxes, rounding, total and trace of each."""
    first = found[0].tariff
    lines: Counter[str] = Counter()
    for part in found:
        for row in part.rows:
            lines[row.line] += row.amount_micros
    counted = {row.line: row for part in found for row in part.rows}
    taxes: Counter[str] = Counter()
    for name, amount in lines.items():
        if counted[name].ledger_code.startswith("payable_"):
            taxes[counted[name].ledger_code] += amount
    return {
        "tariff": first.code,
        "currency": first.currency,
        "kernel": VERSION,
        "lines": {name: to_text(amount) for name, amount in lines.items() if name != "rounding"},
        "taxes": {code: to_text(amount) for code, amount in taxes.items()},
        "rounding": to_text(lines.get("rounding", 0)),
        "total": to_text(sum(part.total_micros for part in found)),
        "total_micros": sum(part.total_micros for part in found),
        "parts": [_part(part) for part in found],
    }


def _part(part: PricedUse) -> Mapping[str, Any]:
    use, tariff = part.use, part.tariff
    return {
        "version": tariff.version,
        "digest": tariff.digest,
        "start": use.start.isoformat(),
        "end": use.end.isoformat(),
        "known_by": part.known_by,
        "quality": use.quality,
        "days": ratio_text(use.days, DAY_PARTS),
        "months": ratio_text(use.months, MONTH_PARTS),
        "energy_wh": dict(zip(tariff.periods, use.energy_wh, strict=True)),
        "total": to_text(part.total_micros),
        "trace": [_row(row) for row in part.rows],
    }


def _row(row: TraceLine) -> dict[str, Any]:
    numerator, denominator = row.exact_micros
    optional = {
        "price": None if row.price_micros is None else to_text(row.price_micros),
        "percent": None if row.percent_micros is None else to_text(row.percent_micros),
        "base": None if row.base_micros is None else to_text(row.base_micros),
        "times": None if row.times == (1, 1) else ratio_text(*row.times),
    }
    return {
        "line": row.line,
        "label": dict(row.label),
        "kind": row.kind,
        "ledger_code": row.ledger_code,
        **({"vat_code": row.vat_code} if row.vat_code else {}),
        **({"step": row.step} if row.step else {}),
        "quantity": row.quantity,
        "unit": row.unit,
        **{name: text for name, text in optional.items() if text is not None},
        "exact_micros": ratio_text(numerator, denominator),
        "amount": to_text(row.amount_micros),
        "amount_micros": row.amount_micros,
        "counts": row.counts,
    }


def ratio_text(numerator: int, denominator: int) -> str:
    """Return a ratio in lowest terms: `31`, `10/31`."""
    divisor = math.gcd(numerator, denominator)
    top, bottom = numerator // divisor, denominator // divisor
    return str(top) if bottom == 1 else f"{top}/{bottom}"
