"""Who is calculated when: a fleet over a month, and the bound that nobody waits longer than it."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.prepaid.rules.selection import (
    daily_fee,
    days_left,
    distance_to_line,
    fee_of_ladder,
    fee_of_period,
    next_look,
    spread,
)
from billing.rating import service as rating
from billing.rating.model import PeriodUse
from billing.rating.rules import kernel
from billing.tariffs import service as tariffs
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS

CYCLE = 15 * 60_000
HOUR = 4 * CYCLE
DAY = 24 * HOUR
YUAN = 1_000_000
PERIODS = {
    code: rating.prove(tariffs.shipped(code))[1]
    for code in ("zj-household-tou", "uk-price-cap-2025q3")
}
LADDER = rating.prove(tariffs.shipped("cq-household-lv"))[1]


def column(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def full(like: np.ndarray, value: int) -> np.ndarray:
    return np.full(len(like), value, dtype=np.int64)


def looked(left, year, register_ms, *, now, unseen=HOUR, watts=8_000, limit=None, daily=None):
    daily = full(left, 0) if daily is None else daily
    limit = full(left, DAY) if limit is None else limit
    return next_look(
        left=left, lines=(full(left, 20 * YUAN), full(left, 0)), register_ms=register_ms,
        contract_w=full(left, watts), fee_ahead=fee_of_ladder(LADDER, year),
        unseen_ms=full(left, unseen), daily=daily,
        horizon_days=full(left, 1), limit_ms=limit, cycle_ms=CYCLE, now_ms=now,
    )  # fmt: skip


def test_far_from_any_line_once_a_day_and_near_one_within_the_time_unseen() -> None:
    left = column(900 * YUAN, 20 * YUAN, 1, -5 * YUAN)
    found = looked(left, full(left, 0), full(left, 0), now=0)
    assert found.tolist() == [DAY, HOUR - CYCLE, HOUR - CYCLE, DAY]


def test_who_lasts_less_than_the_horizon_is_looked_at_while_the_line_is_far_by_power() -> None:
    left = column(60 * YUAN, 60 * YUAN, 60 * YUAN)
    daily = column(0, 39 * YUAN, 41 * YUAN)
    found = looked(left, full(left, 0), full(left, 0), now=0, watts=2_000, daily=daily)
    assert found[0] == found[1] > 12 * HOUR
    assert found[2] == HOUR


@settings(deadline=None)
@given(known=st.integers(0, 10**9), fee=st.integers(0, 10**9), minutes=st.integers(0, 10**5))
def test_an_average_lies_between_what_was_known_and_what_is_used_now(known, fee, minutes) -> None:
    ms = minutes * 60_000
    found = int(daily_fee(column(known), column(fee), column(ms))[0])
    now = fee * 1440 // max(minutes, 1)
    if not ms:
        assert found == known
    elif not known or minutes >= 14 * 1440:
        assert found == now
    else:
        assert min(known, now) <= found <= max(known, now)


@settings(deadline=None)
@given(
    left=st.integers(-(10**8), 10**9), year=st.integers(0, 9_000_000),
    watts=st.integers(100, 50_000), late=st.integers(0, 3 * DAY),
    unseen=st.sampled_from([CYCLE, HOUR, 6 * HOUR]),
)  # fmt: skip
def test_contract_power_cannot_cross_a_line_longer_unseen_than_said(
    left, year, watts, late, unseen
) -> None:
    now = 30 * DAY
    at = now - late
    look = int(
        looked(column(left), column(year), column(at), now=now, unseen=unseen, watts=watts)[0]
    )
    assert now + CYCLE <= look <= now + DAY
    wh = watts * max(0, look - unseen - at) // HOUR
    fee = kernel.fee_between(LADDER, year, year + wh)
    distance = int(distance_to_line(column(left), (column(20 * YUAN), column(0)))[0])
    # what is looked at as soon as may be is seen one cycle later at most
    assert fee <= distance or look == now + CYCLE


def test_a_balance_lasts_for_whole_days_and_nobody_guesses_without_use() -> None:
    assert days_left(column(100, 5, -3, 9), column(10, 10, 10, 0)).tolist() == [10, 0, 0, -1]


@pytest.mark.parametrize("code", list(PERIODS))
@settings(deadline=None)
@given(data=st.data())
def test_a_bound_of_periods_is_never_below_what_they_cost(code: str, data) -> None:
    tariff = PERIODS[code]
    ahead = fee_of_period(tariff)
    assert ahead is not None
    start = date(2026, 11, 1)
    days = data.draw(st.integers(1, 27))
    energies = st.tuples(*[st.integers(0, 400_000)] * len(tariff.periods))
    before, more = data.draw(energies), data.draw(energies)
    after = tuple(one + other for one, other in zip(before, more, strict=True))
    climbed = {"calendar_year": (data.draw(st.integers(0, 5_000_000)),) + (0,) * (len(before) - 1)}
    if code != "zj-household-tou":
        climbed = {}

    def use(energy: tuple[int, ...], upto: int) -> PeriodUse:
        return PeriodUse(
            start=start, end=start + timedelta(days=upto), days=upto * DAY_PARTS,
            months=upto * MONTH_PARTS // 30, whole_days=upto * DAY_PARTS,
            whole_months=upto * MONTH_PARTS // 30, energy_wh=energy, quality="actual",
            closing=False, before_wh=climbed,
        )  # fmt: skip

    now, then = kernel.price_uses(tariff, [use(before, days), use(after, days + 1)]).total
    assert int(then) - int(now) <= int(ahead(column(sum(more)), column(DAY))[0])


class Fleet:
    """Households of a month: each uses between nothing and its contract power, and pays late."""

    def __init__(self, size: int, seed: int) -> None:
        self.chance = np.random.default_rng(seed)
        self.year = self.chance.integers(0, 3_000_000, size)
        self.left = self.chance.integers(-20, 300, size) * YUAN
        self.habit = self.chance.gamma(2.0, 3_000.0, size) / 96  # Wh in a cycle
        self.fee = kernel.fee_at(LADDER, self.year)

    def use(self, cycle: int) -> None:
        hour = cycle % 96 / 4
        hump = 0.4 + 1.6 * np.exp(-(((hour - 20) / 3.0) ** 2))
        wh = self.habit * hump * self.chance.uniform(0.2, 1.8, len(self.habit))
        ovens = self.chance.random(len(self.habit)) < 0.002
        wh = np.where(ovens, 2_000, np.minimum(wh, 2_000)).astype(np.int64)
        self.year = self.year + wh
        fee = kernel.fee_at(LADDER, self.year)
        self.left = self.left - (fee - self.fee)
        self.fee = fee

    def pay(self) -> None:
        """One in fifty of those in debt pays in a cycle."""
        pays = (self.left < 0) & (self.chance.random(len(self.left)) < 0.02)
        self.left = np.where(pays, self.left + 100 * YUAN, self.left)


@pytest.mark.req("C1", "C2", "C3", "C8")
def test_in_a_month_one_in_twenty_is_looked_at_each_quarter_hour_and_nobody_is_overlooked() -> None:
    size, cycles = 2_000, 30 * 96
    fleet = Fleet(size, seed=7)
    lines = (full(fleet.left, 20 * YUAN), full(fleet.left, 0))

    def sides() -> np.ndarray:
        return np.stack([fleet.left < line for line in lines])

    seen, unseen_since = sides(), np.full((2, size), -1)
    numbers, limit = np.arange(size), full(fleet.left, DAY)
    due = looked(
        fleet.left, fleet.year, full(fleet.left, 0), now=0, limit=spread(limit, numbers, now_ms=0)
    )
    daily, at = full(fleet.left, 0), full(fleet.left, 0)
    spent = fleet.fee.copy()
    last, shares, worst, crossed = np.zeros(size, dtype=np.int64), [], 0, 0
    for cycle in range(1, cycles):
        now = cycle * CYCLE
        before = fleet.left
        fleet.use(cycle)
        fell = sides() & ~seen & (unseen_since < 0)
        crossed += int(fell.sum())
        unseen_since[fell] = now
        chosen = np.flatnonzero(due <= now)
        shares.append(len(chosen) / size)
        waited = np.where(unseen_since[:, chosen] >= 0, now - unseen_since[:, chosen], 0)
        worst = max(worst, int(waited.max(initial=0)))
        unseen_since[:, chosen] = -1
        seen[:, chosen] = sides()[:, chosen]
        assert (before >= fleet.left).all()
        daily[chosen] = daily_fee(
            daily[chosen], fleet.fee[chosen] - spent[chosen], now - at[chosen]
        )
        spent[chosen], at[chosen] = fleet.fee[chosen], now
        due[chosen] = looked(
            fleet.left[chosen], fleet.year[chosen], full(chosen, now), now=now,
            limit=spread(limit[chosen], chosen, now_ms=now), daily=daily[chosen],
        )  # fmt: skip
        assert (now - last[chosen]).max(initial=0) <= DAY + CYCLE
        last[chosen] = now
        was = fleet.left
        fleet.pay()
        paid = np.flatnonzero(fleet.left != was)
        # money settles its lines when it is posted; the look that stands is early enough
        seen[:, paid] = sides()[:, paid]
    assert crossed > 1_000
    assert worst <= HOUR
    assert (cycles * CYCLE - last).max() <= DAY + CYCLE
    print(
        sum(shares) / len(shares),
        sorted(shares)[int(len(shares) * 0.99)],
        max(shares),
        worst / 60000,
    )
    assert sum(shares) / len(shares) <= 0.04
    # of a hundred quarters of an hour ninety-nine look at no more than one in twenty
    assert sorted(shares)[int(len(shares) * 0.99)] <= 0.05
    assert max(shares) <= 0.08
