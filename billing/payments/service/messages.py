"""What peers said and what they were answered, kept sealed for years and opened with a reason."""

import secrets
from datetime import datetime, timedelta
from itertools import count

from billing.payments.model import Direction, PeerMessage, Refusal
from billing.payments.rules import sealing
from billing.payments.rules.sealing import KeyRing
from billing.payments.store import messages as store
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.timeline import Interval

YEARS = 3
"""How long messages are kept unless an installation says otherwise; a local rule, to verify."""
_YEAR = timedelta(days=366)
_AT_ONCE = 1_000


def keep(
    db: Database, ring: KeyRing, channel: str, words: bytes, *, direction: Direction,
    peer_txn_id: str = "", years: int = YEARS, wall_now: datetime,
) -> int:  # fmt: skip
    """Keep one message as it came, sealed under the ring's current key; return its number."""
    at = wall_now.replace(microsecond=wall_now.microsecond // 1000 * 1000)
    nonce = secrets.token_bytes(sealing.NONCE_OCTETS)
    message = PeerMessage(
        id=0, channel=channel, peer_txn_id=peer_txn_id, direction=direction, at_wall=at,
        kept_until_wall=at + years * _YEAR, key_id=ring.current, octets=len(words),
    )  # fmt: skip
    sealed = sealing.seal(message, words[: sealing.LONGEST], ring, nonce=nonce)
    with db.transaction() as conn:
        return store.insert_message(conn, message, nonce, sealed)


def kept(
    conn: Connection, channel: str, span: Interval, *, peer_txn_id: str = "", after: int = 0,
    limit: int = 500,
) -> list[PeerMessage]:  # fmt: skip
    """Return which messages of a channel are kept, by number, without their words."""
    return store.messages_of(conn, channel, span, txn=peer_txn_id, after=after, limit=limit)


def read(
    db: Database, ring: KeyRing, number: int, *, actor: str, reason: str, now: datetime
) -> tuple[PeerMessage, bytes]:
    """
    Open one kept message for somebody who says why; that it was read is written down first.

    Raises: RefusedError `payments.transaction_unknown`, `payments.sealed`, `payments.peer_id`
    without a reason.
    """
    if not reason.strip():
        raise RefusedError(Refusal.BAD_ID, "a kept message is opened for a reason", fix="say why")
    with db.transaction() as conn:
        found = store.message_by_id(conn, number)
        if found is None:
            raise RefusedError(
                Refusal.UNKNOWN, f"no message {number} is kept", fix="list the kept messages"
            )
        words = sealing.unseal(found, ring)
        message = found.message
        audit.record(
            conn, at=now, actor=actor, action="payments.message_read", entity="peer_message",
            entity_id=str(number), reason=reason.strip(),
            after={"channel": message.channel, "peer_txn_id": message.peer_txn_id,
                   "direction": message.direction.value},
        )  # fmt: skip
    return message, words


def forget(db: Database, *, wall_now: datetime) -> int:
    """Remove messages whose years are over; return how many."""
    gone = 0
    for _ in count():
        with db.transaction() as conn:
            some = store.forget_messages(conn, wall_now, _AT_ONCE)
        gone += some
        if some < _AT_ONCE:
            break
    return gone
