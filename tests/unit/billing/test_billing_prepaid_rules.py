"""Lines, days and intervals of a balance, without a database."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.customers import rules as customer_rules
from billing.customers.model import Notification, Terms, Threshold, ThresholdLevel
from billing.ledger.model import AccountKind, Draft, Leg, Side
from billing.ledger.rules import check_balanced, request_hash
from billing.payments import rules as payment_rules
from billing.prepaid import rules
from billing.prepaid.model import BalanceQuality, Columns, States
from billing.rating.service import prove
from billing.tariffs.service import shipped
from protocols.errors import RefusedError
from protocols.timeline import to_ms

_, TARIFF = prove(shipped("cq-household-lv"))
SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 3, 10, 4, tzinfo=UTC)


def states(n: int = 1, **columns) -> States:
    ints = {
        name: np.zeros(n, dtype=np.int64)
        for name in (
            "contract_w", "segment_seq", "segment_register", "segment_year", "segment_before",
            "register", "register_ms", "fee", "drawn", "day_ends_ms", "day_register", "tier",
            "available", "reminders", "zeros", "cuts", "restores", "posted", "version",
        )
    }  # fmt: skip
    flags = {
        name: np.zeros(n, dtype=np.bool_) for name in ("below_reminder", "below_zero", "below_cut")
    }
    texts = {
        name: ["x"] * n
        for name in ("agreement", "account", "usage_point", "currency", "tariff_code", "quality")
    }
    base = {**ints, **flags, **texts, "pinned_hash": [None] * n, "period": [NOW.date()] * n,
            "open_day": [NOW.date()] * n, "tariff_hash": [TARIFF.digest] * n}  # fmt: skip
    return States(**{**base, **columns})


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_one_account_beyond_the_bound_is_parked_and_the_rest_are_priced() -> None:
    columns = states(
        3, segment_register=ints(100, 100, 100), segment_year=ints(0, 0, 0), fee=ints(7, 8, 9)
    )
    found = rules.figures(columns, {TARIFF.digest: TARIFF}, ints(1_100, 99, 10**12))
    assert found.fee.tolist() == [520_000, 0, 9]
    assert found.beyond.tolist() == [False, False, True]
    assert found.below_opening.tolist() == [False, True, False]


def columns_of(column: States, newest: np.ndarray, newest_ms: np.ndarray) -> Columns:
    same = {
        name: getattr(column, name)
        for name in (
            "segment_register", "segment_year", "segment_before", "register", "register_ms", "fee",
            "drawn", "available", "tier", "below_reminder", "below_zero", "below_cut", "posted",
        )
    }  # fmt: skip
    nothing = np.zeros(len(column), dtype=np.int64)
    return Columns(
        **same, point=np.arange(len(column)), ledger_account_id=nothing, tariff_no=nothing + 1,
        quality=nothing, newest=newest, newest_ms=newest_ms, doubt=nothing, open_day=nothing,
    )  # fmt: skip


@pytest.mark.req("C4", "C7")
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6_000_000), st.integers(-5_000, 4_000_000), st.integers(-10**10, 10**10),
            st.integers(0, 2), st.booleans(),
        ),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_columns_without_names_say_what_states_say(
    drawn: list[tuple[int, int, int, int, bool]],
) -> None:
    year, used, posted, late, below = (list(each) for each in zip(*drawn, strict=True))
    register = ints(*[10_000] * len(drawn))
    now_ms = to_ms(NOW)
    column = states(
        len(drawn), segment_register=register, segment_year=ints(*year), register=register,
        posted=ints(*posted), below_zero=np.array(below), register_ms=ints(*[now_ms] * len(drawn)),
        tier=ints(*[1] * len(drawn)),
    )  # fmt: skip
    came = ints(*[now_ms + 1 - each for each in late])
    newest = register + ints(*used)
    priced_at = np.where(came >= now_ms, newest, register)
    line = ints(*[0] * len(drawn))
    found = rules.screened(
        columns_of(column, newest, came), {1: TARIFF}, reminder=line, cut=line, now=NOW
    )
    expected = rules.figures(column, {TARIFF.digest: TARIFF}, priced_at)
    assert found.fees.register_wh.tolist() == priced_at.tolist()
    assert found.fees.fee_micros.tolist() == expected.fee.tolist()
    passed = rules.lines_passed(
        column, rules.available(column, expected.fee), reminder=line, cut=line
    )
    fell = passed.zero | passed.restored | passed.reminder | passed.cut
    assert (found.crossed >= (fell | (expected.tier != column.tier))).all()
    assert (found.below_opening == expected.below_opening).all()


@pytest.mark.req("F1", "F2")
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40))
def test_a_line_counts_its_falls_and_nothing_else(path: list[int]) -> None:
    below, falls, expected = False, 0, 0
    previous = 50
    for left in path:
        column = states(below_zero=np.array([below]))
        passed = rules.lines_passed(column, ints(left), reminder=ints(20), cut=ints(0))
        falls += int(passed.zero[0])
        expected += previous >= 0 > left
        assert passed.restored[0] == (below and left >= 0)
        below, previous = bool(passed.below_zero[0]), left
    assert falls == expected


def test_a_day_is_over_with_a_later_register_or_after_the_grace() -> None:
    end = datetime(2026, 3, 10, 16, tzinfo=UTC)
    column = states(2, day_ends_ms=ints(to_ms(end), to_ms(end)))
    registers = ints(to_ms(end), to_ms(end) - 1)
    over = rules.days_over(column, register_ms=registers, now=end + timedelta(hours=1))
    assert over.tolist() == [True, False]
    over = rules.days_over(column, register_ms=registers, now=end + rules.DAY_GRACE)
    assert over.tolist() == [True, True]


def test_the_next_day_is_the_registers_or_the_one_after() -> None:
    end = datetime(2026, 3, 10, 16, tzinfo=UTC)
    later = end + timedelta(days=3, hours=2)
    day, ends = rules.next_day(day_ends=end, register_at=later, now=later, zone=SHANGHAI)
    assert (day.isoformat(), ends) == ("2026-03-14", end + timedelta(days=4))
    day, _ = rules.next_day(
        day_ends=end, register_at=end - timedelta(hours=5), now=end + rules.DAY_GRACE, zone=SHANGHAI
    )
    assert day.isoformat() == "2026-03-11"


def test_quality_and_the_largest_use_behind_silence() -> None:
    def quality(hours: int, *, trusted: bool = True) -> BalanceQuality:
        return rules.quality_of(trusted=trusted, register_at=NOW, now=NOW + timedelta(hours=hours))

    assert quality(24) is BalanceQuality.ACTUAL
    assert quality(24, trusted=False) is BalanceQuality.ESTIMATED
    assert quality(25) is BalanceQuality.MISSING
    hidden = rules.largest_plausible_wh(8_000, since=NOW, now=NOW + timedelta(hours=30))
    assert hidden == 240_000
    assert rules.largest_plausible_wh(8_000, since=NOW, now=NOW - timedelta(hours=1)) == 0


DEFAULT = Threshold(
    level=ThresholdLevel.DEFAULT, target="CNY", reminder_micros=20, cut_micros=0,
    notification=Notification.SMS, auto_remind=True, auto_dun=True, auto_restore=True,
    notice_hours=24,
)  # fmt: skip


@pytest.mark.req("F6", "F7", "F8", "C10")
def test_field_by_field_the_nearest_level_wins() -> None:
    area = Threshold(
        level=ThresholdLevel.TRANSFORMER, target="T-01", reminder_micros=50, auto_dun=False
    )
    own = Threshold(
        level=ThresholdLevel.AGREEMENT, target="SA-1", reminder_micros=10,
        notification=Notification.PAPER,
    )  # fmt: skip
    assert customer_rules.effective([DEFAULT, area, own]) == Terms(
        reminder_micros=10, cut_micros=0, notification=Notification.PAPER, auto_remind=True,
        auto_dun=False, auto_restore=True, notice_hours=24,
    )  # fmt: skip
    with pytest.raises(RefusedError, match="no level sets"):
        customer_rules.effective([None, area, own])
    with pytest.raises(RefusedError, match="above zero"):
        customer_rules.check_lines(None, 1)
    with pytest.raises(RefusedError, match="below the cut line"):
        customer_rules.check_lines(-10, -5)


def leg(amount: int, side: Side, currency: str = "CNY") -> Leg:
    return Leg(
        code="a", kind=AccountKind.CUSTOMER, side=side, amount_micros=amount, currency=currency
    )


def draft(*legs: Leg, **changes) -> Draft:
    return Draft(
        **{"key": "k", "kind": "x", "value_date": NOW.date(), "actor": "a", "legs": legs, **changes}
    )


@pytest.mark.parametrize(
    "legs",
    [
        (),
        (leg(5, Side.DEBIT),),
        (leg(5, Side.DEBIT), leg(4, Side.CREDIT)),
        (leg(5, Side.DEBIT), leg(5, Side.CREDIT, "UZS")),
        (leg(0, Side.DEBIT), leg(0, Side.CREDIT)),
        (leg(-5, Side.DEBIT), leg(-5, Side.CREDIT)),
    ],
)
def test_a_draft_that_is_no_double_entry_is_refused(legs) -> None:
    with pytest.raises(RefusedError, match="unbalanced"):
        check_balanced(draft(*legs))


def test_a_request_is_known_by_its_money_not_by_its_day() -> None:
    both = (leg(5, Side.DEBIT), leg(5, Side.CREDIT))
    later = draft(*both, value_date=NOW.date() + timedelta(days=1))
    assert request_hash(draft(*both)) == request_hash(later)
    assert request_hash(draft(*both)) != request_hash(draft(*both, reason="other"))


def test_a_name_at_a_counter_is_masked() -> None:
    assert payment_rules.mask("Wang Lei") == "W*** L***"
    assert payment_rules.mask("  ") == "***"
