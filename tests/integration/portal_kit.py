"""A small town for the portal's tests: customers with a past, staff, the portal being served."""

import asyncio
import json
import re
import secrets
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg

from billing.collections import service as collections
from billing.customers import service as customers
from billing.customers.model import (
    AccountId,
    AgreementId,
    CustomerId,
    CustomerKind,
    NewCustomer,
    Registration,
)
from billing.prepaid import service as prepaid
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from cloud.assets import model as things
from cloud.assets import service as assets
from cloud.control import service as control
from cloud.control.service.sweep import SeenRelay
from cloud.ingest import service as ingest
from cloud.ingest.model import Arrival
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.usage import service as usage
from cloud.work import service as work
from cloud.work.model import OrderKind
from meterloop.embedded.broker import free_port
from meterloop.embedded.postgres import EmbeddedPostgres
from portal.auth import service as access
from portal.auth.model import Role, UserSpec
from portal.config import PortalConfig
from portal.run import run
from protocols.identity import BatchId, ConcentratorId, MeterId, TransformerId, UsagePointId
from protocols.mqtt import envelope
from protocols.mqtt.broker import BrokerAddress
from protocols.mqtt.topics import up_data
from protocols.mqtt.uplink import DataBatch, RelayReport, batch_to_plain, columns_of
from protocols.reading import Channel, RelayReading, RelayState
from protocols.timeline import TimeScale, floor_to_grid, to_ms

NOON = datetime(2026, 11, 18, 4, 0, tzinfo=UTC)
"""Wednesday noon in Chongqing: what the town's clock shows when a test begins."""
CONCENTRATOR = ConcentratorId("C-01")
PASSWORD = "correct horse 7"
API_KEY = "meterloop_test_bank_key_0123456789abcdef"
YUAN = 1_000_000

_FOUNDED = "town_at_noon"

_PEOPLE = {
    42: ("مریم رستمی", "fa", 9, CustomerKind.HOUSEHOLD, ""),
    43: ("王伟", "zh", 60, CustomerKind.HOUSEHOLD, ""),
    60: ("Aziza Karimova", "uz", -4, CustomerKind.HOUSEHOLD, ""),
    61: ("Борис Соколов", "ru", 240, CustomerKind.HOUSEHOLD, ""),
    88: ("渝北医院", "zh", -30, CustomerKind.LEGAL, "hospital"),
    99: ("Ulugʻbek Saidov", "uz", 10, CustomerKind.HOUSEHOLD, ""),
}
"""Number: name, language, yuan left after two days of use, kind, protection."""
_NEWCOMER = 99
"""Joined a minute ago: nothing was ever read."""

STAFF = (
    UserSpec(login="reza", name="Reza Ahmadi", roles=(Role.OPERATOR,), language="en",
             password=PASSWORD, unit="office-1"),
    UserSpec(login="lin", name="林晓", roles=(Role.APPROVER,), language="zh", password=PASSWORD),
    UserSpec(login="aziz", name="Aziz Nazarov", roles=(Role.CREW,), language="uz",
             password=PASSWORD),
    UserSpec(login="tina", name="Tina Teller", roles=(Role.TELLER,), language="en",
             password=PASSWORD),
    UserSpec(login="nina", name="Nina Orlova", roles=(Role.OPERATOR,), language="ru",
             password=PASSWORD),
    UserSpec(login="mona", name="Mona Manager", roles=(Role.MANAGER,), language="en",
             password=PASSWORD),
)  # fmt: skip


def point(number: int) -> UsagePointId:
    """Return the usage point of customer `number`."""
    return UsagePointId(f"UP-{number:06}")


def account(number: int) -> AccountId:
    """Return the account of customer `number`."""
    return AccountId(f"AC-{number:06}")


