"""
Where a worker begins to read: at the places that the database holds, not at Kafka's.

Faust acknowledges what an agent has taken even when the agent was stopped in the middle, so what
it commits to Kafka tells how far was *read*. How far is *stored* stands with the rows, and each
time partitions are assigned reading begins there. Kafka's own places serve to watch the lag.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP

_LOG = logging.getLogger(__name__)

Places = Callable[[], Awaitable[Mapping[int, int]]]
"""Returns per partition the first record that is not stored."""
Restart = Callable[[int, int], Awaitable[None]]
"""Writes down that a partition begins anew at a record."""


class PlacedConsumer(Consumer):
    """A consumer whose committed places are the database's."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """
        Go to the stored places of what is assigned and return them.

        A place beyond the end, or before the beginning, is of a topic that is no more: the one
        that now has its name is read from its beginning.
        """
        transport: Any = self.transport
        committed = dict(await super().seek_to_committed())
        assigned = [tp for tp in self.assignment() if tp.topic == transport.batches]
        if not assigned:
            return committed
        stored = await transport.places()
        first, end = await asyncio.gather(
            self.earliest_offsets(*assigned), self.highwaters(*assigned)
        )
        wanted: dict[TP, int] = {}
        for tp in assigned:
            place = stored.get(tp.partition, first[tp])
            if not first[tp] <= place <= end[tp]:
                _LOG.warning(
                    "worker.log.begins_anew",
                    extra={"fields": {"partition": tp.partition, "place": place, "end": end[tp]}},
                )
                place = first[tp]
                await transport.restart(tp.partition, place)
            wanted[tp] = place
        await self.seek_wait(wanted)
        return committed | wanted


class PlacedTransport(Transport):
    """Faust's Kafka transport with places of our own; `batches` is the topic they are of."""

    Consumer: ClassVar[Any] = PlacedConsumer

    def __init__(
        self, *arguments: Any, batches: str, places: Places, restart: Restart, **named: Any
    ) -> None:
        """Ask `places` at each assignment, tell `restart` of topics that were made anew."""
        super().__init__(*arguments, **named)
        self.batches = batches
        self.places = places
        self.restart = restart
