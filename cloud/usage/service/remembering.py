"""
What a worker remembers of usage: of every meter of a concentrator its last installation, segment,
newest register and momentary values, as columns that lie beside ingest's book of the concentrator.

The book says who else may have stored readings; `usage.turn` says whether somebody else has changed
segments or newest registers. Both are asked under the concentrator's lock, which whoever changes
them takes too (`segments.hold`), so what is remembered is what the database would say.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cloud.assets.model import Installed
from cloud.ingest import service as ingest
from cloud.ingest.model import NO_VALUE, Hung, Momentaries, Stored
from cloud.store.db import Connection
from cloud.usage import store
from cloud.usage.model import MISSING, Int
from cloud.usage.rules.moving import COLUMNS, Bool, Stays
from cloud.usage.rules.walking import FOREVER_MS
from protocols.identity import MeterId, UsagePointId
from protocols.reading import Channel
from protocols.timeline import to_ms

ROW = {name: n for n, name in enumerate(COLUMNS)}
_ASSETS, _LOADED, _LIVE = ROW["there"], ROW["loaded"], ROW["power_ms"]
_LIVE_ROWS = {
    int(Channel.POWER_W): ROW["power_ms"], int(Channel.VOLTAGE_L1_MV): ROW["voltage_ms"],
    int(Channel.CURRENT_L1_MA): ROW["current_ms"],
}  # fmt: skip
_KEPT = "usage"


class Memory:
    """Of the meters of one concentrator by place. *Shape*: `known` (COLUMNS, meters)."""

    def __init__(self, installed: Sequence[tuple[Installed, ...]]) -> None:
        """Begin with what the assets say; `installed` is by place, oldest first for each."""
        size = len(installed)
        self.known = np.zeros((len(COLUMNS), size), dtype=np.int64)
        self.points = [UsagePointId("")] * size
        self.zones: list[str] = []
        self.stamp = 0
        """Of `usage.turn` when it was last asked."""
        self._places: dict[UsagePointId, list[int]] = {}
        zones: dict[str, int] = {}
        for place, items in enumerate(installed):
            if items:
                zone = zones.setdefault(items[-1].usage_point.zone, len(zones))
                self.known[_ASSETS:_LOADED, place] = _of_assets(items, zone)
                self.points[place] = items[-1].usage_point.id
        self.zones.extend(zones)

    def forget(self, points: Iterable[UsagePointId]) -> None:
        """Ask anew for whatever is known of usage points."""
        if not self._places:
            for place, point in enumerate(self.points):
                self._places.setdefault(point, []).append(place)
        for point in points:
            self.known[_LOADED, self._places.get(point, [])] = 0


class Recalled:
    """The meters of a round of which something came, with the memories that know them."""

    def __init__(self, conn: Connection, stored: Stored, touched: Bool) -> None:
        """Ask the database for what is not remembered, or not any more."""
        self._stored = stored
        self._parts = [(part, _memory_of(part)) for part in stored.hung]
        turns = store.turns(conn, [part.concentrator for part in stored.hung])
        for part, memory in self._parts:
            stamp = turns.get(part.concentrator, 0)
            if memory.stamp != stamp:
                memory.stamp, memory.known[_LOADED] = stamp, 0
        zones: dict[str, int] = {}
        self._zones = [
            np.array([zones.setdefault(name, len(zones)) for name in memory.zones], dtype=np.int64)
            for _, memory in self._parts
        ]
        self._names = tuple(zones)
        self._touched, self._wanted = touched, touched | stored.heard
        self.points: list[UsagePointId] = []
        self.stays = self.asked(conn)

    def asked(self, conn: Connection) -> Stays:
        """Return what is known now, all of it: what was forgotten is asked for."""
        stays = self._gathered()
        lacking = np.flatnonzero(stays["loaded"] == 0)
        if len(lacking):
            stays.known[_LOADED:, lacking] = _loaded(
                conn, [self._stored.meters[n] for n in stays.meter[lacking].tolist()],
                [self.points[n] for n in lacking.tolist()],
            )  # fmt: skip
        news = _note_momentary(stays.known, self._stored, stays.meter)
        if len(lacking) or news:
            self.keep(stays)
        self.stays = stays
        return stays

    def keep(self, stays: Stays) -> None:
        """Remember what is known of stays, which were gathered in this order."""
        for (_, memory), rows, places in self._slices(stays.meter):
            memory.known[_LOADED:, places] = stays.known[_LOADED:, rows]

    def forget(self, points: Sequence[UsagePointId]) -> None:
        """Ask anew for what is known of usage points, by whatever meter."""
        for _, memory in self._parts:
            memory.forget(points)

    def let_go(self) -> None:
        """Forget what others may change without a word: meters that left, or hung elsewhere too."""
        for (_, memory), rows, places in self._slices(self.stays.meter):
            memory.known[_LOADED, places] &= self.stays["lasting"][rows]

    def by_concentrator(self) -> list[tuple[Hung, slice]]:
        """Return which of the stays hang where."""
        return [(part, rows) for (part, _), rows, _ in self._slices(self.stays.meter)]

    def _gathered(self) -> Stays:
        chosen, columns, points = [], [], []
        for n, (part, memory) in enumerate(self._parts):
            whole = slice(part.first, part.first + len(part.place))
            wanted = np.flatnonzero(self._wanted[whole] & (memory.known[_ASSETS, part.place] != 0))
            places = part.place[wanted]
            some = memory.known[:, places]
            some[ROW["zone"]] = self._zones[n][some[ROW["zone"]]]
            chosen.append(wanted + part.first)
            columns.append(some)
            points += [memory.points[place] for place in places.tolist()]
        self.points = points
        meter = np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)
        none = np.zeros((len(COLUMNS), 0), dtype=np.int64)
        return Stays(
            meter=meter, known=np.concatenate(columns, axis=1) if columns else none,
            zones=self._names, touched=self._touched[meter], heard=self._stored.heard[meter],
        )  # fmt: skip

    def _slices(self, meter: Int) -> list[tuple[tuple[Hung, Memory], slice, Int]]:
        """Return per concentrator which rows of the stays are its, and their places in its list."""
        found = []
        for part, memory in self._parts:
            low, high = np.searchsorted(meter, (part.first, part.first + len(part.place)))
            rows = slice(int(low), int(high))
            found.append(((part, memory), rows, part.place[meter[rows] - part.first]))
        return found


def _memory_of(part: Hung) -> Memory:
    memory = part.kept.get(_KEPT)
    if not isinstance(memory, Memory):
        memory = part.kept[_KEPT] = Memory(part.installed)
    return memory


def _of_assets(items: tuple[Installed, ...], zone: int) -> tuple[int, ...]:
    last = items[-1]
    removed = last.installation.removed_at
    lasting = removed is None and all(item.concentrator == last.concentrator for item in items)
    return (
        1, to_ms(last.installation.installed_at), to_ms(removed) if removed else FOREVER_MS,
        last.meter.rollover_wh or 0, last.usage_point.capacity_w or 0, last.meter.max_w, zone,
        int(lasting),
    )  # fmt: skip


def _loaded(conn: Connection, meters: Sequence[MeterId], points: Sequence[UsagePointId]) -> Int:
    """Return what the database says of meters at usage points, as rows from `loaded` on."""
    found = np.full((len(COLUMNS) - _LOADED, len(meters)), MISSING, dtype=np.int64)
    found[0], found[1], found[ROW["flags"] - _LOADED] = 1, 0, 0
    found[_LIVE - _LOADED + 1 :: 2] = NO_VALUE
    state: Mapping[str, Int] = store.standing(conn, meters, points)
    place = state["meter"]
    found[1, place] = 1
    for name in store.STANDING[1:]:
        found[ROW[name] - _LOADED, place] = state[name]
    read = ingest.momentaries(conn, meters)
    for channel, row in _LIVE_ROWS.items():
        some = read.channel == channel
        found[row - _LOADED, read.meter[some]] = read.at_ms[some]
        found[row - _LOADED + 1, read.meter[some]] = read.value[some]
    return found


def _note_momentary(known: Int, stored: Stored, meter: Int) -> bool:
    """Write in the newest momentary values that came, as the database takes them."""
    fresh: Momentaries = stored.momentaries
    if not len(fresh.meter):
        return False
    stay = np.full(len(stored.meters), -1, dtype=np.int64)
    stay[meter] = np.arange(len(meter))
    for channel, row in _LIVE_ROWS.items():
        some = np.flatnonzero((fresh.channel == channel) & (stay[fresh.meter] >= 0))
        place, at_ms, value = stay[fresh.meter[some]], fresh.at_ms[some], fresh.value[some]
        newer = at_ms > known[row, place]
        newer |= (at_ms == known[row, place]) & (value > known[row + 1, place])
        known[row, place[newer]], known[row + 1, place[newer]] = at_ms[newer], value[newer]
    return True
