"""From the pollers to the outbox: gather pieces, store them as batches, hold the pollers back."""

import asyncio
import logging
from collections.abc import Callable, MutableMapping

from edge.acquire.piece import Piece
from edge.clock import EdgeClock
from edge.failpoint import reach
from edge.outbox import Outbox, OutboxError
from edge.outbox.batches import Encoded
from edge.uplink.batch import MOST_ROWS, Pile, build_batch, coverage_of, event_marks_of
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import BatchId, ConcentratorId, MeterId
from protocols.mqtt import envelope
from protocols.mqtt.uplink import batch_to_plain

_LONGEST_WAIT = 0.25
_MOST_PILED_ROWS = 8 * MOST_ROWS
_RETRY_SECONDS = 1.0
_LOW_WATER = 0.9

_LOG = logging.getLogger(__name__)


class Collector:
    """
    Stores what pollers bring at 1000 rows or after a quarter of a second, whichever is first.

    At `most_batches` without receipt, or when the disk refuses, `room` holds the pollers: nothing
    is dropped, the meters keep their profile until there is room again.
    """

    def __init__(
        self,
        outbox: Outbox,
        clock: EdgeClock,
        *,
        concentrator: ConcentratorId,
        most_batches: int,
        content_type: str = envelope.CBOR_ZSTD,
        disk_short: Callable[[], bool] = lambda: False,
        status: MutableMapping[str, int | str] | None = None,
    ) -> None:
        """
        Collect for `outbox`.

        `disk_short` tells whether what is left of the disk is needed for commands and counters.
        """
        self._disk_short = disk_short
        self._outbox = outbox
        self._clock = clock
        self._concentrator = concentrator
        self._most = most_batches
        self._content_type = content_type
        self._status = status if status is not None else {}
        self._pile = Pile()
        self._brought = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._disk_refuses = False
        self._over_high_water = False
        self._short = False
        self.stored = asyncio.Event()
        """Set whenever a batch has been stored; the publisher clears it."""

    def add(self, piece: Piece) -> None:
        """Take what one trip brought."""
        self._pile.add(piece)
        self._brought.set()
        self._judge_room()

    async def room(self) -> None:
        """Wait until reading makes sense: something read now could be kept."""
        while self.full:
            try:
                await asyncio.wait_for(self._room.wait(), _RETRY_SECONDS)
            except TimeoutError:
                # a disk gets room without telling anybody
                self._judge_room()

    @property
    def full(self) -> bool:
        """Tell whether the pollers are held."""
        return not self._room.is_set()

    def released(self) -> None:
        """Note that a receipt has made room."""
        self._judge_room()

    async def run(self, stop: asyncio.Event) -> None:
        """Store batches until `stop`; then store what is left and return."""
        while not stop.is_set():
            await self._gathered(stop)
            if not await self._flush():
                await _pause(stop, _RETRY_SECONDS)
        await self._flush()

    async def _gathered(self, stop: asyncio.Event) -> None:
        """Wait for a first piece, then until the batch is full or old enough."""
        await _first(self._brought, stop)
        self._brought.clear()
        waited = 0.0
        while self._pile.rows < MOST_ROWS and waited < _LONGEST_WAIT and not stop.is_set():
            await asyncio.sleep(_LONGEST_WAIT / 5)
            waited += _LONGEST_WAIT / 5

    async def _flush(self) -> bool:
        """Store the pile; return False when the disk refused."""
        while self._pile.pieces:
            pieces = self._pile.take()
            try:
                await asyncio.to_thread(self._store, pieces)
            except OutboxError as error:
                self._pile.put_back(pieces)
                self._disk_refuses = True
                self._brought.set()
                self._judge_room()
                _LOG.error("edge.outbox.refused", extra={"fields": {"cause": error.message}})
                return False
            self._disk_refuses = False
            self._count("batches")
            self._count("rows", sum(len(piece.samples) for piece in pieces))
            self._judge_room()
            self.stored.set()
        return True

    def _store(self, pieces: list[Piece]) -> None:
        def build(boot: int, seq: int) -> Encoded:
            id_ = BatchId(concentrator=self._concentrator, boot=boot, seq=seq)
            batch = build_batch(id_, pieces, made_at=self._clock.now())
            return Encoded(
                rows=len(batch),
                content_type=self._content_type,
                payload=envelope.encode(batch_to_plain(batch), self._content_type),
            )

        self._outbox.batches.append(build, coverage_of(pieces), event_marks_of(pieces))
        reach("edge.after_outbox")

    def _judge_room(self) -> None:
        waiting = self._outbox.batches.waiting
        self._status["waiting"] = waiting
        if waiting >= self._most and not self._over_high_water:
            self._over_high_water = True
            _LOG.error("edge.outbox.full", extra={"fields": {"waiting": waiting}})
            self._tell_full(f"{waiting} batches without receipt")
        elif waiting <= self._most * _LOW_WATER and self._over_high_water:
            self._over_high_water = False
            _LOG.info("edge.outbox.room", extra={"fields": {"waiting": waiting}})
        held = self._over_high_water or self._disk_refuses or self._pile.rows >= _MOST_PILED_ROWS
        held = held or self._disk_is_short()
        if held:
            self._room.clear()
        else:
            self._room.set()

    def _disk_is_short(self) -> bool:
        short = self._disk_short()
        if short and not self._short:
            _LOG.error("edge.disk.short")
            self._tell_full("the disk is nearly full")
        self._short = short
        return short

    def _tell_full(self, detail: str) -> None:
        now = self._clock.now()
        full = EndDeviceEvent(
            # the concentrator speaks of itself: it is the device that is full
            meter=MeterId(self._concentrator),
            code=EventCode.OUTBOX_FULL,
            at=now,
            detail=detail,
        )
        self._pile.add(Piece(meter=full.meter, received=now, events=(full,)))
        self._brought.set()

    def _count(self, name: str, by: int = 1) -> None:
        self._status[name] = int(self._status.get(name, 0)) + by


async def _first(event: asyncio.Event, stop: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
