"""What ingest makes of a batch: verdicts per row, the account of the batch, quarantine."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import IntEnum, StrEnum
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from cloud.assets.model import Installed
from protocols.identity import BatchId, ConcentratorId, MeterId, UsagePointId
from protocols.mqtt.live import LiveReading
from protocols.mqtt.receipt import BatchReceipt


class Refusal(StrEnum):
    """Why an operator's act on the quarantine is refused."""

    UNKNOWN = "ingest.unknown"
    SETTLED = "ingest.settled"
    STILL_WRONG = "ingest.still_wrong"
    """The cause is not mended: the row would be quarantined again."""
    KEPT = "ingest.kept"
    """Readings of that month may not be let go: the sentence says why."""
    BUSY = "ingest.busy"


class Verdict(IntEnum):
    """What becomes of a row; everything from `UNKNOWN_METER` on goes to quarantine."""

    STORED = 0
    DUPLICATE = 1
    MOMENTARY = 2
    UNKNOWN_METER = 10
    FOREIGN_CONCENTRATOR = 11
    CHANNEL = 12
    LENGTH = 13
    TIME = 14
    NOT_INSTALLED = 15
    VALUE = 16
    NEGATIVE = 17
    GRID = 18
    CONFLICT = 19
    REGISTER_STEP = 20
    DROPPED = 21


QUARANTINED_FROM = Verdict.UNKNOWN_METER

CAUSES: Mapping[Verdict, tuple[str, str]] = {
    Verdict.UNKNOWN_METER: ("meter.unknown", "no such meter was ever installed"),
    Verdict.FOREIGN_CONCENTRATOR: (
        "meter.foreign_concentrator", "the meter never hung on this concentrator"),
    Verdict.CHANNEL: ("reading.channel", "the channel code is not known"),
    Verdict.LENGTH: ("reading.length", "the length does not fit channel or profile"),
    Verdict.TIME: ("reading.time", "the time is impossible or lies in the future"),
    Verdict.NOT_INSTALLED: ("reading.not_installed", "the meter was not installed at that time"),
    Verdict.VALUE: ("reading.value", "the scaled value is out of every range"),
    Verdict.NEGATIVE: ("reading.negative", "energy is negative"),
    Verdict.GRID: ("interval.grid", "the interval does not start on its grid"),
    Verdict.CONFLICT: ("reading.conflict", "another value is stored under the same key"),
    Verdict.REGISTER_STEP: (
        "register.step", "the register fell, or ran faster than the meter can count"),
    Verdict.DROPPED: (
        "reading.dropped", "the intervals of that month were let go by the retention policy"),
}  # fmt: skip
"""Cause code and sentence of each refused verdict."""


