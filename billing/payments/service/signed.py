"""Signed requests are taken once: a nonce that was seen is a replay."""

from datetime import datetime

from billing.payments.rules import signed as rules
from billing.payments.store import holds
from cloud.store.db import Database


def is_fresh(
    db: Database, signer: rules.Signer, request: rules.Signed, *, wall_now: datetime
) -> bool:
    """Tell whether a genuine request is timely and its nonce new; keeps the nonce."""
    if not rules.is_timely(request, wall_now=wall_now):
        return False
    with db.transaction() as conn:
        return holds.take_nonce(
            conn, signer.key_id, request.nonce, wall=wall_now, window=rules.WINDOW
        )
