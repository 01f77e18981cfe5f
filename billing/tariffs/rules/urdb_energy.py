"""URDB's energy structure as lines: steps by TouPeriod, fuel adjustments by month, export."""

from collections.abc import Mapping, Sequence
from typing import Any

from billing.money import to_text
from billing.tariffs.rules import urdb_fields as fields
from billing.tariffs.rules.import_terms import ImportTerms, new_line
from billing.tariffs.rules.urdb_hours import Hours

MONTHS = tuple(range(1, 13))
FINE = {"step": "0.001", "mode": "half_up"}


def energy_lines(rate: Mapping[str, Any], hours: Hours, terms: ImportTerms) -> list[dict[str, Any]]:
    """Return a line of steps for each number that the energy tables use."""
    structure = rate["energyratestructure"]
    labels = rate.get("energytoulabels", [])
    found = []
    for number, periods in hours.energy.items():
        tiers = structure[number]
        steps, unit = steps_of("energyratestructure", tiers, "kwh")
        scope: dict[str, Any] = {"widths": "fixed", "reset": "period", "mode": "marginal"}
        share = "own"
        if len(steps) > 1:
            width = {"kWh": "per_month", "kWh daily": "per_day"}.get(unit)
            if width is None:
                fields.refuse(
                    "energyratestructure.unit", f"{unit!r} steps cannot be represented",
                    "steps are kWh (a month) or kWh daily",
                )  # fmt: skip
            scope |= {"widths": width, "width_round": FINE}
            share = _share(number, hours, terms)
        label = labels[number] if number < len(labels) else f"Energy {number + 1}"
        line = new_line("energy", f"energy_{number}", label, terms, scope=scope, steps=steps)
        found.append(line | among(hours, periods) | _climbing(share))
    return found


def _share(number: int, hours: Hours, terms: ImportTerms) -> str:
    """Return how a ladder meets the TouPeriods of its months; asked for only where it matters."""
    mine = hours.energy_months[number]
    if all(other == number or not mine & months for other, months in hours.energy_months.items()):
        return "own"
    if terms.share is None:
        fields.refuse(
            "energyratestructure", f"period {number} has steps beside other periods of its months",
            "say --share own (a ladder of its own) or --share pro_rata (one ladder of all energy)",
        )  # fmt: skip
    return terms.share


def _climbing(share: str) -> dict[str, Any]:
    return {} if share == "own" else {"share": share, "edge_round": FINE}


def among(hours: Hours, periods: Sequence[str]) -> dict[str, Any]:
    """Return the periods of a line as a file writes them: nothing where it means all."""
    named = hours.named(periods)
    return {"periods": named} if named else {}


def steps_of(
    name: str, tiers: Sequence[Mapping[str, Any]], edge: str
) -> tuple[list[dict[str, Any]], str]:
    """Return tiers as contiguous steps (kWh or kW) and the unit that they share."""
    known = {"rate", "adj", "sell", "max", "unit"}
    found: list[dict[str, Any]] = []
    low, last = "0", len(tiers) - 1
    for place, tier in enumerate(tiers):
        for strange in sorted(set(tier) - known):
            fields.refuse(f"{name}.{strange}", "cannot be represented", "write the line by hand")
        price = sum(
            fields.micros_of(f"{name}.{key}", tier.get(key, "0")) for key in ("rate", "adj")
        )
        stated = tier.get("max")
        upto = None if stated is None else fields.thousandths_of(f"{name}.max", stated)
        if (upto is None) != (place == last):
            fields.refuse(
                f"{name}.max", "only the last step may be open, and it must", "complete it"
            )
        high = None if upto is None else fields.kwh_text(upto)
        found.append({f"over_{edge}": low, f"upto_{edge}": high, "price": to_text(price, 0)})
        low = high or low
    units = {str(tier.get("unit", "kWh")) for tier in tiers}
    if len(units) != 1:
        fields.refuse(f"{name}.unit", "differs between the steps of a period", "use one unit")
    return found, units.pop()


def fuel_lines(rate: Mapping[str, Any], terms: ImportTerms) -> list[dict[str, Any]]:
    """Return a line for each price of energy that some months add."""
    stated = rate.get("fueladjustmentsmonthly", [])
    if stated and len(stated) != 12:
        fields.refuse("fueladjustmentsmonthly", "does not hold twelve numbers", "correct the file")
    months: dict[int, list[int]] = {}
    for month, text in zip(MONTHS, stated, strict=False):
        price = fields.micros_of("fueladjustmentsmonthly", text)
        if price:
            months.setdefault(price, []).append(month)
    scope = {"widths": "fixed", "reset": "period", "mode": "marginal"}
    return [
        new_line(
            "energy", f"fuel_{number}", "Fuel adjustment", terms, scope=scope,
            steps=[{"over_kwh": "0", "upto_kwh": None, "price": to_text(price, 0)}],
            **due_in(among),
        )
        for number, (price, among) in enumerate(months.items(), start=1)
    ]  # fmt: skip


def due_in(months: Sequence[int]) -> dict[str, Any]:
    """Return what makes a line due in these months alone."""
    return {} if len(months) == 12 else {"when": {"months": list(months)}}


def export_lines(rate: Mapping[str, Any], hours: Hours, terms: ImportTerms) -> list[dict[str, Any]]:
    """Return a credit for each number whose energy the grid pays for."""
    scope = {"widths": "fixed", "reset": "period", "mode": "marginal"}
    found = []
    for number, periods in hours.energy.items():
        tiers = rate["energyratestructure"][number]
        prices = {fields.micros_of("sell", tier.get("sell", "0")) for tier in tiers}
        if len(prices) > 1:
            fields.refuse("energyratestructure.sell", "differs between steps", "write it by hand")
        price = prices.pop()
        if price:
            steps = [{"over_kwh": "0", "upto_kwh": None, "price": to_text(price, 0)}]
            line = new_line(
                "export", f"export_{number}", "Energy delivered to the grid", terms,
                scope=scope, steps=steps,
            )  # fmt: skip
            found.append(line | among(hours, periods))
    return found