class QuarantineState(StrEnum):
    """Open until a person or a redrive settles it."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """
    What keeps the rows of open days, as the server tells it.

    `offered` is the version of TimescaleDB the server could install, `loaded` whether it was
    started with it, `installed` the version in this database, `edition` its licence; else empty.
    """

    hypertable: bool
    offered: str
    loaded: bool
    installed: str
    edition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthCount:
    """How many packed intervals a month has: rows of a series and day, readings, octets."""

    series_days: int
    readings: int
    octets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthKept:
    """A month whose intervals are here, and the newest word on it: `how` is empty without one."""

    month: date
    how: str
    evidence: str
    told: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Why intervals may not go yet: `count` of `what`, the first of them from `first_day` on."""

    who: str
    what: str
    count: int
    first_day: date
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """
    Register rows that are new in the database. *Shape*: equal columns. *Units*: ms, Wh.

    `meter` indexes the `meters` of the `Stored` that holds them.
    """

    meter: NDArray[np.int64]
    channel: NDArray[np.int64]
    at_ms: NDArray[np.int64]
    wh: NDArray[np.int64]
    status: NDArray[np.int64]
    received_ms: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Interval rows that are new in the database. *Shape*: equal columns. *Units*: ms, s, Wh."""

    meter: NDArray[np.int64]
    channel: NDArray[np.int64]
    start_ms: NDArray[np.int64]
    seconds: NDArray[np.int64]
    wh: NDArray[np.int64]
    status: NDArray[np.int64]
    received_ms: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Momentaries:
    """
    The newest momentary value that came of each (meter, channel). *Shape*: equal columns.

    `meter` indexes the `meters` of the `Stored` that holds them. *Units*: ms; as the channel says.
    """

    meter: NDArray[np.int64]
    channel: NDArray[np.int64]
    at_ms: NDArray[np.int64]
    value: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hung:
    """
    The meters of a `Stored` that one concentrator has: from `first` on, as many as `place` says.

    `installed` holds by place in the concentrator's own list every installation, past and present,
    oldest first; `place` says which of them a meter is. `kept` is for those who derive: what they
    put there they find again, as long as nobody else can have stored readings of the concentrator,
    the assets say what they said, and no transaction that changed it has failed.
    """

    concentrator: ConcentratorId
    first: int
    place: NDArray[np.int64]
    installed: Sequence[tuple[Installed, ...]]
    kept: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """
    What a transaction added, for those who derive from it before it commits.

    `heard` tells of which of `meters` anything believable came; those after the last of `hung` are
    known to nobody.
    """

    meters: tuple[MeterId, ...]
    hung: tuple[Hung, ...]
    registers: Registers
    intervals: Intervals
    momentaries: Momentaries
    heard: NDArray[np.bool_]

    @property
    def installed(self) -> tuple[Installed, ...]:
        """Return every installation of `meters`, past and present, oldest first for each."""
        return tuple(
            item for part in self.hung for place in part.place.tolist()
            for item in part.installed[place]
        )  # fmt: skip


NO_VALUE = np.iinfo(np.int64).min
"""Stands in columns of live readings where a meter tells no such value."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveColumns(Sequence[LiveReading]):
    """
    Live readings as columns: an object is made of those alone that somebody looks at.

    *Shape*: equal columns. *Units*: as `LiveReading`; NO_VALUE stands for None.
    """

    usage_points: Sequence[UsagePointId]
    wall_ms: int
    quality: Sequence[str]
    at_ms: NDArray[np.int64]
    register_wh: NDArray[np.int64]
    today_wh: NDArray[np.int64]
    power_w: NDArray[np.int64]
    voltage_mv: NDArray[np.int64]
    current_ma: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many usage points are told of."""
        return len(self.usage_points)

    @overload
    def __getitem__(self, place: int) -> LiveReading: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[LiveReading]: ...
    def __getitem__(self, place: int | slice) -> LiveReading | Sequence[LiveReading]:
        """Return the reading at a place, or those of a slice."""
        if isinstance(place, slice):
            return [self._reading(n) for n in range(len(self))[place]]
        return self._reading(range(len(self))[place])

    def __iter__(self) -> Iterator[LiveReading]:
        """Return the readings one after the other."""
        return map(self._reading, range(len(self)))

    def _reading(self, n: int) -> LiveReading:
        return LiveReading(
            usage_point=self.usage_points[n], at_ms=int(self.at_ms[n]), wall_ms=self.wall_ms,
            quality=self.quality[n], register_wh=int(self.register_wh[n]),
            today_wh=int(self.today_wh[n]), power_w=_told(self.power_w[n]),
            voltage_mv=_told(self.voltage_mv[n]), current_ma=_told(self.current_ma[n]),
        )  # fmt: skip


def _told(value: np.int64) -> int | None:
    return None if value == NO_VALUE else int(value)


_NONE = np.zeros(0, dtype=np.int64)
NOTHING_LIVE = LiveColumns(
    usage_points=(), wall_ms=0, quality=(), at_ms=_NONE, register_wh=_NONE, today_wh=_NONE,
    power_w=_NONE, voltage_mv=_NONE, current_ma=_NONE,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAccount:
    """The batch's own sum: `rows = stored + duplicates + momentary + quarantined`."""

    rows: int = 0
    stored: int = 0
    duplicates: int = 0
    momentary: int = 0
    quarantined: int = 0
    reports: int = 0
    reports_quarantined: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOutcome:
    """
    What became of a payload. `receipt` is None only when nothing in or around it names a batch.

    `cause` tells why the payload as a whole is in quarantine, empty when it is not.
    """

    concentrator: ConcentratorId
    receipt: BatchReceipt | None
    repeated: bool = False
    cause: str = ""
    account: BatchAccount = BatchAccount()
    live: LiveColumns = NOTHING_LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """
    A payload and how it came. `hint` is the batch id in the message's user properties.

    `now` is business time and `wall_now` wall time of receipt.
    """

    payload: bytes
    content_type: str
    topic: str
    hint: BatchId | None
    now: datetime
    wall_now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineItem:
    """One thing that could not be believed; `row` is None when it is a whole payload."""

    id: int
    concentrator: ConcentratorId
    boot: int | None
    seq: int | None
    cause: str
    detail: str
    row: Mapping[str, Any] | None
    received_at: datetime
    state: QuarantineState
    octets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSeries:
    """
    The raw registers of one meter and channel, oldest first. *Shape*: equal columns.

    *Units*: ms since 1970, Wh, status bits.
    """

    at_ms: NDArray[np.int64]
    wh: NDArray[np.int64]
    status: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawColumns:
    """
    Raw readings of one channel of many meters, by meter and instant. *Shape*: equal columns.

    `meter` indexes the meters asked for; `seconds` is 0 for registers, `batch` 0 where nobody asked
    for it. *Units*: ms, s, Wh, status bits, number of the batch.
    """

    meter: NDArray[np.int64]
    at_ms: NDArray[np.int64]
    wh: NDArray[np.int64]
    status: NDArray[np.int64]
    seconds: NDArray[np.int64]
    batch: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of readings."""
        return len(self.at_ms)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "RawColumns":
        """Return some of the readings."""
        return RawColumns(
            meter=self.meter[rows], at_ms=self.at_ms[rows], wh=self.wh[rows],
            status=self.status[rows], seconds=self.seconds[rows], batch=self.batch[rows],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The reading beside each instant asked about, where it is `there`. *Shape*: equal columns."""

    there: NDArray[np.bool_]
    at_ms: NDArray[np.int64]
    wh: NDArray[np.int64]
    status: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSeen:
    """When a meter was last heard of, by its clock and by the concentrator's."""

    meter: MeterId
    last_at: datetime
    last_received: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcentratorPresence:
    """
    What a concentrator, or its will at the broker, last told of its presence.

    `told` is what its last own telling said beside: `waiting` batches in its outbox, `silent`
    meters, `missing_s` seconds of readings it lacks, its `clock`, whether its disk is `full`.
    """

    concentrator: ConcentratorId
    online: bool
    told_at: datetime
    told: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayRecord:
    """The switch of a meter as reported at `at`."""

    meter: MeterId
    at: datetime
    output_closed: bool
    control_state: int
    control_mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Momentary:
    """The newest momentary values of a meter by channel code. *Units*: as the channel says."""

    meter: MeterId
    values: Mapping[int, int]
