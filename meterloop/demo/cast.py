"""Who acts in the story and what they can see: portal pages, bank, hands at the meters, records."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import httpx

from billing.customers.model import AccountId
from billing.payments import service as payments
from billing.payments.model import Adjustment
from billing.prepaid import service as prepaid
from billing.prepaid.model import Balance
from cloud.control import service as control
from cloud.control.model import CommandRow, DisconnectRequest, SupplyState
from cloud.messages import service as messages
from cloud.messages.model import Message
from cloud.store.clock import Clock
from cloud.store.db import Connection, Database, TransientDatabaseError
from cloud.work import service as work
from cloud.work.model import Order
from meterloop.demo.browser import Browser
from meterloop.demo.seed import CURRENCY, MICROS
from meterloop.demo.stage import StepFailedError, patiently
from meterloop.demo.town import Town
from protocols.identity import UsagePointId
from simulators.peers.bank import Answer, Bank, Remittance, schedule

T = TypeVar("T")
_SENDS = 3
"""The bank tells of every payment this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """One of the story's supplies, by number."""

    number: int
    login: str = ""

    @property
    def usage_point(self) -> UsagePointId:
        """Return its usage point."""
        return UsagePointId(f"UP-{self.number:06d}")

    @property
    def meter(self) -> str:
        """Return its meter."""
        return f"M-{self.number:06d}"

    @property
    def account(self) -> AccountId:
        """Return its account."""
        return AccountId(f"AC-{self.number:06d}")


