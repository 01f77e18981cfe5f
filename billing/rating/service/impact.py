"""What another tariff would cost accounts: the same use priced by both, by the one kernel."""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

from billing.rating.model import PeriodUse
from billing.rating.rules import kernel
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.impact import Impact, impact_of
from billing.tariffs.model import Tariff

_BATCH = 2_000


def _silent(_periods: int) -> None:
    """Tell nobody."""


def price_by_both(
    old: Tariff, new: Tariff, uses: Iterator[tuple[str, PeriodUse, PeriodUse]], *, top: int,
    told: Callable[[int], None] = _silent,
) -> Impact:  # fmt: skip
    """
    Return what the same use costs by both, account by account; uses of one account add up.

    `told` is told of periods as they are priced. Raises: RefusedError when a bound is not proven.
    """
    compiled = compile_tariff(old, ""), compile_tariff(new, "")
    sums: dict[str, tuple[int, int]] = {}
    while many := list(islice(uses, _BATCH)):
        before = kernel.price_uses(compiled[0], [each for _, each, _ in many]).total.tolist()
        after = kernel.price_uses(compiled[1], [each for _, _, each in many]).total.tolist()
        for (account, _, _), one, other in zip(many, before, after, strict=True):
            held = sums.get(account, (0, 0))
            sums[account] = held[0] + one, held[1] + other
        told(len(many))
    both = np.array(list(sums.values()), dtype=np.int64).reshape(-1, 2)
    return impact_of(list(sums), both[:, 0], both[:, 1], top=top)