def people() -> tuple[UserSpec, ...]:
    """Return everybody who can sign in."""
    return STAFF + tuple(
        UserSpec(
            login="maryam" if number == 42 else f"c{number}", name=name, roles=(Role.CUSTOMER,),
            language=language, calendar="persian" if language == "fa" else "gregorian",
            password=PASSWORD, usage_points=(point(number),),
        )
        for number, (name, language, *_) in _PEOPLE.items()
    )  # fmt: skip


def found_town(owner: Database, now: datetime) -> None:
    """Build the town: assets, tariff, customers, two days of readings, balances, one notice."""
    begin = floor_to_grid(now - timedelta(days=2), 86_400)
    _install(owner, begin)
    rating.publish(owner, tariffs.shipped("cq-household-lv"), actor="user:reza", now=begin)
    used = _readings(owner, begin, now)
    records = tuple(_record(number, used[number], begin) for number in _PEOPLE)
    customers.register(owner, Registration(customers=records, actor="user:reza"), now=begin)
    for _ in range(3):
        prepaid.sweep(owner, now=now)
        collections.step(owner, now=now)
    _switches_and_work(owner, now)
    access.ensure_users(owner, people(), now)
    access.ensure_api_key(
        owner, name="bank", channel="bank", secret=API_KEY, now=now,
        scopes=("payments", "payments:collected", "readings", "tokens"),
    )  # fmt: skip


def _switches_and_work(owner: Database, now: datetime) -> None:
    """Tell control where the switches stand; leave one request, one order, one bad payload."""
    closed = RelayReading(output_closed=True, control_state=RelayState.CONNECTED, control_mode=4)
    control.reconcile(
        owner,
        [SeenRelay(point(number), now, closed) for number in _PEOPLE if number != _NEWCOMER],
        now=now,
    )
    control.request_disconnect(
        owner, usage_point=point(60), requested_by="user:mona", reason="three months of debt",
        figures={"available_micros": -4 * YUAN, "currency": "CNY"}, now=now,
    )  # fmt: skip
    work.set_crew(owner, crew="aziz", phone="+998901234567", language="uz", now=now)
    with owner.transaction() as conn:
        work.raise_order(
            conn, kind=OrderKind.CUT_FAILURE, usage_point=point(43), cause_key="test:1",
            summary="UP-000043: the switch did not open after three tries", now=now,
        )  # fmt: skip
    ingest.store_batch(
        owner,
        Arrival(
            payload=b"not a batch", content_type=envelope.CBOR, topic=up_data(CONCENTRATOR),
            hint=BatchId(concentrator=CONCENTRATOR, boot=1, seq=99), now=now, wall_now=now,
        ),
        derive=usage.derive,
    )  # fmt: skip


def _install(owner: Database, begin: datetime) -> None:
    assets.register(
        owner,
        things.Registration(
            transformers=(things.Transformer(id=TransformerId("T-01")),),
            concentrators=(things.Concentrator(id=CONCENTRATOR),),
            usage_points=tuple(
                things.UsagePoint(
                    id=point(number), kind=things.PointKind.CUSTOMER,
                    transformer=TransformerId("T-01"), zone="Asia/Shanghai", capacity_w=20_000,
                )
                for number in _PEOPLE
            ),
            meters=tuple(
                things.Meter(
                    id=MeterId(f"M-{number:06}"), model="sim", protocol="dlms", has_relay=True,
                    can_close_remotely=True, interval_seconds=1800, control_mode=4, max_w=30_000,
                    keeps_power=number in (43, 88), token_kind="sts" if number == 43 else "",
                )
                for number in _PEOPLE
            ),
            installations=tuple(
                things.Installation(
                    meter=MeterId(f"M-{number:06}"), usage_point=point(number),
                    concentrator=CONCENTRATOR, installed_at=begin - timedelta(days=30),
                )
                for number in _PEOPLE
            ),
        ),
        now=begin,
    )  # fmt: skip