class Cast:
    """Everyone in the story. Looks are read-only; acts go through the doors people use."""

    def __init__(self, *, town: Town, portal_url: str, dsn: str, clock: Clock) -> None:
        """Open nothing yet but the pools."""
        self.town = town
        self.clock = clock
        self.portal_url = portal_url
        self.bank = Bank(portal_url, town.bank_key)
        self._auditor = Database(dsn, user="auditor", application="meterloop-story", size=4)
        self._office = Database(dsn, user="meterloop_billing", application="meterloop-story")
        self._hands = httpx.AsyncClient(base_url=town.hands_url, timeout=10.0)
        self._doors = AsyncExitStack()
        self._browsers: dict[str, Browser] = {}
        self._opening = asyncio.Lock()

    async def browser(self, login: str) -> Browser:
        """Return the signed-in browser of one person."""
        async with self._opening:
            if login not in self._browsers:
                found = Browser(self.portal_url, login, self.town.credentials[login])
                self._browsers[login] = await self._doors.enter_async_context(found)
            return self._browsers[login]

    async def leave(self) -> None:
        """Close browsers and connections."""
        await self._doors.aclose()
        await self._hands.aclose()

    def close(self) -> None:
        """Close the pools."""
        self._auditor.close()
        self._office.close()

    async def ask(self, look: Callable[[Connection], T]) -> T:
        """Return what `look` reads. Raises: OSError while the database is away."""

        def read() -> T:
            with self._auditor.transaction() as conn:
                return look(conn)

        async def once() -> T:
            try:
                return await asyncio.to_thread(read)
            except TransientDatabaseError as error:
                raise OSError(f"database: {error}") from error

        return await patiently(once)

    async def balance(self, supply: Supply) -> Balance:
        """Return the balance as the product tells it now."""
        now = self.clock.now()
        return await self.ask(lambda conn: prepaid.balance_of(conn, supply.usage_point, now))

    async def supply(self, supply: Supply) -> SupplyState:
        """Return what control believes of the switch."""
        now = self.clock.now()
        found = await self.ask(lambda conn: control.supply_of(conn, supply.usage_point, now=now))
        if found is None:
            raise StepFailedError(f"{supply.usage_point} has no supply state")
        return found

    async def requests(self, supply: Supply) -> list[DisconnectRequest]:
        """Return every cut ever asked for here, newest first."""
        found = await self.ask(lambda conn: control.requests_of(conn, supply.usage_point))
        return sorted(found, key=lambda request: request.created_at, reverse=True)

    async def commands(self, supply: Supply) -> list[CommandRow]:
        """Return every command to this switch, newest first."""
        found = await self.ask(lambda conn: control.commands_of(conn, supply.usage_point))
        return sorted(found, key=lambda command: command.issued_at, reverse=True)

    async def messages(self, supply: Supply) -> list[Message]:
        """Return what was told to this customer, newest first."""
        return await self.ask(
            lambda conn: (
                messages.messages_of(conn, supply.usage_point)
                + messages.messages_of(conn, supply.account)
            )
        )

    async def orders(self, supply: Supply) -> list[Order]:
        """Return the work orders about this supply."""
        found = await self.ask(work.orders)
        return [order for order in found if order.usage_point == supply.usage_point]

    async def look(self, supply: Supply) -> dict[str, Any]:
        """Return what one sees who stands before the meter: the simulator's own truth."""
        seen: dict[str, Any] = await self._hand("GET", f"/meters/{supply.meter}")
        return seen

    async def hand(self, supply: Supply, act: str) -> dict[str, Any]:
        """Do something at the meter itself: `press`, `open`, `close`."""
        seen: dict[str, Any] = await self._hand("POST", f"/meters/{supply.meter}/{act}")
        return seen

    async def sms(self, phone: str) -> list[dict[str, Any]]:
        """Return what the SMS centre delivered to a number."""
        found: list[dict[str, Any]] = await self._hand("GET", "/sms", params={"to": phone})
        return found

    async def pay(self, supply: Supply, yuan: int, *, name: str) -> list[Answer]:
        """Let the bank tell of one payment several times, late and in disorder."""
        remittance = Remittance(
            txn_id=f"{name}-{supply.number}-{int(self.clock.wall_now().timestamp() * 1000)}",
            account=supply.account,
            amount_micros=yuan * MICROS,
            currency=CURRENCY,
            paid_at=self.clock.now(),
        )
        answers = await self.bank.deliver(
            schedule([remittance], seed=self.town.fleet.seed, sends=_SENDS)
        )
        bad = [answer for answer in answers if answer.status not in (200, 201)]
        if bad:
            raise StepFailedError(f"payment refused: {bad[0].status} {json.dumps(bad[0].body)}")
        receipts = {str(answer.body.get("receipt_no")) for answer in answers}
        if len(receipts) != 1:
            raise StepFailedError(f"one payment, several receipts: {sorted(receipts)}")
        return answers

    async def adjust_to(self, supply: Supply, micros: int, *, name: str) -> int:
        """Let two people set a balance for the story (G14) and return the change in micros."""
        balance = await self.balance(supply)
        change = Adjustment(
            key=f"{name}-{supply.number}-{int(self.clock.wall_now().timestamp() * 1000)}",
            account=supply.account,
            amount_micros=micros - balance.available_micros,
            reason="demo: balance at the beginning of the story",
            actors=("user:reza", "user:lin"),
        )

        async def once() -> None:
            # the key makes a repeat the same adjustment
            try:
                await asyncio.to_thread(payments.adjust, self._office, change, now=self.clock.now())
            except TransientDatabaseError as error:
                raise OSError(f"database: {error}") from error

        await patiently(once)
        return change.amount_micros

    def wall(self, *, hours: float = 0.0, seconds: float = 60.0) -> float:
        """Return wall seconds to wait for something that takes business hours, with patience."""
        business = timedelta(hours=hours) * 2
        return business.total_seconds() / self.clock.scale.speed + seconds

    async def _hand(self, method: str, path: str, **options: Any) -> Any:
        async def once() -> httpx.Response:
            try:
                return await self._hands.request(method, path, **options)
            except httpx.TransportError as error:
                raise OSError(f"hands: {type(error).__name__}") from error

        answer = await patiently(once)
        if answer.status_code != 200:
            raise StepFailedError(f"hands {path}: {answer.status_code} {answer.text[:200]}")
        return answer.json()
