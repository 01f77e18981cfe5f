"""Comparisons of the database with what truly happened; pure."""

from collections.abc import Iterator, Mapping, Sequence

from meterloop.audit.model import EndedCommand, OutboxState, SwitchMove

REMOTE_CUT = "remote_disconnect"
_ARMED = 2
_WRONG_WHEN_OPEN = frozenset({"refused", "failed", "expired", "cancelled"})


def lost_intervals(
    meter: str,
    truth: Mapping[int, int],
    stored: Mapping[int, int],
    quarantined: frozenset[tuple[str, int]],
    outbox: OutboxState,
) -> Iterator[str]:
    """
    Yield each interval that the agent has asked for and that is nowhere any more (R1).

    What lies beyond the agent's mark, or in a hole that it still tries, the meter still keeps.
    """
    mark = next((value for name, value in outbox.marks.items() if name == meter), None)
    if mark is None:
        return
    holes = next((value for name, value in outbox.holes.items() if name == meter), ())
    for start in truth:
        if start >= mark or start in stored:
            continue
        if (meter, start) in quarantined or (meter, start) in outbox.pending:
            continue
        if not any(begin <= start < end for begin, end in holes):
            yield f"{meter} at {start}"


def altered_intervals(
    meter: str, truth: Mapping[int, int], stored: Mapping[int, int]
) -> Iterator[str]:
    """Yield each stored interval that the meter never had, or had with another energy (R3)."""
    for start, wh in stored.items():
        real = truth.get(start)
        if real is None:
            yield f"{meter} at {start}: {wh} Wh that the meter never had"
        elif real != wh:
            yield f"{meter} at {start}: {wh} Wh, truly {real}"


def altered_registers(
    meter: str, served: Mapping[int, frozenset[int]], stored: Mapping[int, int]
) -> Iterator[str]:
    """Yield each stored register for which the meter answered something else then (R3)."""
    for at, wh in stored.items():
        answered = served.get(at)
        if answered is not None and wh not in answered:
            yield f"{meter} at {at}: {wh} Wh, answered {sorted(answered)[:3]}"


def cuts_without_go(
    meter: str, moves: Sequence[SwitchMove], released_ms: Sequence[int]
) -> Iterator[str]:
    """Yield each remote opening that no released go allows; a go allows one (C4)."""
    left = sorted(released_ms)
    for move in moves:
        if move.cause != REMOTE_CUT:
            continue
        allowed = [released for released in left if released <= move.at_ms]
        if allowed:
            left.remove(allowed[-1])
        else:
            yield f"{meter} at {move.at_ms}: opened without a go"


def protected_cuts(
    protected_since: Mapping[str, int], moves: Mapping[str, Sequence[SwitchMove]]
) -> Iterator[str]:
    """Yield each remote opening at a supply that was protected then (C2)."""
    for meter, since in protected_since.items():
        for move in moves.get(meter, ()):
            if move.cause == REMOTE_CUT and move.at_ms >= since:
                yield f"{meter} at {move.at_ms}"


def outcomes_against_switch(
    commands: Sequence[EndedCommand], moves: Mapping[str, Sequence[SwitchMove]]
) -> Iterator[str]:
    """
    Yield each outcome that the switch contradicts (C5).

    A success must be true at some instant between issue and outcome: a hand may have moved the
    switch again since. A cut that did not succeed must not have opened it.
    """
    for command in commands:
        own = moves.get(command.meter, ())
        within = [move for move in own if command.issued_ms <= move.at_ms <= command.ended_ms]
        before = [move for move in own if move.at_ms < command.issued_ms]
        states = [*before[-1:], *within]
        was_closed = [True] if not before else []
        closed = [*was_closed, *(move.closed for move in states)]
        match command.verb, command.result:
            case "disconnect", "done":
                contradicted = all(closed)
            case "reconnect", "done":
                contradicted = not any(closed)
            case "reconnect", "armed":
                contradicted = not any(closed) and not any(
                    move.control_state == _ARMED for move in states
                )
            case "disconnect", result if result in _WRONG_WHEN_OPEN:
                contradicted = any(move.cause == REMOTE_CUT for move in within)
            case _:
                contradicted = False
        if contradicted:
            yield f"{command.id} of {command.usage_point}: {command.verb} {command.result}"
