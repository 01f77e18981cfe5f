"""The kernel against the oracle on tariffs of every kind, and what must hold of any of them."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from billing.rating.model import PeriodUse
from billing.rating.rules import kernel
from billing.rating.rules.columns import columns_of
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.oracle import oracle_charges
from billing.rating.rules.trace import trace_of
from billing.tariffs.model import Tariff
from tests.unit.billing.rating_kit import tariffs, uses


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
