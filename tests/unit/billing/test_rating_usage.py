"""Usage files: what is read from them, how a period is cut, and what is refused."""

import copy
import json
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.rating.model import UseColumns
from billing.rating.rules import kernel
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.oracle import oracle_charges
from billing.rating.rules.shown import as_plain, priced
from billing.rating.rules.usage import pieces_of, use_of
from billing.tariffs.model import Tariff
from billing.tariffs.model.numbers import DAY_PARTS, MONTH_PARTS
from billing.tariffs.rules import read_tariff, read_usage
from billing.tariffs.rules.calendar import ladder_start, months_between
from billing.tariffs.service import shipped
from protocols.errors import RefusedError

ZJ = read_tariff(shipped("zj-household-tou"))
CQ = read_tariff(shipped("cq-household-period"))
CN = read_tariff(shipped("cn-industry-two-part"))
UK = read_tariff(shipped("uk-price-cap-2024q4"))
BODY: dict[str, Any] = {
    "period": {"start": "2026-01-01", "end": "2026-02-01"},
    "quality": "actual",
    "kwh": {"all": "300"},
}


def usage(tariff: Tariff = CQ, **changes: Any):
    """Return the use of a file with some fields replaced; None takes a field away."""
    body = {**BODY, **changes}
    found = {name: value for name, value in body.items() if value is not None}
    return use_of(tariff, read_usage(json.dumps(found).encode()))


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"quality": None}, "usage.quality", "quality"),
        ({"quality": "guess"}, "usage.quality", "quality"),
        ({"currency": "USD"}, "usage.currency", "USD"),
        ({"kwh": {"all": "-1"}}, "usage.negative", "kwh"),
        ({"kwh": {"all": 300}}, "usage.shape", "text"),
        ({"kwh": {"peak": "1"}}, "usage.shape", "peak"),
        ({"kwh": None}, "usage.shape", "one of"),
        ({"readings": []}, "usage.shape", "one of"),
        ({"kwh": {"all": "100001"}}, "usage.beyond", "at most 100000000"),
        ({"before_kwh": {"calendar_year": {"all": "1000001"}}}, "usage.beyond", "calendar_year"),
        ({"period": {"start": "2019-12-01", "end": "2020-01-01"}}, "usage.period", "valid from"),
        ({"period": {"start": "2026-02-01", "end": "2026-02-01"}}, "usage.shape", "ends after"),
        ({"attributes": {"colour": "red"}}, "usage.attribute", "no attribute colour"),
        ({"kwh": None, "readings": [{"at": "2026-01-01", "kwh": {"all": "5"}}]}, "usage.missing",
         "2026-02-01"),
        ({"kwh": None, "readings": [{"at": "2026-01-01", "kwh": {"all": "5"}},
                                    {"at": "2026-02-01", "kwh": {"all": "4"}}]},
         "usage.negative", "falls"),
        ({"colour": 1}, "usage.shape", "colour"),
        ({"demand_kw": {"all": "1"}}, "usage.beyond", "demand"),
        ({"period": {"start": "2026-01-01", "end": "2026-02-01", "days": "31.00001"}},
         "usage.shape", "whole number"),
    ],
)  # fmt: skip
def test_doubtful_usage_is_refused(changes, code: str, says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        usage(**changes)
    assert caught.value.refusal.value == code, str(caught.value)
    assert says in str(caught.value)
    assert caught.value.fix


def test_use_beyond_its_capacity_is_refused() -> None:
    kwh = {"peak": "7500", "flat": "0", "valley": "0"}
    assert usage(CN, kwh=kwh, capacity_kva="10.1").energy_wh == (7_500_000, 0, 0)
    with pytest.raises(RefusedError, match="by its capacity"):
        usage(CN, kwh=kwh, capacity_kva="10")


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"\xff", b"null"])
def test_garbage_is_no_usage(garbage: bytes) -> None:
    with pytest.raises(RefusedError):
        read_usage(garbage)


def test_ratios_multiply_and_losses_are_added_after() -> None:
    plain = usage(kwh={"all": "2"}, loss_kwh={"all": "1"})
    assert plain.energy_wh == (3_000,)
    ratio = usage(kwh={"all": "2"}, loss_kwh={"all": "1"}, ct_ratio=40, ratio_applied=False)
    assert ratio.energy_wh == (81_000,)


def intervals(tariff: Tariff, start: str, end: str, first: str, wh: list[int | None], seconds=3600):
    return usage(
        tariff, kwh=None, period={"start": start, "end": end},
        intervals={"start": first, "seconds": seconds, "wh": wh},
    )  # fmt: skip


def test_intervals_fall_into_the_hours_of_civil_time() -> None:
    use = intervals(ZJ, "2026-01-01", "2026-01-02", "2026-01-01T00:00+08:00", list(range(1, 25)))
    # hours 8 to 21 are peak; the value is the hour plus one
    assert use.energy_wh == (sum(range(9, 23)), sum(range(1, 25)) - sum(range(9, 23)))
    utc = intervals(ZJ, "2026-01-01", "2026-01-02", "2025-12-31T16:00Z", list(range(1, 25)))
    assert utc.energy_wh == use.energy_wh


