"""Entries: a figure or a code for a task, what speaks against it, and the second look."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cloud.assets import service as assets
from cloud.cycles import store
from cloud.cycles.model import (
    Answer,
    CycleId,
    CycleState,
    Doubt,
    Entry,
    HighLow,
    Refusal,
    Source,
    Task,
    TaskEvent,
    TaskId,
    TaskState,
)
from cloud.cycles.rules import entries
from cloud.cycles.rules.handheld import WrongRow
from cloud.cycles.service.planning import known_cycle, last_moment
from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.usage import service as usage
from protocols.errors import RefusedError
from protocols.reading import Quality

_FRESH = timedelta(days=2)
"""How old a meter's own register may be at the reading date to stand for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What became of a file."""

    taken: int
    repeated: int
    doubted: int
    wrong: tuple[WrongRow, ...]


def enter(
    db: Database, entry: Entry, *, actor: str, now: datetime, limits: HighLow | None = None
) -> Answer:
    """
    Take an entry: keep it, move its task, and send a believed figure on its way to ingest.

    The same key again is the same entry. Raises: RefusedError UNKNOWN_TASK, NOT_OPEN, ENTRY,
    OTHER_ENTRY, WRONG_STATE.
    """
    with db.transaction() as conn:
        return _entered(conn, entry, actor=actor, now=now, limits=limits or HighLow())


def weigh(
    conn: Connection, entry: Entry, *, now: datetime, limits: HighLow | None = None
) -> tuple[Doubt, ...]:
    """
    Return what speaks against an entry before it is made, so that somebody looks again.

    Raises: RefusedError UNKNOWN_TASK, ENTRY.
    """
    task = task_of(conn, entry.task)
    entries.refuse_entry(entry, task, now=now)
    return _doubts(conn, entry, task, limits or HighLow())


