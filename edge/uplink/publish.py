"""
From the outbox to the broker: a window of batches under way, each sent again until its receipt.

The broker's PUBACK proves nothing and frees nothing. A batch without receipt after
`RESEND_SECONDS` is published again under the same id, octet for octet.
"""

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Protocol

from edge.clock import EdgeClock
from edge.failpoint import reach
from edge.outbox import Outbox
from edge.outbox.batches import StoredBatch
from protocols.identity import ConcentratorId
from protocols.mqtt.receipt import BatchReceipt, Custody
from protocols.mqtt.topics import up_data

WINDOW = 8
RESEND_SECONDS = 10.0
_TICK = 0.5

_LOG = logging.getLogger(__name__)


class Wire(Protocol):
    """What the publisher needs of an MQTT session."""

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        content_type: str,
        properties: tuple[tuple[str, str], ...] = (),
        response_topic: str = "",
        correlation: bytes = b"",
    ) -> None:
        """Publish at QoS 1; returns at the broker's PUBACK."""
        ...


class BatchPublisher:
    """Sends batches over one wire after another; remembers what is under way."""

    def __init__(
        self,
        outbox: Outbox,
        clock: EdgeClock,
        *,
        concentrator: ConcentratorId,
        status: MutableMapping[str, int | str] | None = None,
    ) -> None:
        """Publish from `outbox`."""
        self._outbox = outbox
        self._clock = clock
        self._topic = up_data(concentrator)
        self._status = status if status is not None else {}
        self._under_way: dict[tuple[int, int], tuple[StoredBatch, float]] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at the outbox now: something was stored."""
        self._wake.set()

    async def run(self, wire: Wire) -> None:
        """Publish over `wire` until cancelled or until it breaks, raising what it raises."""
        # what was under way on an earlier wire may have been lost with it, or its receipt may
        self._under_way.clear()
        while True:
            self._wake.clear()
            await self._resend(wire)
            room = WINDOW - len(self._under_way)
            chosen = await asyncio.to_thread(
                self._outbox.batches.choose, room, set(self._under_way)
            )
            for batch in chosen:
                await self._send(wire, batch)
            if len(chosen) < room or not chosen:
                await self._rest()

    async def receipted(self, receipt: BatchReceipt) -> bool:
        """Let go of a batch that the cloud keeps now; False for a receipt that frees nothing."""
        reach("edge.before_delete")
        gone = await asyncio.to_thread(self._outbox.batches.release, receipt.boot, receipt.seq)
        self._under_way.pop((receipt.boot, receipt.seq), None)
        if gone:
            self._count("receipts")
        if gone and receipt.custody is Custody.QUARANTINED:
            _LOG.error(
                "edge.batch.quarantined",
                extra={"fields": {"boot": receipt.boot, "seq": receipt.seq}},
            )
        self._wake.set()
        return gone

    async def _resend(self, wire: Wire) -> None:
        now = self._clock.monotonic()
        for batch, sent_at in list(self._under_way.values()):
            if now - sent_at >= RESEND_SECONDS and batch.key in self._under_way:
                await self._send(wire, batch)
                self._count("resent")

    async def _send(self, wire: Wire, batch: StoredBatch) -> None:
        # noted before sending: the receipt may be here before the PUBACK is
        self._under_way[batch.key] = (batch, self._clock.monotonic())
        await wire.publish(
            self._topic,
            batch.payload,
            content_type=batch.content_type,
            properties=(("boot", str(batch.boot)), ("seq", str(batch.seq))),
        )
        reach("edge.after_publish")
        self._count("published")

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), _TICK)
        except TimeoutError:
            return

    def _count(self, name: str) -> None:
        self._status[name] = int(self._status.get(name, 0)) + 1
