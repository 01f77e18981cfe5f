"""The hi-low check and estimates, figure by figure."""

from dataclasses import replace
from datetime import date

import pytest

from billing.bills.model import Bill, Doubt, Gate, Line
from billing.bills.rules.estimate import estimate
from billing.bills.rules.gate import doubts, estimates_in_row, same_season
from billing.bills.rules.legs import account_of, credits_of
from tests.unit.billing.test_bills_pages import sample

GATE = Gate()


def month(year: int, number: int, kwh: int, quality: str = "actual") -> Bill:
    bill, _ = sample()
    after = date(year + number // 12, number % 12 + 1, 1)
    return replace(
        bill, period_start=date(year, number, 1), period_end=after, energy_wh=kwh * 1000,
        quality=quality,
    )  # fmt: skip


def doubted(kwh: int, history: list[Bill], quality: str = "actual") -> list[Doubt]:
    return doubts(
        energy_wh=kwh * 1000, start=date(2026, 6, 1), end=date(2026, 7, 1), quality=quality,
        history=history, gate=GATE,
    )  # fmt: skip


@pytest.mark.req("B5")
@pytest.mark.parametrize(
    ("kwh", "found"),
    [
        (300, []), (901, [Doubt.HIGH]), (900, []), (0, [Doubt.ZERO]), (74, [Doubt.LOW]),
        (75, []), (-1, [Doubt.NEGATIVE, Doubt.LOW]),
    ],
)  # fmt: skip
def test_use_is_compared_with_the_same_season_by_the_day(kwh: int, found: list[Doubt]) -> None:
    summer = [month(2025, 6, 300), month(2026, 5, 310)]
    assert doubted(kwh, [month(2025, 1, 5_000), *summer]) == found
    assert same_season([month(2025, 1, 1), *summer], date(2026, 6, 15)) == summer


def test_estimates_in_a_row_are_counted_and_questionable_registers_held() -> None:
    row = [month(2026, n, 300, "estimated") for n in (3, 4, 5)]
    assert estimates_in_row([month(2026, 2, 300), *row]) == 3
    assert doubted(300, row, "estimated") == [Doubt.ESTIMATES]
    assert doubted(300, row[1:], "estimated") == []
    assert doubted(300, [], "questionable") == [Doubt.QUESTIONABLE]


def estimated(history: list[Bill], class_daily: int | None = None) -> tuple[int, str]:
    return estimate(
        start=date(2026, 6, 1), end=date(2026, 7, 1), history=history, class_daily_wh=class_daily,
        contract_w=5_000, gate=GATE,
    )  # fmt: skip


def test_an_estimate_takes_the_best_that_is_known() -> None:
    year = [month(2025, n, 300) for n in (3, 4, 5, 6)]
    grown = [month(2026, n, 600) for n in (3, 4, 5)]
    assert estimated([*year, *grown]) == (600_000, "last_year_growth")
    assert estimated([month(2025, 6, 300)]) == (300_000, "last_year")
    assert estimated([month(2026, 4, 300)]) == (300_000, "own_profile")
    assert estimated([month(2026, 4, 300, "estimated")], 8_000) == (240_000, "class_profile")
    assert estimated([]) == (600_000, "contract")


def test_ledger_codes_of_lines_find_their_accounts() -> None:
    found = [
        account_of(code)[0]
        for code in (
            "revenue_energy", "revenue_standing", "revenue_rounding", "payable_vat",
            "payable_vat_tehran", "payable_fund", "receivable_veterans",
        )
    ]  # fmt: skip
    assert found == [
        "revenue_energy", "revenue_energy:standing", "rounding_carry", "vat_payable",
        "vat_payable:tehran", "levy_payable:fund", "subsidy_receivable:veterans",
    ]  # fmt: skip
    both = [
        Line(tariff="", line="a", ledger_code="revenue_energy", energy_wh=0, amount_micros=amount)
        for amount in (5, -5)
    ]
    assert credits_of(both) == {}
