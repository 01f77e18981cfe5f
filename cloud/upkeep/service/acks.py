"""
Use case of the edge's answers.

Every ack is judged under the rollout's lock. An ack that fits no errand of that target and that
concentrator is kept apart and never acts; what comes after an end is kept and changes nothing.
"""

from datetime import datetime

from cloud.store.db import Database
from cloud.upkeep import rules
from cloud.upkeep.model import FINAL_ERRAND, TAKEN, Errand, ErrandEvent
from cloud.upkeep.service import steps
from cloud.upkeep.store import errands as rows
from protocols.identity import ConcentratorId
from protocols.mqtt.uplink import Ack, Stage

_EVENT_OF = {
    Stage.ACCEPTED: ErrandEvent.ACCEPTED,
    Stage.STARTED: ErrandEvent.STARTED,
    Stage.DONE: ErrandEvent.DONE,
    Stage.REFUSED: ErrandEvent.REFUSED,
    Stage.FAILED: ErrandEvent.FAILED,
    Stage.EXPIRED: ErrandEvent.EXPIRED,
}


def record_ack(db: Database, ack: Ack, *, concentrator: ConcentratorId, now: datetime) -> bool:
    """
    Take one ack in one transaction; return False when it was known or fits no errand.

    The caller sends the receipt after this returns, whatever it returned: the ack is stored.
    """
    with db.transaction() as conn:
        known = rows.errand(conn, ack.id)
        stray = _stray(known, ack, concentrator)
        if known is None or stray:
            rows.insert_stray_ack(conn, ack, concentrator=concentrator, cause=stray, now=now)
            return False
        steps.locked(conn, known.rollout)
        errand = rows.errand(conn, ack.id)
        assert errand is not None
        new = rows.insert_ack(conn, ack, concentrator=concentrator, now=now)
        event = _EVENT_OF.get(ack.stage)
        state = rules.move_errand(errand.state, event) if event else None
        if event is not None and state in FINAL_ERRAND:
            steps.end_errand(
                conn, errand, event, actor=steps.EDGE, reason=ack.reason, evidence=ack.evidence,
                now=now,
            )  # fmt: skip
        else:
            if state is not None:
                rows.set_state(conn, errand.id, before=errand.state, state=state)
            # a repeat may tell of more blocks than the one before it
            if ack.evidence and (state or errand.state) in TAKEN:
                rows.set_progress(conn, errand.id, ack.evidence)
        return new


def _stray(known: Errand | None, ack: Ack, concentrator: ConcentratorId) -> str:
    if known is None:
        return "no such errand"
    if known.meter != ack.meter:
        return "another target's errand"
    if known.concentrator != concentrator:
        return "another concentrator's errand"
    return ""