def load(
    db: Database,
    cycle: CycleId,
    found: Sequence[Entry],
    wrong: Sequence[WrongRow],
    *,
    actor: str,
    now: datetime,
    limits: HighLow | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Take the entries of a handheld's file; a wrong one is told and the others are taken."""
    with db.transaction() as conn:
        mine = {task.id for task in store.tasks(conn, known_cycle(conn, cycle).id)}
    refused = list(wrong)
    taken = repeated = doubted = 0
    for number, entry in enumerate(found, start=1):
        if entry.task not in mine:
            refused.append(WrongRow(row=number, why=f"task {entry.task} is not of cycle {cycle}"))
            continue
        try:
            answer = enter(db, entry, actor=actor, now=now, limits=limits)
        except RefusedError as error:
            refused.append(WrongRow(row=number, why=f"task {entry.task}: {error.message}"))
            continue
        repeated += answer.repeated
        taken += not answer.repeated
        doubted += bool(answer.doubts)
        if progress is not None:
            progress(number, len(found))
    return Loaded(taken=taken, repeated=repeated, doubted=doubted, wrong=tuple(refused))


def take_machine(db: Database, cycle: CycleId, *, now: datetime) -> int:
    """
    Read what meters told by themselves: the newest register at the reading date, if fresh and good.

    Returns how many tasks that settled. Raises: RefusedError UNKNOWN_CYCLE.
    """
    settled = 0
    with db.transaction() as conn:
        known = known_cycle(conn, cycle)
        at = min(now, last_moment(conn, known))
        waiting = store.tasks(
            conn, cycle, states=(TaskState.LISTED, TaskState.ASSIGNED, TaskState.UNREAD)
        )
        found = usage.registers_at_each(
            conn, [task.usage_point for task in waiting], [at] * len(waiting)
        )
        for task, register in zip(waiting, found, strict=True):
            if register is None or register.meter != task.meter:
                continue
            stale = register.at < at - _FRESH or register.quality is Quality.QUESTIONABLE
            if stale or (task.last_at is not None and register.at <= task.last_at):
                continue
            entry = Entry(
                key=f"machine-{register.at:%Y%m%dT%H%M%S}", task=task.id, source=Source.MACHINE,
                at=register.at, wh=register.meter_wh,
            )  # fmt: skip
            _entered(conn, entry, actor="system:cycles", now=now, limits=HighLow())
            settled += 1
    return settled


def review(
    db: Database, id_: TaskId, *, accept: bool, reason: str, actor: str, now: datetime
) -> Task:
    """
    Decide on a doubted figure; whoever entered it does not judge it.

    Rejected, the point is read again, or the figure that was stored before stays.
    Raises: RefusedError UNKNOWN_TASK, WRONG_STATE, SAME_PERSON, REASON, NOT_STORED.
    """
    if not reason.strip():
        raise RefusedError(Refusal.REASON, "a decision says why", fix="write a reason")
    with db.transaction() as conn:
        task = _locked(conn, id_)
        kept = store.entries_of_task(conn, id_)
        figures = [one for one in kept if one.entry.wh is not None]
        before = None if accept else _stored_before(conn, figures, task)
        event = TaskEvent.ACCEPT if accept else TaskEvent.KEEP if before else TaskEvent.REJECT
        state = entries.move_task(task.state, event)
        last = figures[-1]
        if last.actor == actor:
            raise RefusedError(
                Refusal.SAME_PERSON, "who entered a figure does not judge it", fix="ask another"
            )
        if accept and Doubt.NOT_STORED in task.doubts and not _stands(conn, task):
            raise RefusedError(
                Refusal.NOT_STORED, "ingest keeps this figure in quarantine",
                fix="mend its cause and redrive it, or reject the figure",
            )  # fmt: skip
        after = replace(task, state=state)
        if before is not None:
            figure = before.entry
            after = replace(after, read_at=figure.at, read_wh=figure.wh, source=figure.source)
        elif not accept:
            after = replace(after, read_at=None, read_wh=None, source=None, doubts=())
        store.put_task(conn, after)
        store.insert_decision(conn, id_, event, reason=reason, actor=actor, now=now)
        if accept:
            store.queue_delivery(conn, after, last.entry.key, now=now)
        audit.record(
            conn, at=now, actor=actor, action=f"cycles.{event.value}", entity="task",
            entity_id=str(id_), before={"wh": task.read_wh, "doubts": list(task.doubts)},
            after={"state": state.value}, reason=reason,
        )  # fmt: skip
    return after


def mine(conn: Connection, login: str, *, limit: int = 500) -> list[Task]:
    """Return what one person has to read in open cycles, in walking order."""
    return store.tasks_of_login(conn, login, limit)


def task_of(conn: Connection, id_: TaskId) -> Task:
    """Return a task. Raises: RefusedError UNKNOWN_TASK."""
    task = store.task(conn, id_)
    if task is None:
        raise _unknown(id_)
    return task


def _entered(
    conn: Connection, entry: Entry, *, actor: str, now: datetime, limits: HighLow
) -> Answer:
    task = _locked(conn, entry.task)
    for kept in store.entries_of_task(conn, entry.task):
        if kept.entry.key == entry.key:
            if kept.entry != replace(entry, note=entry.note.replace("\x00", "")):
                raise RefusedError(
                    Refusal.OTHER_ENTRY, f"key {entry.key} stands for another entry",
                    fix="draw a new key for a new entry",
                )  # fmt: skip
            return Answer(task=task, doubts=kept.doubts, repeated=True)
    cycle = known_cycle(conn, task.cycle)
    if cycle.state is not CycleState.OPEN:
        raise RefusedError(
            Refusal.NOT_OPEN, f"cycle {cycle.id} is {cycle.state.value}",
            fix="enter it in the cycle that is open",
        )  # fmt: skip
    entries.refuse_entry(entry, task, now=now)
    doubts = _doubts(conn, entry, task, limits)
    state = entries.move_task(task.state, entries.event_of(entry, doubts))
    after = replace(
        task, state=state, source=entry.source, miss=entry.miss, doubts=doubts,
        read_at=entry.at if entry.wh is not None else None, read_wh=entry.wh,
    )  # fmt: skip
    store.insert_entry(conn, entry, doubts, actor=actor, now=now)
    store.put_task(conn, after)
    if state is TaskState.READ and entry.source is not Source.MACHINE:
        store.queue_delivery(conn, after, entry.key, now=now)
    if entry.source is not Source.MACHINE:
        audit.record(
            conn, at=now, actor=actor, action="cycles.enter", entity="task",
            entity_id=str(task.id),
            after={"wh": entry.wh, "miss": entry.miss, "state": state.value},
        )  # fmt: skip
    return Answer(task=after, doubts=doubts)


def _doubts(conn: Connection, entry: Entry, task: Task, limits: HighLow) -> tuple[Doubt, ...]:
    [item] = [
        found
        for found in assets.installations_of_meters(conn, [task.meter])
        if found.usage_point.id == task.usage_point
    ][-1:]
    return entries.doubts_of(
        entry, task, max_w=item.meter.max_w, rollover_wh=item.meter.rollover_wh, limits=limits
    )


def _stored_before(
    conn: Connection, figures: Sequence[store.Kept], task: Task
) -> store.Kept | None:
    """Return the last figure before the doubted one that ingest believed, or None."""
    for kept in reversed(figures[:-1]):
        found = store.delivery_of_entry(conn, task.id, kept.entry.key)
        if (found is not None and found[3]) or kept.entry.source is Source.MACHINE:
            return kept
    return None


def _stands(conn: Connection, task: Task) -> bool:
    """Tell whether the figure stands in usage by now: its quarantine was mended."""
    if task.read_at is None:
        return False
    found = usage.register_at(conn, task.usage_point, task.read_at)
    return found is not None and (found.at, found.meter_wh) == (task.read_at, task.read_wh)


def _locked(conn: Connection, id_: TaskId) -> Task:
    task = store.task(conn, id_, lock=True)
    if task is None:
        raise _unknown(id_)
    return task


def _unknown(id_: TaskId) -> RefusedError:
    return RefusedError(
        Refusal.UNKNOWN_TASK, f"there is no task {id_}", fix="take the number from the cycle's list"
    )
