"""The reading stream as people look at it: figures as words, hours as heat, minutes as bars."""

import threading
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cloud.ingest.service import stream as ingest_stream
from cloud.ingest.service.stream import MINUTES, Flow, Minute, Stream, permille
from cloud.store.clock import Clock
from cloud.store.db import Database
from cloud.vee import service as vee
from portal import drawing
from portal.fmt import Reader
from portal.site import Age, age_of

_KEPT = timedelta(seconds=3)
"""How long one answer serves everybody who looks; the page asks every five seconds."""
_GRACE = timedelta(minutes=15)
_GRACE_WALL_SECONDS = 15
_SHOWN = 60
_LEVELS = ((1000, "heat-4"), (990, "heat-3"), (900, "heat-2"), (1, "heat-1"), (0, "heat-0"))
_GOOD, _FAIR = 990, 950


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """How many findings are open, by kind, most first."""

    kinds: Mapping[str, int]

    @property
    def total(self) -> int:
        """Return how many there are."""
        return sum(self.kinds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A minute or an hour of a picture and of the table beside it; `words` are its cells."""

    box: drawing.Box
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One concentrator as the page shows it. `tone` is good, warn, bad or empty."""

    flow: Flow
    state: str
    tone: str
    success: str
    heat: Sequence[drawing.Box]
    said: str
    age: Age | None
    behind: str
    waiting: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPage:
    """What the operator keeps open. `lines` are the worst first, `more` how many are not shown."""

    stream: Stream
    findings: Findings
    age: Age | None
    behind: str
    per_second: tuple[str, str]
    success: str
    tone: str
    online: int
    waiting: int
    lines: Sequence[Line]
    more: int
    minutes: Sequence[Bar]
    stored: Sequence[Bar]
    tops: tuple[str, str]
    """What the highest bar of either picture stands for."""
    ends: tuple[str, str]
    hours: tuple[str, str]


class _Latest:
    """The last answer of one database; who comes while it is made waits for it."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.made: tuple[datetime, Stream, Findings] | None = None


_LATEST: "weakref.WeakKeyDictionary[Database, _Latest]" = weakref.WeakKeyDictionary()
_NEW = threading.Lock()


def look(db: Database, clock: Clock) -> tuple[Stream, Findings]:
    """Return the stream, and what is open of validation, as of three seconds ago at most."""
    with _NEW:
        latest = _LATEST.setdefault(db, _Latest())
    with latest.guard:
        wall_now = clock.wall_now()
        if latest.made is None or not wall_now - latest.made[0] < _KEPT:
            with db.transaction() as conn:
                stream = ingest_stream.watch(
                    conn, now=clock.now(), wall_now=wall_now,
                    grace=max(_GRACE, clock.wall_span(_GRACE_WALL_SECONDS)),
                )  # fmt: skip
                counted: Counter[str] = Counter()
                for one in vee.queue_counts(conn):
                    counted[one.kind.value] += one.open
            latest.made = wall_now, stream, Findings(kinds=dict(counted.most_common()))
        return latest.made[1], latest.made[2]


def page_of(
    stream: Stream, findings: Findings, *, clock: Clock, reader: Reader, query: str
) -> StreamPage:
    """Return the page; `query` picks concentrators whose id holds it."""
    wall_now = clock.wall_now()
    lines = [
        line_of(flow, stream=stream, clock=clock, reader=reader)
        for flow in sorted(stream.flows, key=_worst_first)
        if query.lower() in flow.concentrator.lower()
    ]
    rates = [reader.number(rate, scale=3, most=0 if rate >= 10_000 else 2)
             for rate in stream.per_second()]  # fmt: skip
    bars = minutes_of(stream, speed=clock.scale.speed, reader=reader)
    told = [flow.presence for flow in stream.flows if flow.presence]
    hour = stream.first_hour
    return StreamPage(
        stream=stream, findings=findings, age=age_of(stream.newest_wall, wall_now),
        behind=behind(stream.newest_event, clock=clock, reader=reader),
        per_second=(rates[0], rates[1]),
        success=share(stream.success_permille, reader), tone=tone_of(stream.success_permille),
        online=sum(one.online for one in told),
        waiting=sum(int(one.told.get("waiting", 0)) for one in told),
        lines=lines[:_SHOWN], more=max(0, len(lines) - _SHOWN),
        minutes=bars[0], stored=bars[1],
        tops=(
            brief(max(bar.box.value for bar in bars[0]), reader),
            reader.number(max(bar.box.value for bar in bars[1])),
        ),
        ends=(reader.time(_minute(wall_now, MINUTES - 1)), reader.time(wall_now)),
        hours=(reader.day_key(hour), reader.day_key(hour + timedelta(hours=23))),
    )  # fmt: skip


def line_of(flow: Flow, *, stream: Stream, clock: Clock, reader: Reader) -> Line:
    """Return one concentrator as a line with its day as heat."""
    words = reader.words
    state = "unknown" if flow.presence is None else "online" if flow.presence.online else "offline"
    rate = flow.success_permille
    cells = hours_of(flow, stream=stream, reader=reader)
    worst = min(
        (permille(came, wanted) or 0 for came, wanted in zip(flow.came, flow.expected, strict=True)
         if wanted), default=None,
    )  # fmt: skip
    waiting = flow.presence.told.get("waiting") if flow.presence else None
    return Line(
        flow=flow, state=state, tone=tone_of(rate), success=share(rate, reader),
        heat=[cell.box for cell in cells],
        said=words("stream.heat_said", id=flow.concentrator, share=share(rate, reader),
                   worst=share(worst, reader)),
        age=age_of(flow.newest_wall, clock.wall_now()),
        behind=behind(flow.newest_event, clock=clock, reader=reader),
        waiting=reader.number(waiting) if isinstance(waiting, int) else "",
    )  # fmt: skip


def hours_of(flow: Flow, *, stream: Stream, reader: Reader) -> list[Bar]:
    """Return the hours of one concentrator as cells of heat."""
    found = []
    for n, (came, wanted) in enumerate(zip(flow.came, flow.expected, strict=True)):
        rate = permille(came, wanted)
        kind = "heat-none" if rate is None else next(k for least, k in _LEVELS if rate >= least)
        at = reader.day_key(stream.first_hour + timedelta(hours=n))
        of = reader.words("stream.of", part=reader.number(came), whole=reader.number(wanted))
        words = (at, of, share(rate, reader))
        box = drawing.cell(n, len(flow.expected), kind=kind, value=rate or 0,
                           said=" · ".join(words))  # fmt: skip
        found.append(Bar(box=box, words=words))
    return found


def minutes_of(stream: Stream, *, speed: int, reader: Reader) -> tuple[list[Bar], list[Bar]]:
    """Return the last minutes twice: how late batches came, and how many readings were stored."""
    known = {one.at: one for one in stream.minutes}
    starts = [_minute(stream.wall_now, MINUTES - 1 - n) for n in range(MINUTES)]
    late, stored, cells = [], [], []
    for at in starts:
        one = known.get(at)
        kind = "open" if at == starts[-1] else "bar"
        words = _minute_words(at, one, speed=speed, reader=reader)
        said = " · ".join(
            (words[0], reader.words("stream.lag_said", half=words[1], most=words[2]), words[3])
            if one and one.lag_p95_ms is not None
            else (words[0], words[3])
        )
        late.append((((one.lag_p95_ms or 0) // speed if one else 0), kind, said))
        said = " · ".join((words[0], words[4]))
        stored.append(((one.stored if one else 0), kind, said))
        cells.append(words)
    return (
        [Bar(box=box, words=row) for box, row in zip(drawing.bars(late), cells, strict=True)],
        [Bar(box=box, words=row) for box, row in zip(drawing.bars(stored), cells, strict=True)],
    )


def share(rate: int | None, reader: Reader) -> str:
    """Return a share in percent, or a dash of nothing."""
    if rate is None:
        return "–"
    return reader.words("unit.percent", n=reader.number(rate, scale=1, least=1, most=1))


def tone_of(rate: int | None) -> str:
    """Return how good a share of slots is."""
    if rate is None:
        return ""
    return "good" if rate >= _GOOD else "warn" if rate >= _FAIR else "bad"


def behind(event: datetime | None, *, clock: Clock, reader: Reader) -> str:
    """Return how far an instant lies behind now on the wall, or a dash."""
    if event is None:
        return "–"
    gap = max(timedelta(), clock.now() - event) // clock.scale.speed
    return brief(gap // timedelta(milliseconds=1), reader)


def brief(ms: int, reader: Reader) -> str:
    """Return a length of time: seconds with a decimal below ten, else its two largest units."""
    if ms < 90_000:
        shown = reader.number(ms, scale=3, most=1 if ms < 10_000 else 0)
        return reader.words("stream.seconds", n=shown)
    return reader.duration(timedelta(milliseconds=ms))


def _minute_words(
    at: datetime, one: Minute | None, *, speed: int, reader: Reader
) -> tuple[str, ...]:
    one = one or Minute(at=at, batches=0, rows=0, stored=0, duplicates=0, refused=0,
                        lag_p50_ms=None, lag_p95_ms=None)  # fmt: skip
    lags = [
        "–" if lag is None else brief(lag // speed, reader)
        for lag in (one.lag_p50_ms, one.lag_p95_ms)
    ]
    words = reader.words
    return (
        reader.time(at), *lags, words("stream.n_batches", n=reader.number(one.batches)),
        words("stream.n_readings", n=reader.number(one.stored)), reader.number(one.refused),
    )  # fmt: skip


def _minute(wall: datetime, back: int) -> datetime:
    return wall.replace(second=0, microsecond=0) - timedelta(minutes=back)


def _worst_first(flow: Flow) -> tuple[bool, int, str]:
    online = flow.presence is None or flow.presence.online
    rate = flow.success_permille
    return online, 1001 if rate is None else rate, flow.concentrator
