"""Deposits without a database: what is demanded, what it bears, a table walked."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import billing.bills
from billing.bills.rules import deposits
from billing.bills.rules.deposits import MOVES, Demand, DepositEvent, DepositState, Rate
from protocols.errors import RefusedError

RULES = deposits.parse(
    (Path(billing.bills.__file__).parent / "deposit_rules.json").read_text("utf-8")
)
YUAN = 1_000_000
CENT = 10_000
days = st.dates(date(2024, 1, 1), date(2028, 12, 31))


def test_a_firm_leaves_two_months_and_a_household_nothing() -> None:
    firm, home = RULES.demands["legal", "CNY"], RULES.demands["household", "CNY"]
    assert deposits.amount_of(firm, billed_micros=0, billed_days=0) == 500 * YUAN
    assert deposits.amount_of(firm, billed_micros=3_651 * YUAN, billed_days=365) == 610 * YUAN
    assert deposits.amount_of(home, billed_micros=3_651 * YUAN, billed_days=365) == 0


@given(st.integers(0, 10**12), st.integers(1, 400), st.integers(0, 6), st.integers(1, 10**8))
def test_a_demand_is_whole_steps_and_covers_its_months(
    billed: int, span: int, months: int, step: int
) -> None:
    demand = Demand(months=months, least_micros=7, step_micros=step)
    amount = deposits.amount_of(demand, billed_micros=billed, billed_days=span)
    assert amount % step == 0
    assert amount >= max(7, billed * months * 30 // span)
    assert amount - step < max(7, billed * months * 30 // span)


@given(st.integers(1, 10**12), days, st.integers(0, 900), st.integers(0, 900), st.integers(0, 99))
def test_interest_of_a_span_is_at_most_a_step_less_than_that_of_its_parts_joined(
    amount: int, held: date, first: int, second: int, permille: int
) -> None:
    rates = (
        Rate(valid_from=date(2020, 1, 1), permille_a_year=permille),
        Rate(valid_from=date(2026, 1, 1), permille_a_year=permille + 5),
    )
    middle, end = held + timedelta(days=first), held + timedelta(days=first + second)

    def bore(since: date, until: date) -> int:
        return deposits.interest(amount, held_on=since, until=until, rates=rates, step_micros=CENT)

    parts = bore(held, middle) + bore(middle, end)
    assert 0 <= bore(held, end) - parts <= CENT
    assert bore(held, held) == 0


def test_a_year_at_15_per_mille_is_what_it_says() -> None:
    rates = (Rate(valid_from=date(2020, 1, 1), permille_a_year=15),)
    found = deposits.interest(
        1000 * YUAN, held_on=date(2026, 1, 1), until=date(2027, 1, 1), rates=rates,
        step_micros=CENT,
    )  # fmt: skip
    assert found == 15 * YUAN


def test_every_pair_of_state_and_event_is_in_the_table_or_refused() -> None:
    for state in DepositState:
        for event in DepositEvent:
            if (state, event) in MOVES:
                assert state in deposits.OPEN
                assert deposits.moved(state, event, 1) is MOVES[state, event]
            else:
                with pytest.raises(RefusedError) as refused:
                    deposits.moved(state, event, 1)
                assert refused.value.refusal == "deposit.state"
    assert {DepositState.DEMANDED} | set(MOVES.values()) == set(DepositState)
