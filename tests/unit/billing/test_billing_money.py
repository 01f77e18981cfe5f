"""Rounding and reading money: exact, symmetric, and never a float."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import (
    Rounding,
    RoundMode,
    parse_micros,
    round_ratio,
    round_ratio_array,
    to_text,
)

roundings = st.builds(
    Rounding,
    step=st.sampled_from([1, 5, 10_000, 50_000, 1_000_000]),
    mode=st.sampled_from([mode for mode in RoundMode if mode is not RoundMode.NONE]),
)


@given(st.integers(-(10**15), 10**15), st.integers(1, 10**5), roundings)
def test_rounding_is_symmetric_and_lands_on_the_nearest_step(number, denominator, rule) -> None:
    rounded = round_ratio(number, denominator, rule)
    assert rounded == -round_ratio(-number, denominator, rule)
    assert rounded % rule.step == 0
    distance = abs(Fraction(number, denominator) - rounded)
    if rule.mode in {RoundMode.HALF_UP, RoundMode.HALF_EVEN}:
        assert distance <= Fraction(rule.step, 2)
    elif rule.mode is RoundMode.DOWN:
        assert abs(rounded) <= abs(Fraction(number, denominator))
    else:
        assert abs(rounded) >= abs(Fraction(number, denominator))
    assert distance < rule.step or distance == 0


@given(st.lists(st.integers(-(10**13), 10**13), min_size=1), st.integers(1, 10**4), roundings)
def test_the_vector_twin_says_the_same(numbers, denominator, rule) -> None:
    vector = round_ratio_array(np.array(numbers, dtype=np.int64), denominator, rule)
    assert vector.tolist() == [round_ratio(number, denominator, rule) for number in numbers]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("half_up", [1, 2, 3, -1]), ("half_even", [0, 2, 2, 0]), ("down", [0, 1, 2, 0]),
     ("up", [1, 2, 3, -1])],
)  # fmt: skip
def test_halves_go_where_the_mode_says(mode: str, expected: list[int]) -> None:
    rule = Rounding(step=1, mode=RoundMode(mode))
    assert [round_ratio(number, 2, rule) for number in (1, 3, 5, -1)] == expected


def test_without_rounding_a_part_of_a_micro_is_refused() -> None:
    rule = Rounding(step=1, mode=RoundMode.NONE)
    assert round_ratio(6, 2, rule) == 3
    with pytest.raises(ValueError, match="not a whole step"):
        round_ratio(5, 2, rule)
    with pytest.raises(ValueError, match="not a whole step"):
        round_ratio_array(np.array([4, 5], dtype=np.int64), 2, rule)


@given(st.integers(-(10**17), 10**17))
def test_text_and_micros_are_two_spellings_of_one_amount(micros: int) -> None:
    assert parse_micros(to_text(micros)) == micros


@pytest.mark.parametrize(
    "text",
    ["", ".", "1.", ".5", "1,5", "1.2345678", "1e3", "0x1", "١٢", "--1", "+1", " 1", "1 ",
     "1234567890123", "nan"],
)  # fmt: skip
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        parse_micros(text)


def test_a_step_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="step"):
        Rounding(step=0, mode=RoundMode.DOWN)
    with pytest.raises(ValueError, match="denominator"):
        round_ratio(1, 0, Rounding(step=1, mode=RoundMode.DOWN))
