"""Instalments without a database: shares that sum, a table walked, what goes back."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import billing.bills
from billing.bills.rules import plans
from billing.bills.rules.plans import MOVES, Parts, PlanEvent, PlanState
from billing.ledger.service import ORDER
from protocols.errors import RefusedError

RULES = plans.parse((Path(billing.bills.__file__).parent / "plan_rules.json").read_text("utf-8"))
HOME = RULES["household", "CNY"]
YUAN = 1_000_000
amounts = st.integers(1, 10**12)
days = st.dates(date(2024, 1, 1), date(2030, 12, 31))


@pytest.mark.req("G11")
@given(amounts, st.integers(0, 10**12), st.integers(1, 24), days)
def test_shares_sum_to_the_debt_exactly_in_the_order_of_their_days(
    total: int, first: int, count: int, signed_on: date
) -> None:
    first = min(first, total - 1)
    shares = plans.schedule(total, first, count, signed_on=signed_on, terms=HOME)
    assert sum(share.amount_micros for share in shares) == total
    assert all(share.amount_micros > 0 for share in shares)
    due = [share.due_on for share in shares]
    assert due == sorted(set(due))
    equal = [share.amount_micros for share in shares if 0 < share.seq < count]
    assert len(set(equal)) <= 1
    assert all(amount % HOME.step_micros == 0 for amount in equal)


def test_a_day_that_a_month_lacks_is_its_last_and_comes_back() -> None:
    shares = plans.schedule(400 * YUAN, 0, 3, signed_on=date(2026, 1, 31), terms=HOME)
    assert [share.due_on for share in shares] == [
        date(2026, 2, 28), date(2026, 3, 31), date(2026, 4, 30),
    ]  # fmt: skip
    assert [share.amount_micros for share in shares] == [133_330_000, 133_330_000, 133_340_000]
    assert plans.months_after(date(2026, 12, 31), 2) == date(2027, 2, 28)


def test_every_pair_of_state_and_event_is_in_the_table_or_refused() -> None:
    # money may be taken back: paid is the one end that is not the last word
    ends = set(PlanState) - plans.OPEN - {PlanState.PAID}
    for state in PlanState:
        for event in PlanEvent:
            if (state, event) in MOVES:
                assert state not in ends
                assert plans.moved(state, event, 1) is MOVES[state, event]
            else:
                with pytest.raises(RefusedError) as refused:
                    plans.moved(state, event, 1)
                assert refused.value.refusal == "plan.state"
    reached = {PlanState.PROPOSED} | set(MOVES.values())
    assert reached == set(PlanState)


@pytest.mark.parametrize(
    ("total", "first", "count", "code"),
    [
        (0, 0, 1, "plan.no_debt"),
        (1000, 100, 0, "plan.terms_unfit"),
        (1000, 100, 25, "plan.terms_unfit"),
        (1000, 99, 2, "plan.terms_unfit"),
        (1000, 1000, 2, "plan.terms_unfit"),
        (1000, 100, 19, "plan.terms_unfit"),
    ],
)
def test_shares_beyond_the_terms_are_refused(total: int, first: int, count: int, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        plans.check_terms(total * YUAN, first * YUAN, count, HOME)
    assert refused.value.refusal == code
    plans.check_terms(1000 * YUAN, 100 * YUAN, 18, HOME)


@given(amounts, st.integers(0, 10**12), st.integers(1, 12), st.integers(0, 500))
def test_a_plan_is_missed_only_when_money_for_a_day_past_its_grace_is_lacking(
    total: int, paid: int, count: int, later: int
) -> None:
    signed = date(2026, 1, 31)
    shares = plans.schedule(total, 0, count, signed_on=signed, terms=HOME)
    today, paid = signed + timedelta(days=later), min(paid, total)
    found = plans.standing(
        shares, asked_micros=total, unpaid_micros=total - paid, today=today, terms=HOME
    )
    grace = timedelta(days=HOME.grace_days)
    wanted = sum(share.amount_micros for share in shares if share.due_on + grace < today)
    assert (found.missed is not None) == (paid < wanted)
    assert found.complete == (paid == total)
    looked = plans.next_look(shares, asked=len(shares), paid_micros=paid, terms=HOME)
    assert (looked is None) == found.complete
    if looked is not None and found.missed is None:
        assert looked > today


@given(st.tuples(*[st.integers(0, 10**9)] * 4), st.integers(0, 4 * 10**9))
def test_what_goes_back_is_the_debt_less_what_was_paid_part_by_part(
    sums: tuple[int, int, int, int], paid: int
) -> None:
    parts = Parts(ar_energy=sums[0], ar_penalty=sums[1], ar_connection=sums[2], prepaid=sums[3])
    paid = min(paid, parts.total)
    left = plans.unpaid_parts(parts, paid, ORDER)
    assert left.total == parts.total - paid
    for name in ("ar_energy", "ar_penalty", "ar_connection", "prepaid"):
        assert 0 <= getattr(left, name) <= getattr(parts, name)
    assert left.prepaid in (0, parts.prepaid) or left.total == left.prepaid


def test_terms_are_kept_as_they_were() -> None:
    assert plans.terms_from_plain(plans.terms_as_plain(HOME)) == HOME
    assert plans.drifted(1000, 1051, HOME)
    assert not plans.drifted(1000, 950, HOME)
