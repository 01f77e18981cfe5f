"""Packed days: whatever goes in comes out, alone or as a row of a matrix, in few octets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.rules import packing, unpacking
from cloud.ingest.rules.packing import DAY_MS, Readings

NUMBER = st.one_of(
    st.integers(0, 10), st.integers(0, 70_000), st.integers(0, 10**15), st.just(2**40)
)


def int64(values: object) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@st.composite
def days(draw: st.DrawFn, size: int | None = None) -> Readings:
    """Readings of one day: on a whole grid, on part of one, or anywhere."""
    n = size or draw(st.sampled_from([1, 2, 3, 24, 48, 96]))
    shape = draw(st.sampled_from(["whole", "grid", "any"]))
    if shape == "any":
        at = sorted(draw(st.sets(st.integers(0, DAY_MS - 1), min_size=n, max_size=n)))
    else:
        step = DAY_MS // (n if shape == "whole" else n + 1)
        first = 0 if shape == "whole" else draw(st.integers(0, step))
        at = [first + k * step for k in range(n)]
    few = st.integers(0, 2)
    columns = st.lists(NUMBER, min_size=n, max_size=n)
    batch = draw(st.lists(few, min_size=n, max_size=n)) if draw(st.booleans()) else [7] * n
    late = draw(st.sampled_from([0, -5_000, 2**33]))
    return Readings(
        at_ms=int64(at), wh=int64(draw(columns)),
        status=int64(draw(columns)) if draw(st.booleans()) else int64([0] * n),
        received_ms=int64(batch) * 1000 + late, batch=int64(batch) + draw(NUMBER),
    )  # fmt: skip


def same(one: Readings, other: Readings) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("at_ms", "wh", "status", "received_ms", "batch")
    )


@given(day=days())
def test_a_day_comes_out_as_it_went_in(day: Readings) -> None:
    body = packing.encode(day)
    assert same(packing.decode(body), day)
    assert packing.readings_in(body) == len(day)


@given(rows=st.lists(days(size=5), min_size=1, max_size=12))
def test_a_matrix_is_packed_as_its_rows_are(rows: list[Readings]) -> None:
    matrix = Readings(
        **{
            name: np.stack([getattr(row, name) for row in rows])
            for name in ("at_ms", "wh", "status", "received_ms", "batch")
        }
    )
    bodies: dict[int, bytes] = {}
    for places, packed in packing.encode_matrix(matrix):
        for place, octets in zip(places.tolist(), packed, strict=True):
            assert place not in bodies
            bodies[place] = octets.tobytes()
    assert [bodies[n] for n in range(len(rows))] == [packing.encode(row) for row in rows]


@given(groups=st.lists(days(), min_size=1, max_size=8))
def test_groups_of_many_sizes_are_each_packed_once(groups: list[Readings]) -> None:
    line = Readings(
        **{
            name: np.concatenate([getattr(row, name) for row in groups])
            for name in ("at_ms", "wh", "status", "received_ms", "batch")
        }
    )
    found: dict[int, Readings] = {}
    for places, packed in packing.encode_ragged(int64([len(day) for day in groups]), line):
        for place, octets in zip(places.tolist(), packed, strict=True):
            assert place not in found
            found[place] = packing.decode(octets.tobytes())
    assert all(same(found[n], day) for n, day in enumerate(groups))
    assert len(found) == len(groups)


@given(
    groups=st.lists(days(), min_size=1, max_size=8),
    alike=st.lists(days(size=5), max_size=9),
    times=st.integers(1, 6),
    batches=st.booleans(),
)
def test_many_bodies_at_once_are_read_as_each_by_itself(
    groups: list[Readings], alike: list[Readings], times: int, batches: bool
) -> None:
    whole = [*groups, *alike] * times
    bodies = [packing.encode(day) for day in whole]
    seen: list[int] = []
    for found in unpacking.decode_many(bodies, batches=batches):
        shape = found.wh.shape
        for n, row in enumerate(found.rows.tolist()):
            seen.append(row)
            one = whole[row]
            assert np.broadcast_to(found.at_ms, shape)[n].tolist() == one.at_ms.tolist()
            assert found.wh[n].tolist() == one.wh.tolist()
            status = np.zeros(shape) if found.status is None else found.status
            assert status[n].tolist() == one.status.tolist()
            if batches:
                assert found.batch is not None
                assert np.broadcast_to(found.batch, shape)[n].tolist() == one.batch.tolist()
    assert sorted(seen) == list(range(len(bodies)))


@given(values=st.lists(st.integers(-(2**61), 2**61), max_size=30))
def test_a_column_by_itself_comes_out_as_it_went_in(values: list[int]) -> None:
    body = b"x" + packing.write_column(int64(values)) + b"rest"
    found, place = packing.read_column(body, 1, len(values))
    assert found.tolist() == values
    assert body[place:] == b"rest"


@pytest.mark.parametrize(("slots", "octets"), [(48, 1.5), (96, 2.3)])
def test_a_profile_day_of_a_home_is_a_few_octets_a_reading(slots: int, octets: float) -> None:
    wh = int64([(7 * n * n) % 900 for n in range(slots)])
    fits = wh if slots == 96 else wh % 250
    day = Readings(
        at_ms=np.arange(slots) * (DAY_MS // slots), wh=fits, status=wh * 0,
        received_ms=wh * 0 + DAY_MS + 60_000, batch=wh * 0 + 12_345_678,
    )  # fmt: skip
    assert len(packing.encode(day)) / slots < octets
