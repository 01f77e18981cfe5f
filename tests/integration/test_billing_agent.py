"""The billing process under its own role: it sweeps, publishes, and outlives its neighbours."""

import asyncio
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import aiomqtt
import pytest

from billing.collections import agent
from billing.ledger import service as ledger
from billing.payments import service as payments
from billing.prepaid import service as prepaid
from cloud.store.db import Database
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.live import live_from_bytes
from protocols.mqtt.topics import Live, live
from protocols.timeline import TimeScale
from tests.integration.billing_kit import HOUR, ORIGIN, YUAN, customer, order, read, rows, street

UP = "UP-000001"


def scale_from(start: datetime) -> TimeScale:
    return TimeScale(wall_origin=datetime.now(UTC), origin=start, speed=600)


@pytest.mark.req("C4", "C6", "A3")
def test_a_register_becomes_a_live_balance(
    db: Database, database_dsn: str, mqtt_broker: BrokerAddress
) -> None:
    street(db, customer(1))
    read(db, UP, ORIGIN + HOUR, 1_010_000)

    async def scenario() -> tuple[list[int], dict[str, int | str]]:
        stop, status = asyncio.Event(), dict[str, int | str]()
        started = asyncio.Event()
        config = agent.BillingConfig(
            dsn=database_dsn, broker=mqtt_broker, scale=scale_from(ORIGIN + HOUR),
            sweep_seconds=0.1, client_id="billing-test",
        )  # fmt: skip
        seen: list[int] = []
        async with asyncio.timeout(30):
            running = asyncio.create_task(
                agent.run(config, stop=stop, ready=started.set, status=status)
            )
            await started.wait()
            async with aiomqtt.Client(
                mqtt_broker.host, mqtt_broker.port, protocol=aiomqtt.ProtocolVersion.V5
            ) as client:
                await client.subscribe(live(UP, Live.BALANCE))
                async for message in client.messages:
                    balance = live_from_bytes(Live.BALANCE, bytes(message.payload))
                    seen.append(balance.available_micros)
                    if balance.as_of_register_wh == 1_010_000 and len(seen) == 1:
                        await asyncio.to_thread(read, db, UP, ORIGIN + 2 * HOUR, 1_020_000)
                    if balance.as_of_register_wh == 1_020_000:
                        break
            stop.set()
            await running
        return seen, status

    seen, status = asyncio.run(scenario())
    assert seen[0] == 44_800_000
    assert seen[-1] == 39_600_000
    assert status["points"] == 1
    assert int(status["sweeps"]) >= 2


@pytest.mark.req("D4", "F2")
@pytest.mark.parametrize("look_minutes", [0.0, 15.0])
def test_it_has_the_rights_to_dun_notice_and_request(
    db: Database, database_dsn: str, mqtt_broker: BrokerAddress, look_minutes: float
) -> None:
    street(db, customer(1, opening_balance_micros=YUAN))
    for hour in range(1, 30):
        read(db, UP, ORIGIN + hour * HOUR, 1_005_000 + hour)

    async def scenario() -> None:
        stop = asyncio.Event()
        config = agent.BillingConfig(
            dsn=database_dsn, broker=mqtt_broker, sweep_seconds=0.05, client_id="billing-test-2",
            look_minutes=look_minutes,
            scale=TimeScale(wall_origin=datetime.now(UTC), origin=ORIGIN + HOUR, speed=36_000),
        )  # fmt: skip
        running = asyncio.create_task(agent.run(config, stop=stop, ready=lambda: None, status={}))
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(
                rows, db, "SELECT 1 FROM collections.dunning_case WHERE state = 'requested'"
            ):
                assert not running.done()
                await asyncio.sleep(0.1)
            stop.set()
            await running

    asyncio.run(scenario())


def test_sweeps_and_payments_at_once_neither_block_nor_lose(
    db: Database, database_dsn: str
) -> None:
    people = [customer(number) for number in range(1, 9)]
    street(db, *people)
    prepaid.sweep(db, now=ORIGIN)
    over, failures = Event(), list[BaseException]()

    def sweep_on(hand: int) -> None:
        with Database(database_dsn, user="meterloop_billing", size=1) as mine:
            turn = 0
            while not over.is_set():
                turn += 1
                at = ORIGIN + timedelta(hours=turn)
                try:
                    if hand == 0:
                        for person in people:
                            read(db, person.usage_point, at, 1_000_000 + turn * 2_000)
                    prepaid.sweep(mine, now=at)
                except BaseException as error:  # the test reports it
                    failures.append(error)
                    return

    sweepers = [Thread(target=sweep_on, args=(hand,)) for hand in range(2)]
    for thread in sweepers:
        thread.start()
    with Database(database_dsn, user="meterloop_portal", size=2) as counter:
        for n in range(120):
            payments.pay(counter, order(n % 8 + 1, f"t-{n}", 3), now=ORIGIN + HOUR)
    over.set()
    for thread in sweepers:
        thread.join()
    assert failures == []
    prepaid.sweep(db, now=ORIGIN + timedelta(days=60))
    with db.transaction() as conn:
        assert ledger.audit_sums(conn).count == 0
        assert payments.audit_payments(conn).count == 0
        assert prepaid.audit_drawdowns(conn).count == 0
        assert prepaid.audit_fees(conn).count == 0
    falls = rows(
        db,
        "SELECT account, kind, level, period, crossing_no, count(*) FROM prepaid.crossing"
        " GROUP BY 1, 2, 3, 4, 5 HAVING count(*) > 1",
    )
    assert falls == []
