"""What pricing answers: amounts of each line, and a trace a person can read and add up."""

from collections.abc import Mapping
from dataclasses import dataclass

from billing.money import IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """
    The amount of each line and of all together; for a ladder year the cumulative since its start.

    *Shape*: `lines` is (lines, accounts), `total` is (accounts,). *Units*: micros. `total` is the
    rounded sum of the lines that count (`CompiledTariff.counted`).
    """

    lines: IntArray
    total: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceLine:
    """
    One row of "why is my bill": the amounts of the rows that count add up to the total, exactly.

    A line of steps gives a row for each step reached. *Units*: `quantity` in `unit` (Wh, varh, W,
    VA, day parts, month parts, micros of a base), `price_micros` per 1000 of it (kWh, kW ..) or per
    day or month; `exact_micros` is the amount before rounding, as a ratio.
    """

    line: str
    """The line's id; `rounding` for what the rounding of the total added."""
    label: Mapping[str, str]
    kind: str
    ledger_code: str
    vat_code: str | None
    step: int
    """Counts from 1; 0 where the line has no steps."""
    quantity: int
    unit: str
    times: tuple[int, int]
    """The days or months, as a ratio, that a price per time is multiplied by; else 1."""
    price_micros: int | None
    percent_micros: int | None
    base_micros: int | None
    exact_micros: tuple[int, int]
    """Numerator and denominator."""
    amount_micros: int
    counts: bool
    """False for a subtotal, which is no part of the total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeLine:
    """Use of one step of one line between two year counters, and its share of the fee."""

    line: str
    label: Mapping[str, str]
    step: int
    """Counts from 1; 0 where the line has no steps (a percent, the total's rounding)."""
    from_wh: int
    upto_wh: int
    price_micros_per_kwh: int | None
    amount_micros: int
