"""What billing's integration tests share: one street of customers, a tariff, registers."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from billing.customers import service as customers
from billing.customers.model import (
    AccountId,
    AgreementId,
    CustomerId,
    NewCustomer,
    Registration,
)
from billing.payments.model import PaymentOrder
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from cloud.assets import model as things
from cloud.assets import service as assets
from cloud.store.db import Database
from protocols.identity import ConcentratorId, MeterId, TransformerId, UsagePointId
from tests.integration.usage_kit import put_registers

ORIGIN = datetime(2026, 3, 10, 4, 0, tzinfo=UTC)
"""Noon of 10 March in Chongqing."""
HOUR = timedelta(hours=1)
YUAN = 1_000_000
CODE = "cq-household-lv"


def customer(number: int, **changes: Any) -> NewCustomer:
    """Return a customer of the street: 50 yuan, register 1000 kWh, nothing used this year."""
    base = NewCustomer(
        customer=CustomerId(f"CU-{number:06}"), name=f"Wang Lei {number}", language="zh",
        phone=f"+8613800{number:06}", account=AccountId(f"AC-{number:06}"),
        agreement=AgreementId(f"SA-{number:06}"), usage_point=UsagePointId(f"UP-{number:06}"),
        tariff_code=CODE, currency="CNY", started_at=ORIGIN, opening_register_wh=1_000_000,
        opening_balance_micros=50 * YUAN,
    )  # fmt: skip
    return replace(base, **changes)


def street(db: Database, *people: NewCustomer, relay: bool = True) -> None:
    """Register meters and supplies of some customers, publish the tariff, take the customers in."""
    assets.register(
        db,
        things.Registration(
            transformers=(things.Transformer(id=TransformerId("T-01")),),
            concentrators=(things.Concentrator(id=ConcentratorId("C-01")),),
            usage_points=tuple(
                things.UsagePoint(
                    id=each.usage_point, kind=things.PointKind.CUSTOMER,
                    transformer=TransformerId("T-01"), zone="Asia/Shanghai",
                )
                for each in people
            ),
            meters=tuple(
                things.Meter(
                    id=_meter(each), model="sim", protocol="dlms", has_relay=relay,
                    can_close_remotely=relay,
                )
                for each in people
            ),
            installations=tuple(
                things.Installation(
                    meter=_meter(each), usage_point=each.usage_point,
                    concentrator=ConcentratorId("C-01"), installed_at=ORIGIN - timedelta(days=400),
                )
                for each in people
            ),
        ),
        now=ORIGIN,
    )  # fmt: skip
    rating.publish(db, tariffs.shipped(CODE), actor="user:reza", now=ORIGIN)
    customers.register(db, Registration(customers=people, actor="user:reza"), now=ORIGIN)


def read(db: Database, usage_point: str, at: datetime, wh: int, quality: str = "valid") -> None:
    """Let the meter of a usage point have shown so many Wh, as usage then tells."""
    put_registers(db, usage_point, {at: wh}, quality=quality)


def order(number: int, txn: str, yuan: float, **changes: Any) -> PaymentOrder:
    """Return a payment of the bank for customer `number`."""
    base = PaymentOrder(
        channel="bank", peer_txn_id=txn, account=AccountId(f"AC-{number:06}"),
        amount_micros=int(yuan * YUAN), currency="CNY", peer_time=ORIGIN, actor="peer:bank",
    )  # fmt: skip
    return replace(base, **changes)


def rows(db: Database, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return what a query says; tests look where they like."""
    with db.transaction() as conn:
        return conn.execute(query, parameters).fetchall()  # type: ignore[arg-type]


def _meter(person: NewCustomer) -> MeterId:
    return MeterId(person.usage_point.replace("UP", "M"))