def slot_wh(number: int, slot: int) -> int:
    """Return what a household used in half hour `slot` of a day: two humps."""
    hour = slot % 48 / 2
    hump = 2.718 ** -(((hour - 8) / 2.2) ** 2) + 1.6 * 2.718 ** -(((hour - 20) / 2.6) ** 2)
    return int((90 + 420 * hump) * (1 + number % 5 / 10))


def _readings(owner: Database, begin: datetime, now: datetime) -> dict[int, int]:
    """Send one batch per customer as an agent would; return how much each used."""
    used = {}
    for seq, number in enumerate(_PEOPLE, start=1):
        used[number] = 0
        if number == _NEWCOMER:
            continue
        meter, lists = MeterId(f"M-{number:06}"), Rows()
        wh, at, slot = 1_000_000 + number * 1000, begin, 0
        while at + timedelta(seconds=1800) <= now:
            lists.add(Channel.IMPORT_WH, at, 0, wh)
            lists.add(Channel.IMPORT_INTERVAL_WH, at, 1800, slot_wh(number, slot))
            wh += slot_wh(number, slot)
            at, slot = at + timedelta(seconds=1800), slot + 1
        last = now - timedelta(seconds=4)
        lists.add(Channel.IMPORT_WH, last, 0, wh)
        for channel, value in (
            (Channel.POWER_W, 1240 + number), (Channel.VOLTAGE_L1_MV, 229_400),
            (Channel.CURRENT_L1_MA, 5410),
        ):  # fmt: skip
            lists.add(channel, last, 0, value)
        batch = DataBatch(
            id=BatchId(concentrator=CONCENTRATOR, boot=1, seq=seq), made_at=now, meters=(meter,),
            columns=lists.columns(now), relays=(
                RelayReport(meter=meter, at=last, relay=RelayReading(
                    output_closed=True, control_state=RelayState.CONNECTED, control_mode=4)),
            ),
        )  # fmt: skip
        outcome = ingest.store_batch(
            owner,
            Arrival(
                payload=envelope.encode(batch_to_plain(batch)), content_type=envelope.CBOR_ZSTD,
                topic=up_data(CONCENTRATOR), hint=batch.id, now=now, wall_now=now,
            ),
            derive=usage.derive,
        )  # fmt: skip
        assert outcome.account.quarantined == 0, outcome
        used[number] = wh - (1_000_000 + number * 1000)
    return used