LONDON = json.loads(shipped("uk-price-cap-2024q4"))
LONDON["touperiods"] = [
    {"name": "night", "spans": [{"from": "00:00", "to": "07:00"}]},
    {"name": "day", "spans": [{"from": "07:00", "to": "24:00"}]},
]
LONDON["test_cases"][0]["usage"]["kwh"] = {"night": "0", "day": "225"}
LONDON_TOU = read_tariff(json.dumps(LONDON).encode())


@pytest.mark.parametrize(
    ("day", "first", "hours", "night"),
    [
        ("2024-10-26", "2024-10-26T00:00+01:00", 24, 7),
        ("2024-10-27", "2024-10-27T00:00+01:00", 25, 8),
        ("2025-03-30", "2025-03-30T00:00+00:00", 23, 6),
    ],
)
def test_a_day_of_a_clock_change_has_its_true_hours(day, first, hours: int, night: int) -> None:
    open_ended = LONDON_TOU.model_copy(update={"valid_to": None})
    end = str(date.fromordinal(date.fromisoformat(day).toordinal() + 1))
    use = intervals(open_ended, day, end, first, [1] * hours)
    assert use.energy_wh == (night, hours - night)
    with pytest.raises(RefusedError, match="23 or 25 hours"):
        intervals(open_ended, day, end, first, [1] * (47 - hours if hours == 24 else 24))


@pytest.mark.parametrize(
    ("wh", "first", "seconds", "code"),
    [
        ([1] * 23, "2026-01-01T00:00+08:00", 3600, "usage.gap"),
        ([1] * 23 + [None], "2026-01-01T00:00+08:00", 3600, "usage.gap"),
        ([1] * 23 + [-1], "2026-01-01T00:00+08:00", 3600, "usage.negative"),
        ([1] * 24, "2026-01-01T00:00", 3600, "usage.interval"),
        ([1] * 24, "2026-01-01T01:00+08:00", 3600, "usage.gap"),
        ([1] * 2, "2026-01-01T00:00+08:00", 43_200, "usage.interval"),
    ],
)
def test_intervals_with_gaps_or_over_two_hours_are_refused(wh, first, seconds, code) -> None:
    with pytest.raises(RefusedError) as caught:
        intervals(ZJ, "2026-01-01", "2026-01-02", first, wh, seconds)
    assert caught.value.refusal.value == code


