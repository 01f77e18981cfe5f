"""A retention policy keeps at least what it says, to the day."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.agent import IngestConfig
from cloud.ingest.rules.retention import RetentionPolicy, months_before, months_due, next_month
from meterloop.runners import config_of
from protocols.mqtt.broker import BrokerAddress

DATES = st.dates(date(1990, 1, 1), date(2199, 12, 31))
MONTHS = DATES.map(lambda day: day.replace(day=1))


@given(reached=DATES, kept=st.integers(2, 240), months=st.lists(MONTHS, max_size=9))
def test_no_month_that_is_due_holds_a_day_the_policy_keeps(
    reached: date, kept: int, months: list[date]
) -> None:
    policy = RetentionPolicy(packed_months=kept, floor_months=2)
    keep_from = policy.keep_from(reached)
    assert keep_from is not None
    assert keep_from.day == 1
    months_between = (reached.year - keep_from.year) * 12 + reached.month - keep_from.month
    assert months_between == kept
    due = months_due(months, keep_from)
    assert due == sorted(due)
    assert all(next_month(month) - timedelta(days=1) < keep_from for month in due)
    assert all(month in due for month in months if month < keep_from)


@given(month=MONTHS)
def test_the_next_month_begins_when_the_month_ends(month: date) -> None:
    last = next_month(month) - timedelta(days=1)
    assert (last.year, last.month) == (month.year, month.month)
    assert months_before(next_month(month), 1) == month


@given(reached=st.none() | DATES)
def test_for_ever_is_the_default(reached: date | None) -> None:
    assert months_due([date(1990, 1, 1)], RetentionPolicy().keep_from(reached)) == []


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"packed_months": 24}, "packed_months is 24, below floor_months 25"),
        ({"packed_months": 1, "floor_months": 1}, "floor_months must be 2 or more"),
        ({"rows_days": -1}, "rows_days"),
        ({"packed_months": -3}, "packed_months is -3"),
    ],
)
def test_a_policy_below_the_floor_is_refused_with_the_key(keys: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        RetentionPolicy(**keys)
    with pytest.raises(ValueError, match=told):
        IngestConfig(dsn="x", broker=BrokerAddress(host="h", port=1), **keys)  # type: ignore[arg-type]


def test_the_hour_of_the_night_is_an_hour() -> None:
    with pytest.raises(ValueError, match="retain_hour"):
        IngestConfig(dsn="x", broker=BrokerAddress(host="h", port=1), retain_hour=24)


def test_the_settings_of_an_installation_reach_the_policy() -> None:
    broker = {"host": "h", "port": 1}
    keys = {"dsn": "x", "broker": broker, "packed_months": 36, "rows_days": 5}
    policy = config_of("ingest", keys, source="test").retention
    assert policy == RetentionPolicy(packed_months=36, rows_days=5)
