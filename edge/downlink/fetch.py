"""
Fetches images block by block, each asked again until it comes, over whatever wire there is.

What was fetched is on disk, so that a restart goes on at the next block. Nothing that comes is
believed before the digest of the whole fits the order that was signed.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from edge.clock import EdgeClock
from edge.failpoint import reach
from edge.outbox.images import ImageShelf
from edge.uplink.publish import Wire
from protocols.errors import PeerError
from protocols.identity import ConcentratorId
from protocols.mqtt import envelope
from protocols.mqtt.topics import down_firmware, up_fetch
from protocols.mqtt.upkeep import (
    Block,
    Fetch,
    FirmwareOrder,
    block_from_plain,
    fetch_to_plain,
)

RESEND_SECONDS = 5.0
_TICK = 1.0
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Asked:
    fetch: Fetch
    answer: asyncio.Future[Block]
    sent_at: float = float("-inf")


class ImageFetcher:
    """The fetches of one agent; whoever wants a block that is asked for already shares it."""

    def __init__(
        self, shelf: ImageShelf, clock: EdgeClock, *, concentrator: ConcentratorId
    ) -> None:
        """Keep what is fetched on `shelf`."""
        self._shelf = shelf
        self._clock = clock
        self._topic = up_fetch(concentrator)
        self._answers = down_firmware(concentrator)
        self._asked: dict[bytes, _Asked] = {}
        self._locks: dict[bytes, asyncio.Lock] = {}
        self._wake = asyncio.Event()
        self.ignored = 0
        """Blocks that nobody had asked for, or of another length."""

    async def image(self, order: FirmwareOrder, progress: Callable[[int, int], None]) -> bytes:
        """
        Return the image of an order, fetching what is not on disk.

        Waits for as long as there is no wire. Raises: PeerError `image.unknown` when the cloud has
        none, `image.damaged` when the whole is not what was signed; OutboxError.
        """
        lock = self._locks.setdefault(order.image, asyncio.Lock())
        async with lock:
            whole = await asyncio.to_thread(self._shelf.take, order.image)
            if whole is not None:
                return whole
            held = await asyncio.to_thread(self._shelf.held, order.image, order.block)
            for index in range(held, order.blocks):
                progress(index, order.blocks)
                octets = await self._block(order, index)
                await asyncio.to_thread(
                    self._shelf.append,
                    order.image,
                    octets,
                    at=index * order.block,
                    size=order.size,
                )
                reach("edge.after_block")
            if await asyncio.to_thread(self._shelf.finish, order.image, size=order.size):
                whole = await asyncio.to_thread(self._shelf.take, order.image)
        if whole is None:
            raise PeerError("image.damaged", "the image is not the one that was signed")
        return whole

    async def run(self, wire: Wire) -> None:
        """Ask over `wire` until cancelled or until it breaks, raising what it raises."""
        for asked in self._asked.values():
            asked.sent_at = float("-inf")
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            for correlation, asked in list(self._asked.items()):
                if now - asked.sent_at >= RESEND_SECONDS:
                    asked.sent_at = now
                    await wire.publish(
                        self._topic,
                        envelope.encode(fetch_to_plain(asked.fetch), envelope.CBOR),
                        content_type=envelope.CBOR,
                        response_topic=self._answers,
                        correlation=correlation,
                    )
            try:
                await asyncio.wait_for(self._wake.wait(), _TICK)
            except TimeoutError:
                continue

    def take(self, payload: bytes, content_type: str) -> None:
        """Take a block that came. Raises: PeerError on what is none."""
        block = block_from_plain(envelope.decode(payload, content_type))
        asked = self._asked.get(_key(block.image, block.index))
        if asked is None or asked.answer.done():
            self.ignored += 1
            return
        if block.reason:
            asked.answer.set_exception(PeerError("image.unknown", block.reason))
        else:
            asked.answer.set_result(block)

    async def _block(self, order: FirmwareOrder, index: int) -> bytes:
        wanted = min(order.block, order.size - index * order.block)
        key = _key(order.image, index)
        while True:
            fetch = Fetch(image=order.image, index=index, block=order.block)
            asked = _Asked(fetch, asyncio.get_running_loop().create_future())
            self._asked[key] = asked
            self._wake.set()
            try:
                block = await asked.answer
            finally:
                del self._asked[key]
            if len(block.octets) == wanted:
                return block.octets
            self.ignored += 1
            _LOG.warning("edge.image.block_length", extra={"fields": {"index": index}})
            await asyncio.sleep(_TICK)


def _key(image: bytes, index: int) -> bytes:
    """Return the correlation data of a fetch: the image it is of, and which block."""
    return image[:8] + index.to_bytes(4, "big")
