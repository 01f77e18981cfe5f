"""Tells what became of commands, each ack again and again until the cloud says it is stored."""

import asyncio

from edge.clock import EdgeClock
from edge.outbox import Outbox
from edge.outbox.acks import StoredAck
from edge.uplink.publish import Wire
from protocols.identity import ConcentratorId
from protocols.mqtt import envelope
from protocols.mqtt.receipt import AckReceipt
from protocols.mqtt.topics import up_ack

RESEND_SECONDS = 3.0
_TICK = 0.5


class AckReporter:
    """Sends acks in the order in which they came to be."""

    def __init__(self, outbox: Outbox, clock: EdgeClock, *, concentrator: ConcentratorId) -> None:
        """Report from `outbox`."""
        self._outbox = outbox
        self._clock = clock
        self._topic = up_ack(concentrator)
        self._sent_at: dict[int, float] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    def again(self) -> None:
        """Tell everything without receipt now, for somebody has asked once more."""
        self._sent_at.clear()
        self._wake.set()

    async def run(self, wire: Wire) -> None:
        """Report over `wire` until cancelled or until it breaks, raising what it raises."""
        self._sent_at.clear()
        while True:
            self._wake.clear()
            waiting = await asyncio.to_thread(self._outbox.acks.unreceipted)
            kept = {ack.n for ack in waiting}
            self._sent_at = {n: at for n, at in self._sent_at.items() if n in kept}
            now = self._clock.monotonic()
            for ack in waiting:
                if now - self._sent_at.get(ack.n, float("-inf")) >= RESEND_SECONDS:
                    self._sent_at[ack.n] = now
                    await self._tell(wire, ack)
            try:
                await asyncio.wait_for(self._wake.wait(), _TICK)
            except TimeoutError:
                continue

    async def _tell(self, wire: Wire, ack: StoredAck) -> None:
        """Publish an ack where all are, and where its command wants them too."""
        reply = ack.reply
        correlation = b"" if reply is None else reply.correlation
        wanted = self._topic if reply is None else reply.topic
        for topic in dict.fromkeys((self._topic, wanted)):
            await wire.publish(
                topic, ack.payload, content_type=envelope.CBOR, correlation=correlation
            )

    async def receipted(self, receipt: AckReceipt) -> bool:
        """Stop telling an ack; False for a receipt that frees nothing."""
        return await asyncio.to_thread(self._outbox.acks.release, receipt.id, receipt.stage)
