"""Use case of the signer: judge what waits, sign or refuse it, remember both."""

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.signer.model import Cause, Part
from cloud.signer.rules import switches as rules
from cloud.signer.store import switches as store
from cloud.store import audit
from cloud.store.clock import Clock
from cloud.store.db import Database

LONGEST_VALIDITY_SECONDS = 600
"""Wall seconds: no command that this signer signs is good for longer."""
ACTOR = "system:signer"


def sign_waiting(db: Database, key: Ed25519PrivateKey, clock: Clock) -> tuple[int, int]:
    """
    Judge everything that waits for a signature; return how many were signed and refused.

    One transaction each, counted under one lock, so that two signers together keep the limits.
    """
    signed = refused = 0
    for part in Part:
        with db.transaction() as conn:
            ids = [order.id for order in store.waiting(conn, part)]
        for id_ in ids:
            cause = _sign_one(db, key, clock, part, id_)
            signed += cause is None
            refused += cause is not None
    return signed, refused


def _sign_one(
    db: Database, key: Ed25519PrivateKey, clock: Clock, part: Part, id_: str
) -> Cause | None:
    with db.transaction() as conn:
        store.lock_counts(conn)
        order = next((item for item in store.waiting(conn, part) if item.id == id_), None)
        if order is None:
            return Cause.STATE
        now = clock.now()
        cause = rules.refuse_signature(
            order, store.limits(conn), store.counts(conn, now=now), now=now,
            longest=clock.wall_span(LONGEST_VALIDITY_SECONDS),
        )  # fmt: skip
        if cause is not None:
            store.write_refusal(conn, order, cause, now=now)
        elif not store.write_signature(
            conn, order, signature=key.sign(order.body),
            digest=hashlib.sha256(order.body).digest(), now=now, wall_now=clock.wall_now(),
        ):  # fmt: skip
            return Cause.STATE
        audit.record(
            conn, at=now, actor=ACTOR, entity="command", entity_id=order.id,
            action=f"{part.value}.signed" if cause is None else f"{part.value}.not_signed",
            reason=cause.value if cause else "",
        )  # fmt: skip
        return cause
