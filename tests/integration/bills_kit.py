"""What the tests of bills share: a book of households on a period tariff, read month by month."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from billing.customers import service as customers
from billing.customers.model import AccountId, AgreementId, CustomerId, NewCustomer, Registration
from billing.rating import service as rating
from cloud.store.db import Database
from cloud.usage import service as usage
from protocols.identity import UsagePointId
from tests.integration.usage_kit import put_registers, say_register

ZONE = ZoneInfo("Asia/Shanghai")
KWH = 1_000
JAN, FEB, MAR, APR, MAY = (date(2026, month, 1) for month in range(1, 6))
NOW = datetime(2026, 5, 1, 4, tzinfo=UTC)

TARIFF: dict[str, Any] = {
    "code": "book-household", "version": 1, "currency": "CNY", "minor_units": 2,
    "zone": "Asia/Shanghai", "valid_from": "2020-01-01", "valid_to": None, "basis": "period",
    "limits": {"energy_kwh": "100000", "counter_kwh": "1000000"}, "vat_included": False,
    "legal_ref": "made for tests", "sources": ["tests/integration/bills_kit.py"],
    "lines": [
        {
            "kind": "energy", "id": "energy", "ledger_code": "revenue_energy",
            "label": {
                "en": "Energy", "fa": "انرژی", "ru": "Энергия", "uz": "Energiya", "zh": "电量电费",
            },
            "scope": {"widths": "fixed", "reset": "calendar_year", "mode": "marginal"},
            "steps": [
                {"over_kwh": "0", "upto_kwh": "500", "price": "0.52"},
                {"over_kwh": "500", "upto_kwh": None, "price": "0.82"},
            ],
            "round": {"step": "0.01", "mode": "half_up"},
        },
        {
            "kind": "fixed", "id": "standing", "ledger_code": "revenue_standing",
            "label": {
                "en": "Standing charge", "fa": "آبونمان", "ru": "Абонплата",
                "uz": "Abonent to‘lovi", "zh": "基本费",
            },
            "qty": "MONTHS", "price": "3", "prorate": "none",
            "round": {"step": "0.01", "mode": "half_up"},
        },
        {
            "kind": "percent", "id": "vat", "ledger_code": "payable_vat",
            "label": {
                "en": "VAT 13 %", "fa": "مالیات ۱۳٪", "ru": "НДС 13 %", "uz": "QQS 13 %",
                "zh": "增值税 13%",
            },
            "percent": "13", "base": ["energy", "standing"],
            "round": {"step": "0.01", "mode": "half_up"},
        },
    ],
    "total_round": {"step": "0.01", "mode": "half_up"},
    "test_cases": [
        {
            "name": "a hundred", "total": "62.15",
            "usage": {
                "period": {"start": "2026-01-01", "end": "2026-02-01"}, "quality": "actual",
                "kwh": {"all": "100"},
            },
        }
    ],
}  # fmt: skip


def household(number: int, **changes: Any) -> NewCustomer:
    """Return customer `number` of the book, joined on 1 January at register 1000 kWh."""
    base = NewCustomer(
        customer=CustomerId(f"CU-{number:06}"), name=f"Wang Lei {number}", language="zh",
        phone=f"+8613800{number:06}", account=AccountId(f"AC-{number:06}"),
        agreement=AgreementId(f"SA-{number:06}"), usage_point=UsagePointId(f"UP-{number:06}"),
        tariff_code="book-household", currency="CNY",
        started_at=datetime.combine(JAN, time(0), ZONE), opening_register_wh=1_000 * KWH,
    )  # fmt: skip
    return replace(base, **changes)


def book(db: Database, *people: NewCustomer, tariff: dict[str, Any] | None = None) -> None:
    """Publish the tariff and take the customers in."""
    document = json.dumps(tariff or TARIFF).encode()
    rating.publish(db, document, actor="user:reza", now=datetime(2019, 1, 1, tzinfo=UTC))
    customers.register(db, Registration(customers=people, actor="user:reza"), now=NOW)


def read(db: Database, number: int, day: date, kwh: int, quality: str = "valid") -> None:
    """Read the register of customer `number` ten minutes before a day begins."""
    at = datetime.combine(day, time(0), ZONE) - timedelta(minutes=10)
    point = f"UP-{number:06}"
    with db.transaction() as conn:
        last = usage.register_at(conn, UsagePointId(point), at)
    # what was read once is never read otherwise: two people correct it
    if last is not None and last.at == at:
        say_register(db, point, at, kwh * KWH)
    else:
        put_registers(db, point, {at: kwh * KWH}, quality=quality)
