"""Terms changed with past effect: priced anew from that day, put right beside what was drawn."""

import json
import random
from copy import deepcopy
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from billing.bills.service import run as runs
from billing.customers import service as customers
from billing.customers.model import AgreementId, NewTermsChange, TermsChange
from billing.ledger import service as ledger
from billing.payments import service as payments
from billing.prepaid import service as prepaid
from billing.prepaid.service import audit
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from cloud.messages import service as messages
from cloud.store.db import Database
from cloud.usage import service as usage
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from tests.integration.billing_kit import (
    HOUR,
    ORIGIN,
    YUAN,
    customer,
    order,
    read,
    rows,
    street,
)
from tests.integration.people_kit import all_signed_in
from tests.integration.test_billing_prepaid_cli import cli
from tests.integration.test_billing_prepaid_periods import (
    DAY,
    START,
    UP,
    ZONE,
    balance,
    hours,
    publish,
    sums_hold,
    town,
    two_part,
)

WHO = AgreementId("SA-000001")
MARCH_20 = date(2026, 3, 20)


def graced() -> dict[str, Any]:
    """Return the tariff with a tenth off for veterans."""
    tariff = deepcopy(two_part())
    tariff["attributes"] = {"veteran": {"kind": "bool", "default": False}}
    off = {
        "kind": "percent", "id": "veteran", "label": tariff["lines"][0]["label"],
        "ledger_code": "revenue_energy", "percent": "-10", "round": tariff["lines"][0]["round"],
        "base": ["by_day", "by_night", "ladder"], "when": {"attr": "veteran", "eq": True},
    }  # fmt: skip
    tariff["lines"].insert(3, off)
    tariff["lines"][-1]["base"].append("veteran")
    return tariff


def lived(db: Database, days: int, *, first: int = 0, hourly: bool = True) -> None:
    """Let a customer use, be read and be swept for some days."""
    for day in range(first, first + days):
        use = [60 + 13 * (n % 7) + day for n in range(24)]
        if hourly:
            hours(db, use, start=START + day * DAY)
        at = START + (day + 1) * DAY
        read(db, UP, at, newest_wh(db) + sum(use))
        prepaid.sweep(db, now=at + timedelta(minutes=5))


def newest_wh(db: Database) -> int:
    """The customer's newest register; 1000 kWh before the first."""
    with db.transaction() as conn:
        found = usage.register_at(conn, UsagePointId(UP), START + 400 * DAY)
    return 1_000_000 if found is None else found.cumulative_wh


def change(db: Database, day: date, *, now: Any, **what: Any) -> TermsChange:
    wish = NewTermsChange(agreement=WHO, from_day=day, reason="asked at the counter", **what)
    return prepaid.change_terms(db, wish, actor="user:lin", now=now)


def drawn(db: Database) -> list[tuple[Any, ...]]:
    return rows(
        db,
        "SELECT day::text, seq, segment_seq, amount_micros FROM prepaid.drawdown ORDER BY day, seq",
    )


@pytest.mark.req("G15", "G24", "C7")
def test_a_discount_from_a_past_day_takes_two_people_and_puts_those_days_right(
    db: Database,
) -> None:
    town(db, graced())
    lived(db, 18)
    now = START + 18 * DAY + HOUR
    before = balance(db, now)
    asked = change(db, MARCH_20, now=now, attributes={"veteran": "true"})
    assert (asked.state, asked.backdated) == ("proposed", True)
    prepaid.sweep(db, now=now)
    assert balance(db, now).available_micros == before.available_micros
    with pytest.raises(RefusedError, match="same_person"):
        customers.decide_terms(db, asked.id, approve=True, actor="user:lin", now=now)
    customers.decide_terms(db, asked.id, approve=True, actor="user:reza", now=now)
    prepaid.sweep(db, now=now)
    found = balance(db, now)
    assert found.available_micros > before.available_micros
    # eight days of ten and the running one have a tenth less energy; nothing else moved
    last = drawn(db)[-1]
    assert (last[0], last[1]) == ("2026-03-27", 1)
    assert last[3] < 0
    sums_hold(db)
    with db.transaction() as conn:
        told = [each.kind.value for each in messages.messages_of(conn, UP)]
        why = prepaid.reckoning_of(
            conn, UP, first=date(2026, 3, 10), last=date(2026, 3, 28), now=now
        )
        one = prepaid.reckoning_of(
            conn, UP, first=date(2026, 3, 22), last=date(2026, 3, 23), now=now
        )
        assert ledger.audit_sums(conn).count == 0
    assert told.count("balance_corrected") == 1
    assert why.adds_up
    assert one.adds_up
    assert why.amount_micros == found.fee_micros
    assert "correction" in {line.line for line in why.lines}
    prepaid.sweep(db, now=now)
    assert drawn(db)[-1] == last
    # the month's bill has two parts and is what was drawn with the closing lines
    lived(db, 8, first=18)
    later = START + 26 * DAY
    run = runs.open_run(
        db, start=date(2026, 3, 1), end=date(2026, 4, 1), zone=ZONE, actor="user:reza", now=later
    )
    runs.advance(db, run.id, now=later)
    state, usage, total, took, closing, detail = rows(
        db,
        "SELECT state, usage, total_micros, drawn_micros, closing_micros, detail FROM bills.item",
    )[0]
    assert (state, detail) == ("billed", "")
    assert len(json.loads(usage)["parts"]) == 2
    assert total == took + closing
    # what is billed is not priced anew
    with pytest.raises(RefusedError, match="terms_billed"):
        change(db, date(2026, 3, 25), now=later, attributes={"veteran": None})


