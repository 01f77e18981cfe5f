"""The kernel against the oracle on tariffs of every kind, and what must hold of any of them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from billing.rating.model import PeriodUse, UseColumns
from billing.rating.rules import fused, kernel
from billing.rating.rules.columns import columns_of
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.oracle import oracle_charges
from billing.rating.rules.trace import trace_of
from billing.rating.service import price_columns
from billing.tariffs.model import Tariff
from tests.benchmarks.money import bare
from tests.benchmarks.money import tariff as full_tariff
from tests.unit.billing.rating_kit import tariffs, uses

FULL = full_tariff()
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
"""All but explaining, which traces every line that runs and takes minutes here."""


@pytest.mark.req("C4", "C7", "G1", "G5")
@settings(max_examples=100, phases=PHASES, deadline=None)
@given(tariffs(), st.lists(uses(), min_size=1, max_size=3))
def test_kernel_and_oracle_agree_on_every_line(tariff: Tariff, found: list[PeriodUse]) -> None:
    compiled = compile_tariff(tariff, "x")
    charges = kernel.price_uses(compiled, found)
    for column, use in enumerate(found):
        second = oracle_charges(tariff, use)
        assert charges.lines[:, column].tolist() == list(second.lines.values())
        assert int(charges.total[column]) == second.total


@pytest.mark.req("G1")
@settings(max_examples=60, phases=PHASES, deadline=None)
@given(tariffs(), uses())
def test_the_trace_adds_up_line_by_line(tariff: Tariff, use: PeriodUse) -> None:
    compiled = compile_tariff(tariff, "x")
    charges = kernel.price_uses(compiled, [use])
    rows = trace_of(compiled, use)
    assert sum(row.amount_micros for row in rows if row.counts) == int(charges.total[0])
    for number, line in enumerate(compiled.lines):
        found = sum(row.amount_micros for row in rows if row.line == line.head.id)
        assert found == int(charges.lines[number, 0])


@settings(max_examples=40, phases=PHASES, deadline=None)
@given(tariffs(), st.lists(uses(), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_accounts_means_nothing(tariff: Tariff, found: list, random) -> None:
    compiled = compile_tariff(tariff, "x")
    shuffled = list(enumerate(found))
    random.shuffle(shuffled)
    before = kernel.price_uses(compiled, found).lines
    after = kernel.price_uses(compiled, [use for _, use in shuffled]).lines
    assert after.tolist() == before[:, [n for n, _ in shuffled]].tolist()


@settings(max_examples=60, phases=PHASES, deadline=None)
@given(tariffs(("marginal",)), st.lists(uses(), min_size=1, max_size=4))
def test_the_fused_loops_are_twins_of_the_plain_ones(tariff: Tariff, found: list) -> None:
    compiled = compile_tariff(tariff, "x")
    columns = columns_of(compiled, found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "SMALLEST", 10**9)
        plain = kernel.price(compiled, columns)
        patch.setattr(fused, "SMALLEST", 1)
        patch.setattr(fused, "numba", fused.numba or object())
        fast = kernel.price(compiled, columns)
    assert fast.lines.tolist() == plain.lines.tolist()
    assert fast.total.tolist() == plain.total.tolist()


@settings(max_examples=40, phases=PHASES, deadline=None)
@given(tariffs(), st.lists(uses(), min_size=1, max_size=3))
def test_the_wide_path_says_the_same(tariff: Tariff, found: list) -> None:
    compiled = compile_tariff(tariff, "x")
    columns = columns_of(compiled, found)
    wide = kernel.price(dataclasses.replace(compiled, wide=True), columns)
    assert wide.lines.tolist() == kernel.price(compiled, columns).lines.tolist()


def test_chunks_and_threads_change_nothing() -> None:
    compiled = compile_tariff(FULL, "x")
    energy = np.random.default_rng(7).integers(0, 300_000, (4, 2 * kernel.CHUNK + 77))
    whole = kernel.price(compiled, UseColumns(energy_wh=energy))
    threads = price_columns(compiled, UseColumns(energy_wh=energy), threads=3)
    one = kernel.price(compiled, UseColumns(energy_wh=np.ascontiguousarray(energy[:, -5:])))
    assert (threads.lines == whole.lines).all()
    assert (one.lines == whole.lines[:, -5:]).all()
    assert (bare(energy) == whole.total).all()
