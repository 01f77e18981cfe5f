"""SQL of kept messages: sealed rows in, sealed rows out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from billing.payments.model import Direction, PeerMessage, SealedMessage
from billing.payments.store.blocks import SQL
from cloud.store.db import Connection
from protocols.timeline import Interval


def insert_message(conn: Connection, message: PeerMessage, nonce: bytes, sealed: bytes) -> int:
    """Keep a sealed message; return its number."""
    row = conn.execute(
        SQL["insert_message"],
        {"channel": message.channel, "txn": message.peer_txn_id,
         "direction": message.direction.value, "at": message.at_wall,
         "until": message.kept_until_wall, "key": message.key_id, "nonce": nonce,
         "sealed": sealed},
    ).fetchone()  # fmt: skip
    assert row is not None
    return int(row[0])


def message_by_id(conn: Connection, number: int) -> SealedMessage | None:
    """Return one kept message, or None."""
    row = conn.execute(SQL["message_by_id"], {"id": number}).fetchone()
    if row is None:
        return None
    return SealedMessage(message=_message(row), nonce=bytes(row[8]), sealed=bytes(row[9]))


def messages_of(
    conn: Connection, channel: str, span: Interval, *, txn: str, after: int, limit: int
) -> list[PeerMessage]:
    """Return a channel's kept messages without their words, by number."""
    rows = conn.execute(
        SQL["messages_of"],
        {"channel": channel, "txn": txn, "start": span.start, "end": span.end, "after": after,
         "limit": limit},
    )  # fmt: skip
    return [_message(row) for row in rows]


def forget_messages(conn: Connection, wall: datetime, limit: int) -> int:
    """Remove messages whose years are over; return how many."""
    return len(conn.execute(SQL["forget_messages"], {"wall": wall, "limit": limit}).fetchall())


def _message(row: Sequence[Any]) -> PeerMessage:
    return PeerMessage(
        id=row[0], channel=row[1], peer_txn_id=row[2], direction=Direction(row[3]), at_wall=row[4],
        kept_until_wall=row[5], key_id=row[6], octets=row[7],
    )  # fmt: skip
