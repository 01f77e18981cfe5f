"""Use case of the signer for upkeep: judge what waits, sign or refuse it, remember both."""

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.signer.model import UpkeepCause
from cloud.signer.rules import upkeep as rules
from cloud.signer.store import upkeep as store
from cloud.store import audit
from cloud.store.clock import Clock
from cloud.store.db import Database
from protocols.identity import CommandId

ACTOR = "system:signer"


def sign_waiting(db: Database, key: Ed25519PrivateKey, clock: Clock) -> tuple[int, int]:
    """
    Judge everything that waits for a signature; return how many were signed and refused.

    One transaction each, counted under one lock, so that two signers together keep the limits.
    """
    with db.transaction() as conn:
        ids = store.waiting(conn)
    causes = [_sign_one(db, key, clock, id_) for id_ in ids]
    refused = sum(cause is not None for cause in causes)
    return len(causes) - refused, refused


def _sign_one(
    db: Database, key: Ed25519PrivateKey, clock: Clock, id_: CommandId
) -> UpkeepCause | None:
    with db.transaction() as conn:
        store.lock_counts(conn)
        errand = store.errand(conn, id_)
        if errand is None:
            return UpkeepCause.STATE
        now = clock.now()
        allowance = store.allowance(conn, errand.kind, now=now)
        cause = rules.refuse_errand(errand, allowance, now=now)
        if cause is not None:
            store.write_refusal(conn, errand, cause, now=now)
        elif not store.write_signature(
            conn, errand, signature=key.sign(errand.body),
            digest=hashlib.sha256(errand.body).digest(), now=now, wall_now=clock.wall_now(),
        ):  # fmt: skip
            return UpkeepCause.STATE
        audit.record(
            conn, at=now, actor=ACTOR, entity="errand", entity_id=errand.id,
            action="errand.signed" if cause is None else "errand.not_signed",
            reason=cause.value if cause else "",
        )  # fmt: skip
        return cause
