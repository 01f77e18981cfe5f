"""
Freezing balances on tariffs of periods: the bill is priced from the stretches that were drawn.

So a bill and its drawdowns differ by what waits for the close and by nothing else; what was changed
inside the period, tariff or attribute, stands in it as parts.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from billing.bills.model import Agreement, BillKind, Item, ItemState, Refusal, Run
from billing.bills.rules import inputs as rules
from billing.bills.rules.inputs import Metered, ParkedError
from billing.bills.rules.pinned import canonical_usage, input_hash, kwh
from billing.bills.store import DrawnDays
from billing.customers.model import AgreementId
from billing.prepaid import service as prepaid
from billing.prepaid.service import BilledStretch, UnalignedError
from billing.tariffs.model import DemandLine, Tariff
from cloud.store.db import Connection

Metering = Callable[[Agreement, date, date, Tariff], Metered]
"""Returns energy and peaks by TouPeriod of days. Raises: ParkedError."""


def drawn_items(
    conn: Connection, run: Run, spans: Mapping[str, tuple[Agreement, date]], drawn: DrawnDays, *,
    tariffs: Callable[[Sequence[str]], Mapping[str, Tariff]], metering: Metering,
) -> dict[str, Item]:  # fmt: skip
    """Return the items of those in `spans` (with their first day) that were drawn by periods."""
    asked = {
        AgreementId(name): (start, run.period_end)
        for name, (_, start) in spans.items()
        if name in drawn and start < run.period_end
    }
    items: dict[str, Item] = {}
    for name, parts in prepaid.stretches_of(conn, asked).items():
        agreement, start = spans[name]
        try:
            if isinstance(parts, UnalignedError):
                raise ParkedError(Refusal.DRAWN, str(parts))
            open_day = drawn[name][0]
            if open_day < run.period_end:
                raise ParkedError(
                    Refusal.NOT_DRAWN,
                    f"prepayment is drawn up to {open_day}, the period ends {run.period_end}",
                )
            versions = tariffs([each.digest for each in parts])
            usages = [
                _usage(
                    agreement, part,
                    _peaks(agreement, start, run.period_end, versions[part.digest], metering),
                )
                for part in parts
            ]  # fmt: skip
            items[name] = _item(run, agreement, parts, usages, drawn[name][1])
        except ParkedError as error:
            items[name] = rules.parked_item(run.id, agreement, start, run.period_end, error)
    return items


def _peaks(
    agreement: Agreement, start: date, end: date, tariff: Tariff, metering: Metering
) -> dict[str, str]:
    """Return the largest power by TouPeriod where a line prices it."""
    if not any(isinstance(line, DemandLine) and line.qty == "DEMAND_MAX" for line in tariff.lines):
        return {}
    found = metering(agreement, start, end, tariff)
    return {name: kwh(w) for name, w in zip(tariff.period_names, found.demand_w, strict=True)}


def _item(
    run: Run, agreement: Agreement, parts: Sequence[BilledStretch],
    usages: Sequence[Mapping[str, Any]], drawn_micros: int,
) -> Item:  # fmt: skip
    plain = len(parts) == 1 and parts[0].whole == (parts[0].start, parts[0].end)
    text = canonical_usage(
        usages[0]
        if plain
        else {
            "parts": [
                {
                    "digest": part.digest,
                    "usage": usage,
                    "whole": [day.isoformat() for day in part.whole],
                }
                for part, usage in zip(parts, usages, strict=True)
            ]
        }
    )
    digests = tuple(dict.fromkeys(part.digest for part in parts))
    return Item(
        run=run.id, agreement=agreement.agreement, account=agreement.account,
        usage_point=agreement.usage_point, currency=agreement.currency, kind=BillKind.CYCLE,
        state=ItemState.FROZEN, reasons=(), detail="", period_start=parts[0].start,
        period_end=run.period_end, usage=text, versions=digests,
        input_hash=input_hash(text, digests), quality="actual", method="",
        start_wh=parts[0].from_register_wh, end_wh=parts[-1].register_wh,
        energy_wh=sum(sum(part.energy_wh) for part in parts), credits=(),
        drawn_micros=drawn_micros,
    )  # fmt: skip


def _usage(agreement: Agreement, part: BilledStretch, peaks: Mapping[str, str]) -> dict[str, Any]:
    return {
        **part.usage, "account": agreement.account, "currency": agreement.currency,
        "quality": "actual", "closing": part.closing, **({"demand_kw": peaks} if peaks else {}),
    }  # fmt: skip
