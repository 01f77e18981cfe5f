"""What a concentrator tells beside its presence is taken as far as it is sane."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.agent.arriving import told_beside

_JSON = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.lists(st.integers(), max_size=2)
)  # fmt: skip
_NAMES = st.sampled_from(["online", "waiting", "silent", "missing_s", "clock", "full", "other"])


@pytest.mark.req("A8")
def test_the_backlog_is_kept_as_told() -> None:
    state = {"online": True, "boot": 7, "waiting": 17, "silent": 2, "clock": "holdover", "x": "y"}
    assert told_beside(state) == {"waiting": 17, "silent": 2, "clock": "holdover", "boot": 7}


def test_a_will_tells_nothing_of_the_backlog() -> None:
    assert told_beside({"online": False, "boot": 7}) == {}


@given(st.dictionaries(_NAMES, _JSON))
def test_whatever_is_told_can_be_stored_and_read_back(state: dict[str, object]) -> None:
    told = told_beside(state)
    assert json.loads(json.dumps(told)) == told
    for value in told.values():
        assert len(value) <= 40 if isinstance(value, str) else -(2**63) <= value < 2**63
