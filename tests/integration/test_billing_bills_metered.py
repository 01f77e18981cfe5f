"""Use by hours, peaks, a new price inside the period: priced from what was metered, or parked."""

import json
from copy import deepcopy
from datetime import UTC, datetime, time, timedelta
from typing import Any

from billing.bills.service import run as runs
from billing.rating import service as rating
from cloud.store.db import Database
from tests.integration.billing_kit import rows
from tests.integration.bills_kit import FEB, JAN, NOW, TARIFF, ZONE, book, household, read
from tests.integration.test_billing_bills_run import opened
from tests.integration.usage_kit import put_intervals

HOURS = 31 * 24


def by_hours() -> dict[str, Any]:
    """Return a tariff of day and night and of the highest power by day."""
    tariff = deepcopy(TARIFF)
    energy = tariff["lines"][0]
    half = {"step": "0.01", "mode": "half_up"}
    scope = {"widths": "fixed", "reset": "period", "mode": "marginal"}

    def flat(name: str, price: str) -> dict[str, Any]:
        steps = [{"over_kwh": "0", "upto_kwh": None, "price": price}]
        return {**energy, "id": name, "periods": [name], "scope": scope, "steps": steps}

    tariff["touperiods"] = [
        {"name": "day", "spans": [{"from": "08:00", "to": "20:00"}]},
        {
            "name": "night",
            "spans": [{"from": "00:00", "to": "08:00"}, {"from": "20:00", "to": "24:00"}],
        },
    ]
    tariff["limits"] = {"energy_kwh": "100000", "counter_kwh": "0", "demand_kw": "100"}
    demand = {
        "kind": "demand", "id": "peak", "ledger_code": "revenue_demand", "label": {"en": "Peak"},
        "periods": ["day"], "per": "period", "prorate": "none", "round": half,
        "steps": [{"over_kw": "0", "upto_kw": None, "price": "10"}],
    }  # fmt: skip
    tariff["lines"] = [flat("day", "1"), flat("night", "0.5"), demand]
    tariff["test_cases"] = [
        {
            "name": "one of each", "total": "11.50",
            "usage": {
                "period": {"start": "2026-01-01", "end": "2026-02-01"}, "quality": "actual",
                "kwh": {"day": "1", "night": "1"}, "demand_kw": {"day": "1"},
            },
        }
    ]  # fmt: skip
    return tariff


def hourly(db: Database, wh: list[int]) -> None:
    start = datetime.combine(JAN, time(0), ZONE)
    values = {start + timedelta(hours=n): each for n, each in enumerate(wh)}
    put_intervals(db, "UP-000001", values)


def billed(db: Database) -> list[tuple[Any, ...]]:
    runs.advance(db, opened(db).id, now=NOW)
    return rows(db, "SELECT state, reasons, total_micros FROM bills.item")


def test_hours_of_use_and_the_peak_come_from_the_intervals(db: Database) -> None:
    book(db, household(1), tariff=by_hours())
    use = [1_000 if 8 <= n % 24 < 20 else 500 for n in range(HOURS)]
    use[10] = 4_000
    hourly(db, use)
    total = sum(use)
    read(db, 1, FEB, 1_000 + total // 1_000)
    day = 31 * 12 + 3
    assert billed(db) == [("billed", [], (day * 100 + 31 * 12 * 25 + 4 * 1000) * 10_000)]


def test_an_interval_that_is_missing_or_does_not_add_up_parks_the_account(db: Database) -> None:
    book(db, household(1), tariff=by_hours())
    hourly(db, [1_000] * (HOURS - 1))
    read(db, 1, FEB, 1_000 + HOURS)
    assert billed(db) == [("parked", ["bills.intervals_differ"], None)]


def test_a_new_price_inside_the_period_is_priced_from_the_register_of_that_day(
    db: Database,
) -> None:
    dear = deepcopy(TARIFF)
    dear.update(version=2, valid_from="2026-01-16")
    dear["lines"][0]["steps"] = [{"over_kwh": "0", "upto_kwh": None, "price": "1"}]
    usage = {
        "period": {"start": "2026-02-01", "end": "2026-03-01"}, "quality": "actual",
        "kwh": {"all": "100"},
    }  # fmt: skip
    dear["test_cases"] = [{"name": "a hundred", "total": "116.39", "usage": usage}]
    book(db, household(1))
    rating.publish(
        db, json.dumps(dear).encode(), actor="user:reza", now=datetime(2025, 12, 1, tzinfo=UTC)
    )
    read(db, 1, JAN.replace(day=16), 1_030)
    read(db, 1, FEB, 1_100)
    # 30 kWh at 0.52, 70 at 1, the standing charge at the close alone; taxed part by part
    fen = 30 * 52 + (30 * 52 * 13 + 50) // 100 + 7_300 + (7_300 * 13 + 50) // 100
    assert billed(db) == [("billed", [], fen * 10_000)]
    assert rows(db, "SELECT cardinality(versions) FROM bills.bill") == [(2,)]
