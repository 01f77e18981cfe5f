"""Scalers by integer arithmetic, against exact fractions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.quantities import rescale

RAW = st.integers(-(2**63), 2**63 - 1)


@given(raw=RAW, exponent=st.integers(-18, 18))
def test_a_scaled_value_is_the_nearest_integer_halves_away_from_zero(
    raw: int, exponent: int
) -> None:
    exact = Fraction(raw) * Fraction(10) ** exponent
    scaled = rescale(raw, exponent)
    assert abs(scaled - exact) <= Fraction(1, 2)
    if abs(scaled - exact) == Fraction(1, 2):
        assert abs(scaled) > abs(exact)


@given(raw=RAW, exponent=st.integers(-18, 18))
def test_signs_mirror(raw: int, exponent: int) -> None:
    assert rescale(-raw, exponent) == -rescale(raw, exponent)


@pytest.mark.parametrize(
    ("raw", "exponent", "scaled"),
    [(5, -1, 1), (4, -1, 0), (-5, -1, -1), (15, -1, 2), (7, 3, 7000), (16_777_217, 0, 16_777_217)],
)
def test_by_hand(raw: int, exponent: int, scaled: int) -> None:
    assert rescale(raw, exponent) == scaled


@pytest.mark.parametrize("exponent", [-19, 19, 128])
def test_a_scaler_that_no_meter_has_is_refused(exponent: int) -> None:
    with pytest.raises(ValueError, match="scaler"):
        rescale(1, exponent)
