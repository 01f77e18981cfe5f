"""Every state and event of an exception goes where the drawn table says."""

import pytest

from billing.accounting import rules
from billing.accounting.model import Event, State
from protocols.errors import RefusedError


def drawn() -> dict[tuple[str, str], str]:
    """Read the table of the module's docstring: it is what people read."""
    assert rules.__doc__ is not None
    lines = [line.split("|") for line in rules.__doc__.splitlines() if "|" in line]
    events = lines[0][1].split()
    return {
        (state.strip(), event): word.lower()
        for state, row in lines[1:]
        for event, word in zip(events, row.split(), strict=True)
    }


@pytest.mark.req("G7")
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_state_and_event_goes_where_the_drawn_table_says(state: State, event: Event) -> None:
    told = drawn()[state.value, event.value]
    if told == "refused":
        with pytest.raises(RefusedError, match=r"accounting\.step") as caught:
            rules.next_state(state, event)
        assert caught.value.fix
    else:
        to = rules.next_state(state, event)
        assert to.value == (state.value if told == "same" else told)


def test_who_has_taken_it_ends_it_and_says_why() -> None:
    def acted(event: Event, actor: str, reason: str = "") -> State:
        return rules.check_act(State.TAKEN, "user:lin", event, actor=actor, reason=reason)

    assert acted(Event.TAKE, "user:lin") is State.TAKEN
    assert acted(Event.TAKE, "user:reza", "she is away") is State.TAKEN
    assert acted(Event.SETTLE, "user:lin", "paid twice, returned") is State.SETTLED
    for event, actor, reason, code in (
        (Event.TAKE, "user:reza", " ", "accounting.reason"),
        (Event.SETTLE, "user:lin", "", "accounting.reason"),
        (Event.DISMISS, "user:reza", "no matter", "accounting.step"),
    ):
        with pytest.raises(RefusedError, match=code):
            acted(event, actor, reason)
