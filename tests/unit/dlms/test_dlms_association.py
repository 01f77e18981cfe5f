"""Association tables: every (state, event) on both sides, against the drawing in the docstring."""

import itertools

import pytest

from protocols.dlms import association
from protocols.dlms.association import (
    OWN_EVENTS,
    ClientEvent,
    ClientState,
    ServerEvent,
    ServerState,
    client_step,
    server_step,
)
from protocols.errors import PeerError


def drawn(side, states, events):
    """Read a table out of the module docstring: each word stands under the event it belongs to."""
    lines = association.__doc__.splitlines()
    first = next(at for at, line in enumerate(lines) if line.strip().startswith(side))
    head = lines[first]
    columns = {event: head.index(f" {event.value}") + 1 for event in events}
    table = {}
    for line, state in zip(lines[first + 1 :], states, strict=False):
        assert line.split()[0] == state.name
        for event, column in columns.items():
            word = line[column:].split(" ")[0]
            if word and line[column - 1] == " ":
                table[state, event] = word
    return table


CLIENT_EVENTS = [event for event in ClientEvent if event is not ClientEvent.FAULT]
CLIENT = drawn("client", list(ClientState), CLIENT_EVENTS)
SERVER = drawn("server", list(ServerState), list(ServerEvent))


@pytest.mark.parametrize(("state", "event"), list(itertools.product(ClientState, CLIENT_EVENTS)))
def test_client(state, event):
    after = CLIENT.get((state, event))
    if after is not None:
        assert client_step(state, event).name == after
    elif event in OWN_EVENTS:
        with pytest.raises(RuntimeError, match="cannot"):
            client_step(state, event)
    else:
        with pytest.raises(PeerError) as refused:
            client_step(state, event)
        assert refused.value.code == "dlms.unexpected"


@pytest.mark.parametrize("state", ClientState)
def test_a_fault_breaks_every_state_and_nothing_leads_out(state):
    assert client_step(state, ClientEvent.FAULT) is ClientState.BROKEN
    for event in CLIENT_EVENTS:
        with pytest.raises((PeerError, RuntimeError)):
            client_step(ClientState.BROKEN, event)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(ServerState, ServerEvent)))
def test_server(state, event):
    after = SERVER.get((state, event))
    if after is not None:
        assert server_step(state, event).name == after
    else:
        with pytest.raises(PeerError):
            server_step(state, event)


def test_the_drawing_was_read():
    assert len(CLIENT) == 13
    assert len(SERVER) == 15
