"""Policies by level, windows of cuts, loans and shares: the pure decisions of credit."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from billing.ledger.model import AccountKind
from billing.ledger.rules.allocating import allocate
from billing.ledger.service import ORDER
from billing.prepaid.model import BalanceQuality
from billing.prepaid.rules.credit import (
    HOUSE,
    Level,
    Policy,
    PolicyPart,
    Refusal,
    check_part,
    effective,
    recovery_of,
    refuse_emergency,
    window_at,
)
from protocols.errors import RefusedError

NOON = datetime(2026, 11, 18, 4, 0, tzinfo=UTC)
"""Wednesday noon in Chongqing."""
CITY = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")
INSTANTS = st.datetimes(
    min_value=datetime(2026, 1, 1), max_value=datetime(2027, 12, 31),
    timezones=st.just(UTC),
)  # fmt: skip
WEEKDAYS = st.sets(st.sampled_from("1234567"), min_size=1).map(lambda days: "".join(sorted(days)))
MONEY = st.integers(0, 10**12)


def part(level: Level, **says: int | bool | str) -> PolicyPart:
    return PolicyPart(level=level, target="x", says=says)


def test_the_nearest_level_that_speaks_wins_field_by_field() -> None:
    found = effective(
        [
            part(Level.DEFAULT, emergency_micros=5, recovery_permille=100),
            part(Level.GROUP, emergency_micros=7),
            None,
            part(Level.AGREEMENT, recovery_permille=0),
        ]
    )
    assert (found.emergency_micros, found.recovery_permille) == (7, 0)
    assert effective([]) == HOUSE


@pytest.mark.parametrize(
    "says",
    [
        {"cut_weekdays": ""},
        {"cut_weekdays": "8"},
        {"cut_from_hour": 15, "cut_until_hour": 8},
        {"cut_until_hour": 25},
        {"cut_weekdays": "135", "spare_eves": True},
        {"emergency_micros": -1},
        {"recovery_permille": 1001},
        {"unseen_minutes": 0},
        {"unseen_minutes": 120, "limit_minutes": 60},
        {"limit_minutes": 2000},
        {"watch_days": 0},
        {"colour": 1},
    ],
)
def test_a_policy_that_cannot_hold_is_refused(says: dict[str, int | bool | str]) -> None:
    with pytest.raises(RefusedError) as caught:
        check_part(PolicyPart(level=Level.DEFAULT, target="CNY", says=says))
    assert caught.value.refusal is Refusal.BAD_POLICY


def test_days_that_touch_are_one_window_and_a_window_without_end_has_none() -> None:
    found = window_at(HOUSE, zone=CITY, rest_days=frozenset(), now=NOON)
    assert (found.open, found.closes_at) == (True, None)
    feast = frozenset({date(2026, 11, 20)})
    found = window_at(HOUSE, zone=CITY, rest_days=feast, now=NOON)
    assert found.closes_at == datetime(2026, 11, 19, 16, 0, tzinfo=UTC)
    found = window_at(Policy(cut_weekdays="123"), zone=CITY, rest_days=frozenset(), now=NOON)
    assert found.closes_at == datetime(2026, 11, 18, 16, 0, tzinfo=UTC)


def test_office_hours_are_local_and_the_eve_of_a_rest_day_is_spared() -> None:
    policy = Policy(cut_weekdays="12345", cut_from_hour=8, cut_until_hour=15, spare_eves=True)
    assert window_at(policy, zone=CITY, rest_days=frozenset(), now=NOON).open
    evening = NOON + timedelta(hours=6)
    found = window_at(policy, zone=CITY, rest_days=frozenset(), now=evening)
    assert not found.open
    assert found.opens_at == datetime(2026, 11, 19, 0, 0, tzinfo=UTC)
    rest = frozenset({date(2026, 11, 19)})
    # Thursday rests, so today is an eve; Friday is the eve of a week's end; Monday it is
    found = window_at(policy, zone=CITY, rest_days=rest, now=NOON)
    assert found.opens_at == datetime(2026, 11, 23, 0, 0, tzinfo=UTC)


@settings(deadline=None)
@given(
    now=INSTANTS, weekdays=WEEKDAYS, hours=st.tuples(st.integers(0, 23), st.integers(1, 24)),
    rest=st.sets(st.dates(date(2026, 1, 1), date(2027, 12, 31)), max_size=6),
)  # fmt: skip
def test_a_window_holds_now_exactly_when_day_and_hour_say_so(now, weekdays, hours, rest) -> None:
    assume(hours[0] < hours[1])
    policy = Policy(cut_weekdays=weekdays, cut_from_hour=hours[0], cut_until_hour=hours[1])
    found = window_at(policy, zone=NEW_YORK, rest_days=frozenset(rest), now=now)
    local = now.astimezone(NEW_YORK)
    allowed = (
        str(local.isoweekday()) in weekdays
        and local.date() not in rest
        and hours[0] <= local.hour < hours[1]
    )
    # the hour that a clock skips or repeats belongs to no test of hours by the wall
    assume(local.utcoffset() == (local + timedelta(hours=25)).utcoffset())
    assume(local.utcoffset() == (local - timedelta(hours=25)).utcoffset())
    assert found.open == allowed
    assert now <= found.opens_at
    assert found.closes_at is None or found.opens_at < found.closes_at
    if not found.open:
        again = window_at(policy, zone=NEW_YORK, rest_days=frozenset(rest), now=found.opens_at)
        assert again.open
        assert again.closes_at == found.closes_at


@settings(deadline=None)
@given(available=st.integers(-(10**12), 10**12), lent=MONEY, loan=MONEY, line=MONEY)
def test_a_loan_is_given_once_where_it_helps(available, lent, loan, line) -> None:
    policy = Policy(emergency_micros=loan, emergency_from_micros=line)
    refused = refuse_emergency(
        policy, available_micros=available, outstanding_micros=lent, quality=BalanceQuality.ACTUAL
    )
    helps = loan > 0 and lent == 0 and available < line and available + loan > 0
    assert (refused is None) == helps


def test_nothing_is_lent_on_a_balance_nobody_knows() -> None:
    refused = refuse_emergency(
        Policy(emergency_micros=10), available_micros=-1, outstanding_micros=0,
        quality=BalanceQuality.MISSING,
    )  # fmt: skip
    assert refused is not None
    assert refused.refusal is Refusal.UNSURE


@settings(deadline=None)
@given(amount=MONEY, repaid=MONEY, debt=MONEY, permille=st.integers(0, 1000), cap=MONEY)
def test_a_share_never_exceeds_what_is_left_the_debt_or_the_cap(
    amount, repaid, debt, permille, cap
) -> None:
    assume(repaid <= amount)
    policy = Policy(recovery_permille=permille, recovery_cap_micros=cap)
    share = recovery_of(policy, amount_micros=amount, repaid_micros=repaid, debt_micros=debt)
    assert 0 <= share <= min(amount - repaid, debt)
    if cap:
        assert share <= cap
    if permille == 1000 and not cap:
        assert share == min(amount - repaid, debt)


@settings(deadline=None)
@given(
    amount=MONEY, permille=st.integers(0, 1000), cap=MONEY,
    owed=st.fixed_dictionaries(dict.fromkeys(ORDER.order, MONEY)),
)  # fmt: skip
def test_a_top_up_repays_the_loan_first_and_old_debt_last_by_its_share(
    amount, permille, cap, owed
) -> None:
    policy = Policy(recovery_permille=permille, recovery_cap_micros=cap)
    repaid = min(amount, owed[AccountKind.AR_EMERGENCY])
    share = recovery_of(
        policy, amount_micros=amount, repaid_micros=repaid,
        debt_micros=owed[AccountKind.AR_OLD_DEBT],
    )  # fmt: skip
    parts = allocate(amount, {**owed, AccountKind.AR_OLD_DEBT: share}, ORDER)
    assert sum(parts.values()) <= amount
    assert parts.get(AccountKind.AR_EMERGENCY, 0) == repaid
    if len(parts) > (1 if repaid else 0):
        assert repaid == owed[AccountKind.AR_EMERGENCY], "another debt was paid before the loan"
    others = sum(due for kind, due in owed.items() if kind is not AccountKind.AR_OLD_DEBT)
    assert parts.get(AccountKind.AR_OLD_DEBT, 0) == min(share, max(0, amount - others))
