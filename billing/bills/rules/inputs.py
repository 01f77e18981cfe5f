"""
From what is known of an agreement to the usage file that its bill is priced from, or why not.

Nothing is guessed here: what is missing parks the account under a code, and an estimate says so.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from billing.bills.model import (
    Agreement,
    Bill,
    BillKind,
    Doubt,
    Gate,
    Item,
    ItemState,
    Refusal,
    RunId,
)
from billing.bills.rules.estimate import estimate
from billing.bills.rules.gate import ESTIMATED
from billing.bills.rules.pinned import canonical_usage, input_hash, kwh
from billing.tariffs.model import DemandLine, EnergyLine, ExportLine, PfTableLine, Tariff
from billing.tariffs.rules.calendar import ladder_start

CONTRACT_W = 8_000
"""Contract power of an agreement that states none (attribute `contract_w`)."""

Version = tuple[str, Tariff]


class ParkedError(Exception):
    """An account that cannot be billed in this run, and why."""

    def __init__(self, code: str, detail: str) -> None:
        """Keep the code beside the sentence."""
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """Energy and peaks by TouPeriod, from intervals that are complete."""

    wh: tuple[int, ...]
    demand_w: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one agreement over one span. *Units*: Wh of the cumulative register."""

    agreement: Agreement
    versions: Sequence[Version]
    start: date
    end: date
    history: Sequence[Bill]
    """Standing metered bills, oldest first; the last one ends where this span starts, if any."""
    registers: Mapping[date, int]
    """Registers that count for local days: period ends, version changes, ladder starts."""
    end_quality: str
    """`actual`, `estimated`, `questionable`; empty when no register counts for the end."""
    metered: Metered | None
    drawn: tuple[int, int, int] | None
    """Drawn micros, first and last register, when prepayment draws this agreement."""
    class_daily_wh: int | None


def in_force(versions: Sequence[Version], start: date, end: date) -> list[Version]:
    """Return the versions that price `[start, end)`, oldest first. Raises: ParkedError."""
    order = sorted(versions, key=lambda each: each[1].valid_from)
    found = []
    for number, (digest, tariff) in enumerate(order):
        until = order[number + 1][1].valid_from if number + 1 < len(order) else tariff.valid_to
        if tariff.valid_from < end and (until is None or until > start):
            found.append((digest, tariff))
    last = found[-1][1].valid_to if found else None
    open_end = found and (found[-1] is not order[-1] or last is None or last >= end)
    if not found or found[0][1].valid_from > start or not open_end:
        raise ParkedError(Refusal.NO_TARIFF, f"no version prices all days from {start} to {end}")
    return found


def needs_intervals(versions: Sequence[Version]) -> bool:
    """Tell whether registers alone cannot price these versions."""
    return any(
        len(tariff.period_names) > 1
        or any(isinstance(line, DemandLine) and line.qty == "DEMAND_MAX" for line in tariff.lines)
        for _, tariff in versions
    )


def resets_of(versions: Sequence[Version]) -> set[str]:
    """Return the counters that run on over periods."""
    return {
        str(line.scope.reset)
        for _, tariff in versions
        for line in tariff.lines
        if isinstance(line, EnergyLine | ExportLine) and line.scope.reset != "period"
    }


def fingerprint(facts: Facts) -> bytes | None:
    """
    Return a hash of everything `item_of` looks at, or None for what an estimate might be part of.

    The same facts under the same gate make the same item, so who has one need not make it again.
    """
    if facts.end_quality != "actual" or any(b.quality == ESTIMATED for b in facts.history[-1:]):
        return None
    said, metered = facts.agreement, facts.metered
    known = [
        said.agreement, said.account, said.usage_point, said.currency, said.tariff_code,
        said.pinned_hash or "", *sorted(said.attributes.items()), said.started_at.isoformat(),
        said.opening_register_wh, said.opening_year_wh, [digest for digest, _ in facts.versions],
        facts.start.toordinal(), facts.end.toordinal(), [bill.id for bill in facts.history],
        sorted((day.toordinal(), wh) for day, wh in facts.registers.items()),
        (metered.wh, metered.demand_w) if metered else (), facts.drawn,
    ]  # fmt: skip
    return hashlib.sha256(repr(known).encode()).digest()


