"""Balances on tariffs of billing periods: hours, days begun, what waits for the close, the bill."""

import json
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from billing.bills.service import replay
from billing.bills.service import run as runs
from billing.ledger import service as ledger
from billing.prepaid import service as prepaid
from billing.prepaid.model import Balance, BalanceQuality, ExceptionKind
from billing.prepaid.rules.periods import OpenUse, Uses, period_use
from billing.rating import service as rating
from billing.rating.rules.oracle import oracle_open
from billing.tariffs.rules import read_tariff
from cloud.store.db import Database
from protocols.timeline import Interval
from tests.integration.billing_kit import HOUR, YUAN, customer, read, rows, street
from tests.integration.bills_kit import TARIFF
from tests.integration.usage_kit import put_intervals, say_register

UP = "UP-000001"
ZONE = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 3, 9, 16, tzinfo=UTC)
"""Midnight of 10 March in Chongqing."""
DAY = timedelta(days=1)
CENT = {"step": "0.01", "mode": "half_up"}


def two_part() -> dict[str, Any]:
    """Return day and night, a ladder of the year on both, a charge by days, a minimum, a tax."""
    tariff = deepcopy(TARIFF)
    words = tariff["lines"][0]["label"]

    def energy(name: str, reset: str, steps: list[tuple[str, str | None, str]], **more: Any) -> Any:
        return {
            "kind": "energy", "id": name, "label": words, "ledger_code": "revenue_energy",
            "scope": {"widths": "fixed", "reset": reset, "mode": "marginal"}, "round": CENT,
            "steps": [{"over_kwh": a, "upto_kwh": b, "price": c} for a, b, c in steps], **more,
        }  # fmt: skip

    tariff.update(
        code="two-part", limits={"energy_kwh": "100000", "counter_kwh": "1000000"},
        touperiods=[
            {"name": "day", "spans": [{"from": "08:00", "to": "22:00"}]},
            {"name": "night", "spans": [{"from": "00:00", "to": "08:00"},
                                        {"from": "22:00", "to": "24:00"}]},
        ],
        lines=[
            energy("by_day", "period", [("0", None, "0.57")], periods=["day"]),
            energy("by_night", "period", [("0", None, "0.29")], periods=["night"]),
            energy("ladder", "calendar_year", [("0", "100", "0"), ("100", None, "0.3")]),
            {"kind": "fixed", "id": "standing", "label": words, "ledger_code": "revenue_standing",
             "qty": "DAYS", "price": "0.1", "prorate": "days", "round": CENT},
            {"kind": "minimum", "id": "least", "label": words, "ledger_code": "revenue_energy",
             "qty": "MONTHS", "price": "60", "prorate": "none", "round": CENT,
             "base": ["by_day", "by_night", "ladder"]},
            {"kind": "percent", "id": "vat", "label": words, "ledger_code": "payable_vat",
             "percent": "13", "base": ["by_day", "by_night", "ladder", "standing", "least"],
             "round": CENT},
        ],
        test_cases=[{
            "name": "ten by day", "total": "71.30",
            "usage": {"period": {"start": "2026-01-01", "end": "2026-02-01"}, "quality": "actual",
                      "kwh": {"day": "10", "night": "0"}},
        }],
    )  # fmt: skip
    return tariff


def publish(db: Database, tariff: dict[str, Any]) -> str:
    return rating.publish(db, json.dumps(tariff).encode(), actor="user:reza", now=START)


def hours(db: Database, wh: list[int], *, start: datetime = START) -> None:
    """Let intervals stand in usage, and the register at the end of each."""
    put_intervals(db, UP, {start + n * HOUR: each for n, each in enumerate(wh)})


def town(db: Database, tariff: dict[str, Any], **changes: Any) -> None:
    publish(db, tariff)
    who = {
        "tariff_code": tariff["code"], "started_at": START,
        "opening_balance_micros": 200 * YUAN, **changes,
    }  # fmt: skip
    street(db, customer(1, **who))


def balance(db: Database, at: datetime) -> Balance:
    with db.transaction() as conn:
        return prepaid.balance_of(conn, UP, at)


def sums_hold(db: Database) -> None:
    with db.transaction() as conn:
        assert prepaid.audit_drawdowns(conn).examples == ()
        assert prepaid.audit_fees(conn).examples == ()
        assert ledger.audit_sums(conn).count == 0


