"""Stretches: each lacking slot in just one, whole between two registers, the same from any side."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloud.vee.rules.stretches import days_touched, stretches_of

SLOTS = 40
MASK = st.lists(st.booleans(), min_size=SLOTS, max_size=SLOTS).map(np.array)
BORDERS = st.sets(st.integers(0, SLOTS), max_size=6).map(sorted)


@given(lacking=MASK, borders=BORDERS, limit=st.integers(1, SLOTS), longest=st.integers(2, SLOTS))
def test_each_lacking_slot_is_in_one_stretch_under_its_own_registers(
    lacking: "np.ndarray[tuple[int], np.dtype[np.bool_]]", borders: list[int], limit: int,
    longest: int,
) -> None:  # fmt: skip
    found = stretches_of(lacking, borders, limit=limit, longest=longest)
    owned = np.zeros(SLOTS, dtype=np.int64)
    for each in found:
        slots = np.flatnonzero(lacking[: each.end])
        mine = slots[slots >= each.first]
        owned[mine] += 1
        assert lacking[each.first]
        assert lacking[each.end - 1]
        assert each.end <= limit
        if each.anchored:
            assert {each.low, each.high} <= set(borders)
            assert not [b for b in borders if each.low < b < each.high]
            assert each.low <= each.first < each.end <= each.high <= each.low + longest
            assert not each.open
        else:
            assert len(mine) == each.end - each.first, "a free one is one run"
            assert (each.low, each.high) == (each.first, each.end)
            assert each.open == (each.end == limit)
            around = [b for b in borders if b <= each.first][-1:] + [
                b for b in borders if each.end <= b <= limit
            ][:1]
            assert len(around) < 2 or around[1] - around[0] > longest
    assert owned[:limit].tolist() == lacking[:limit].astype(int).tolist()
    assert not owned[limit:].any()


@given(lacking=MASK, borders=BORDERS, cut=st.integers(0, 10))
def test_a_stretch_is_the_same_in_every_window_that_holds_it(
    lacking: "np.ndarray[tuple[int], np.dtype[np.bool_]]", borders: list[int], cut: int
) -> None:
    whole = stretches_of(lacking, borders, limit=SLOTS, longest=10)
    part = stretches_of(
        lacking[cut:], [b - cut for b in borders if b >= cut], limit=SLOTS - cut, longest=10
    )
    # eleven slots after the cut nothing within reach is out of sight any more
    seen = {
        (each.first + cut, each.end + cut, each.low + cut, each.high + cut, each.anchored)
        for each in part
        if each.first >= 11
    }
    known = {(e.first, e.end, e.low, e.high, e.anchored) for e in whole if e.first >= cut + 11}
    runs_over = {e for e in seen ^ known if not e[4] and lacking[max(0, e[0] - 1)]}
    assert seen ^ known == runs_over


def test_the_slot_after_a_stretch_belongs_to_it_even_before_its_day_is_known() -> None:
    lacking = np.zeros(8, dtype=np.bool_)
    lacking[6:] = True
    day_of = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    (open_,) = stretches_of(lacking, [], limit=8, longest=8)
    assert open_.open
    assert days_touched(open_, day_of) == (1, 2)
    (anchored,) = stretches_of(lacking, [2, 8], limit=8, longest=8)
    assert (anchored.low, anchored.high, anchored.anchored) == (2, 8, True)
    assert days_touched(anchored, day_of) == (0, 2)
