"""
Facts of reading cycles.

A cycle reads the points of one route in one period:

    planned -> open -> closed
       |        |
       +--------+-> cancelled

Its list has one task a point:

    listed -> assigned -> read            a figure that is believed
       |         |  ^
       |         |  +---- in_review       rejected: read it again (or keep the figure before)
       |         v          ^   |
       +------> in_review --+   +-> read  accepted
       +------> unread                    nobody could read it, with the officer's code
    unread -> read, in_review             it came after all, before the cycle closed
    read -> in_review                     a second figure for the same task is looked at

A figure by hand goes the road of every reading: the ingest service judges and stores it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import NewType

from protocols.identity import ConcentratorId, MeterId, UsagePointId

CycleId = NewType("CycleId", int)
TaskId = NewType("TaskId", int)
RouteId = NewType("RouteId", str)
ReaderId = NewType("ReaderId", str)


class CycleState(StrEnum):
    """How far a cycle has come."""

    PLANNED = "planned"
    OPEN = "open"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class CycleEvent(StrEnum):
    """What may happen to a cycle."""

    OPEN = "open"
    CLOSE = "close"
    CANCEL = "cancel"


CYCLE_MOVES: Mapping[tuple[CycleState, CycleEvent], CycleState] = {
    (CycleState.PLANNED, CycleEvent.OPEN): CycleState.OPEN,
    (CycleState.OPEN, CycleEvent.CLOSE): CycleState.CLOSED,
    (CycleState.PLANNED, CycleEvent.CANCEL): CycleState.CANCELLED,
    (CycleState.OPEN, CycleEvent.CANCEL): CycleState.CANCELLED,
}
"""Every move there is; a pair that is not here is refused with `WRONG_STATE`."""


class TaskState(StrEnum):
    """How far one point of a list has come."""

    LISTED = "listed"
    ASSIGNED = "assigned"
    IN_REVIEW = "in_review"
    READ = "read"
    UNREAD = "unread"


class TaskEvent(StrEnum):
    """What may happen to a task."""

    ASSIGN = "assign"
    ENTER = "enter"
    """A figure that nothing speaks against."""
    DOUBT = "doubt"
    """A figure that a second person looks at."""
    MISS = "miss"
    ACCEPT = "accept"
    REJECT = "reject"
    KEEP = "keep"
    """A second figure is rejected; the first, which was stored, stays."""


_WAITING = (TaskState.LISTED, TaskState.ASSIGNED, TaskState.UNREAD)
TASK_MOVES: Mapping[tuple[TaskState, TaskEvent], TaskState] = {
    (TaskState.LISTED, TaskEvent.ASSIGN): TaskState.ASSIGNED,
    (TaskState.ASSIGNED, TaskEvent.ASSIGN): TaskState.ASSIGNED,
    **{(state, TaskEvent.ENTER): TaskState.READ for state in _WAITING},
    **{(state, TaskEvent.DOUBT): TaskState.IN_REVIEW for state in (*_WAITING, TaskState.READ)},
    **{(state, TaskEvent.MISS): TaskState.UNREAD for state in _WAITING},
    (TaskState.IN_REVIEW, TaskEvent.ACCEPT): TaskState.READ,
    (TaskState.IN_REVIEW, TaskEvent.REJECT): TaskState.ASSIGNED,
    (TaskState.IN_REVIEW, TaskEvent.KEEP): TaskState.READ,
}
"""Every move there is; a pair that is not here is refused with `WRONG_STATE`."""


class Source(StrEnum):
    """Who read."""

    HAND = "hand"
    """Typed at a desk from paper or a telephone call."""
    HANDHELD = "handheld"
    """Typed at the meter, sent from a device or a phone."""
    MACHINE = "machine"
    """The meter's own register at the reading date; nobody went there."""


class MissCode(StrEnum):
    """Why a meter could not be read: the officer's code."""

    NO_ACCESS = "no_access"
    NOT_FOUND = "not_found"
    DISPLAY_DARK = "display_dark"
    DAMAGED = "damaged"
    DANGER = "danger"
    VACANT = "vacant"
    REFUSED = "refused"
    OTHER = "other"


class Observation(StrEnum):
    """What an officer saw beside the figure."""

    SEAL_BROKEN = "seal_broken"
    BYPASS = "bypass"
    DAMAGED = "damaged"
    WRONG_METER = "wrong_meter"
    UNSAFE = "unsafe"


