"""
Pricing a bill and all that were built on it anew: what a corrected use makes of each pinned input.

A reading error moves the register at the end, so the next bill starts elsewhere; a meter error
changes the energy alone. Either way every counter that runs on over periods is counted again.
*Source*: handbook, billing.md 6.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from billing.bills.model import Bill, BillKind, Refusal
from billing.bills.rules.inputs import counter_of, wh_of
from billing.bills.rules.pinned import Versions, canonical_usage, kwh
from billing.tariffs.rules.calendar import ladder_start
from protocols.errors import RefusedError

SINGLE = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anew:
    """What takes the place of a bill, before it is priced."""

    bill: Bill
    kind: BillKind
    usage: str
    start_wh: int | None
    end_wh: int | None
    energy_wh: int
    quality: str


def corrected(
    bill: Bill, later: Sequence[Bill], versions: Versions, *, kind: BillKind, wh: int
) -> list[Anew]:
    """
    Return the bill and those after it as they should have been; unchanged ones are left out.

    `wh` is the right register at the end for a reading error, the right energy for a meter error.
    Raises: RefusedError `bills.amount_bad`, `bills.quantity_not_metered`.
    """
    _refuse_hours([bill, *later])
    first = _first(bill, kind=kind, wh=wh)
    found = [first]
    previous = first
    for each in later:
        again = _following(each, previous, versions)
        found.append(again)
        previous = again
    return [first, *(each for each in found[1:] if each.usage != each.bill.usage)]


def _first(bill: Bill, *, kind: BillKind, wh: int) -> Anew:
    if bill.start_wh is None or bill.end_wh is None:
        raise RefusedError(
            Refusal.UNMETERED, f"bill {bill.id} has no registers", fix="cancel it, issue another"
        )
    by_reading = kind is BillKind.CORRECTIVE_READING
    energy = wh - bill.start_wh if by_reading else wh
    if energy < 0:
        raise RefusedError(
            Refusal.AMOUNT, f"the corrected use is {energy} Wh", fix="check the register"
        )
    usage = json.loads(bill.usage)
    if by_reading and "readings" in usage:
        _set_reading(usage, usage["readings"][-1]["at"], wh)
    else:
        usage.pop("readings", None)
        usage["kwh"] = {SINGLE: kwh(energy)}
    usage["quality"] = "actual"
    return Anew(
        bill=bill, kind=kind, usage=canonical_usage(usage), start_wh=bill.start_wh,
        end_wh=wh if by_reading else bill.end_wh, energy_wh=energy, quality="actual",
    )  # fmt: skip


def _following(bill: Bill, previous: Anew, versions: Versions) -> Anew:
    usage = json.loads(bill.usage)
    start_wh, end_wh, energy = bill.start_wh, bill.end_wh, bill.energy_wh
    moved = previous.end_wh if previous.bill.period_end == bill.period_start else start_wh
    if start_wh is not None and end_wh is not None and moved is not None and moved != start_wh:
        if "readings" in usage:
            energy = end_wh - moved
            if energy < 0:
                raise RefusedError(
                    Refusal.AMOUNT,
                    f"bill {bill.id} ends below the corrected register",
                    fix="correct that bill's reading first",
                )
            _set_reading(usage, usage["period"]["start"], moved)
        else:  # its energy was stated: only its registers shift
            end_wh = moved + energy
        start_wh = moved
    before = _counters(bill, previous, versions)
    if before:
        usage["before_kwh"] = before
    return Anew(
        bill=bill, kind=BillKind.RERUN, usage=canonical_usage(usage), start_wh=start_wh,
        end_wh=end_wh, energy_wh=energy, quality=bill.quality,
    )  # fmt: skip


def _counters(bill: Bill, previous: Anew, versions: Versions) -> dict[str, dict[str, str]]:
    tariff = versions[bill.versions[0]][0]
    stated: Mapping[str, Any] = json.loads(bill.usage).get("before_kwh", {})
    former: Mapping[str, Mapping[str, str]] = json.loads(previous.usage).get("before_kwh", {})
    found: dict[str, dict[str, str]] = {}
    for reset in stated:
        began = ladder_start(tariff, reset, bill.period_start)
        wh = counter_of(bill, reset).get(SINGLE, 0)
        if reset in former and previous.bill.period_start >= began:
            wh = _counter_in(previous.usage, reset) + previous.energy_wh
        found[reset] = {SINGLE: kwh(wh)}
    return found


def _counter_in(usage: str, reset: str) -> int:
    return wh_of(json.loads(usage)["before_kwh"][reset].get(SINGLE, "0"))


def _set_reading(usage: dict[str, Any], day: str, wh: int) -> None:
    for reading in usage["readings"]:
        if reading["at"] == day:
            reading["kwh"] = {SINGLE: kwh(wh)}


def _refuse_hours(bills: Sequence[Bill]) -> None:
    for bill in bills:
        usage = json.loads(bill.usage) if bill.usage else {}
        if "parts" in usage:
            raise RefusedError(
                Refusal.UNMETERED,
                f"terms changed inside bill {bill.id}: one number cannot correct its parts",
                fix="cancel it (special) and issue a special ad-hoc bill from a usage file",
            )
        named = set(usage.get("kwh", {})) | {
            name for reading in usage.get("readings", ()) for name in reading["kwh"]
        }
        if named - {SINGLE}:
            raise RefusedError(
                Refusal.UNMETERED,
                f"bill {bill.id} is priced by hours of use: one number cannot correct it",
                fix="cancel it (special) and issue a special ad-hoc bill from a usage file",
            )


def overlaps(bill: Bill, start: date, end: date) -> bool:
    """Tell whether a bill covers some of these days."""
    return bill.period_start < end and bill.period_end > start
