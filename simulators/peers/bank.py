"""
A bank that tells of payments the way banks do: late, out of order, and several times each.

It holds the customer's money, so it repeats a payment under the same id until it hears a final
answer, and it may well repeat it after that.
"""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulators.load import key_of

PATH = "/api/v1/payments"
_TIMEOUT_SECONDS = 10.0
_MAX_DELAY_MS = 400
_TRIES = 40
_PAUSE_SECONDS = 0.25
_NOT_FINAL = frozenset({0, 408, 425, 429, 500, 502, 503, 504})
"""Answers after which the bank does not know; 0 is no answer at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remittance:
    """One payment that the bank has taken. `amount_micros` in millionths of the currency."""

    txn_id: str
    account: str
    amount_micros: int
    currency: str
    paid_at: datetime

    def body(self) -> bytes:
        """Return the JSON that is posted."""
        return json.dumps({
            "peer_txn_id": self.txn_id,
            "account": self.account,
            "amount_micros": self.amount_micros,
            "currency": self.currency,
            "peer_time": self.paid_at.isoformat(),
        }).encode()  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """One of the times that a remittance is sent, `after_ms` of wall time from the start."""

    remittance: Remittance
    after_ms: int
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the bank heard: HTTP status (0 for silence until it gave up) and the JSON body."""

    txn_id: str
    status: int
    body: dict[str, Any] = field(default_factory=dict)
    tries: int = 1


def schedule(
    remittances: Sequence[Remittance], *, seed: int, sends: int = 3
) -> tuple[Sending, ...]:
    """Return when each remittance is sent, `sends` times each, in an order of the seed's making."""
    found = [
        Sending(
            remittance=remittance,
            after_ms=key_of(seed, "bank", remittance.txn_id, turn) % _MAX_DELAY_MS,
            turn=turn,
        )
        for remittance in remittances
        for turn in range(sends)
    ]
    return tuple(sorted(found, key=lambda item: (item.after_ms, item.remittance.txn_id, item.turn)))


class Bank:
    """Posts remittances to the payment API of `url`, on at most `connections` at a time."""

    def __init__(self, url: str, api_key: str, *, connections: int = 8) -> None:
        """Take where to post and who we are; nothing is sent yet."""
        self._url = url.rstrip("/") + PATH
        self._api_key = api_key
        self._slots = asyncio.Semaphore(connections)

    async def deliver(self, sendings: Sequence[Sending]) -> list[Answer]:
        """Send all as scheduled, each until a final answer; return the answers in that order."""
        return list(await asyncio.gather(*(self._send(item) for item in sendings)))

    async def pay(self, remittance: Remittance) -> Answer:
        """Send one remittance until a final answer."""
        return await self._send(Sending(remittance=remittance, after_ms=0, turn=0))

    async def _send(self, sending: Sending) -> Answer:
        await asyncio.sleep(sending.after_ms / 1000)
        remittance = sending.remittance
        for attempt in range(1, _TRIES + 1):
            async with self._slots:
                status, body = await asyncio.to_thread(self._post, remittance)
            if status not in _NOT_FINAL:
                return Answer(txn_id=remittance.txn_id, status=status, body=body, tries=attempt)
            await asyncio.sleep(_PAUSE_SECONDS)
        return Answer(txn_id=remittance.txn_id, status=status, body=body, tries=_TRIES)

    def _post(self, remittance: Remittance) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(  # noqa: S310 - the operator's own address, not input
            self._url,
            data=remittance.body(),
            method="POST",
            headers={
                "Authorization": f"Bearer {self._api_key}",
                "Content-Type": "application/json",
                "Idempotency-Key": remittance.txn_id,
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
                return answer.status, _json(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _json(error.read())
        except OSError:
            # refused, reset or timed out: the bank cannot know whether the payment was taken
            return 0, {}


def _json(octets: bytes) -> dict[str, Any]:
    try:
        found = json.loads(octets)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