def item_of(run: RunId, facts: Facts, gate: Gate, *, estimated: bool = False) -> Item:
    """Return the frozen item; `estimated` asks for an estimate though there is a register."""
    _refuse_unmetered(facts.versions)
    quality = facts.end_quality or ESTIMATED
    if estimated:
        quality = ESTIMATED
    trailing = _trailing_estimates(facts.history)
    trued = facts.end_quality == "actual" and not estimated and bool(trailing) and not facts.drawn
    base = trailing[0] if trued else None
    start = base.period_start if base else facts.start
    versions = facts.versions
    start_wh = _start_wh(facts, base)
    before = _counters_before(facts, base, start, start_wh)
    end_wh, method = _end_wh(facts, start_wh, quality, gate)
    usage = {
        **_terms(facts, start, quality),
        **_energy(facts, {start: start_wh, facts.end: end_wh}, quality),
    }
    usage["before_kwh"] = {
        reset: {name: kwh(wh) for name, wh in found.items()} for reset, found in before.items()
    }
    text = canonical_usage(usage)
    digests = tuple(digest for digest, _ in versions)
    return Item(
        run=run, agreement=facts.agreement.agreement, account=facts.agreement.account,
        usage_point=facts.agreement.usage_point, currency=facts.agreement.currency,
        kind=BillKind.TRUEUP if trued else BillKind.CYCLE, state=ItemState.FROZEN,
        reasons=(), detail="", period_start=start, period_end=facts.end, usage=text,
        versions=digests, input_hash=input_hash(text, digests), quality=quality, method=method,
        start_wh=start_wh, end_wh=end_wh, energy_wh=end_wh - start_wh,
        credits=tuple(bill.id for bill in trailing) if trued else (),
        drawn_micros=facts.drawn[0] if facts.drawn else None,
        facts=None if estimated else fingerprint(facts),
    )  # fmt: skip


def parked_item(
    run: RunId, agreement: Agreement, start: date, end: date, error: ParkedError
) -> Item:
    """Return an item that says why its account is left out."""
    return Item(
        run=run, agreement=agreement.agreement, account=agreement.account,
        usage_point=agreement.usage_point, currency=agreement.currency, kind=BillKind.CYCLE,
        state=ItemState.PARKED, reasons=(error.code,), detail=error.detail, period_start=start,
        period_end=end, usage="", versions=(), input_hash=None, quality="", method="",
        start_wh=None, end_wh=None, energy_wh=0, credits=(), drawn_micros=None,
    )  # fmt: skip


def _refuse_unmetered(versions: Sequence[Version]) -> None:
    for _, tariff in versions:
        for line in tariff.lines:
            unmetered = (
                isinstance(line, ExportLine | PfTableLine)
                or (isinstance(line, EnergyLine) and line.qty == "REACTIVE")
                or (isinstance(line, DemandLine) and line.ratchet is not None)
            )
            if unmetered:
                raise ParkedError(
                    Refusal.UNMETERED,
                    f"line {line.id} of {tariff.code} prices what registers of energy do not tell",
                )


def _trailing_estimates(history: Sequence[Bill]) -> list[Bill]:
    found: list[Bill] = []
    for bill in reversed(history):
        if bill.quality != ESTIMATED:
            break
        found.insert(0, bill)
    return found


def _start_wh(facts: Facts, base: Bill | None) -> int:
    if base is not None and base.start_wh is not None:
        return base.start_wh
    if facts.drawn is not None:
        return facts.drawn[1]
    return start_register(facts)


def start_register(facts: Facts) -> int:
    """
    Return the register at which a span starts: where the last bill ended, or as read then.

    Raises: ParkedError `bills.register_missing`.
    """
    previous = facts.history[-1] if facts.history else None
    if previous is not None and previous.end_wh is not None:
        return previous.end_wh
    found = facts.registers.get(facts.start)
    if found is None:
        raise ParkedError(Refusal.NO_REGISTER, f"no register counts for {facts.start}")
    return found


def _end_wh(facts: Facts, start_wh: int, quality: str, gate: Gate) -> tuple[int, str]:
    if facts.drawn is not None:
        return facts.drawn[2], ""
    if quality != ESTIMATED or (facts.end_quality == ESTIMATED and facts.end in facts.registers):
        end_wh = facts.registers[facts.end]
        if end_wh < start_wh:
            raise ParkedError(Doubt.NEGATIVE, f"the register falls from {start_wh} to {end_wh} Wh")
        return end_wh, "" if quality != ESTIMATED else "validation"
    if needs_intervals(facts.versions):
        raise ParkedError(Refusal.NO_REGISTER, "use by hours cannot be estimated; read the meter")
    contract_w = int(facts.agreement.attributes.get("contract_w", CONTRACT_W))
    wh, method = estimate(
        start=facts.start, end=facts.end, history=facts.history,
        class_daily_wh=facts.class_daily_wh, contract_w=contract_w, gate=gate,
    )  # fmt: skip
    return start_wh + wh, method