@pytest.mark.req("C4", "C5", "G1")
def test_hours_of_day_and_night_and_begun_days_lower_the_balance(db: Database) -> None:
    town(db, two_part())
    hours(db, [1_000] * 10)
    read(db, UP, START + 10 * HOUR, 1_010_000)
    prepaid.sweep(db, now=START + 10 * HOUR)
    found = balance(db, START + 10 * HOUR)
    # 8 kWh by night, 2 by day, one day begun; taxed together
    fen = 232 + 114 + 10 + (356 * 13 + 50) // 100
    assert found.available_micros == 200 * YUAN - fen * 10_000
    assert (found.quality, found.lower_micros) == (
        BalanceQuality.ACTUAL, found.available_micros,
    )  # fmt: skip
    assert found.price_micros_per_kwh == 570_000
    assert found.next_tier_wh == 100_000
    sums_hold(db)


@pytest.mark.req("C7", "C9", "G1")
def test_days_drawn_add_up_over_hours_months_and_the_ladder(db: Database) -> None:
    town(db, two_part(), opening_year_wh=80_000)
    use = [700 + 37 * (n % 29) for n in range(24 * 30)]
    wh = 1_000_000
    for day in range(30):
        hours(db, use[24 * day : 24 * day + 24], start=START + day * DAY)
        wh += sum(use[24 * day : 24 * day + 24])
        at = START + (day + 1) * DAY
        read(db, UP, at, wh)
        prepaid.sweep(db, now=at + timedelta(minutes=5))
    sums_hold(db)
    now = START + 30 * DAY + timedelta(minutes=5)
    found = balance(db, now)
    assert rows(db, "SELECT count(*)::int, sum(amount_micros)::bigint FROM prepaid.drawdown") == [
        (30, found.drawn_micros)
    ]
    # every line of the year adds up to what was drawn and runs
    with db.transaction() as conn:
        span = {"first": date(2026, 3, 10), "last": date(2026, 4, 9)}
        why = prepaid.reckoning_of(conn, UP, now=now, **span)
        days = prepaid.daily_costs(conn, UP, Interval(start=START, end=now))
        part = prepaid.reckoning_of(
            conn, UP, first=date(2026, 3, 20), last=date(2026, 4, 3), now=now
        )
        said = prepaid.explain(conn, UP, now=now)
    assert why.adds_up
    assert part.adds_up
    assert why.amount_micros == found.fee_micros == sum(day.amount_micros for day in days)
    assert {line.line for line in why.lines} >= {"by_day", "by_night", "ladder", "standing", "vat"}
    assert said.fee_micros == sum(line.amount_micros for line in said.lines)
    # two stretches: the rest of March and April, each the oracle's price of its own use
    tariff = read_tariff(json.dumps(two_part()).encode())
    total = 0
    for first, last, begin, end, before in (
        (date(2026, 3, 10), date(2026, 4, 1), 0, 22, 80_000),
        (date(2026, 4, 1), date(2026, 4, 10), 22, 30, 80_000 + sum(use[: 22 * 24])),
    ):
        energy = [0, 0]
        for n in range(begin * 24, end * 24):
            energy[0 if 8 <= n % 24 < 22 else 1] += use[n]
        stretch = OpenUse(
            hourly=True, start=first, shape="{}", before={"calendar_year": (before, 0)},
            opened_at=START, opening_wh=(0, 0), day_at=START, day_wh=(0, 0), upto=last,
            energy_wh=(0, 0),
        )  # fmt: skip
        uses = Uses(
            row=np.zeros(1, dtype=np.int64), open=[stretch], energy=[tuple(energy)],
            upto=[last],
        )  # fmt: skip
        total += oracle_open(tariff, period_use(tariff, uses, 0)).total
    assert found.fee_micros == total