@pytest.mark.req("G24", "C7", "G1")
def test_another_tariff_from_a_past_day_keeps_the_years_counter(db: Database) -> None:
    town(db, two_part(), opening_year_wh=90_000)
    rating.publish(db, tariffs.shipped("cq-household-period"), actor="user:reza", now=START)
    lived(db, 16)
    now = START + 16 * DAY + HOUR
    asked = change(db, MARCH_20, now=now, tariff_code="cq-household-lv")
    customers.decide_terms(db, asked.id, approve=True, actor="user:reza", now=now)
    prepaid.sweep(db, now=now)
    found = balance(db, now)
    used = newest_wh(db) - 1_000_000
    assert (found.tariff_code, found.year_wh) == ("cq-household-lv", 90_000 + used)
    sums_hold(db)
    # and back to periods from a later day, still in the past
    asked = change(db, date(2026, 3, 23), now=now, tariff_code="cq-household-period")
    customers.decide_terms(db, asked.id, approve=True, actor="user:reza", now=now)
    prepaid.sweep(db, now=now)
    found = balance(db, now)
    assert (found.tariff_code, found.year_wh) == ("cq-household-period", 90_000 + used)
    sums_hold(db)
    lived(db, 10, first=16)
    sums_hold(db)
    now = START + 26 * DAY + HOUR
    with db.transaction() as conn:
        why = prepaid.reckoning_of(
            conn, UP, first=date(2026, 3, 10), last=date(2026, 4, 5), now=now
        )
    assert why.adds_up
    assert why.amount_micros == balance(db, now).fee_micros


@pytest.mark.req("G2", "G24")
def test_a_change_from_a_day_to_come_waits_for_it_and_takes_one_person(db: Database) -> None:
    town(db, graced())
    lived(db, 3)
    now = START + 3 * DAY + HOUR
    asked = change(db, date(2026, 3, 15), now=now, attributes={"veteran": "true"})
    assert (asked.state, asked.decided_by) == ("approved", "user:lin")
    lived(db, 5, first=3)
    assert [row[2] for row in drawn(db)] == [1] * 5 + [2] * 3
    assert rows(db, "SELECT attributes FROM customers.agreement") == [({"veteran": "true"},)]
    sums_hold(db)


def test_changes_that_no_balance_can_follow_are_refused(db: Database) -> None:
    town(db, graced())
    lived(db, 3)
    now = START + 3 * DAY + HOUR
    later = date(2026, 3, 20)
    for refusal, day, what in (
        ("terms_unfit", later, {"tariff_code": "cn-industry-two-part"}),
        ("terms_unfit", later, {"tariff_code": "nobody"}),
        ("terms_bad", later, {}),
        ("terms_too_early", date(2026, 3, 10), {"attributes": {"veteran": "true"}}),
    ):
        with pytest.raises(RefusedError, match=refusal):
            change(db, day, now=now, **what)
    assert publish(db, graced())
    with db.transaction() as conn:
        assert audit.audit_fees(conn).count == 0


