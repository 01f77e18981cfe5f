"""What every use case of ingest is told: what to derive, how far clocks may be apart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cloud.ingest.model import LiveColumns, Stored
from cloud.store.db import Connection
from protocols.identity import ConcentratorId

Lives = Mapping[ConcentratorId, LiveColumns]
"""Live readings by the concentrator that told of them."""

Derive = Callable[[Connection, Stored, datetime, datetime], Lives]
"""
What is derived from new rows before they are committed, given business time and wall time.

Returns the live readings to publish after the commit. See `cloud.usage.service.derive`.
"""

Alongside = Callable[[Connection], None]
"""What is written in the transaction of a payload beside it, such as how far a log was read."""

REUSED = "batch.id_reused"
FOREIGN = "batch.foreign_concentrator"
POISONED = "ingest.poisoned"
"""Cause of a payload that made storing fail for a reason of its own, again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    How far clocks may be apart before a time is impossible.

    `future`: device ahead of concentrator, or concentrator ahead of us. `slack`: a time stamp late
    against the register it stands with. Drift below that is kept and flagged, never repaired.
    """

    future: timedelta = timedelta(hours=1)
    slack: timedelta = timedelta(hours=1)


DEFAULT_POLICY = Policy()


def to_whole_ms(span: timedelta) -> int:
    """Return whole milliseconds."""
    return span // timedelta(milliseconds=1)
