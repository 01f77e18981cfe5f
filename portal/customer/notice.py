"""How far the road to a cut has been walked, in the stages a customer is told of."""

from billing.collections import service as collections
from billing.collections.model import CaseState
from billing.customers.model import CustomerCard
from cloud.control.model import RelayPosition, SupplyState
from cloud.store.db import Connection
from portal.customer.view import NoticeView

_STAGES: dict[CaseState, tuple[str, bool]] = {
    CaseState.OVERDUE: ("overdue", False),
    CaseState.NOTICE: ("notice", False),
    CaseState.CUT_CANDIDATE: ("candidate", True),
    CaseState.REQUESTED: ("requested", True),
    CaseState.FIELD: ("requested", True),
    CaseState.CUT: ("cut", True),
    CaseState.RECONNECT_DUE: ("restoring", False),
}
"""States that a customer hears of, by the words of the catalogue; a reminder is only a message."""


def notice_of(conn: Connection, card: CustomerCard, supply: SupplyState) -> NoticeView | None:
    """Return what to tell; a supply that stands open is told of even without a case."""
    for case in collections.cases_of(conn, card.usage_point):
        if case.closed_at is None and case.state in _STAGES:
            stage, hard = ("overdue", False) if supply.protected else _STAGES[case.state]
            timed = case.state in {CaseState.OVERDUE, CaseState.NOTICE} and not supply.protected
            ends = case.notice_ends_at if timed else None
            return NoticeView(stage=stage, ends_at=ends, hard=hard)
    if supply.relay_state is RelayPosition.DISCONNECTED:
        return NoticeView(stage="cut", ends_at=None, hard=True)
    return None
