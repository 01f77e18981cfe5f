"""
The billing process: sweep, cases, rechecks, the seal of the ledger, live balances for watchers.

Database work runs in a thread; the broker is a rim that may be away: balances are retained and
the next sweep after a reconnection publishes all of them again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiomqtt

from billing.bills.service import dependents, deposits, ending, plan_turns
from billing.bills.service import orders as bill_orders
from billing.collections import service as collections
from billing.collections.model import Stepped
from billing.ledger import service as ledger
from billing.payments import service as payments
from billing.prepaid import service as prepaid
from billing.prepaid.model import Swept
from billing.prepaid.service import credit, selection, watch
from billing.prepaid.service.selection import Plan
from cloud.rollups import service as rollups
from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from cloud.store.rim import ended
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.live import LiveBalance, live_to_bytes
from protocols.mqtt.topics import Live, live
from protocols.timeline import TimeScale

_LOG = logging.getLogger(__name__)
_BACKOFF_SECONDS = 1.0
_ORDERS_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingConfig:
    """
    Where billing finds its database and broker, and which accounts a sweep looks at.

    *Units*: wall seconds between sweeps; business hours within which every account is priced, while
    sweeps in between price those with a new register (C1). With 0 each sweep prices all. With
    `look_minutes` of business time a plan says who is due instead: those near a line, those whose
    money moved, and everybody once a day (C2, C3, C8).
    """

    dsn: str
    broker: BrokerAddress
    scale: TimeScale
    sweep_seconds: float = 0.5
    every_account_hours: float = 0.0
    look_minutes: float = 0.0
    user: str = "meterloop_billing"
    client_id: str = "billing"


async def run(
    config: BillingConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: MutableMapping[str, int | str],
) -> None:
    """Sweep until `stop` is set; ready after the first complete sweep."""
    outgoing: asyncio.Queue[Sequence[LiveBalance]] = asyncio.Queue()
    reconnected = asyncio.Event()
    with Database(config.dsn, user=config.user, application="billing") as db:
        publisher = asyncio.create_task(_publish(config, outgoing, reconnected, status))
        # bill runs take minutes: sweeps and rechecks of cuts never wait for them
        orders = asyncio.create_task(_orders(config, db, stop=stop, status=status))
        # what rests on late readings is looked up beside them, for the same reason
        late = asyncio.create_task(_late_readings(config, db, stop=stop, status=status))
        for task in (orders, late):
            task.add_done_callback(lambda done: None if done.cancelled() else stop.set())
        try:
            await _loop(
                config, db, stop=stop, ready=ready, status=status, outgoing=outgoing,
                reconnected=reconnected,
            )  # fmt: skip
            await orders
            await late
        finally:
            await ended(publisher, orders, late)


async def _loop(
    config: BillingConfig,
    db: Database,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: MutableMapping[str, int | str],
    outgoing: asyncio.Queue[Sequence[LiveBalance]],
    reconnected: asyncio.Event,
) -> None:
    clock = Clock(scale=config.scale)
    sweeps, first = 0, True
    plan = Plan(cycle=timedelta(minutes=config.look_minutes)) if config.look_minutes else None
    while not stop.is_set():
        everything = first or reconnected.is_set()
        reconnected.clear()
        pause = config.sweep_seconds
        try:
            swept, stepped = await asyncio.to_thread(
                _once, config, db, clock, everything=everything, plan=plan
            )
        except TransientDatabaseError as error:
            _LOG.warning("billing.database.away", extra={"fields": {"error": type(error).__name__}})
            reconnected.set()
            pause = _BACKOFF_SECONDS
        else:
            sweeps += 1
            _note(status, sweeps, swept, stepped)
            if swept.changed:
                outgoing.put_nowait(swept.changed)
            if first:
                first = False
                ready()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=pause)


async def _orders(
    config: BillingConfig, db: Database, *, stop: asyncio.Event,
    status: MutableMapping[str, int | str],
) -> None:  # fmt: skip
    """Carry out what staff ordered of bill runs, one after another, until `stop` is set."""
    clock = Clock(scale=config.scale)
    while not stop.is_set():
        found = None
        try:
            found = await asyncio.to_thread(bill_orders.carry_out, db, now=clock.now())
        except TransientDatabaseError as error:
            _LOG.warning("billing.database.away", extra={"fields": {"error": type(error).__name__}})
        if found is not None:
            status["run_orders"] = int(status.get("run_orders", 0)) + 1
            continue
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=_ORDERS_SECONDS)


async def _late_readings(
    config: BillingConfig, db: Database, *, stop: asyncio.Event,
    status: MutableMapping[str, int | str],
) -> None:  # fmt: skip
    """Tell roll-ups what had used the days that they made anew, until `stop` is set."""
    clock = Clock(scale=config.scale)
    while not stop.is_set():
        told = 0
        try:
            told = await asyncio.to_thread(
                rollups.find_dependents, db, dependents.find, now=clock.now()
            )
        except TransientDatabaseError as error:
            _LOG.warning("billing.database.away", extra={"fields": {"error": type(error).__name__}})
        if told:
            status["late_readings"] = int(status.get("late_readings", 0)) + told
            continue
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=_ORDERS_SECONDS)


def _once(
    config: BillingConfig, db: Database, clock: Clock, *, everything: bool, plan: Plan | None
) -> tuple[Swept, Stepped]:
    if plan is not None and not everything:
        swept = selection.look(db, plan, now=clock.now()).swept
    else:
        swept = prepaid.sweep(
            db, now=clock.now(), everything=everything,
            every_account_each=timedelta(hours=config.every_account_hours),
        )  # fmt: skip
    prepaid.shadow_when_due(db, now=clock.now())
    credit.lend_by_policy(db, now=clock.now())
    stepped = collections.step(db, now=clock.now())
    watch.look_when_due(db, now=clock.now())
    payments.expire(db, now=clock.now())
    plan_turns.step(db, now=clock.now())
    deposits.step(db, now=clock.now())
    ending.step(db, now=clock.now())
    payments.forget_messages(db, wall_now=clock.wall_now())
    ledger.seal(db, now=clock.now())
    return swept, stepped


def _note(
    status: MutableMapping[str, int | str], sweeps: int, swept: Swept, stepped: Stepped
) -> None:
    status["sweeps"] = sweeps
    status["points"] = swept.points
    status["exceptions"] = swept.exceptions
    for name, count in (
        ("changed", len(swept.changed)),
        ("crossings", swept.crossings),
        ("drawdowns", swept.drawdowns),
        ("cases_moved", stepped.moved),
        ("rechecks", stepped.rechecked),
    ):
        status[name] = int(status.get(name, 0)) + count


async def _publish(
    config: BillingConfig,
    outgoing: asyncio.Queue[Sequence[LiveBalance]],
    reconnected: asyncio.Event,
    status: MutableMapping[str, int | str],
) -> None:
    """Publish balances, retained; after a lost broker ask the sweep for all of them."""
    while True:
        try:
            async with _client_of(config) as client:
                status["broker"] = "up"
                reconnected.set()
                while True:
                    for balance in await outgoing.get():
                        await client.publish(
                            live(balance.usage_point, Live.BALANCE), live_to_bytes(balance),
                            qos=0, retain=True,
                        )  # fmt: skip
        except aiomqtt.MqttError as error:
            status["broker"] = "away"
            _LOG.warning("billing.broker.away", extra={"fields": {"error": type(error).__name__}})
            await asyncio.sleep(_BACKOFF_SECONDS)


def _client_of(config: BillingConfig) -> aiomqtt.Client:
    broker = config.broker
    password = Path(broker.password_file).read_text().strip() if broker.password_file else None
    return aiomqtt.Client(
        broker.host, broker.port, identifier=config.client_id,
        protocol=aiomqtt.ProtocolVersion.V5, username=broker.username or None, password=password,
        tls_params=(
            aiomqtt.TLSParameters(
                ca_certs=broker.tls_ca, certfile=broker.tls_cert or None,
                keyfile=broker.tls_key or None,
            )
            if broker.tls_ca
            else None
        ),
    )  # fmt: skip
