"""Properties of balances on tariffs of periods: what is drawn by days is the bill, to the micro."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.prepaid.rules.hours import Intervals, known_energy, periods_at
from billing.prepaid.rules.periods import (
    OpenUse,
    UnfitError,
    Uses,
    carried,
    check_fit,
    columns_of,
    first_counters,
    month_after,
    period_use,
    price_uses,
    shape_of,
)
from billing.prepaid.rules.stretches import price_stretches, stretches_of, width_of
from billing.rating.model import CompiledTariff
from billing.rating.rules import kernel
from billing.rating.rules.columns import RESETS
from billing.rating.rules.oracle import oracle_charges, oracle_open
from billing.rating.service import prove
from billing.tariffs.model import Tariff
from billing.tariffs.service import shipped
from protocols.timeline import to_ms

CODES = (
    "cq-household-period", "zj-household-tou", "uk-price-cap-2025q3", "uz-household",
    "uz-consumer-tou", "ir-household-old", "pge-e-tou-c-winter",
)  # fmt: skip
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def fitting() -> dict[str, tuple[Tariff, CompiledTariff]]:
    """Return the shipped tariffs of periods that balances can be kept on as they stand."""
    found = {}
    for code in CODES:
        tariff, compiled = prove(shipped(code))
        try:
            check_fit(tariff, compiled, "{}")
        except UnfitError:
            continue
        found[code] = (tariff, compiled)
    return found


TARIFFS = fitting()


@dataclass(frozen=True)
class Day:
    """What is drawn of a day: energy by TouPeriod, and whether anything was heard of it."""

    wh: tuple[int, ...]
    heard: bool


def test_most_shipped_tariffs_of_periods_keep_balances() -> None:
    assert set(TARIFFS) >= {"cq-household-period", "zj-household-tou", "uk-price-cap-2025q3"}


def _open(start: date, shape: str, before: dict[str, tuple[int, ...]], periods: int) -> OpenUse:
    return OpenUse(
        hourly=periods > 1, start=start, shape=shape, before=before, opened_at=T0,
        opening_wh=(0,) * periods, day_at=T0, day_wh=(0,) * periods, upto=start,
        energy_wh=(0,) * periods,
    )  # fmt: skip


def _uses(use: OpenUse, energy: tuple[int, ...], upto: date) -> Uses:
    return Uses(row=np.zeros(1, dtype=np.int64), open=[use], energy=[energy], upto=[upto])


def _fee(tariff: CompiledTariff, use: OpenUse, energy: tuple[int, ...], upto: date) -> int:
    return int(price_uses(tariff, _uses(use, energy, upto)).fee[0])


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[tuple[date, str, str]], list[Day], date]:
    """Return terms by the day they hold from, days of use, and the first day."""
    codes = sorted(TARIFFS)
    first = draw(st.dates(date(2026, 1, 1), date(2026, 3, 20)))
    count = draw(st.integers(15, 40))
    changes = draw(st.lists(st.integers(1, count - 1), max_size=3, unique=True).map(sorted))
    terms = [(first, draw(st.sampled_from(codes)), "{}")]
    for offset in changes:
        shape = shape_of({"low_income": draw(st.sampled_from(("true", "false")))})
        terms.append((first + timedelta(days=offset), draw(st.sampled_from(codes)), shape))
    used = st.tuples(st.integers(0, 40_000), st.integers(0, 40_000))
    days = [
        Day(wh=draw(used), heard=draw(st.sampled_from((True, True, False)))) for _ in range(count)
    ]
    return terms, days, first


@pytest.mark.req("C7", "G24")
@settings(max_examples=60, deadline=None)
@given(lives())
def test_drawdowns_and_closing_lines_are_the_bill_whatever_came_late_or_changed(
    life: tuple[list[tuple[date, str, str]], list[Day], date],
) -> None:
    terms, days, first = life
    code, shape = terms[0][1], terms[0][2]
    tariff, compiled = TARIFFS[code]
    use = _open(first, shape, first_counters(tariff, first, 0), len(tariff.period_names))
    energy = (0,) * len(tariff.period_names)
    drawn = before = year = bill = closing = silent = 0
    for number, day in enumerate(days):
        today = first + timedelta(days=number)
        tomorrow = today + timedelta(days=1)
        silent += sum(day.wh)
        if day.heard:  # a silent day's use comes late, with the next that is heard
            part = [0] * len(energy)
            part[number % len(part)] = silent
            energy = tuple(a + b for a, b in zip(energy, part, strict=True))
            silent = 0
        fee = before + _fee(compiled, use, energy, tomorrow)
        drawn += fee - drawn
        following = next(((c, s) for at, c, s in terms[1:] if at == tomorrow), (code, use.shape))
        last = number == len(days) - 1
        if not last and following == (code, use.shape) and tomorrow != month_after(today):
            continue
        # the stretch ends: its own bill, by the kernel and by the oracle
        one = period_use(tariff, _uses(use, energy, tomorrow), 0)
        total = oracle_charges(tariff, one).total
        assert oracle_open(tariff, one).total == fee - before
        charges, still = kernel.price_closed_and_open(compiled, [one])
        assert int(charges.total[0]) == total
        bill, closing = bill + total, closing + total - int(still[0])
        if last:
            break
        year = year + sum(energy) if tomorrow.year == use.start.year else 0
        code, shape = following
        former, (tariff, compiled) = tariff, TARIFFS[code]
        try:
            counters = carried(
                former, use.before, energy, use.start, tariff=tariff, start=tomorrow, year_wh=year
            )
        except UnfitError:
            return  # refused by name: the sweep keeps the version before
        before = fee
        use = _open(tomorrow, shape, counters, len(tariff.period_names))
        energy = (0,) * len(tariff.period_names)
    assert drawn + closing == bill


@pytest.mark.req("C7")
@given(
    st.lists(st.integers(0, 9_000), min_size=1, max_size=60), st.sets(st.integers(0, 59)),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_hours_count_as_far_as_they_follow_one_another(
    wh: list[int], missing: set[int], chance: object
) -> None:
    tariff = TARIFFS["zj-household-tou"][0]
    kept = [n for n in range(len(wh)) if n not in missing]
    start = np.array([to_ms(T0) + n * 3_600_000 for n in kept], dtype=np.int64)
    found = Intervals(
        row=np.zeros(len(kept), dtype=np.int64), start_ms=start,
        seconds=np.full(len(kept), 3_600), wh=np.array([wh[n] for n in kept], dtype=np.int64),
        doubt=np.zeros(len(kept), dtype=np.int64),
    )  # fmt: skip
    period = periods_at(tariff, found.start_ms, found.seconds)
    known = known_energy(found, period, np.array([to_ms(T0)], dtype=np.int64), 2)
    whole = next((n for n in range(len(wh)) if n in missing), len(wh))
    assert known.energy.sum() == sum(wh[:whole])
    assert known.until_ms[0] == to_ms(T0 + timedelta(hours=whole))
    # midnight UTC is eight in the morning there: fourteen hours of day follow
    assert known.energy[0, 0] == sum(w for n, w in enumerate(wh[:whole]) if n % 24 < 14)


def test_rows_of_hours_do_not_spill_into_one_another() -> None:
    found = Intervals(
        row=np.array([0, 0, 1, 1, 2]), start_ms=np.array([0, 7_200, 0, 3_600, 3_600]) * 1000,
        seconds=np.full(5, 3_600), wh=np.array([1, 2, 4, 8, 16]), doubt=np.array([0, 0, 0, 1, 0]),
    )  # fmt: skip
    known = known_energy(found, np.zeros(5, dtype=np.int64), np.zeros(3, dtype=np.int64), 1)
    assert known.energy[0].tolist() == [1, 12, 0]
    assert known.until_ms.tolist() == [3_600_000, 7_200_000, 0]
    assert known.doubt.tolist() == [0, 1, 0]


def test_an_interval_in_two_periods_is_a_gap() -> None:
    tariff = TARIFFS["zj-household-tou"][0]
    start = to_ms(datetime(2026, 1, 1, 13, 30, tzinfo=UTC))  # half past nine there
    found = periods_at(tariff, np.array([start - 3_600_000, start]), np.array([3_600, 3_600]))
    assert found.tolist() == [0, -1]


def test_a_version_that_prices_more_than_energy_is_unfit_by_name() -> None:
    tariff, compiled = prove(shipped("cn-industry-two-part"))
    with pytest.raises(UnfitError, match="do not tell"):
        check_fit(tariff, compiled, "{}")


def test_a_size_beyond_the_class_is_unfit_by_name() -> None:
    tariff, compiled = TARIFFS["uz-household"]
    with pytest.raises(UnfitError, match="households 3000 is beyond"):
        check_fit(tariff, compiled, shape_of({"households": "3000"}))
    with pytest.raises(UnfitError, match="no whole number"):
        check_fit(tariff, compiled, shape_of({"households": "many"}))


def test_a_size_without_a_limit_is_not_looked_at() -> None:
    _, compiled = TARIFFS["cq-household-period"]
    use = _open(date(2026, 3, 1), json.dumps({"contract_w": "6000"}), {}, 1)
    columns = columns_of(compiled, _uses(use, (0,), date(2026, 3, 2)))
    assert columns.contract_w is not None
    assert columns.contract_w.tolist() == [0]


@st.composite
def open_stretches(draw: st.DrawFn) -> tuple[str, list[OpenUse], list[tuple[int, ...]], list[date]]:
    """Return a tariff's name, and open stretches under it with energy and the open day."""
    code = draw(st.sampled_from(sorted(TARIFFS)))
    size = len(TARIFFS[code][0].period_names)
    wh = st.tuples(*[st.integers(0, 3_000_000) | st.just(10**12)] * size)
    opened, energy, days = [], [], []
    for _ in range(draw(st.integers(1, 12))):
        start = draw(st.dates(date(2026, 1, 1), date(2026, 12, 31)))
        before = draw(st.dictionaries(st.sampled_from(RESETS), wh, max_size=2))
        shape = draw(st.sampled_from(("{}", '{"low_income":"true"}', '{"contract_w":"5000"}')))
        opened.append(_open(start, shape, before, size))
        energy.append(draw(wh))
        days.append(start + timedelta(days=draw(st.integers(0, 30))))
    return code, opened, energy, days


