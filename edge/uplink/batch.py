"""Rows from many meters become one batch: pure, so that a batch is a function of what was read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from edge.acquire.driver import EventMark
from edge.acquire.piece import Piece
from edge.acquire.plan import Coverage
from protocols.identity import BatchId, MeterId
from protocols.mqtt.uplink import DataBatch, columns_of
from protocols.timeline import to_ms

MOST_ROWS = 1000
"""A batch is closed when it holds this many rows and events; those of one trip stay together."""


@dataclass(slots=True, kw_only=True)
class Pile:
    """Pieces not yet in the outbox, in the order of arrival."""

    pieces: list[Piece] = field(default_factory=list)
    rows: int = 0

    def add(self, piece: Piece) -> None:
        """Put a piece on the pile."""
        self.pieces.append(piece)
        self.rows += _weight(piece)

    def take(self) -> list[Piece]:
        """Remove and return the oldest pieces, as many as fill one batch."""
        taken: list[Piece] = []
        rows = 0
        while self.pieces and (not taken or rows + _weight(self.pieces[0]) <= MOST_ROWS):
            piece = self.pieces.pop(0)
            taken.append(piece)
            rows += _weight(piece)
        self.rows -= rows
        return taken

    def put_back(self, pieces: list[Piece]) -> None:
        """Return pieces that could not be stored, before everything that came since."""
        self.pieces[:0] = pieces
        self.rows += sum(_weight(piece) for piece in pieces)


def _weight(piece: Piece) -> int:
    return len(piece.samples) + len(piece.events)


def build_batch(id_: BatchId, pieces: Sequence[Piece], *, made_at: datetime) -> DataBatch:
    """Return the batch of some pieces. *Shape*: rows in the order of the pieces."""
    meters: dict[MeterId, int] = {}
    rows: dict[str, list[int]] = {
        name: []
        for name in (
            "meter", "channel", "at_ms", "seconds", "received_ms", "raw", "scaler", "status",
        )
    }  # fmt: skip
    for piece in pieces:
        if not piece.samples:
            continue
        meter = meters.setdefault(piece.meter, len(meters))
        received_ms = to_ms(piece.received)
        for sample in piece.samples:
            rows["meter"].append(meter)
            rows["channel"].append(int(sample.channel))
            rows["at_ms"].append(to_ms(sample.at))
            rows["seconds"].append(sample.seconds)
            rows["received_ms"].append(received_ms)
            rows["raw"].append(sample.raw)
            rows["scaler"].append(sample.scaler)
            rows["status"].append(int(sample.status))
    return DataBatch(
        id=id_,
        made_at=made_at,
        meters=tuple(meters),
        columns=columns_of(rows),
        relays=tuple(report for piece in pieces for report in piece.relays),
        events=tuple(event for piece in pieces for event in piece.events),
    )


def event_marks_of(pieces: Iterable[Piece]) -> dict[MeterId, EventMark]:
    """Return how far the logs of each meter in some pieces are read."""
    return {piece.meter: piece.event_mark for piece in pieces if piece.event_mark is not None}


def coverage_of(pieces: Iterable[Piece]) -> dict[MeterId, Coverage]:
    """Return the latest coverage of each meter in some pieces."""
    return {piece.meter: piece.coverage for piece in pieces if piece.coverage is not None}
