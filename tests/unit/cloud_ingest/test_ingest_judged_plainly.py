"""The short way of judging a batch says what the long way says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.rules import alone
from cloud.ingest.rules.alone import MeterFacts
from protocols.identity import are_names, is_name

NOW = 1_800_000_000_000 // 900_000 * 900_000
HOUR = 3_600_000


def int64(values: object) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@st.composite
def batches(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], MeterFacts]:
    """Rows that are most often all believable, with here and there one that is not."""
    size = draw(st.integers(1, 6))
    interval = draw(st.booleans())
    usual = {
        "channel": 3 if interval else 1, "at_ms": NOW - 2 * HOUR, "seconds": 900 * interval,
        "received_ms": NOW, "raw": 5, "scaler": 0,
    }  # fmt: skip
    odd = {
        "channel": [1, 3, 10, 99],
        "at_ms": [0, NOW - 2 * HOUR + 1, NOW - 40 * HOUR, NOW + 9 * HOUR],
        "seconds": [0, 900, 1800], "received_ms": [0, NOW + HOUR, NOW + 2 * HOUR, NOW - 3 * HOUR],
        "raw": [-1, 0, 10**15, 10**15 + 1, 10**18], "scaler": [1, -1, 30],
    }  # fmt: skip
    columns = {name: [number] * size for name, number in usual.items()}
    for name in draw(st.lists(st.sampled_from(sorted(odd)), max_size=2)):
        columns[name][draw(st.integers(0, size - 1))] = draw(st.sampled_from(odd[name]))
    columns["meter"] = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    some = st.sampled_from([True, True, True, False])
    spans = (int64([NOW - 30 * HOUR, 0]), int64([NOW + HOUR, draw(st.sampled_from([NOW, 2**62]))]))
    facts = MeterFacts(
        known=np.array([True, draw(some)]), mine=np.array([True, draw(some)]),
        max_w=int64([1000, 1000]), rollover_wh=int64([0, draw(st.sampled_from([0, 0, 4]))]),
        step_s=int64([900, draw(st.sampled_from([900, 900, 0]))]),
        layers=(spans,) * draw(st.sampled_from([1, 1, 2])),
    )  # fmt: skip
    return {name: int64(column) for name, column in columns.items()}, facts


@given(batch=batches())
def test_what_is_plain_needs_no_long_way(batch: tuple[dict[str, Any], MeterFacts]) -> None:
    columns, facts = batch
    found = alone.judge(columns, facts, now_ms=NOW, future_ms=HOUR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alone, "_plain", lambda *_: False)
        wanted = alone.judge(columns, facts, now_ms=NOW, future_ms=HOUR)
    assert found[0].tolist() == wanted[0].tolist()
    stored = wanted[0] == 0
    assert found[1][stored].tolist() == wanted[1][stored].tolist()


def test_a_usual_batch_takes_the_short_way() -> None:
    columns = {
        "meter": int64([0, 1]), "channel": int64([3, 3]), "at_ms": int64([NOW - 2 * HOUR] * 2),
        "seconds": int64([900, 900]), "received_ms": int64([NOW, NOW]), "raw": int64([5, 6]),
        "scaler": int64([0, 0]),
    }  # fmt: skip
    facts = MeterFacts(
        known=np.array([True, True]), mine=np.array([True, True]), max_w=int64([1, 1]),
        rollover_wh=int64([0, 0]), step_s=int64([900, 900]),
        layers=((int64([0, 0]), int64([2**62, 2**62])),),
    )  # fmt: skip
    assert alone._plain(columns, facts, NOW, HOUR)


@given(
    texts=st.lists(
        st.one_of(
            st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,10}", fullmatch=True),
            st.text(alphabet="aB9_.-/\n é", max_size=4), st.sampled_from(["x" * 64, "x" * 65]),
            st.just(7),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_many_names_are_names_where_each_is_one(texts: list[Any]) -> None:
    assert are_names(texts) == all(isinstance(text, str) and is_name(text) for text in texts)
