"""Money to energy and back: nobody is granted more than was paid, and nothing is lost."""

import dataclasses
import json
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.rating.model import PeriodUse
from billing.rating.rules import kernel
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.inverse import buy
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS
from billing.tariffs.rules import read_tariff
from billing.tariffs.service import shipped
from protocols.errors import RefusedError

CENTS = {"step": "0.01", "mode": "half_up"}


def body(**scope):
    """Return a household ladder sold in advance: three blocks, a fee, a levy and VAT."""
    found = json.loads(shipped("uz-household"))
    line = found["lines"][0]
    line["scope"] = {
        "widths": "fixed", "reset": "purchase_month", "mode": "marginal", **scope
    }  # fmt: skip
    line["steps"] = [
        {"over_kwh": "0", "upto_kwh": "50", "price": "0.1500"},
        {"over_kwh": "50", "upto_kwh": "300", "price": "0.2300"},
        {"over_kwh": "300", "upto_kwh": None, "price": "0.3100"},
    ]
    head = {"label": {"en": "x"}, "ledger_code": "revenue_x", "round": CENTS}
    found["lines"] += [
        {**head, "kind": "fixed", "id": "fee", "qty": "MONTHS", "price": "5.00", "prorate": "days"},
        {**head, "kind": "percent", "id": "levy", "percent": "3.5", "base": ["energy"]},
        {
            **head,
            "kind": "percent",
            "id": "vat",
            "percent": "15",
            "base": ["energy", "fee", "levy"],
        },
    ]
    found["limits"]["counter_kwh"] = "1000000"
    return found


TARIFF = read_tariff(json.dumps(body()).encode())
COMPILED = compile_tariff(TARIFF, "x")


def month(bought_wh: int) -> PeriodUse:
    return PeriodUse(
        start=date(2026, 1, 1), end=date(2026, 2, 1), days=31 * DAY_PARTS, months=MONTH_PARTS,
        whole_days=31 * DAY_PARTS, whole_months=MONTH_PARTS, energy_wh=(bought_wh,),
        quality="actual",
    )  # fmt: skip


def total(bought_wh: int) -> int:
    return int(kernel.price_uses(COMPILED, [month(bought_wh)]).total[0])


@pytest.mark.req("C7")
@settings(deadline=None)
@given(st.integers(0, 600_000_000), st.integers(0, 400_000), st.sampled_from([1, 100, 1000]))
def test_money_to_energy_to_money_never_grants_more(paid: int, before: int, token: int) -> None:
    charged = total(before)
    found = buy(COMPILED, month(before), paid, charged_micros=charged, token_wh=token)
    assert found.energy_wh % token == 0
    assert found.cost_micros + found.left_micros == paid
    assert found.left_micros >= 0
    assert total(before + found.energy_wh) - charged == found.cost_micros
    # and not a step less than it could be
    assert total(before + found.energy_wh + token) - charged > paid


@settings(deadline=None)
@given(st.lists(st.integers(0, 90_000_000), min_size=1, max_size=5))
def test_many_small_purchases_cost_what_one_large_would(payments: list[int]) -> None:
    bought = charged = carried = 0
    for paid in payments:
        found = buy(COMPILED, month(bought), paid + carried, charged_micros=charged)
        bought, charged = bought + found.energy_wh, charged + found.cost_micros
        carried = found.left_micros
    assert charged + carried == sum(payments)
    once = buy(COMPILED, month(0), sum(payments), charged_micros=0)
    assert (once.energy_wh, once.cost_micros) == (bought, charged)


def test_the_fee_of_the_month_is_taken_first() -> None:
    assert total(0) == 5_750_000
    short = buy(COMPILED, month(0), 5_740_000, charged_micros=0)
    assert (short.energy_wh, short.cost_micros, short.left_micros) == (0, 0, 5_740_000)
    # 14.6625 with tax pays 50 kWh: 7.50 + 5.00 + 0.26 (3.5 %) = 12.76, and 15 % of it 1.91
    full = buy(COMPILED, month(0), 14_670_000, charged_micros=0)
    assert (full.energy_wh, full.cost_micros, full.left_micros) == (50_000, 14_670_000, 0)


def test_purchases_climb_the_ladder() -> None:
    later = buy(COMPILED, month(50_000), 23_000_000, charged_micros=total(50_000))
    first = buy(COMPILED, month(0), 23_000_000 + total(0), charged_micros=0)
    assert later.energy_wh < first.energy_wh


def test_the_largest_purchase_is_bounded() -> None:
    found = buy(COMPILED, month(0), 10**15, charged_micros=0)
    assert found.energy_wh == TARIFF.bounds.energy_wh
    assert found.left_micros > 0


def test_energy_with_hours_cannot_be_sold_in_advance() -> None:
    hours = compile_tariff(read_tariff(shipped("zj-household-tou")), "x")
    with pytest.raises(RefusedError, match="by its hour"):
        buy(hours, dataclasses.replace(month(0), energy_wh=(0, 0)), 1, charged_micros=0)
