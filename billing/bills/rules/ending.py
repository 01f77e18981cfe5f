r"""
What becomes of an agreement's money when it has ended.

    settled <--zero-- every state --plus--> refund_due --propose--> refund_proposed --approve--> refunded
                      every state --minus--> demanded                    |
                                             refund_due <----refuse------+

| state / event   | plus       | minus    | zero     | propose         | approve  | refuse     |
|-----------------|------------|----------|----------|-----------------|----------|------------|
| settled         | refund_due | demanded | settled  |                 |          |            |
| refund_due      | refund_due | demanded | settled  | refund_proposed |          |            |
| refund_proposed | refund_due | demanded | settled  |                 | refunded | refund_due |
| refunded        | refund_due | demanded | refunded |                 |          |            |
| demanded        | refund_due | demanded | settled  |                 |          |            |

A pair that is not in the table is refused. `plus`, `minus` and `zero` say what is left on the
account after every movement of it, so a proposal falls when the sum it was made for has changed.
"""  # noqa: E501

from collections.abc import Mapping
from enum import StrEnum

from protocols.errors import RefusedError


class EndRefusal(StrEnum):
    """Why an end, or the settlement of one, is refused."""

    UNKNOWN = "ending.unknown"
    STATE = "ending.state"
    PERSON = "ending.same_person"
    DAY = "ending.day_bad"
    CHANGED = "ending.sum_changed"
    SAME = "ending.register_same"


class EndState(StrEnum):
    """Where the settlement of an end stands."""

    SETTLED = "settled"
    REFUND_DUE = "refund_due"
    REFUND_PROPOSED = "refund_proposed"
    REFUNDED = "refunded"
    DEMANDED = "demanded"


class EndEvent(StrEnum):
    """What happens to it."""

    PLUS = "plus"
    MINUS = "minus"
    ZERO = "zero"
    PROPOSE = "propose"
    APPROVE = "approve"
    REFUSE = "refuse"


_S, _E = EndState, EndEvent
MOVES: Mapping[tuple[EndState, EndEvent], EndState] = {
    **{(state, _E.PLUS): _S.REFUND_DUE for state in EndState},
    **{(state, _E.MINUS): _S.DEMANDED for state in EndState},
    **{(state, _E.ZERO): _S.SETTLED for state in EndState},
    (_S.REFUNDED, _E.ZERO): _S.REFUNDED,
    (_S.REFUND_DUE, _E.PROPOSE): _S.REFUND_PROPOSED,
    (_S.REFUND_PROPOSED, _E.APPROVE): _S.REFUNDED,
    (_S.REFUND_PROPOSED, _E.REFUSE): _S.REFUND_DUE,
}


def assessed(left_micros: int) -> EndEvent:
    """Return what a sum that is left says: positive is the customer's."""
    if left_micros == 0:
        return EndEvent.ZERO
    return EndEvent.PLUS if left_micros > 0 else EndEvent.MINUS


def moved(state: EndState, event: EndEvent, agreement: str) -> EndState:
    """Return where an event takes a settlement. Raises: RefusedError `ending.state`."""
    after = MOVES.get((state, event))
    if after is None:
        raise RefusedError(
            EndRefusal.STATE, f"the end of {agreement} is {state}: it cannot {event}",
            fix="bill final show names where it stands",
        )  # fmt: skip
    return after
