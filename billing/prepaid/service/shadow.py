"""
The second opinion: a random share of accounts priced again by the oracle, in fractions.

A difference means that the kernel or the oracle is wrong, and nobody knows which. So no tariff is
published until a person has looked and lifted the freeze.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from billing.prepaid import rules, store
from billing.prepaid.model import Segment, Shadow
from billing.prepaid.service import registers
from billing.prepaid.service.audit import Point, oracle_fee, state_points
from billing.prepaid.service.days import energies
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.timeline import to_ms

_LOG = logging.getLogger(__name__)
_SYSTEM = "system:billing"

EACH = timedelta(hours=24)
"""Business time between two second opinions."""

PER_10000 = 100
"""The share of accounts: one of a hundred."""

EXAMPLES = 10
"""How many differing accounts are named."""


def shadow_when_due(db: Database, *, now: datetime) -> Shadow | None:
    """Take a second opinion where the last is a day old; return it, or None when it is not due."""
    with db.transaction() as conn:
        last = store.last_shadow(conn)
    if last is not None and now - last < EACH:
        return None
    return shadow_check(db, now=now)


def shadow_check(db: Database, *, now: datetime, per_10000: int = PER_10000) -> Shadow:
    """
    Price a random share of accounts by kernel and oracle; freeze publishing where they differ.

    Each account is priced at its newest register and, as its state says, at the one written last.
    The instant is the seed, so that the same accounts can be looked at again.
    """
    with db.transaction() as conn:
        store.lock_sweep(conn)
        names = store.drawn_at_random(conn, to_ms(now), per_10000)
        wrong = _differing(conn, names) if names else []
        found = Shadow(
            at=now, seed=to_ms(now), checked=len(names), differing=len(wrong),
            examples=tuple(wrong[:EXAMPLES]),
        )  # fmt: skip
        store.insert_shadow(conn, found)
        if wrong:
            _freeze(conn, found)
    fields = {"checked": found.checked, "differing": found.differing, "examples": found.examples}
    if wrong:
        _LOG.error("prepaid.shadow.differs", extra={"fields": fields})
    else:
        _LOG.info("prepaid.shadow.agrees", extra={"fields": fields})
    return found


def _differing(conn: Connection, names: list[str]) -> list[str]:
    states = store.states(conn, names)
    segments: Mapping[tuple[str, int], Segment] = {
        (each.agreement, each.seq): each for each in store.segments_of_many(conn, names)
    }
    prices = tariffs.by_digest(conn, [each.tariff_hash for each in segments.values()])
    newest = registers.newest(conn, states)
    compiled = rating.compiled(conn, states.tariff_hash)
    kernel = rules.figures(states, compiled, newest.wh, newest.uses)
    stored, fresh = state_points(conn, states), energies(newest)
    wrong = []
    for n, agreement in enumerate(states.agreement):
        now = Point(
            int(states.segment_seq[n]), int(newest.wh[n]), fresh.get(n),
            states.open_day[n] + timedelta(days=1),
        )  # fmt: skip
        for point, said in ((now, kernel.fee[n]), (stored[n], states.fee[n])):
            if kernel.beyond[n]:
                continue
            second = oracle_fee(prices, segments, agreement, point)
            if second != said:
                at = point.register_wh
                wrong.append(f"{agreement} at {at} Wh: kernel {said}, oracle {second}")
                break
    return wrong


def _freeze(conn: Connection, found: Shadow) -> None:
    reason = f"{found.differing} of {found.checked} accounts differ between kernel and oracle"
    tariffs.freeze(conn, actor=_SYSTEM, reason=reason, now=found.at)
    audit.record(
        conn, at=found.at, actor=_SYSTEM, action="prepaid.shadow_differs", entity="shadow",
        entity_id=str(found.seed), after={"examples": list(found.examples)},
    )  # fmt: skip
