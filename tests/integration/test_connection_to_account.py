"""Prepayment from the connection of a supply to its account, in one walk (C16)."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from billing.bills.service import asking, replay
from billing.bills.service import run as runs
from billing.customers import service as customers
from billing.customers.model import AccountId, AgreementId, CustomerId, NewCustomer
from billing.ledger import service as ledger
from billing.payments import service as payments
from billing.payments.model import PaymentOrder
from billing.prepaid import service as prepaid
from billing.prepaid.service.statement import statement_of
from billing.rating import service as rating
from billing.rating.rules.oracle import oracle_charges
from billing.rating.rules.subscribing import Subscription, SupplyKind
from billing.rating.rules.usage import use_of
from billing.rating.service import subscribing
from billing.tariffs import service as tariffs
from billing.tariffs.model.usage import UsageFile
from billing.tariffs.rules import read_tariff, read_usage
from cloud.assets import model as things
from cloud.assets import service as assets
from cloud.control import service as control
from cloud.ingest import service as ingest
from cloud.ingest.model import Arrival
from cloud.store.db import Database
from cloud.usage import service as usage
from protocols.errors import RefusedError
from protocols.identity import (
    BatchId,
    ConcentratorId,
    MeterId,
    TransformerId,
    UsagePointId,
)
from protocols.mqtt import envelope
from protocols.mqtt.topics import up_data
from protocols.mqtt.uplink import DataBatch, batch_to_plain
from protocols.reading import Channel
from protocols.timeline import local_day
from tests.integration.bills_kit import ZONE
from tests.integration.portal_kit import Rows

POINT = UsagePointId("UP-000001")
METER = MeterId("M-000001")
CONCENTRATOR = ConcentratorId("C-01")
CODE = "zj-household-tou"
YUAN = 1_000_000
FIRST, LAST = date(2026, 3, 1), date(2026, 3, 31)
BEGIN = local_day(FIRST, ZONE).start
OPENING = 1_000_000
HOUR = timedelta(hours=1)


def used_wh(hour: int) -> int:
    """Return what the household uses in an hour: most in the evening."""
    return 150 + 40 * (hour % 24) + (900 if hour % 24 in (19, 20, 21) else 0)


def connect(db: Database) -> None:
    """Build the supply: transformer, usage point, concentrator, meter, installation."""
    assets.register(
        db,
        things.Registration(
            transformers=(things.Transformer(id=TransformerId("T-01")),),
            concentrators=(things.Concentrator(id=CONCENTRATOR),),
            usage_points=(
                things.UsagePoint(
                    id=POINT, kind=things.PointKind.CUSTOMER, transformer=TransformerId("T-01"),
                    zone=ZONE.key,
                ),
            ),
            meters=(
                things.Meter(
                    id=METER, model="sim", protocol="dlms", has_relay=True,
                    can_close_remotely=True,
                ),
            ),
            installations=(
                things.Installation(
                    meter=METER, usage_point=POINT, concentrator=CONCENTRATOR,
                    installed_at=BEGIN - timedelta(days=2),
                ),
            ),
        ),
        now=BEGIN - timedelta(days=2),
    )  # fmt: skip


def household() -> Subscription:
    return Subscription(
        record=NewCustomer(
            customer=CustomerId("CU-000001"), name="王伟", language="zh",
            account=AccountId("AC-000001"), agreement=AgreementId("SA-000001"),
            usage_point=POINT, tariff_code=CODE, currency="CNY", started_at=BEGIN,
            opening_register_wh=OPENING, phone="+8613800000001",
        ),
        kind=SupplyKind.ORDINARY,
    )  # fmt: skip


def measure(db: Database, since: int, until: int, seq: int) -> None:
    """Let the meter report hours `[since, until)` after the beginning, as an agent sends them."""
    lists = Rows()
    now = BEGIN + until * HOUR + timedelta(minutes=1)
    wh = OPENING + sum(used_wh(hour) for hour in range(since))
    for hour in range(since, until):
        at = BEGIN + hour * HOUR
        lists.add(Channel.IMPORT_WH, at, 0, wh)
        lists.add(Channel.IMPORT_INTERVAL_WH, at, 3600, used_wh(hour))
        wh += used_wh(hour)
    lists.add(Channel.IMPORT_WH, BEGIN + until * HOUR, 0, wh)
    batch = DataBatch(
        id=BatchId(concentrator=CONCENTRATOR, boot=1, seq=seq), made_at=now, meters=(METER,),
        columns=lists.columns(now),
    )  # fmt: skip
    outcome = ingest.store_batch(
        db,
        Arrival(
            payload=envelope.encode(batch_to_plain(batch)), content_type=envelope.CBOR_ZSTD,
            topic=up_data(CONCENTRATOR), hint=batch.id, now=now, wall_now=now,
        ),
        derive=usage.derive,
    )  # fmt: skip
    assert outcome.account.quarantined == 0


def paid(txn: str, yuan: int, at: datetime) -> PaymentOrder:
    return PaymentOrder(
        channel="bank", peer_txn_id=txn, account=AccountId("AC-000001"),
        amount_micros=yuan * YUAN, currency="CNY", peer_time=at, actor="peer:bank",
    )  # fmt: skip


@pytest.mark.req("C16", "C14", "C7", "G23")
def test_a_household_is_connected_metered_calculated_and_settled(db: Database) -> None:
    rating.publish(
        db, tariffs.shipped(CODE), actor="user:reza", now=datetime(2019, 1, 1, tzinfo=UTC)
    )
    with pytest.raises(RefusedError) as early:
        subscribing.subscribe(db, household(), actor="user:reza", now=BEGIN)
    assert early.value.refusal.value == "subscribers.usage_point_unknown", "connection comes first"
    connect(db)
    subscribing.subscribe(db, household(), actor="user:reza", now=BEGIN)
    payments.pay(db, paid("T-1", 300, BEGIN), now=BEGIN)

    hours = int((local_day(LAST, ZONE).end - BEGIN).total_seconds()) // 3600
    for seq, since in enumerate(range(0, hours, 24), start=1):
        until = min(since + 24, hours)
        measure(db, since, until, seq)
        prepaid.sweep(db, now=BEGIN + until * HOUR + timedelta(minutes=2))
    now = BEGIN + hours * HOUR + timedelta(minutes=5)
    payments.pay(db, paid("T-2", 50, now), now=now)
    with db.transaction() as conn:
        balance = prepaid.balance_of(conn, POINT, now)
        why = prepaid.reckoning_of(conn, POINT, first=FIRST, last=LAST, now=now)
        card = customers.card_of(conn, POINT)
        supply = control.supply_of(conn, POINT, now=now)
    assert card is not None
    assert supply.protected is False
    assert why.adds_up
    assert why.wh == sum(used_wh(hour) for hour in range(hours))

    run = runs.open_run(
        db, start=FIRST, end=LAST + timedelta(days=1), zone=ZONE, actor="user:reza", now=now
    )
    moved = runs.advance(db, run.id, now=now)
    assert moved.states == {"billed": 1}, moved
    with db.transaction() as conn:
        bill = asking.bills_of(conn, "AC-000001")[0]
        again = replay.replay(conn, bill.id)
        statement = statement_of(conn, "AC-000001", first=FIRST, last=LAST)
        held = ledger.balance_of(conn, "AC-000001")
        sums = ledger.audit_sums(conn)
    # the bill is the oracle's price of the month, and what the days had drawn already
    tariff = read_tariff(tariffs.shipped(CODE))
    by_hand = oracle_charges(
        tariff, use_of(tariff, by_hours(FIRST, LAST + timedelta(days=1), hours))
    )
    assert bill.total_micros == by_hand.total == why.amount_micros
    assert bill.posted_micros == bill.total_micros - why.taken_micros
    assert again.differences == ()
    assert sums.count == 0
    assert held == 350 * YUAN - bill.total_micros
    kinds = {one.kind: one.amount_micros for one in statement.kinds}
    assert kinds["drawdown"] == -why.taken_micros
    assert statement.opening_micros + sum(kinds.values()) == statement.closing_micros
    assert balance.currency == "CNY"


def by_hours(first: date, end: date, hours: int) -> UsageFile:
    """Return days as a usage file of hours, read apart from the meter's road."""
    since = local_day(first, ZONE).start.astimezone(ZONE).isoformat()
    return read_usage(
        json.dumps({
            "period": {"start": first.isoformat(), "end": end.isoformat()}, "quality": "actual",
            "before_kwh": {"calendar_year": {}},
            "intervals": {"start": since, "seconds": 3600,
                          "wh": [used_wh(hour) for hour in range(hours)]},
        }).encode()
    )  # fmt: skip


def test_twice_the_same_payment_is_one(db: Database) -> None:
    connect(db)
    rating.publish(
        db, tariffs.shipped(CODE), actor="user:reza", now=datetime(2019, 1, 1, tzinfo=UTC)
    )
    subscribing.subscribe(db, household(), actor="user:reza", now=BEGIN)
    first = payments.pay(db, paid("T-1", 300, BEGIN), now=BEGIN)
    again = payments.pay(db, replace(paid("T-1", 300, BEGIN)), now=BEGIN + HOUR)
    assert (again.receipt_no, again.replayed) == (first.receipt_no, True)
