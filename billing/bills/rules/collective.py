"""One bill over all supplies of a company: which bills it goes over, and what it says."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from billing.bills.model import METERED, Bill, BillId, Refusal
from billing.bills.rules.pinned import kwh
from billing.bills.rules.words import WORDS, day, number
from billing.customers.model import Collective
from billing.money import to_text
from protocols.errors import RefusedError

_KIND = {
    "en": "One bill for all supplies", "ru": "Единый счёт по всем точкам учёта",
    "uz": "Barcha nuqtalar bo‘yicha yagona hisob", "zh": "全部用电点合并账单",
    "fa": "صورت‌حساب یکجای همهٔ اشتراک‌ها",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveBill:
    """One bill of a company as it was issued; `bills` are the numbers of those it goes over."""

    id: int
    collective: str
    currency: str
    period_start: date
    period_end: date
    seq: int
    bills: tuple[BillId, ...]
    total_micros: int
    posted_micros: int
    """What the bills moved on the accounts: the total less what was drawn before."""
    issued_at: datetime
    due_on: date
    actor: str

    @property
    def number(self) -> str:
        """Return the number the company sees."""
        return f"{self.period_end:%Y%m%d}-{self.collective}-G{self.seq}"


def gathered(
    collective: Collective, standing: Mapping[str, Sequence[Bill]], end: date
) -> list[Bill]:
    """
    Return the bills that one bill goes over, in the order of the members.

    Raises: RefusedError `bills.collective_incomplete` naming members that no metered bill of the
    period's end covers: nobody is left out in silence.
    """
    found: list[Bill] = []
    missing = []
    for account in collective.accounts:
        bills = sorted(standing.get(account, ()), key=lambda bill: (bill.period_end, bill.id))
        if not any(bill.kind in METERED and bill.period_end == end for bill in bills):
            missing.append(account)
        found += bills
    if missing:
        raise RefusedError(
            Refusal.COLLECTIVE, f"no bill up to {end} of {', '.join(missing[:10])}",
            fix="bill those accounts first, or take them out of the collective",
        )  # fmt: skip
    return found


def content_of_collective(
    found: CollectiveBill, bills: Sequence[Bill], collective: Collective, *, minor: int
) -> str:
    """
    Return the canonical text of a company's bill, for the same page as any bill.

    Raises: ValueError when the rows miss the total.
    """
    if (sum(b.total_micros for b in bills), sum(b.posted_micros for b in bills)) != (
        found.total_micros, found.posted_micros,
    ):  # fmt: skip
        raise ValueError(f"bills of {found.number} do not add up to {found.total_micros}")
    language = collective.language if collective.language in WORDS else "en"
    words = WORDS[language]

    def money(micros: int) -> str:
        return number(to_text(micros, minor), language)

    energy = sum(bill.energy_wh for bill in bills)
    last = found.period_end - timedelta(days=1)
    span = words["from_to"].format(
        start=day(found.period_start, language), last=day(last, language)
    )
    sums = [[words["total"], f"{money(found.total_micros)} {found.currency}"]]
    drawn = found.total_micros - found.posted_micros
    if drawn:
        sums.append([words["drawn"], f"{money(-drawn)} {found.currency}"])
    word = words["to_pay"] if found.posted_micros >= 0 else words["credit"]
    sums.append([word, f"{money(abs(found.posted_micros))} {found.currency}"])
    content = {
        "language": language, "title": words["title"], "kind": _KIND[language],
        "number_word": words["number"], "number": found.number,
        "head": [
            [words["customer"], collective.name], [words["account"], collective.id],
            [words["period"], span], [words["issued"], day(found.issued_at.date(), language)],
            [words["due"], day(found.due_on, language)],
            [words["energy"], f"{number(kwh(energy), language)} {words['kwh']}"],
        ],
        "columns": [words[name] for name in ("usage_point", "number", "energy", "amount")],
        "rows": [
            {
                "cells": [
                    bill.usage_point, bill.number,
                    f"{number(kwh(bill.energy_wh), language)} {words['kwh']}",
                    money(bill.total_micros),
                ],
                "sub": False,
            }
            for bill in bills
        ],
        "sums": sums, "notes": [], "tariff": [],
    }  # fmt: skip
    return json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
