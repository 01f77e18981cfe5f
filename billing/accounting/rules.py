"""
The life of an exception of fee accounting, one table.

    state     | found   missing take    settle    dismiss
    ----------+-----------------------------------------------
    open      | same    GONE    TAKEN   refused   refused
    taken     | same    GONE    TAKEN   SETTLED   DISMISSED
    settled   | OPEN    same    refused refused   refused
    dismissed | same    GONE    TAKEN   refused   refused
    gone      | OPEN    same    refused refused   refused

Sources say what stands. What was called settled and is found again is open again: settled is what
the books say, not what somebody wishes. Taking another's exception hands it over, with a reason.
"""

from billing.accounting.model import Event, Refusal, State
from protocols.errors import RefusedError

_S, _E = State, Event
_MOVES: dict[tuple[State, Event], State] = {
    (_S.OPEN, _E.MISSING): _S.GONE,
    (_S.OPEN, _E.TAKE): _S.TAKEN,
    (_S.TAKEN, _E.MISSING): _S.GONE,
    (_S.TAKEN, _E.TAKE): _S.TAKEN,
    (_S.TAKEN, _E.SETTLE): _S.SETTLED,
    (_S.TAKEN, _E.DISMISS): _S.DISMISSED,
    (_S.SETTLED, _E.FOUND): _S.OPEN,
    (_S.DISMISSED, _E.MISSING): _S.GONE,
    (_S.DISMISSED, _E.TAKE): _S.TAKEN,
    (_S.GONE, _E.FOUND): _S.OPEN,
}
_OF_PEOPLE = frozenset({_E.TAKE, _E.SETTLE, _E.DISMISS})


def next_state(state: State, event: Event) -> State:
    """Return where an event leads. Raises: RefusedError `accounting.step` where it is refused."""
    to = _MOVES.get((state, event))
    if to is None and event in _OF_PEOPLE:
        raise RefusedError(
            Refusal.STEP, f"{event.value}: the exception is {state.value}",
            fix="take it first, or look at it again",
        )  # fmt: skip
    return to or state


def check_act(state: State, owner: str, event: Event, *, actor: str, reason: str) -> State:
    """
    Return where a person's act leads.

    Raises: RefusedError `accounting.step`, also when another has taken it, `accounting.reason`
    when an end or a handing over says no reason.
    """
    to = next_state(state, event)
    if event is not Event.TAKE and owner != actor:
        raise RefusedError(
            Refusal.STEP, f"{owner} looks after it", fix="take it over first, and say why"
        )
    hands_over = event is Event.TAKE and state is State.TAKEN and owner != actor
    if (hands_over or event is not Event.TAKE) and not reason.strip():
        raise RefusedError(Refusal.REASON, f"{event.value} needs a reason", fix="say why")
    return to
