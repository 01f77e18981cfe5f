"""Midnights that nobody read, and use beside history where registers are all there is."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloud.vee.rules import register_days as rules
from cloud.vee.rules.grid import MAX_WH
from cloud.vee.rules.parameters import HighLow
from cloud.vee.rules.register_days import Guess, Midnight, Unread

DAY = 86_400_000
P = HighLow(window_days=7, least_history_days=14, low_permille=500, high_permille=2_000)
READS = st.lists(
    st.tuples(st.integers(0, 60 * DAY), st.integers(0, 10**9)), min_size=0, max_size=20,
    unique_by=lambda each: each[0],
)  # fmt: skip


def rising(reads: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return sorted(at for at, _ in reads), sorted(wh for _, wh in reads)


def columns(at: list[int], wh: list[int]) -> tuple[rules.Int, rules.Int]:
    return np.array(at, dtype=np.int64), np.array(wh, dtype=np.int64)


def test_the_published_rule_of_average_daily_use() -> None:
    """30 days at 612 kWh are 20.4 a day; 3.5 days later 71.4 kWh on the last read."""
    known = Midnight(
        expected=True, present=False, first=(0, 1_000_000), last=(30 * DAY, 1_612_000),
        following=(60 * DAY, 9_000_000),
    )  # fmt: skip
    guess = rules.average_use(known, until_ms=33 * DAY + DAY // 2)
    assert guess == Guess(wh=1_612_000 + 71_400, method="monthly_adu", references=3)


def test_daily_use_is_rounded_to_two_decimals_and_the_sum_truncated() -> None:
    known = Midnight(
        expected=True, present=False, first=(0, 0), last=(3 * DAY, 10_000),
        following=(9 * DAY, 900_000),
    )  # fmt: skip
    # 3.33 kWh a day for a third of a day: 1110 Wh
    assert rules.average_use(known, until_ms=3 * DAY + DAY // 3).wh == 11_110


@given(READS, st.integers(1, 60))
def test_an_estimated_register_lies_between_those_read(
    reads: list[tuple[int, int]], day: int
) -> None:
    at, wh = rising(reads)
    until = day * DAY
    known = rules.midnight_of(
        *columns(at, wh), since_ms=until - DAY, until_ms=until, installed=True
    )
    before = [n for n in range(len(at)) if at[n] <= until]
    assert known.expected == bool(before)
    assert known.present == any(until - DAY < at[n] <= until for n in before)
    if not known.unread:
        return
    guess = rules.average_use(known, until_ms=until)
    after = [n for n in range(len(at)) if at[n] > until]
    if not after:
        assert guess.reason == Unread.NO_LATER
    elif at[before[-1]] - at[before[0]] < DAY:
        assert guess.reason == Unread.LITTLE
    else:
        assert guess.wh is not None
        assert wh[before[-1]] <= guess.wh <= wh[after[0]]
        took = Fraction(at[before[-1]] - at[before[0]], DAY)
        daily = Fraction(wh[before[-1]] - wh[before[0]], 10) / took
        rounded = 10 * int(daily + Fraction(1, 2))
        plain = wh[before[-1]] + int(rounded * Fraction(until - at[before[-1]], DAY))
        assert guess.wh == min(plain, wh[after[0]])
    assert (guess.wh is None) == (guess.method == "")


def test_what_intervals_give_is_refused_beyond_the_next_register() -> None:
    known = Midnight(expected=True, present=False, last=(0, 100), following=(2 * DAY, 150))
    made = rules.from_intervals(known, 150, reason="", intervals=48)
    assert made == Guess(wh=150, method="register_from_intervals", references=49)
    assert rules.from_intervals(known, 151, reason="", intervals=48).reason == Unread.EXCEEDS
    lacking = rules.from_intervals(known, None, reason="interval_missing", intervals=48)
    assert (lacking.wh, lacking.reason) == (None, "interval_missing")
    open_ = Midnight(expected=True, present=False, last=(0, 100))
    assert rules.from_intervals(open_, 150, reason="", intervals=48).reason == Unread.NO_LATER


@given(READS, st.integers(1, 60))
def test_use_beside_history_is_that_of_a_plain_writing(
    reads: list[tuple[int, int]], day: int
) -> None:
    until = day * DAY
    at, wh = rising([each for each in reads if each[0] <= until])
    hits = rules.high_low(*columns(at, wh), P, series=3, until_ms=until)
    assert [(int(v), int(limit)) for v, limit in zip(hits.value, hits.limit, strict=True)] == plain(
        list(zip(at, wh, strict=True)), until
    )


def plain(reads: list[tuple[int, int]], until: int) -> list[tuple[int, int]]:
    old = [each for each in reads if each[0] <= until - P.window_days * DAY]
    if len(old) < 2 or reads[-1] == old[-1]:
        return []
    (far, low), (mid, middle), (near, high) = old[0], old[-1], reads[-1]
    if mid - far < P.least_history_days * DAY or middle == low:
        return []
    share = 1000 * Fraction(high - middle, near - mid) / Fraction(middle - low, mid - far)
    limit = P.high_permille if share > P.high_permille else P.low_permille
    outside = share > P.high_permille or share < P.low_permille
    return [(min(int(share), MAX_WH), limit)] if outside else []
