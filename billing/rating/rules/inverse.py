"""
Money to energy: how many Wh an amount buys, over steps, taxes and fees.

The total of a use is asked of the one kernel, so what is granted never costs more than was paid,
whatever the lines. Fees due and taxes are inside the totals compared; Wh are truncated to the step
of a token, and the money that is left stays the buyer's.
"""

from dataclasses import dataclass, replace

from billing.rating.model import CompiledTariff, PeriodUse
from billing.rating.rules.kernel import price_uses
from billing.tariffs.model import Refusal
from protocols.errors import RefusedError

_GUESSES = 64
"""Uses priced at a time: the kernel takes columns, and four rounds find one in ten million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What an amount buys: energy, its cost with all taxes and fees due, and the money left."""

    energy_wh: int
    cost_micros: int
    left_micros: int


def buy(
    tariff: CompiledTariff,
    bought: PeriodUse,
    paid_micros: int,
    *,
    charged_micros: int,
    token_wh: int = 100,
) -> Purchase:
    """
    Return what `paid_micros` buys on top of what was `bought` before in this period.

    Purchases climb the ladder, not use. `charged_micros` is what was charged for `bought`; fees
    that its total holds beyond that are taken first, and when they take all, nothing is bought
    and the money is left. Raises: RefusedError `tariffs.unsupported` where energy has TouPeriods:
    a purchase does not know its hour.
    """
    if len(tariff.periods) > 1:
        raise RefusedError(
            Refusal.UNSUPPORTED,
            f"{tariff.code} prices energy by its hour, which a purchase does not know",
            fix="sell energy by a tariff without TouPeriods, or keep a money balance",
        )
    if paid_micros < 0 or token_wh < 1:
        raise ValueError("an amount to buy for is 0 or more, a token's step 1 Wh or more")
    room = charged_micros + paid_micros
    low, high = -1, max(tariff.limits.energy_wh - sum(bought.energy_wh), 0) // token_wh
    while low < high:
        span = high - low
        guesses = sorted({low + -(-span * n // _GUESSES) for n in range(1, _GUESSES + 1)})
        totals = _totals(tariff, bought, [guess * token_wh for guess in guesses])
        beyond = next((n for n, total in enumerate(totals) if total > room), None)
        if beyond is None:
            low = high
        else:
            low, high = (guesses[beyond - 1] if beyond else low), guesses[beyond] - 1
    if low < 0:
        return Purchase(energy_wh=0, cost_micros=0, left_micros=paid_micros)
    cost = _totals(tariff, bought, [low * token_wh])[0] - charged_micros
    return Purchase(energy_wh=low * token_wh, cost_micros=cost, left_micros=paid_micros - cost)


def _totals(tariff: CompiledTariff, bought: PeriodUse, more: list[int]) -> list[int]:
    """Return the totals with so much more bought."""
    before = sum(bought.energy_wh)
    uses = [replace(bought, energy_wh=(before + wh,)) for wh in more]
    totals: list[int] = price_uses(tariff, uses).total.tolist()
    return totals
