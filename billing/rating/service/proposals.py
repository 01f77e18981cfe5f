"""New prices by two people: one proposes a version that proves itself, another puts it in force."""

from datetime import datetime

from billing.rating.service import prove
from billing.tariffs import service as tariffs
from billing.tariffs.model.proposed import Proposal, ProposalEnd
from cloud.store.db import Database


def propose(db: Database, document: bytes, *, reason: str, actor: str, now: datetime) -> Proposal:
    """
    Prove a version and keep it for another person to decide; it prices nothing.

    Raises: RefusedError naming the step, rounding, bound or case that is wrong, and as
    `billing.tariffs.service.propose`.
    """
    tariff, _ = prove(document)
    with db.transaction() as conn:
        return tariffs.propose(conn, tariff, document=document, reason=reason, actor=actor, now=now)


def decide(
    db: Database, proposal: int, end: ProposalEnd, *, actor: str, reason: str = "", now: datetime
) -> Proposal:
    """
    End a proposal; one that is published is proven once more by the code that runs now.

    Raises: RefusedError as `billing.tariffs.service.decide`, and as `prove`.
    """
    with db.transaction() as conn:
        found = tariffs.decide(conn, proposal, end, actor=actor, reason=reason, now=now)
        if end is ProposalEnd.PUBLISHED:
            prove(found.document.encode())
        return found