@pytest.mark.req("C11", "C8")
def test_missing_hours_make_an_interval_of_the_balance_and_an_exception(db: Database) -> None:
    town(db, two_part())
    hours(db, [1_000] * 10)
    read(db, UP, START + 10 * HOUR, 1_010_000)
    prepaid.sweep(db, now=START + 10 * HOUR)
    known = balance(db, START + 10 * HOUR)
    late = START + 40 * HOUR
    read(db, UP, late, 1_400_000)
    prepaid.sweep(db, now=late)
    found = balance(db, late)
    assert found.quality is BalanceQuality.MISSING
    assert found.as_of_register_wh == 1_010_000
    # 390 kWh by day at most, 300 of them over the ladder's edge; another day has begun
    fen = [10 * 29 * 8 // 10, 392 * 57, 300 * 30, 20]
    assert found.lower_micros < found.available_micros <= known.available_micros
    assert found.lower_micros == 200 * YUAN - (sum(fen) + (sum(fen) * 13 + 50) // 100) * 10_000
    with db.transaction() as conn:
        assert [each.kind for each in prepaid.exceptions(conn)] == [ExceptionKind.MISSING_INTERVALS]
    assert rows(db, "SELECT kind FROM prepaid.crossing") == []
    # the hours come late: the register is looked at again though it did not move
    hours(db, [13_000] * 30, start=START + 10 * HOUR)
    prepaid.sweep(db, now=late, moved_only=True)
    assert balance(db, late).quality is BalanceQuality.ACTUAL
    assert balance(db, late).as_of_register_wh == 1_400_000
    with db.transaction() as conn:
        assert prepaid.exceptions(conn) == []
    sums_hold(db)


def test_hours_that_contradict_the_register_stop_the_day(db: Database) -> None:
    town(db, two_part())
    hours(db, [1_000] * 24)
    read(db, UP, START + DAY, 1_030_000)
    prepaid.sweep(db, now=START + DAY + HOUR)
    with db.transaction() as conn:
        kinds = {each.kind for each in prepaid.exceptions(conn)}
    assert kinds == {ExceptionKind.INTERVALS_DIFFER}
    assert rows(db, "SELECT 1 FROM prepaid.drawdown") == []
    say_register(db, UP, START + DAY, 1_024_000)
    prepaid.sweep(db, now=START + DAY + 2 * HOUR)
    assert rows(db, "SELECT count(*)::int FROM prepaid.drawdown") == [(1,)]
    with db.transaction() as conn:
        assert prepaid.exceptions(conn) == []


@pytest.mark.req("C9")
def test_a_balance_silent_over_the_end_of_a_month_pays_every_day_of_it(db: Database) -> None:
    tariff = two_part()
    del tariff["touperiods"]
    tariff["lines"] = [line for line in tariff["lines"] if not line["id"].startswith("by_")]
    for line in tariff["lines"]:
        line["base"] = [name for name in line.get("base", ()) if not name.startswith("by_")]
        if not line["base"]:
            del line["base"]
    tariff["test_cases"][0].update(total="71.30")
    tariff["test_cases"][0]["usage"]["kwh"] = {"all": "10"}
    town(db, tariff)
    read(db, UP, START + 12 * HOUR, 1_010_000)
    prepaid.sweep(db, now=START + 12 * HOUR)
    back = datetime(2026, 4, 5, 4, tzinfo=UTC)
    read(db, UP, back, 1_120_000)
    prepaid.sweep(db, now=back)
    days = rows(db, "SELECT day::text, register_wh, segment_seq FROM prepaid.drawdown ORDER BY day")
    assert days == [("2026-03-10", 1_010_000, 1), ("2026-03-31", 1_010_000, 1)]
    found = balance(db, back)
    # 22 days of March without use over the ladder; 5 of April, 20 kWh of 110 over the edge
    march, april = 220, 50 + 20 * 30
    fen = march + (march * 13 + 50) // 100 + april + (april * 13 + 50) // 100
    assert found.fee_micros == fen * 10_000
    sums_hold(db)


def _run(db: Database, start: date, end: date, now: datetime) -> tuple[int, list[Any]]:
    run = runs.open_run(db, start=start, end=end, zone=ZONE, actor="user:reza", now=now)
    runs.advance(db, run.id, now=now)
    return run.id, rows(
        db,
        "SELECT state, reasons, total_micros, closing_micros, drawn_micros, detail FROM bills.item"
        " WHERE run = %s",
        [run.id],
    )


@pytest.mark.req("C7", "B6")
def test_the_bill_of_a_month_is_what_was_drawn_and_what_waits_for_the_close(db: Database) -> None:
    town(db, two_part())
    wh = 1_000_000
    for day in range(54):
        use = [30 + 7 * (n % 5) for n in range(24)]
        hours(db, use, start=START + day * DAY)
        wh += sum(use)
        read(db, UP, START + (day + 1) * DAY, wh)
        prepaid.sweep(db, now=START + (day + 1) * DAY + timedelta(minutes=5))
    now = START + 54 * DAY + HOUR
    march, first = _run(db, date(2026, 3, 1), date(2026, 4, 1), now)
    _, second = _run(db, date(2026, 4, 1), date(2026, 5, 1), now)
    for state, reasons, total, closing, drawn, detail in (*first, *second):
        assert (state, reasons, detail) == ("billed", [], "")
        assert total == drawn + closing
        assert closing > 0
    bill = rows(db, "SELECT min(id) FROM bills.bill")[0][0]
    with db.transaction() as conn:
        assert replay.replay(conn, bill).differences == ()
    posted = 200 * YUAN - sum(row[2] for row in (*first, *second))
    prepaid.sweep(db, now=now)
    found = balance(db, now)
    assert found.posted_micros == posted - (
        found.drawn_micros - sum(row[4] for row in (*first, *second))
    )
    assert runs.close(db, march, actor="user:reza", now=now).equal
