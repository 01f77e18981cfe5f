"""Sharing one payment over a company's accounts: nothing is lost, debts come first, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.payments.rules.sharing import shares


@pytest.mark.req("G22")
@given(st.integers(1, 10**15), st.lists(st.integers(0, 10**14), min_size=1, max_size=40))
def test_shares_add_up_and_pay_debts_in_order(amount: int, debts: list[int]) -> None:
    found = shares(amount, debts)
    assert sum(found) == amount
    assert all(share >= 0 for share in found)
    whole = amount - sum(debts)
    if whole >= 0:
        assert found == [debts[0] + whole, *debts[1:]]
    else:
        paid = [n for n, share in enumerate(found) if share < debts[n]]
        assert all(found[n] == 0 for n in paid[1:]), "one is paid in part at most, later ones not"
        assert all(found[n] == debts[n] for n in range(paid[0]))
