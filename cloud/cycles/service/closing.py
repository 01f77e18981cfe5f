"""Closing a cycle: every point has a figure or a reason, every figure is stored."""

from datetime import datetime

from cloud.assets import service as assets
from cloud.cycles import store
from cloud.cycles.model import CycleEvent, CycleId, Refusal, Source, Statistics, TaskState
from cloud.cycles.rules import entries
from cloud.cycles.service.planning import known_cycle
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError

_OPEN = (TaskState.LISTED, TaskState.ASSIGNED, TaskState.IN_REVIEW)


def close_cycle(db: Database, id_: CycleId, *, actor: str, now: datetime) -> Statistics:
    """
    Close an open cycle and return what it hands to accounting.

    Raises: RefusedError UNKNOWN_CYCLE, WRONG_STATE, or TASKS_LEFT with what is left.
    """
    with db.transaction() as conn:
        cycle = known_cycle(conn, id_, lock=True)
        after = entries.move_cycle(cycle.state, CycleEvent.CLOSE)
        # looked at before the states: who brings a figure changes both in one transaction
        if store.waiting_of_cycle(conn, id_):
            raise RefusedError(
                Refusal.TASKS_LEFT, "figures are still on their way to be stored",
                fix="close again in a moment",
            )  # fmt: skip
        states = store.states_of_cycle(conn, id_)
        left = {state: states[state] for state in _OPEN if states.get(state)}
        if left:
            told = ", ".join(f"{count} {state.value}" for state, count in left.items())
            raise RefusedError(
                Refusal.TASKS_LEFT, f"cycle {id_} has points without an end: {told}",
                fix="read them, enter why not, or decide what is in review",
            )  # fmt: skip
        store.move_cycle(conn, id_, after, actor=actor, now=now)
        found = statistics(conn, id_)
        audit.record(
            conn, at=now, actor=actor, action="cycles.close", entity="cycle", entity_id=str(id_),
            after={"points": found.points, "unread": found.unread, "use_wh": found.use_wh},
        )  # fmt: skip
    return found


def statistics(conn: Connection, id_: CycleId) -> Statistics:
    """Return the counts and the energy of a cycle (B18). Raises: RefusedError UNKNOWN_CYCLE."""
    states = store.states_of_cycle(conn, known_cycle(conn, id_).id)
    figures = store.figures_of_cycle(conn, id_)
    by_machine = sum(source == Source.MACHINE for source, *_ in figures)
    installed = assets.installations_of_meters(conn, sorted({meter for *_, meter in figures}))
    rollover = {item.meter.id: item.meter.rollover_wh for item in installed}
    use = [
        entries.use_between(last, wh, rollover[meter])
        for _, last, wh, meter in figures
        if last is not None
    ]
    return Statistics(
        points=sum(states.values()),
        read=states.get(TaskState.READ, 0),
        by_machine=by_machine,
        by_hand=len(figures) - by_machine,
        unread=states.get(TaskState.UNREAD, 0),
        in_review=states.get(TaskState.IN_REVIEW, 0),
        use_wh=sum(wh for wh in use if wh is not None),
        without_last=len(figures) - sum(wh is not None for wh in use),
        misses=store.misses_of_cycle(conn, id_),
    )
