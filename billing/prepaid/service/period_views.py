"""What a balance under a tariff of periods says beside its figures: price, step, what is hidden."""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from billing.prepaid import rules
from billing.prepaid.model import States
from billing.prepaid.rules.hours import periods_at
from billing.prepaid.rules.periods import marginal_price, price_uses, told_ladder
from billing.prepaid.service import versions
from billing.prepaid.service.registers import Registers
from billing.rating.model import CompiledTariff
from billing.tariffs.model import Width
from cloud.store.db import Connection
from protocols.timeline import from_ms, to_ms


@dataclass(frozen=True, slots=True)
class Told:
    """The price of the next kWh and where the next step begins, None where that is no number."""

    price_micros_per_kwh: int
    next_tier_wh: int | None


def told_of(
    conn: Connection, tariff: CompiledTariff, digest: str, found: Registers, tier: int
) -> Told:
    """Return what is told of the first row's price; by hours it is that of the newest hour."""
    uses = found.uses
    steps = tariff.ladder if uses is None else told_ladder(tariff)
    following = int(steps.hi[tier - 1]) if tier < len(steps.hi) else None
    if uses is None:
        return Told(int(steps.price[tier - 1]), following)
    at = np.array([int(found.at_ms[0])], dtype=np.int64)
    minute = np.array([60], dtype=np.int64)
    period = int(periods_at(versions.file_of(conn, digest), at, minute)[0])
    yearly = steps.reset == "calendar_year" and steps.widths == (Width.FIXED,)
    return Told(marginal_price(tariff, uses, 0, max(0, period)), following if yearly else None)


def hidden_fee(tariff: CompiledTariff, states: States, found: Registers, *, now: datetime) -> int:
    """
    Return the most that may be owed beyond what is priced, for a single agreement's states.

    What a register says beyond the known hours is priced in the dearest TouPeriod; where no
    register came for too long, the largest plausible use is added.
    """
    assert found.uses is not None
    assert found.ahead_wh is not None
    assert found.ahead_ms is not None
    hidden, newest = int(found.ahead_wh[0]), int(found.ahead_ms[0])
    if newest < to_ms(now - rules.MISSING_AFTER):
        hidden += rules.largest_plausible_wh(
            int(states.contract_w[0]), since=from_ms(newest), now=now
        )
    used = found.uses.energy[0]
    hidden = max(0, min(hidden, tariff.limits.energy_wh - sum(used)))
    if not hidden:
        return 0
    asked = [used] + [
        tuple(wh + hidden * (n == period) for n, wh in enumerate(used))
        for period in range(len(used))
    ]
    many = replace(
        found.uses, row=np.zeros(len(asked), dtype=np.int64),
        open=[found.uses.open[0]] * len(asked), energy=asked,
        upto=[found.uses.upto[0]] * len(asked),
    )  # fmt: skip
    fees = price_uses(tariff, many).fee
    return max(0, int(fees[1:].max()) - int(fees[0]))