@pytest.mark.parametrize(
    ("start", "end", "months"),
    [
        ("2026-01-01", "2026-02-01", MONTH_PARTS),
        ("2026-01-31", "2026-02-28", MONTH_PARTS),
        ("2026-01-15", "2026-04-15", 3 * MONTH_PARTS),
        ("2026-01-01", "2026-01-11", MONTH_PARTS * 10 // 31),
        ("2026-01-22", "2026-02-08", MONTH_PARTS * 10 // 31 + MONTH_PARTS * 7 // 28),
    ],
)
def test_months_follow_the_calendar(start: str, end: str, months: int) -> None:
    assert months_between(date.fromisoformat(start), date.fromisoformat(end)) == months


def test_a_ladder_begins_where_its_reset_says() -> None:
    day = date(2026, 3, 14)
    july = CQ.model_copy(update={"tariff_year_start": "07-01"})
    assert ladder_start(CQ, "calendar_year", day) == date(2026, 1, 1)
    assert ladder_start(july, "tariff_year", day) == date(2025, 7, 1)
    assert ladder_start(july, "tariff_year", date(2026, 7, 1)) == date(2026, 7, 1)
    assert ladder_start(CQ, "purchase_month", day) == date(2026, 3, 1)


def version(number: int, start: str, first_price: str = "0.5200", prorate: str = "by_reading"):
    body = json.loads(shipped("cq-household-period"))
    body.update(version=number, valid_from=start)
    body["lines"][0]["steps"][0]["price"] = first_price
    body["lines"][0]["prorate"] = prorate
    return read_tariff(json.dumps(body).encode())


OLD, NEW = version(1, "2020-01-01"), version(2, "2026-01-11", "0.6200")


def pieces(versions: list[Tariff], **changes: Any):
    body = {name: v for name, v in {**BODY, **changes}.items() if v is not None}
    return pieces_of(versions, read_usage(json.dumps(body).encode()))


def test_a_period_is_cut_by_the_register_read_at_the_change() -> None:
    readings = [("2026-01-01", "1000"), ("2026-01-11", "1040"), ("2026-02-01", "1300")]
    old, new = pieces(
        [NEW, OLD], kwh=None, before_kwh={"calendar_year": {"all": "2300"}},
        readings=[{"at": day, "kwh": {"all": kwh}} for day, kwh in readings],
    )  # fmt: skip
    assert (old.known_by, old.use.energy_wh, new.use.energy_wh) == (
        "reading",
        (40_000,),
        (260_000,),
    )
    # the year's counter runs on over the change
    assert new.use.before_wh == {"period": (40_000,), "calendar_year": (2_340_000,)}
    assert (old.use.closing, new.use.closing) == (False, True)
    assert (old.use.days, new.use.days) == (10 * DAY_PARTS, 21 * DAY_PARTS)
    assert old.use.months + new.use.months == MONTH_PARTS
    found = [priced(compile_tariff(each.tariff, "x"), each.use, "") for each in (old, new)]
    # 40 x 0.52, then 60 x 0.62 to the edge at 2400 and 200 x 0.57
    assert as_plain(found)["total"] == "172.00"


def test_without_a_register_the_profile_cuts_and_without_that_the_days() -> None:
    profile = [3] * 10 + [1] * 21
    old, new = pieces([OLD, NEW], profile=profile)
    assert (old.known_by, old.use.energy_wh, new.use.energy_wh) == (
        "profile", (300_000 * 30 // 51,), (300_000 - 300_000 * 30 // 51,)
    )  # fmt: skip
    old, new = pieces([OLD, NEW])
    assert (old.known_by, old.use.energy_wh) == ("days", (300_000 * 10 // 31,))
    by_days = [version(1, "2020-01-01", prorate="days"), version(2, "2026-01-11", prorate="days")]
    assert pieces(by_days, profile=profile)[0].known_by == "days"
    with pytest.raises(RefusedError, match="31 days"):
        pieces([OLD, NEW], profile=profile[1:])


def test_a_period_that_no_version_covers_is_refused() -> None:
    later = version(2, "2026-03-01")
    with pytest.raises(RefusedError, match="valid"):
        pieces([later])
    with pytest.raises(RefusedError, match="no version"):
        pieces([later, version(3, "2026-04-01")])
    other = copy.deepcopy(NEW).model_copy(update={"touperiods": ZJ.touperiods})
    with pytest.raises(RefusedError, match="other TouPeriods"):
        pieces([OLD, other])


@pytest.mark.req("C7")
@settings(deadline=None)
@given(
    st.integers(1, 400_000), st.integers(1, 30), st.integers(0, 900_000), st.booleans(),
    st.sampled_from(["0.000001", "0.01"]),
)  # fmt: skip
def test_cutting_under_the_same_prices_changes_nothing_but_a_rounding(
    energy_wh: int, day: int, before_wh: int, low_income: bool, step: str
) -> None:
    """Each part is rounded by itself, so at most one step a line and part may move."""
    body = json.loads(shipped("cq-household-period"))
    body["total_round"]["step"] = step
    for line in body["lines"]:
        line["round"]["step"] = step
    whole = read_tariff(json.dumps(body).encode())
    body.update(version=2, valid_from=f"2026-01-{day + 1:02}")
    cut = read_tariff(json.dumps(body).encode())
    kwh = [f"{wh // 1000}.{wh % 1000:03}" for wh in (energy_wh, before_wh)]
    body = {
        "kwh": {"all": kwh[0]}, "before_kwh": {"calendar_year": {"all": kwh[1]}},
        "attributes": {"low_income": False} if not low_income else {},
    }  # fmt: skip
    one = kernel.price_uses(compile_tariff(whole, "x"), [pieces([whole], **body)[0].use])
    parts = pieces([whole, cut], **body)
    assert sum(part.use.energy_wh[0] for part in parts) == energy_wh
    assert sum(part.use.days for part in parts) == 31 * DAY_PARTS
    two = sum(
        int(kernel.price_uses(compile_tariff(part.tariff, "x"), [part.use]).total[0])
        for part in parts
    )
    assert abs(two - int(one.total[0])) <= 2 * round(float(step) * 10**6)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3_000), min_size=24, max_size=24), st.integers(0, 4_000_000))
def test_intervals_and_their_sums_cost_the_same(wh: list[int], before: int) -> None:
    counter = {"calendar_year": {"peak": f"{before // 1000}.{before % 1000:03}"}}
    day = {"start": "2026-01-01", "end": "2026-01-02"}
    first = intervals(ZJ, "2026-01-01", "2026-01-02", "2026-01-01T00:00+08:00", wh)
    sums = [sum(wh[8:22]), sum(wh[:8]) + sum(wh[22:])]
    kwh = {n: f"{s // 1000}.{s % 1000:03}" for n, s in zip(("peak", "valley"), sums, strict=True)}
    second = usage(ZJ, kwh=kwh, period=day, before_kwh=counter)
    assert first.energy_wh == second.energy_wh
    compiled = compile_tariff(ZJ, "x")
    assert int(kernel.price_uses(compiled, [second]).total[0]) == oracle_charges(ZJ, second).total


def test_columns_beyond_the_proven_bound_are_refused() -> None:
    compiled = compile_tariff(ZJ, "x")
    for energy in ([[60_000_000], [60_000_000]], [[-1], [0]], [[100_000_001], [0]]):
        with pytest.raises(ValueError, match="outside"):
            kernel.price(compiled, UseColumns(energy_wh=np.array(energy, dtype=np.int64)))
    with pytest.raises(ValueError, match="TouPeriods"):
        kernel.price(compiled, UseColumns(energy_wh=np.zeros((1, 1), dtype=np.int64)))
