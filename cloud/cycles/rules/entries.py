"""Is a figure believed: what speaks against an entry, and where its task goes."""

import re
from datetime import datetime, timedelta

from cloud.cycles.model import (
    CYCLE_MOVES,
    TASK_MOVES,
    CycleEvent,
    CycleState,
    Doubt,
    Entry,
    HighLow,
    MissCode,
    Refusal,
    Source,
    Task,
    TaskEvent,
    TaskState,
)
from protocols.errors import RefusedError

_DAY_S = 86_400
_AHEAD = timedelta(hours=1)
_LARGEST_WH = 10**13
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_NOTE = 500


def refuse_entry(entry: Entry, task: Task, *, now: datetime) -> None:
    """Raise RefusedError ENTRY for what is no entry at all, with what to do about it."""
    wrong = ""
    if (entry.wh is None) == (entry.miss is None):
        wrong = "an entry is a figure or a code why there is none, never both"
    elif entry.wh is not None and not 0 <= entry.wh <= _LARGEST_WH:
        wrong = f"a register of {entry.wh} Wh is none that a meter shows"
    elif entry.at > now + _AHEAD:
        wrong = f"it was read at {entry.at:%Y-%m-%d %H:%M}Z, which is yet to come"
    elif task.last_at is not None and entry.at <= task.last_at:
        wrong = f"it was read before the figure of {task.last_at:%Y-%m-%d %H:%M}Z that is known"
    elif entry.miss is MissCode.OTHER and not entry.note.strip():
        wrong = "the code `other` needs a note"
    elif entry.photo and not _DIGEST.fullmatch(entry.photo):
        wrong = "a photo is named by its SHA-256, 64 hexadecimal digits"
    elif len(entry.note) > _MOST_NOTE:
        wrong = f"a note has at most {_MOST_NOTE} characters"
    if wrong:
        raise RefusedError(Refusal.ENTRY, wrong, fix="look at the meter and the form again")


def doubts_of(
    entry: Entry,
    task: Task,
    *,
    max_w: int,
    rollover_wh: int | None,
    limits: HighLow,
) -> tuple[Doubt, ...]:
    """
    Return what speaks against a figure, gravest first; nothing for a miss.

    Use is normalised by the time between the two figures. A register that fell has rolled over
    where its meter can. *Units*: Wh, W, permille.
    """
    if entry.wh is None:
        return ()
    found: list[Doubt] = []
    if entry.meter is not None and entry.meter != task.meter:
        found.append(Doubt.OTHER_METER)
    if task.state is TaskState.READ:
        found.append(Doubt.SECOND_FIGURE)
    if task.last_wh is None or task.last_at is None:
        return tuple(found)
    use = use_between(task.last_wh, entry.wh, rollover_wh)
    seconds = max(1, int((entry.at - task.last_at).total_seconds()))
    if use is None:
        return (*found, Doubt.BELOW_LAST)
    if use * 3600 > max_w * (seconds + 3600):
        # a register that fell and did not roll over looks like a whole turn of the counter
        fell = entry.wh < task.last_wh
        return (*found, Doubt.BELOW_LAST if fell else Doubt.IMPOSSIBLE)
    return (*found, *_against_average(use, seconds, task.daily_wh, limits))


def use_between(last_wh: int, wh: int, rollover_wh: int | None) -> int | None:
    """Return the energy between two figures of one meter, None where it fell and cannot."""
    if wh >= last_wh:
        return wh - last_wh
    return (wh - last_wh) % rollover_wh if rollover_wh else None


def event_of(entry: Entry, doubts: tuple[Doubt, ...]) -> TaskEvent:
    """Return what an entry does to its task."""
    if entry.miss is not None:
        return TaskEvent.MISS
    if entry.source is Source.MACHINE:
        return TaskEvent.ENTER  # validation has looked at it already
    return TaskEvent.DOUBT if doubts else TaskEvent.ENTER


def move_task(state: TaskState, event: TaskEvent) -> TaskState:
    """Return the state after `event`. Raises: RefusedError WRONG_STATE."""
    after = TASK_MOVES.get((state, event))
    if after is None:
        raise RefusedError(
            Refusal.WRONG_STATE, f"a task that is {state.value} does not {event.value}",
            fix="look at the cycle's list",
        )  # fmt: skip
    return after


def move_cycle(state: CycleState, event: CycleEvent) -> CycleState:
    """Return the state after `event`. Raises: RefusedError WRONG_STATE."""
    after = CYCLE_MOVES.get((state, event))
    if after is None:
        raise RefusedError(
            Refusal.WRONG_STATE, f"a cycle that is {state.value} does not {event.value}",
            fix="list cycles with: meterloop cycle list",
        )  # fmt: skip
    return after


def _against_average(
    use: int, seconds: int, daily_wh: int | None, limits: HighLow
) -> tuple[Doubt, ...]:
    if daily_wh is None:
        return ()
    usual = daily_wh * seconds // _DAY_S
    if max(use, usual) < limits.ignore_below_wh:
        return ()
    if use == 0:
        return (Doubt.ZERO_USE,)
    if use * 1000 > usual * limits.high_permille:
        return (Doubt.HIGH,)
    return (Doubt.LOW,) if use * 1000 < usual * limits.low_permille else ()
