"""What simply continues is told from what leaves gaps, as the rule that knows all gaps says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloud.vee.rules import Coverage, extend
from cloud.vee.rules.arrived import joins, series_of

STEP = 900_000
SETS = st.sets(st.integers(0, 12), min_size=1, max_size=8)


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([3, 4]), SETS), min_size=1, max_size=5,
        unique_by=lambda row: row[:2],
    ),
    known=st.dictionaries(
        st.tuples(st.integers(0, 2), st.sampled_from([3, 4])),
        st.tuples(st.integers(0, 9), st.integers(0, 3)),
    ),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_a_series_that_joins_lacks_nothing_and_the_others_are_looked_at(
    rows: list[tuple[int, int, set[int]]], known: dict[tuple[int, int], tuple[int, int]], seed: int
) -> None:
    columns = [
        (meter, channel, slot * STEP, 900) for meter, channel, slots in rows for slot in slots
    ]
    shuffled = np.array(columns, dtype=np.int64)
    np.random.default_rng(seed).shuffle(shuffled)
    series = series_of(*shuffled.T)
    keys = list(zip(series.meter.tolist(), series.channel.tolist(), strict=True))
    assert keys == sorted((meter, channel) for meter, channel, _ in rows)
    reach = [known.get(key) for key in keys]
    first = np.array([each[0] * STEP if each else 0 for each in reach])
    newest = np.array([(each[0] + each[1]) * STEP if each else 0 for each in reach])
    found = joins(
        series, first, newest, np.array([STEP if each else 0 for each in reach]),
        np.array([each is not None for each in reach]),
    )  # fmt: skip
    for n, key in enumerate(keys):
        mine = next(slots for meter, channel, slots in rows if (meter, channel) == key)
        assert series.starts_of(n).tolist() == sorted(slot * STEP for slot in mine)
        before = None
        if reach[n] is not None:
            before = Coverage(first=int(first[n]), newest=int(newest[n]), step=STEP)
        after = extend(before, series.starts_of(n), STEP)
        if found[n]:
            assert after.missing == ()
            assert after.first == (min(first[n], series.low[n]) if before else series.low[n])
            assert after.newest == (max(newest[n], series.high[n]) if before else series.high[n])
        elif before is None:
            assert after.missing