@pytest.mark.req("C7")
@settings(max_examples=150, deadline=None)
@given(open_stretches())
def test_stretches_without_names_cost_what_rows_do(
    drawn: tuple[str, list[OpenUse], list[tuple[int, ...]], list[date]],
) -> None:
    code, opened, energy, days = drawn
    tariff = TARIFFS[code][1]
    numbered = {shape: n for n, shape in enumerate({use.shape for use in opened}, start=7)}
    size = len(tariff.periods)
    rows = [
        [
            n, use.start.toordinal(), numbered[use.shape], to_ms(use.day_at),
            *[wh for reset in RESETS for wh in use.before.get(reset, (0,) * size)], *use.day_wh,
        ]
        for n, use in enumerate(opened)
    ]  # fmt: skip
    found = stretches_of(np.array(rows, dtype=np.int64), size)
    assert width_of(size) == len(rows[0])
    assert found.day_ms.tolist() == [to_ms(T0)] * len(opened)
    said = price_stretches(
        tariff, found, np.array(energy, dtype=np.int64).T.copy(),
        np.array([day.toordinal() for day in days], dtype=np.int64),
        {n: shape for shape, n in numbered.items()},
    )  # fmt: skip
    expected = price_uses(
        tariff,
        Uses(
            row=np.arange(len(opened)), open=opened, energy=energy,
            upto=[day + timedelta(days=1) for day in days],
        ),
    )  # fmt: skip
    assert said.fee.tolist() == expected.fee.tolist()
    assert said.tier.tolist() == expected.tier.tolist()
    assert said.beyond.tolist() == expected.beyond.tolist()
