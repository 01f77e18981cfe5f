"""The settlement of an end without a database: its table, walked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.bills.rules import ending
from billing.bills.rules.ending import MOVES, EndEvent, EndState
from protocols.errors import RefusedError


def test_every_pair_of_state_and_event_is_in_the_table_or_refused() -> None:
    for state in EndState:
        for event in EndEvent:
            if (state, event) in MOVES:
                assert ending.moved(state, event, "SA-1") is MOVES[state, event]
            else:
                with pytest.raises(RefusedError) as refused:
                    ending.moved(state, event, "SA-1")
                assert refused.value.refusal == "ending.state"
    assert set(MOVES.values()) == set(EndState)


@given(st.sampled_from(list(EndState)), st.integers(-(10**12), 10**12))
def test_what_is_left_alone_says_whether_it_is_given_or_asked(state: EndState, left: int) -> None:
    after = ending.moved(state, ending.assessed(left), "SA-1")
    if left > 0:
        assert after is EndState.REFUND_DUE
    elif left < 0:
        assert after is EndState.DEMANDED
    else:
        assert after in {EndState.SETTLED, EndState.REFUNDED}
