"""The watch over those without power, and the statistics of fee control, on a real database."""

from datetime import datetime, timedelta

import pytest

from billing.customers.model import CustomerKind
from billing.payments import service as payments
from billing.prepaid import service as prepaid
from billing.prepaid.rules.watching import WatchReason
from billing.prepaid.service import watch
from billing.prepaid.service.overview import overview
from cloud.control import service as control
from cloud.control.service.sweep import SeenRelay
from cloud.messages import service as messages
from cloud.store.db import Database
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.reading import RelayReading, RelayState
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, read, street

DAY = timedelta(days=1)
LATER = ORIGIN + 5 * DAY


def relay(db: Database, number: int, state: RelayState, at: datetime) -> None:
    reading = RelayReading(
        output_closed=state is RelayState.CONNECTED, control_state=state, control_mode=4
    )
    point = UsagePointId(f"UP-{number:06}")
    control.reconcile(db, [SeenRelay(point, at, reading)], now=at)


def town(db: Database) -> None:
    """Five customers: one well off, two idle in debt, one cut long ago, one using in debt."""
    people = [
        customer(1), customer(2), customer(3, protection="hospital", kind=CustomerKind.LEGAL),
        customer(4), customer(5),
    ]  # fmt: skip
    street(db, *people)
    for number, wh in ((1, 1_001_000), (2, 1_200_000), (3, 1_200_000), (4, 1_050_000),
                       (5, 1_200_000)):  # fmt: skip
        read(db, f"UP-{number:06}", ORIGIN + HOUR, wh)
        read(db, f"UP-{number:06}", LATER, wh + (1_000 if number in (1, 5) else 0))
        relay(db, number, RelayState.CONNECTED, ORIGIN)
    relay(db, 4, RelayState.DISCONNECTED, ORIGIN + DAY)
    prepaid.sweep(db, now=LATER)


@pytest.mark.req("C12")
def test_idle_in_debt_and_long_without_supply_are_listed_the_protected_first(db: Database) -> None:
    town(db)
    watch.set_care_desk(db, phone="+998901234567", language="uz", actor="user:lin", now=ORIGIN)
    assert watch.look(db, now=LATER) == 3
    with db.transaction() as conn:
        found = watch.watched(conn)
        told = messages.messages_of(conn, watch.CARE_DESK)
    assert [(one.usage_point, one.reason, one.vulnerable) for one in found] == [
        ("UP-000003", WatchReason.NO_USE, "protected"),
        ("UP-000002", WatchReason.NO_USE, ""),
        ("UP-000004", WatchReason.NO_SUPPLY, ""),
    ]  # fmt: skip
    assert found[1].since == ORIGIN + HOUR
    assert found[0].name == "Wang Lei 3"
    assert len(told) == 3
    assert {one.kind.value for one in told} == {"care_look"}
    assert watch.look(db, now=LATER + HOUR) == 0
    with db.transaction() as conn:
        assert len(messages.messages_of(conn, watch.CARE_DESK)) == 3


def test_who_uses_again_or_gets_power_back_leaves_the_list(db: Database) -> None:
    town(db)
    watch.look(db, now=LATER)
    read(db, "UP-000002", LATER + HOUR, 1_200_500)
    payments.pay(db, order(3, "a", 500), now=LATER + HOUR)
    relay(db, 4, RelayState.CONNECTED, LATER + HOUR)
    prepaid.sweep(db, now=LATER + HOUR)
    assert watch.look(db, now=LATER + HOUR) == 0
    with db.transaction() as conn:
        assert watch.watched(conn) == []


def test_somebody_looks_and_says_what_was_found(db: Database) -> None:
    town(db)
    watch.look(db, now=LATER)
    with db.transaction() as conn:
        number = watch.watched(conn)[1].id
    watch.note_seen(db, number, note="on a journey", actor="user:lin", now=LATER)
    with db.transaction() as conn:
        found = watch.watched(conn)
    assert [(one.usage_point, one.note) for one in found] == [
        ("UP-000003", ""), ("UP-000004", ""), ("UP-000002", "on a journey"),
    ]  # fmt: skip
    for wrong in ({"number": 999, "note": "x"}, {"number": number, "note": " "}):
        with pytest.raises(RefusedError, match="not_watched"):
            watch.note_seen(db, **wrong, actor="user:lin", now=LATER)  # type: ignore[arg-type]


def test_the_watch_looks_once_an_hour(db: Database) -> None:
    town(db)
    assert watch.look_when_due(db, now=LATER) == 3
    assert watch.look_when_due(db, now=LATER + timedelta(minutes=59)) == 0
    read(db, "UP-000002", LATER + timedelta(minutes=30), 1_200_500)
    prepaid.sweep(db, now=LATER + HOUR)
    watch.look_when_due(db, now=LATER + HOUR)
    with db.transaction() as conn:
        assert [one.usage_point for one in watch.watched(conn)] == ["UP-000003", "UP-000004"]


@pytest.mark.req("C11", "C12")
def test_statistics_count_by_area_class_side_switch_and_lines_passed(db: Database) -> None:
    town(db)
    with db.transaction() as conn:
        found = overview(conn, days=7, now=LATER)
    assert found.accounts == 5
    assert found.areas == ["T-01"]
    assert {side: found.on_side(side) for side in ("good", "reminder", "zero", "cut")} == {
        "good": 2, "reminder": 0, "zero": 0, "cut": 3,
    }  # fmt: skip
    assert (found.of_class("household"), found.of_class("legal")) == (4, 1)
    assert found.on_side("cut", area="T-01") == 3
    assert (found.passed("zero"), found.passed("restored")) == (3, 0)
    assert (found.switched("disconnected"), found.switched("connected")) == (1, 4)
    assert found.of_quality("actual") == 5
    assert found.excepted() == 0
    assert found.exception_kinds() == []
    assert sum(row.available_micros for row in found.standing) < 250 * YUAN
    assert found.credit == []