def test_the_roles_that_processes_have_may_change_and_apply_terms(
    db: Database, database_dsn: str
) -> None:
    town(db, graced())
    now = START + 6 * DAY + HOUR
    with (
        Database(database_dsn, user="meterloop_billing") as billing,
        Database(database_dsn, user="meterloop_portal") as portal,
    ):
        for day in range(6):
            use = [100] * 24
            hours(db, use, start=START + day * DAY)
            read(db, UP, START + (day + 1) * DAY, 1_000_000 + 2_400 * (day + 1))
            prepaid.sweep(billing, now=START + (day + 1) * DAY + timedelta(minutes=5))
        asked = change(portal, date(2026, 3, 12), now=now, attributes={"veteran": "true"})
        customers.decide_terms(portal, asked.id, approve=True, actor="user:reza", now=now)
        prepaid.sweep(billing, now=now)
        assert balance(portal, now).fee_micros > 0
        payments.pay(portal, order(1, "a", 5), now=now)
    assert rows(db, "SELECT count(*)::int FROM prepaid.drawdown WHERE seq > 0") == [(1,)]
    sums_hold(db)


def test_terms_from_the_command_line(
    db: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    street(db, customer(1, started_at=ORIGIN))
    assert cli(tmp_path, database_dsn, "terms")["changes"] == []
    all_signed_in(db, tmp_path / "installation.toml", monkeypatch, "lin", "reza")
    asked = cli(
        tmp_path, database_dsn, "change-terms", "SA-000001", "--from", "2026-03-01", "--set",
        "households=2", "--reason", "two families", "--actor", "user:lin",
    )  # fmt: skip
    assert (asked["state"], asked["backdated"]) == ("proposed", True)
    number = str(asked["id"])
    same = cli(tmp_path, database_dsn, "decide-terms", number, "approve", "--actor", "user:lin")
    assert same["error"]["code"] == "customers.terms_same_person"
    agreed = cli(tmp_path, database_dsn, "decide-terms", number, "approve", "--actor", "user:reza")
    assert agreed["state"] == "approved"
    listed = cli(tmp_path, database_dsn, "terms", "SA-000001")
    assert [each["id"] for each in listed["changes"]] == [asked["id"]]
    assert cli(tmp_path, database_dsn, "terms", "--waiting")["changes"] == []
    wrong = cli(
        tmp_path, database_dsn, "change-terms", "SA-000001", "--from", "2026-03-01", "--set",
        "households", "--reason", "x",
    )  # fmt: skip
    assert wrong["ok"] is False


@pytest.mark.req("C7", "G24")
@pytest.mark.parametrize("seed", [11, 12])
def test_any_life_adds_up_late_hours_changed_terms_and_all(db: Database, seed: int) -> None:
    chance = random.Random(seed)
    town(db, graced(), opening_year_wh=70_000, opening_balance_micros=900 * YUAN)
    rating.publish(db, tariffs.shipped("cq-household-period"), actor="user:reza", now=START)
    wh, owed = 1_000_000, []
    for day in range(30):
        use = [chance.randrange(0, 900) for _ in range(24)]
        owed.append((START + day * DAY, use))
        at = START + (day + 1) * DAY
        if chance.random() < 0.7:  # else the day is heard with a later one
            for start, late in owed:
                hours(db, late, start=start)
            wh += sum(sum(late) for _, late in owed)
            owed = []
            read(db, UP, at, wh)
        prepaid.sweep(db, now=at + timedelta(hours=chance.choice((0, 1, 7))))
        if day in (9, 17, 24):
            what: dict[str, Any] = chance.choice((
                {"attributes": {"veteran": "true"}}, {"attributes": {"veteran": None}},
                {"tariff_code": "cq-household-lv"}, {"tariff_code": "cq-household-period"},
            ))  # fmt: skip
            first = (START + DAY * (day - chance.randrange(0, 6))).astimezone(ZONE).date()
            asked = change(db, first, now=at + 8 * HOUR, **what)
            if asked.state == "proposed":
                customers.decide_terms(
                    db, asked.id, approve=True, actor="user:reza", now=at + 8 * HOUR
                )
            prepaid.sweep(db, now=at + 8 * HOUR)
            sums_hold(db)
    now = START + 30 * DAY + 9 * HOUR
    prepaid.sweep(db, now=now)
    sums_hold(db)
    with db.transaction() as conn:
        why = prepaid.reckoning_of(
            conn, UP, first=date(2026, 3, 10), last=date(2026, 4, 9), now=now
        )
    assert why.adds_up
    assert why.amount_micros == balance(db, now).fee_micros
