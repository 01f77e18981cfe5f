"""
What goes back to the broker after a commit: receipts to concentrators, live readings to people.

Both runners of ingest use it. What cannot be sent is not kept: a missing receipt brings the batch
once more, and a newer reading takes the place of one that nobody saw.
"""

import asyncio
import logging
from collections.abc import MutableMapping
from contextlib import suppress
from itertools import repeat

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud.ingest.model import LiveColumns, StoreOutcome
from cloud.store.clock import Clock
from protocols.identity import UsagePointId
from protocols.mqtt import envelope, topics
from protocols.mqtt.live import LiveReading, live_to_bytes
from protocols.mqtt.receipt import receipt_to_plain

_LIVE_TICK = 0.1
_LIVE_EACH = 1.0
_LIVE_AT_ONCE = 100
"""So many a tick at most, those first that wait for longest: a wave of a city is no cause to keep
receipts waiting for what nearly nobody looks at."""

_LOG = logging.getLogger(__name__)

Status = MutableMapping[str, int | str]

_Told = tuple[LiveColumns, int]
"""Columns of live readings, and which of them."""


class Answers:
    """Sends through `client`, which its owner sets while connected; counts into `status`."""

    def __init__(self, clock: Clock, status: Status) -> None:
        """Send nothing until `client` is set."""
        self.client: aiomqtt.Client | None = None
        self._clock = clock
        self._status = status
        self._live: dict[UsagePointId, _Told] = {}
        self._shown: dict[UsagePointId, tuple[float, LiveReading]] = {}

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter of the process."""
        self._status[name] = int(self._status.get(name, 0)) + by

    def note(self, outcome: StoreOutcome) -> None:
        """Count what became of a payload and keep its news for `publish_live`."""
        self.count("repeats" if outcome.repeated else "batches")
        if outcome.cause:
            self.count("payloads_quarantined")
            _LOG.warning(
                "ingest.payload.quarantined",
                extra={"fields": {"concentrator": outcome.concentrator, "cause": outcome.cause}},
            )
        if not outcome.repeated and not outcome.cause:
            for name in ("stored", "duplicates", "momentary", "quarantined"):
                self.count(name, getattr(outcome.account, name))
        live = outcome.live
        # no object is made of a reading before its turn comes
        places = zip(repeat(live), range(len(live)), strict=False)
        self._live.update(zip(live.usage_points, places, strict=True))

    async def send_receipt(self, outcome: StoreOutcome) -> None:
        """Tell the concentrator that its batch is committed, where it can be told now."""
        client = self.client
        if outcome.receipt is None or client is None:
            return
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = envelope.CBOR
        # without it the edge sends the batch again and gets the same receipt
        with suppress(aiomqtt.MqttError):
            await client.publish(
                topics.down_receipt(outcome.concentrator),
                envelope.encode(receipt_to_plain(outcome.receipt), envelope.CBOR),
                qos=1,
                properties=properties,
            )
            self.count("receipts")

    async def publish_live(self) -> None:
        """Publish changed live readings, at most one a second per usage point: the latest wins."""
        while True:
            await asyncio.sleep(_LIVE_TICK)
            if self.client is not None:
                await self._publish_some(self.client)

    async def _publish_some(self, client: aiomqtt.Client) -> None:
        """Publish those whose turn it is."""
        now = self._clock.monotonic()
        for point, told, reading in self._due(now):
            # what came since waits for its own turn
            if self._live.get(point) is told:
                del self._live[point]
            try:
                await client.publish(
                    topics.live(point, topics.Live.READING),
                    live_to_bytes(reading), qos=0, retain=True,
                )  # fmt: skip
            except aiomqtt.MqttError:
                # the newest is what counts: the next reading will do
                return
            self._shown[point] = (now, reading)
            self.count("live")

    def _due(self, now: float) -> list[tuple[UsagePointId, _Told, LiveReading]]:
        """Return what to publish now; what is no news is forgotten."""
        due: list[tuple[UsagePointId, _Told, LiveReading]] = []
        stale: list[UsagePointId] = []
        for point, told in self._live.items():
            shown = self._shown.get(point)
            if shown is not None and now - shown[0] < _LIVE_EACH:
                continue
            live, place = told
            reading = live[place]
            if shown is not None and not _differs(shown[1], reading):
                stale.append(point)
                continue
            due.append((point, told, reading))
            if len(due) == _LIVE_AT_ONCE:
                break
        for point in stale:
            del self._live[point]
        return due


def _differs(shown: LiveReading, reading: LiveReading) -> bool:
    """Tell whether people would see something new, or older news be replaced by newer."""
    if reading.at_ms < shown.at_ms:
        return False
    return (
        reading.at_ms, reading.quality, reading.register_wh, reading.today_wh, reading.power_w,
        reading.voltage_mv, reading.current_ma,
    ) != (
        shown.at_ms, shown.quality, shown.register_wh, shown.today_wh, shown.power_w,
        shown.voltage_mv, shown.current_ma,
    )  # fmt: skip
