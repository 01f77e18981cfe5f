"""Figures as people read them: exact, in their digits, calendar and zone."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.amounts import micros_of, scaled, wh_of
from portal.fmt import PersianDate, Reader, persian_of, plain_digits
from protocols.errors import RefusedError

EN, FA, UZ = (Reader(language=code) for code in ("en", "fa", "uz"))


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(1979, 2, 11), (1357, 11, 22)),
        (date(2021, 3, 20), (1399, 12, 30)),
        (date(2021, 3, 21), (1400, 1, 1)),
        (date(2024, 3, 20), (1403, 1, 1)),
        (date(2025, 3, 20), (1403, 12, 30)),
        (date(2025, 3, 21), (1404, 1, 1)),
        (date(2026, 11, 21), (1405, 8, 30)),
    ],
)
def test_the_persian_calendar_agrees_with_published_dates(
    day: date, expected: tuple[int, int, int]
) -> None:
    year, month, number = expected
    assert persian_of(day) == PersianDate(year=year, month=month, day=number)


@given(st.dates(min_value=date(1800, 1, 1), max_value=date(2253, 12, 30)))
def test_each_day_is_followed_by_the_next_persian_day(day: date) -> None:
    today, tomorrow = persian_of(day), persian_of(day + timedelta(days=1))
    if tomorrow.day == 1:
        assert today.day in ({31} if today.month <= 6 else {29, 30})
        assert tomorrow.month == today.month % 12 + 1
    else:
        assert (tomorrow.month, tomorrow.day) == (today.month, today.day + 1)


def test_a_year_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="no Persian date"):
        persian_of(date(1500, 1, 1))


@pytest.mark.req("Q4")
def test_digits_marks_and_units_follow_the_language() -> None:
    assert EN.kwh(11_234_567) == "11,234.57 kWh"
    assert FA.kwh(11_234_567) == "۱۱٬۲۳۴٫۵۷ کیلووات‌ساعت"
    assert UZ.kwh(11_234_567) == "11\u00a0234,57 kVt·soat"
    assert EN.money(12_400_000, "CNY") == "¥12.40"
    assert EN.money(-12_400_000, "CNY") == "\u2212¥12.40"
    assert FA.money(-12_400_000, "CNY") == "\u2066\u2212۱۲٫۴۰\u2069 یوان"
    assert EN.money(-1, "CNY") == "¥0.00", "what rounds to nothing is not shown as owed"
    assert EN.volts(229_449) == "229.4 V"


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=8))
def test_exact_amounts_add_up_as_printed(amounts: list[int]) -> None:
    def back(text: str) -> int:
        plain = text.replace("¥", "").replace(",", "").replace("\u2212", "-")
        return micros_of(plain)

    assert sum(back(EN.money_exact(one, "CNY")) for one in amounts) == sum(amounts)


@given(st.integers(-(10**15), 10**15), st.integers(0, 6))
def test_a_number_is_never_rounded_by_more_than_half_its_last_place(value: int, most: int) -> None:
    shown = EN.number(value, scale=6, most=most).replace(",", "").replace("\u2212", "-")
    assert abs(scaled(shown, 6) - value) * 2 <= 10 ** (6 - most)


def test_dates_are_those_of_the_supplys_zone() -> None:
    late = datetime(2026, 11, 20, 17, 30, tzinfo=UTC)
    zone = ZoneInfo("Asia/Shanghai")
    assert Reader(language="en", zone=zone).moment(late) == "21 Nov 2026, 01:30"
    assert Reader(language="fa", calendar="persian", zone=zone).date(late) == "۳۰ آبان ۱۴۰۵"
    assert Reader(language="zh", zone=zone).date(late) == "2026年11月21日"


def test_lengths_of_time_show_two_units() -> None:
    assert EN.duration(timedelta(hours=23, minutes=59)) == "23 h 59 min"
    assert EN.duration(timedelta(days=2, hours=3)) == "2 d 3 h"
    assert EN.duration(timedelta(seconds=-5)) == "0 min"
    assert [EN.ago(n) for n in (4, 240, 7200)] == ["4 s ago", "4 min ago", "2 h ago"]


@pytest.mark.parametrize("typed", ["12.50", "۱۲٫۵۰", "١٢.٥", "12,5", " 12.500000 "])
def test_amounts_may_be_typed_in_any_digits(typed: str) -> None:
    assert micros_of(typed) == 12_500_000


@pytest.mark.parametrize("typed", ["", "abc", "1.2.3", "1e3", "0.0000001", "--1", "9" * 14])
def test_what_is_no_amount_is_refused(typed: str) -> None:
    with pytest.raises(RefusedError) as caught:
        micros_of(typed)
    assert caught.value.refusal == "bad_amount"


def test_registers_are_read_to_the_watt_hour() -> None:
    assert wh_of("15234.5") == 15_234_500
    assert wh_of("-0.001") == -1
    assert plain_digits("كيلو ۴۲") == "کیلو 42"