class Doubt(StrEnum):
    """Why a figure is looked at by a second person."""

    BELOW_LAST = "below_last"
    IMPOSSIBLE = "impossible"
    """More than the meter can count in that time."""
    HIGH = "high"
    LOW = "low"
    ZERO_USE = "zero_use"
    SECOND_FIGURE = "second_figure"
    OTHER_METER = "other_meter"
    NOT_STORED = "not_stored"
    """Ingest did not believe it; its cause stands in the quarantine."""


class Refusal(StrEnum):
    """Why something about a cycle was refused."""

    UNKNOWN_ROUTE = "cycles.unknown_route"
    UNKNOWN_CYCLE = "cycles.unknown_cycle"
    UNKNOWN_TASK = "cycles.unknown_task"
    UNKNOWN_READER = "cycles.unknown_reader"
    UNKNOWN_POINT = "cycles.unknown_point"
    WRONG_STATE = "cycles.wrong_state"
    NOT_OPEN = "cycles.not_open"
    NOTHING_TO_READ = "cycles.nothing_to_read"
    TASKS_LEFT = "cycles.tasks_left"
    ENTRY = "cycles.entry"
    OTHER_ENTRY = "cycles.other_entry_under_this_key"
    SAME_PERSON = "cycles.same_person"
    REASON = "cycles.reason"
    FILE = "cycles.file"
    NOT_YOURS = "cycles.not_yours"
    NOT_STORED = "cycles.not_stored"
    TIMETABLE = "cycles.timetable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """
    When a route is read, billed and collected; days are of the month, moved to the next working
    day.

    *Units*: days; `reading_days` is how long reading may take, `sales_after` and `collection_after`
    count from the last reading day.
    """

    opens_day: int
    reading_days: int
    sales_after: int
    collection_after: int
    every_months: int = 1
    from_month: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Points in the order in which they are walked; `unit` is the section that looks after them."""

    id: RouteId
    unit: str
    name: str
    zone: str
    timetable: Timetable


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """What the timetable makes of one period, in civil days of the route's zone."""

    period: str
    opens: date
    due: date
    sales: date
    collection: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads. `login` is the actor string; `daily` how many points a day."""

    id: ReaderId
    name: str
    login: str
    unit: str
    daily: int
    on_duty: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """One route in one period."""

    id: CycleId
    route: RouteId
    dates: Dates
    state: CycleState
    opened_by: str = ""
    closed_by: str = ""
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One point of a cycle's list. *Units*: Wh as the meter shows it; None where not known."""

    id: TaskId
    cycle: CycleId
    position: int
    usage_point: UsagePointId
    meter: MeterId
    concentrator: ConcentratorId
    reader: ReaderId | None
    state: TaskState
    last_at: datetime | None
    last_wh: int | None
    daily_wh: int | None
    """Average daily use before this cycle, the measure of high and low."""
    read_at: datetime | None = None
    read_wh: int | None = None
    source: Source | None = None
    miss: MissCode | None = None
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSpan:
    """From the figure before a closed cycle to the cycle's own, at one usage point."""

    usage_point: UsagePointId
    cycle: CycleId
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    What came for a task: a figure, or the code why there is none.

    *Units*: Wh as the meter shows it. `key` is drawn by who sends; the same key is the same entry.
    """

    key: str
    task: TaskId
    source: Source
    at: datetime
    meter: MeterId | None = None
    """As the officer read it off the plate; None where not looked at."""
    wh: int | None = None
    miss: MissCode | None = None
    observations: tuple[Observation, ...] = ()
    note: str = ""
    photo: str = ""
    """SHA-256 of the picture, hexadecimal; the picture itself is kept elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of an entry."""

    task: Task
    doubts: tuple[Doubt, ...] = ()
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HighLow:
    """
    When use is worth a second look, in thousandths of the average daily use.

    *Source*: check `high_low` of the MDM handbook: 50 % to 200 % unless a utility sets others.
    """

    low_permille: int = 500
    high_permille: int = 2000
    ignore_below_wh: int = 3000
    """Use of so little over the whole time is never high or low."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one reader did in one cycle."""

    reader: ReaderId | None
    assigned: int
    read: int
    in_time: int
    unread: int
    in_review: int
    doubted: int
    rejected: int
    with_photo: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a cycle hands to accounting. *Units*: Wh; `use_wh` sums tasks that have both figures."""

    points: int
    read: int
    by_machine: int
    by_hand: int
    unread: int
    in_review: int
    use_wh: int
    without_last: int
    misses: Mapping[MissCode, int]