class Rows:
    """The columns of one meter's batch, row by row."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int]] = []

    def add(self, channel: Channel, at: datetime, seconds: int, raw: int) -> None:
        """Add one value."""
        self._rows.append((int(channel), to_ms(at), seconds, raw))

    def columns(self, now: datetime) -> "dict[str, array[int]]":
        """Return the eight columns."""
        count = len(self._rows)
        return columns_of({
            "meter": [0] * count, "channel": [row[0] for row in self._rows],
            "at_ms": [row[1] for row in self._rows], "seconds": [row[2] for row in self._rows],
            "received_ms": [to_ms(now)] * count, "raw": [row[3] for row in self._rows],
            "scaler": [0] * count, "status": [0] * count,
        })  # fmt: skip


def _record(number: int, used_wh: int, begin: datetime) -> NewCustomer:
    name, language, left_yuan, kind, protection = _PEOPLE[number]
    return NewCustomer(
        customer=CustomerId(f"CU-{number:06}"), name=name, language=language, kind=kind,
        phone="+8613800000088" if number != 61 else "", account=account(number),
        agreement=AgreementId(f"SA-{number:06}"), usage_point=point(number),
        tariff_code="cq-household-lv", currency="CNY", started_at=begin, opening_year_wh=2_395_000,
        opening_register_wh=1_000_000 + number * 1000, protection=protection,
        opening_balance_micros=left_yuan * YUAN + used_wh * 550_000 // 1000,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Town:
    """A town whose portal is being served at `url`."""

    url: str
    dsn: str
    owner: Database
    clock: Clock
    broker: BrokerAddress
    status: dict[str, int | str]


@contextmanager
def serving(dsn: str, broker: BrokerAddress, folder: Path, *, demo: bool = True) -> Iterator[Town]:
    """Serve the portal of a founded town as role meterloop_portal until the block ends."""
    scale = TimeScale(wall_origin=datetime.now(UTC), origin=NOON, speed=1)
    credentials = folder / "credentials.json"
    credentials.write_text(json.dumps({one.login: PASSWORD for one in people()}))
    config = PortalConfig(
        dsn=dsn, broker=broker, scale=scale, host="127.0.0.1", port=free_port(), demo=demo,
        demo_credentials_file=str(credentials),
    )  # fmt: skip
    with Database(dsn, application="test") as owner:
        clock = Clock(scale=scale)
        ready, status = threading.Event(), dict[str, int | str]()
        holder: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

        def serve() -> None:
            async def main() -> None:
                stop = asyncio.Event()
                holder.append((asyncio.get_running_loop(), stop))
                await run(config, stop=stop, ready=ready.set, status=status)

            asyncio.run(main())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert ready.wait(60), "the portal did not become ready"
        try:
            yield Town(
                url=f"http://127.0.0.1:{config.port}",
                dsn=dsn,
                owner=owner,
                clock=clock,
                broker=broker,
                status=status,
            )
        finally:
            loop, stop = holder[0]
            loop.call_soon_threadsafe(stop.set)
            thread.join(30)
            assert not thread.is_alive(), "the portal did not end"


def _founded(postgres: EmbeddedPostgres, template: str) -> str:
    """Return the name of a database with the town as it is at noon; it is founded only once."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        if not connection.execute(
            "SELECT FROM pg_database WHERE datname = %s", (_FOUNDED,)
        ).rowcount:
            building = f"town_{secrets.token_hex(5)}"
            connection.execute(f"CREATE DATABASE {building} TEMPLATE {template}")
            with Database(postgres.cluster.dsn(database=building), application="test") as owner:
                found_town(owner, NOON)
            connection.execute(f"ALTER DATABASE {building} RENAME TO {_FOUNDED}")
    return _FOUNDED


@contextmanager
def fresh_town(
    postgres: EmbeddedPostgres, template: str, broker: BrokerAddress, folder: Path
) -> Iterator[Town]:
    """Serve a town on a database of its own, for all tests of one module."""
    name, founded = f"town_{secrets.token_hex(5)}", _founded(postgres, template)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {founded} STRATEGY FILE_COPY")
    with serving(postgres.cluster.dsn(database=name), broker, folder) as town:
        yield town
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def browser(town: Town) -> httpx.Client:
    """Return a client that keeps cookies, as somebody's browser without scripts."""
    return httpx.Client(base_url=town.url, follow_redirects=False, timeout=20)


def door_of(page: str, name: str = "door") -> str:
    """Return the token hidden in a form."""
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    assert found is not None, f"no {name} in the page"
    return found.group(1)


@contextmanager
def sign_in(town: Town, login: str) -> Iterator[httpx.Client]:
    """Yield a client signed in with the password."""
    with browser(town) as client:
        door = door_of(client.get("/sign-in").text)
        answer = client.post("/sign-in", data={"login": login, "password": PASSWORD, "door": door})
        assert answer.status_code == 303, answer.text
        yield client


def send(client: httpx.Client, page: str, path: str, **fields: str) -> httpx.Response:
    """Send a form of `page` to `path` with its token."""
    token = door_of(client.get(page).text, "form_token")
    return client.post(path, data={"form_token": token, **fields})


def step_up(client: httpx.Client, page: str = "/cuts") -> None:
    """Give the password once more."""
    answer = send(client, f"/confirm?next={page}", "/confirm", password=PASSWORD, next=page)
    assert answer.status_code == 303, answer.text
