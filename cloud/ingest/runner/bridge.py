"""
The bridge: batches from MQTT into Kafka, and acknowledged to MQTT only when Kafka has them.

It judges nothing and keeps nothing: octets go on as they came, keyed by their concentrator. The
edge deletes a batch on the worker's receipt alone, so a bridge may be killed at any moment.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]
from aiokafka.errors import (  # type: ignore[import-untyped]
    KafkaError,
    MessageSizeTooLargeError,
)

from cloud.ingest.agent.arriving import arrival_of
from cloud.ingest.runner.cluster import declare, declared, producer_of, rest_about
from cloud.ingest.runner.doorway import Delivered, Doorway
from cloud.ingest.runner.record import to_record
from cloud.ingest.runner.settings import BridgeConfig, KafkaAddress
from cloud.store.clock import Clock
from cloud.store.rim import Status, count, until_first
from protocols.errors import PeerError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0
_LONGEST_SEND = 20.0
_LAST_WORDS = 3.0
_LOG = logging.getLogger(__name__)


async def run(
    config: BridgeConfig, *, stop: asyncio.Event, ready: Callable[[], None], status: Status
) -> None:
    """Carry batches until `stop`; broker and Kafka may go away and come back."""
    status["broker"] = status["kafka"] = "away"
    if not await declared(config.kafka, stop):
        return
    status["kafka"] = "connected"

    def changed(state: str) -> None:
        status["broker"] = state
        if state == "connected":
            ready()

    bridge = Bridge(config, stop, status)
    doorway = Doorway(config, changed)
    doorway.open()
    try:
        await until_first(bridge.carry(doorway), bridge.acknowledge(doorway), stop.wait())
    finally:
        await doorway.close()
        await bridge.close()


class Bridge:
    """What is on its way to Kafka, in the order in which it came."""

    def __init__(self, config: BridgeConfig, stop: asyncio.Event, status: Status) -> None:
        """Nothing is on its way yet."""
        self._stop = stop
        self._status = status
        self._clock = Clock()
        self._log = _Log(config.kafka, stop, status)
        self._sent: asyncio.Queue[tuple[Delivered, asyncio.Task[None]]] = asyncio.Queue()

    async def carry(self, doorway: Doorway) -> None:
        """Start sending each message as it comes; the broker bounds how many are on their way."""
        while True:
            delivered = await doorway.waiting.get()
            self._sent.put_nowait((delivered, asyncio.create_task(self._send(delivered))))

    async def acknowledge(self, doorway: Doorway) -> None:
        """Acknowledge in the order of coming, as MQTT asks (5.0, section 4.6)."""
        while True:
            delivered, sending = await self._sent.get()
            await sending
            doorway.acknowledge(delivered)

    async def close(self) -> None:
        """Drop what is on its way: it is not acknowledged and comes again."""
        while not self._sent.empty():
            self._sent.get_nowait()[1].cancel()
        await self._log.close()

    async def _send(self, delivered: Delivered) -> None:
        message = delivered.message
        arrival = arrival_of(
            message.topic, message.payload, message.properties,
            now=self._clock.now(), wall_now=self._clock.wall_now(),
        )  # fmt: skip
        try:
            key, value, headers = to_record(arrival)
        except PeerError as error:
            # not a concentrator's topic: nobody waits for a receipt
            _LOG.warning("bridge.message.stray", extra={"fields": {"cause": error.code}})
            count(self._status, "stray")
            return
        try:
            await self._log.send(key, value, headers)
        except MessageSizeTooLargeError:
            # above every limit of ours: no receipt follows, so the sender keeps it and is seen
            _LOG.exception(
                "bridge.message.too_large",
                extra={"fields": {"topic": arrival.topic, "octets": len(value)}},
            )
            count(self._status, "too_large")
            return
        count(self._status, "carried")


class _Log:
    """Kafka as the bridge sees it: what is sent is written, however long that takes."""

    def __init__(self, address: KafkaAddress, stop: asyncio.Event, status: Status) -> None:
        self._address = address
        self._stop = stop
        self._status = status
        self._open: _Open | None = None
        self._making = asyncio.Lock()

    async def send(self, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        """Return when all in-sync replicas have it. Raises: MessageSizeTooLargeError."""
        pause = _FIRST_PAUSE
        while True:
            opened = self._open
            try:
                if opened is None:
                    opened = await self._made()
                await opened.send(self._address.topic, key, value, headers)
            except MessageSizeTooLargeError:
                raise
            except (KafkaError, OSError) as error:
                self._note(error)
                await self._drop(opened)
                await rest_about(self._stop, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._status["kafka"] = "connected"
                return

    async def _made(self) -> "_Open":
        """Return a producer of a cluster that has our topic: it may have been wiped meanwhile."""
        async with self._making:
            if self._open is None:
                await declare(self._address)
                producer = producer_of(self._address)
                await producer.start()
                self._open = _Open(producer)
            return self._open

    async def _drop(self, opened: "_Open | None") -> None:
        """Forget a producer that failed: its numbers may mean nothing to a cluster made anew."""
        if opened is None or self._open is not opened:
            return
        self._open = None
        opened.gone.set()
        await _ended(opened.producer)

    def _note(self, error: Exception) -> None:
        self._status["kafka"] = "away"
        count(self._status, "send_failures")
        _LOG.warning("bridge.kafka.away", extra={"fields": {"cause": str(error)[:200]}})

    async def close(self) -> None:
        """End the producer, with a moment for its last words."""
        if self._open is not None:
            await _ended(self._open.producer)


class _Open:
    """A started producer, and whether somebody has given it up."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.producer = producer
        self.gone = asyncio.Event()

    async def send(
        self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        """
        Return when all in-sync replicas have a record.

        A producer that ends before a record left never answers for it, so whoever waits goes with
        the producer, and nobody waits for ever. Raises: KafkaError, TimeoutError.
        """
        sending = asyncio.ensure_future(
            self.producer.send_and_wait(topic, value=value, key=key, headers=headers)
        )
        gone = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait(
                {sending, gone}, timeout=_LONGEST_SEND, return_when=asyncio.FIRST_COMPLETED
            )
            if not sending.done():
                raise TimeoutError("the record was not taken by its producer")
            sending.result()
        finally:
            gone.cancel()
            sending.cancel()


async def _ended(producer: AIOKafkaProducer) -> None:
    with suppress(KafkaError, OSError, TimeoutError):
        await asyncio.wait_for(producer.stop(), _LAST_WORDS)
