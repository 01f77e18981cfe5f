"""
What an operator watches: how far behind we are, who sends, what share of the slots came.

Nothing here is kept: every figure is computed from batches, tallies and books as they stand.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from cloud.assets import service as assets
from cloud.assets.model import FleetChange
from cloud.ingest.model import ConcentratorPresence
from cloud.ingest.rules.tally import HOUR_MS, HOURS, Change, expected
from cloud.ingest.store import books, quarantine, reports
from cloud.ingest.store import stream as store
from cloud.ingest.store.binary import date_of
from cloud.ingest.store.stream import Heard, Minute
from cloud.store.db import Connection
from protocols.identity import ConcentratorId, MeterId
from protocols.timeline import from_ms, to_ms

MINUTES = 30
"""How many minutes of the wall clock are looked back on."""
_RATE_MINUTES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """
    What comes from one concentrator.

    `meters` hang there now, `heard` of them within the hours looked at. `expected` and `came` are
    slots by hour, oldest first. `batches` and `stored` are of the last minutes.
    """

    concentrator: ConcentratorId
    meters: int
    heard: int
    newest_wall: datetime | None
    newest_event: datetime | None
    batches: int
    stored: int
    expected: tuple[int, ...]
    came: tuple[int, ...]
    presence: ConcentratorPresence | None

    @property
    def success_permille(self) -> int | None:
        """Return the share of slots that came, rounded down; None where none was expected."""
        return permille(sum(self.came), sum(self.expected))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """
    The whole stream at one moment.

    `first_hour` is where `Flow.expected` begins, `minutes` those in which anything came.
    `refused` counts what waits in quarantine by cause.
    """

    now: datetime
    wall_now: datetime
    first_hour: datetime
    minutes: tuple[Minute, ...]
    flows: tuple[Flow, ...]
    refused: Mapping[str, int]

    @property
    def newest_wall(self) -> datetime | None:
        """Return when the newest batch of all was received, on the wall."""
        return max((flow.newest_wall for flow in self.flows if flow.newest_wall), default=None)

    @property
    def newest_event(self) -> datetime | None:
        """Return the newest instant that any meter has told of, by its own clock."""
        return max((flow.newest_event for flow in self.flows if flow.newest_event), default=None)

    @property
    def success_permille(self) -> int | None:
        """Return the share of all slots that came, rounded down."""
        return permille(
            sum(sum(flow.came) for flow in self.flows),
            sum(sum(flow.expected) for flow in self.flows),
        )

    def per_second(self) -> tuple[int, int]:
        """Return batches and stored readings a second of the last minutes, in thousandths."""
        began = self.wall_now.replace(second=0, microsecond=0) - timedelta(
            minutes=_RATE_MINUTES - 1
        )
        late = [one for one in self.minutes if one.at >= began]
        ms = max(1, to_ms(self.wall_now) - to_ms(began))
        return (
            sum(one.batches for one in late) * 1_000_000 // ms,
            sum(one.stored for one in late) * 1_000_000 // ms,
        )


def permille(part: int, whole: int) -> int | None:
    """Return the share in thousandths, rounded down; None of nothing."""
    return part * 1000 // whole if whole else None


def watch(
    conn: Connection, *, now: datetime, wall_now: datetime, grace: timedelta, hours: int = HOURS
) -> Stream:
    """
    Return the stream as it stands.

    Slots are expected in the last `hours` full hours that ended longer ago than `grace`: what is
    on its way yet is not missing.
    """
    last = to_ms(now - grace) // HOUR_MS
    first_hour = last - hours
    since = from_ms(first_hour * HOUR_MS)
    fleet = assets.fleet(conn, since)
    presence = {one.concentrator: one for one in reports.statuses(conn)}
    ids = sorted(
        {id_ for id_, _ in fleet.steady} | {one.concentrator for one in fleet.changes}
        | set(presence)
    )  # fmt: skip
    steady: dict[ConcentratorId, list[tuple[int, int]]] = defaultdict(list)
    for (id_, seconds), meters in fleet.steady.items():
        steady[id_].append((seconds, meters))
    changes: dict[ConcentratorId, list[FleetChange]] = defaultdict(list)
    for one in fleet.changes:
        changes[one.concentrator].append(one)
    came = _came(conn, first_hour, hours)
    heard = store.heard_since(conn, wall_now - timedelta(minutes=MINUTES))
    newest = store.newest_batches(conn, [id_ for id_ in ids if id_ not in heard])
    states = books.states(conn, ids)
    flows = [
        _flow(
            id_, steady[id_], changes[id_], came.get(id_, [0] * hours), first_hour=first_hour,
            sent=heard.get(id_), newest=newest.get(id_), state=states.get(id_),
            presence=presence.get(id_),
        )
        for id_ in ids
    ]  # fmt: skip
    return Stream(
        now=now,
        wall_now=wall_now,
        first_hour=since,
        minutes=tuple(store.minutes(conn, wall_now - timedelta(minutes=MINUTES))),
        flows=tuple(flows),
        refused={
            cause: n
            for (cause, state_), n in quarantine.quarantine_counts(conn).items()
            if state_ == "open"
        },
    )


def _flow(
    id_: ConcentratorId,
    steady: Sequence[tuple[int, int]],
    changes: Sequence[FleetChange],
    came: Sequence[int],
    *,
    first_hour: int,
    sent: Heard | None,
    newest: datetime | None,
    state: books.State | None,
    presence: ConcentratorPresence | None,
) -> Flow:
    wanted = _expected(steady, changes, first_hour, len(came))
    return Flow(
        concentrator=id_,
        meters=sum(n for _, n in steady) + sum(one.removed_at is None for one in changes),
        heard=_heard(state, changes, first_hour * HOUR_MS),
        newest_wall=sent.newest_wall if sent else newest,
        newest_event=_newest(state),
        batches=sent.batches if sent else 0,
        stored=sent.stored if sent else 0,
        expected=tuple(wanted),
        # more than the assets know of is not more than all
        came=tuple(min(pair) for pair in zip(came, wanted, strict=True)),
        presence=presence,
    )


def _came(conn: Connection, first_hour: int, hours: int) -> dict[ConcentratorId, list[int]]:
    days = range(first_hour // HOURS, (first_hour + hours - 1) // HOURS + 1)
    nothing = [0] * HOURS
    found = {}
    for id_, by_day in store.tallies(conn, date_of(days[0]), date_of(days[-1])).items():
        row = [slots for day in days for slots in by_day.get(day, nothing)]
        begin = first_hour - days[0] * HOURS
        found[id_] = row[begin : begin + hours]
    return found


def _expected(
    steady: Sequence[tuple[int, int]], changes: Sequence[FleetChange], first_hour: int, hours: int
) -> list[int]:
    wanted = expected(
        [(seconds, meters) for seconds, meters in steady if seconds],
        [
            Change(
                seconds=one.seconds, since_ms=to_ms(one.installed_at),
                until_ms=to_ms(one.removed_at) if one.removed_at else None,
            )
            for one in changes if one.seconds
        ],
        hour=first_hour, hours=hours,
    )  # fmt: skip
    return [int(slots) for slots in wanted]


def _heard(state: books.State | None, changes: Sequence[FleetChange], since_ms: int) -> int:
    if state is None or state.meters is None:
        return 0
    gone: set[MeterId] = {one.meter for one in changes if one.removed_at is not None}
    gone -= {one.meter for one in changes if one.removed_at is None}
    places = np.flatnonzero(state.received_ms >= since_ms).tolist()
    return sum(state.meters[place] not in gone for place in places)


def _newest(state: books.State | None) -> datetime | None:
    if state is None or not len(state.last_ms):
        return None
    last = int(state.last_ms.max())
    return from_ms(last) if last >= 0 else None


__all__ = ["MINUTES", "Flow", "Minute", "Stream", "permille", "watch"]
