"""Raw readings as columns, for those who compute with many series at once."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from cloud.ingest.model import Beside, RawColumns
from cloud.ingest.rules.packing import Int
from cloud.ingest.store import columns as store
from cloud.store.db import Connection
from protocols.identity import MeterId
from protocols.reading import Channel
from protocols.timeline import to_ms


def raw_columns(
    conn: Connection,
    meters: Sequence[MeterId],
    channel: Channel,
    *,
    since_ms: int,
    until_ms: int,
    as_of: datetime | None = None,
) -> RawColumns:
    """
    Return the readings of a channel in `[since, until)`, by meter and instant; no meter twice.

    `as_of` leaves out what came in batches that were received later. A row that was quarantined
    and redriven counts from when its batch came.
    """
    found = store.between(
        conn, meters, int(channel), since_ms=since_ms, until_ms=until_ms, batches=as_of is not None
    )
    if as_of is None or not len(found):
        return found
    numbers, place = np.unique(found.batch, return_inverse=True)
    times = store.batch_times(conn, numbers.tolist())
    came = np.array([times.get(number, 0) for number in numbers.tolist()], dtype=np.int64)
    return found.take(came[place] <= to_ms(as_of))


def registers_beside(
    conn: Connection,
    meters: Sequence[MeterId],
    at_ms: Int,
    *,
    before: bool,
    channel: Channel = Channel.IMPORT_WH,
) -> Beside:
    """
    Return for each (meter, instant) the newest register at or `before` it, else the oldest after.

    *Shape*: `meters` and `at_ms` equally long. *Units*: ms since 1970.
    """
    return store.beside(conn, meters, int(channel), at_ms, before=before)
