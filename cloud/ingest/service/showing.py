"""What a person sees of one thing in quarantine: its cause, its octets, and what they say."""

from dataclasses import dataclass
from typing import Any

from cloud.ingest.model import QuarantineItem, Refusal
from cloud.ingest.store import quarantine as store
from cloud.store.db import Database
from protocols.errors import PeerError, RefusedError
from protocols.mqtt import envelope

_FIX = "list what there is with: meterloop quarantine list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """
    One item with the payload it came in.

    `plain` is the payload as the envelope opens it, None where it does not open; `unread` says why.
    """

    item: QuarantineItem
    octets: bytes
    content_type: str
    topic: str
    plain: Any
    unread: str


def shown(db: Database, id_: int) -> Shown:
    """Return one item of any state. Raises: RefusedError UNKNOWN."""
    with db.transaction() as conn:
        found = store.lock_quarantine(conn, id_)
    if found is None:
        raise RefusedError(Refusal.UNKNOWN, f"nothing in quarantine is numbered {id_}", fix=_FIX)
    item, octets, content_type, topic = found
    plain, unread = None, ""
    try:
        plain = envelope.decode(octets, content_type)
    except PeerError as error:
        unread = str(error)
    return Shown(
        item=item, octets=octets, content_type=content_type, topic=topic, plain=plain, unread=unread
    )
