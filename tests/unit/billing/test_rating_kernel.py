"""The kernel against the oracle on tariffs of every kind, and what must hold of any of them."""

import dataclasses
import json

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
from billing.tariffs.rules import read_tariff
from tests.benchmarks.money import bare
from tests.benchmarks.money import tariff as full_tariff
from tests.unit.billing.rating_kit import BODY, energy, roundings, tariffs, uses

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
        fused.loops()
        patch.setattr(fused, "INSTALLED", True)  # without numba the loops run as they are written
        fast = kernel.price(compiled, columns)
        patch.setattr(fused, "_NARROW", 0)
        wide = kernel.price(compiled, columns)
    assert fast.lines.tolist() == wide.lines.tolist() == plain.lines.tolist()
    assert fast.total.tolist() == wide.total.tolist() == plain.total.tolist()


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


@st.composite
def climbing(draw: st.DrawFn) -> Tariff:
    """A marginal ladder with a levy and no price below 0."""
    line = draw(energy(("marginal",)).filter(lambda each: each.get("share") != "pro_rata"))
    for step in line["steps"]:
        step["price"] = step["price"].removeprefix("-")
    head = {"label": {"en": "x"}, "ledger_code": "revenue_x", "round": draw(roundings)}
    levy = {**head, "kind": "percent", "id": "levy", "percent": "13", "base": ["line0"]}
    body = {**BODY, "lines": [{**line, **head, "id": "line0"}, levy], "total_round": head["round"]}
    return read_tariff(json.dumps(body).encode())


@settings(max_examples=60, phases=PHASES, deadline=None)
@given(climbing(), uses(), st.lists(st.integers(0, 300_000), min_size=3, max_size=3))
def test_more_use_of_a_marginal_tariff_never_costs_less(tariff, use, more: list[int]) -> None:
    energy_wh = tuple(one + other for one, other in zip(use.energy_wh, more, strict=True))
    larger = dataclasses.replace(use, energy_wh=energy_wh)
    first, second = kernel.price_uses(compile_tariff(tariff, "x"), [use, larger]).total.tolist()
    assert 0 <= first <= second


def test_a_band_that_all_energy_reaches_is_a_jump_and_stays_one() -> None:
    """One Wh more moves all of it into the dearer band: 100 kWh at 1, 100.001 kWh at 2."""
    line = {
        "kind": "energy", "id": "line0", "label": {"en": "x"}, "ledger_code": "revenue_x",
        "scope": {"widths": "fixed", "reset": "period", "mode": "whole_band"},
        "steps": [
            {"over_kwh": "0", "upto_kwh": "100", "price": "1"},
            {"over_kwh": "100", "upto_kwh": None, "price": "2"},
        ],
        "round": {"step": "0.001", "mode": "half_up"},
    }  # fmt: skip
    body = {**BODY, "lines": [line], "total_round": line["round"]}
    compiled = compile_tariff(read_tariff(json.dumps(body).encode()), "x")
    columns = UseColumns(energy_wh=np.array([[50_000, 50_000], [50_000, 50_001], [0, 0]]))
    assert kernel.price(compiled, columns).total.tolist() == [100_000_000, 200_002_000]
