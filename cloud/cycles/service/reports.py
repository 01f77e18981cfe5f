"""What people ask of cycles: how well was it read, and where did this figure come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cloud.cycles import store
from cloud.cycles.model import CycleId, ReadSpan, Task, Work
from cloud.cycles.service.planning import known_cycle, last_moment
from cloud.cycles.store import Kept
from cloud.store.db import Connection
from protocols.identity import UsagePointId
from protocols.timeline import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What somebody decided of a doubted figure."""

    event: str
    reason: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One entry of a task, with the batch in which ingest got it; `believed` None while waiting."""

    kept: Kept
    batch: str
    believed: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything about one point in one cycle, oldest first."""

    task: Task
    steps: tuple[Step, ...]
    decisions: tuple[Decided, ...]


def work(conn: Connection, id_: CycleId) -> list[Work]:
    """Return what each reader did, read in time by the cycle's last day (B13)."""
    return store.work_of_cycle(conn, id_, last_moment(conn, known_cycle(conn, id_)))


def spans_of_points(
    conn: Connection, points: Sequence[UsagePointId], around: Interval | None = None
) -> list[ReadSpan]:
    """Return from which figure to which closed cycles read the points, `around` a time if named."""
    return store.read_spans(conn, points, None, around)


def spans_of_cycle(conn: Connection, id_: CycleId) -> list[ReadSpan]:
    """Return from which figure to which a closed cycle read each of its points."""
    return store.read_spans(conn, None, [id_], None)


def trace(conn: Connection, point: UsagePointId) -> list[History]:
    """Return where the figures of a usage point came from, newest cycle first (B12)."""
    return [
        History(
            task=task,
            steps=tuple(_step(conn, kept) for kept in store.entries_of_task(conn, task.id)),
            decisions=tuple(
                Decided(event=event, reason=reason, actor=actor, at=at)
                for event, reason, actor, at in store.decisions_of_task(conn, task.id)
            ),
        )
        for task in store.tasks_of_point(conn, point)
    ]


def _step(conn: Connection, kept: Kept) -> Step:
    found = store.delivery_of_entry(conn, kept.entry.task, kept.entry.key)
    if found is None:
        return Step(kept=kept, batch="", believed=None)
    concentrator, seq, _, believed = found
    return Step(kept=kept, batch=f"{concentrator}/0/{seq}", believed=believed)