def _counters_before(
    facts: Facts, base: Bill | None, start: date, start_wh: int
) -> dict[str, dict[str, int]]:
    first = facts.versions[0][1]
    last_day = facts.end - timedelta(days=1)
    found: dict[str, dict[str, int]] = {}
    for reset in sorted(resets_of(facts.versions)):
        began = ladder_start(first, reset, start)
        if ladder_start(first, reset, last_day) != began:
            raise ParkedError(
                Refusal.CROSSES, f"the {reset} ladder starts again between {start} and {facts.end}"
            )
        found[reset] = _counter(facts, base, began, start_wh, reset)
    return found


def _counter(
    facts: Facts, base: Bill | None, began: date, start_wh: int, reset: str
) -> dict[str, int]:
    names = facts.versions[0][1].period_names
    if (base.period_start if base else facts.start) == began:
        return dict.fromkeys(names, 0)
    if base is not None:
        return counter_of(base, reset)
    previous = facts.history[-1] if facts.history else None
    if previous is not None and previous.period_start >= began:
        used = used_by_period(previous, names)
        if used is not None:
            before = counter_of(previous, reset)
            return {name: before.get(name, 0) + used[name] for name in names}
    wh = _single_counter(facts, began, start_wh)
    if wh is None or (len(names) > 1 and wh):
        raise ParkedError(Refusal.COUNTER, f"use since {began} is not known")
    return dict.fromkeys(names, wh)


def _single_counter(facts: Facts, began: date, start_wh: int) -> int | None:
    joined = facts.agreement.started_at.astimezone(facts.versions[0][1].zone_info).date()
    opening = facts.agreement.opening_register_wh
    if joined >= began and opening is not None:
        return start_wh - opening + facts.agreement.opening_year_wh
    found = facts.registers.get(began)
    return None if found is None or found > start_wh else start_wh - found


def counter_of(bill: Bill, reset: str) -> dict[str, int]:
    """Return the counter a bill was priced from, by TouPeriod."""
    stated: Mapping[str, str] = json.loads(bill.usage).get("before_kwh", {}).get(reset, {})
    return {name: wh_of(text) for name, text in stated.items()}


def used_by_period(bill: Bill, names: Sequence[str]) -> dict[str, int] | None:
    """Return a bill's energy by TouPeriod, or None where its file does not state it so."""
    stated = json.loads(bill.usage)
    if len(names) == 1:
        return {names[0]: bill.energy_wh}
    by_period = stated.get("kwh")
    return {name: wh_of(by_period.get(name, "0")) for name in names} if by_period else None


def wh_of(text: str) -> int:
    """Return Wh of a kWh text of a usage file that we wrote."""
    whole, _, part = text.partition(".")
    return int(whole) * 1000 + int(part.ljust(3, "0") or "0")


def _terms(facts: Facts, start: date, quality: str) -> dict[str, Any]:
    agreement, tariff = facts.agreement, facts.versions[-1][1]
    return {
        "account": agreement.account,
        "currency": agreement.currency,
        "period": {"start": start.isoformat(), "end": facts.end.isoformat()},
        "quality": ESTIMATED if quality == ESTIMATED else "actual",
        "contract_kw": kwh(int(agreement.attributes.get("contract_w", 0))),
        "capacity_kva": kwh(int(agreement.attributes.get("capacity_va", 0))),
        "households": int(agreement.attributes.get("households", 1)),
        "attributes": _attributes(tariff, agreement.attributes),
    }


def _energy(facts: Facts, marks: dict[date, int], quality: str) -> dict[str, Any]:
    names = facts.versions[-1][1].period_names
    start, end = min(marks), max(marks)
    used = marks[end] - marks[start]
    if facts.metered is not None:
        found = facts.metered
        if start != facts.start or sum(found.wh) != used:
            raise ParkedError(
                Refusal.INTERVALS,
                f"intervals add up to {sum(found.wh)} Wh, registers to {used} Wh",
            )
        return {
            "kwh": {name: kwh(wh) for name, wh in zip(names, found.wh, strict=True)},
            "demand_kw": {name: kwh(w) for name, w in zip(names, found.demand_w, strict=True)},
        }
    if quality == ESTIMATED:
        return {"kwh": {names[0]: kwh(used)}}
    for _, version in facts.versions[1:]:
        if start < version.valid_from < end and version.valid_from in facts.registers:
            marks[version.valid_from] = facts.registers[version.valid_from]
    return {
        "readings": [
            {"at": day.isoformat(), "kwh": {names[0]: kwh(wh)}} for day, wh in sorted(marks.items())
        ]
    }


def _attributes(tariff: Tariff, stated: Mapping[str, str]) -> dict[str, bool | int | str]:
    found: dict[str, bool | int | str] = {}
    for name, attribute in tariff.attributes.items():
        text = stated.get(name)
        if text is None:
            continue
        if attribute.kind == "bool":
            found[name] = text.lower() in ("true", "yes", "1")
        elif attribute.kind == "int":
            found[name] = int(text)
        else:
            found[name] = text
    return found
