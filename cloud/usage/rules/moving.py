"""
How new registers move the newest register of their usage point: whole waves at once, in columns.

Pure: what is known of each meter's last installation (`Stays`), what came (`Wave`), and which of
them is just moved, looked up again, or needs segments made anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from cloud.ingest.model import Registers
from cloud.usage.model import MISSING, Int
from cloud.usage.rules.walking import FOREVER_MS
from protocols.reading import Channel
from protocols.timeline import from_ms, local_date, local_day, to_ms

Bool = NDArray[np.bool_]

LONE, SAME_METER, OVERLAID, OURS = 1, 2, 4, 8
"""
Flags of a stay: its point has no other segment; the newest register is of this meter; something is
said over registers of the point; its segment and its installation are of one usage point.
"""

COLUMNS = (
    # of the last installation of a meter, by the assets
    "there", "since_ms", "until_ms", "rollover_wh", "capacity_w", "max_w", "zone", "lasting",
    # of its newest segment and the newest register of the point, by the database
    "loaded", "known", "point", "segment_ms", "segment_until_ms", "offset_wh", "numerator",
    "denominator", "segment_w", "flags", "at_ms", "cumulative_wh", "wh", "quality", "day_ms",
    "opening_wh",
    # momentary values and when they were read
    "power_ms", "power", "voltage_ms", "voltage", "current_ms", "current",
)  # fmt: skip
"""
What is known of a meter's last installation. *Units*: ms, Wh, W; as the channels say.

`zone` numbers the civil zone; `lasting`: it has no end, and no other concentrator ever had the
meter; `known`: a segment stands; `point` is the number in `usage.newest`.
"""

_IMPORT = int(Channel.IMPORT_WH)
_WH_MS = 3_600_000
"""A watt counts a watt-hour in so many milliseconds."""
_HALF_DAY_MS = 43_200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stays:
    """
    The last installation of every meter of which something came. *Shape*: equal columns.

    `meter` indexes the meters of `Stored`; `known` holds COLUMNS as rows; `zones` names the zones.
    """

    meter: Int
    known: Int
    zones: Sequence[str]
    touched: Bool
    heard: Bool

    def __len__(self) -> int:
        """Return the number of installations."""
        return len(self.meter)

    def __getitem__(self, name: str) -> Int:
        """Return a column of COLUMNS."""
        column: Int = self.known[_ROW[name]]
        return column

    def has(self, flag: int) -> Bool:
        """Tell which carry a flag."""
        found: Bool = (self["flags"] & flag) != 0
        return found


_ROW = {name: n for n, name in enumerate(COLUMNS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """
    New registers by stay: the first and last that came, and whether they came in order.

    *Shape*: a place per stay; `size` 0 where none came. `outside`: some lie before the last
    installation. `opening_wh` is the figure of the last one at or before the last one's midnight,
    `opened` tells whether there is one.
    """

    size: Int
    first_ms: Int
    first_wh: Int
    last_ms: Int
    last_wh: Int
    last_status: Int
    falls: Bool
    outside: Bool
    midnight_ms: Int
    opened: Bool
    opening_wh: Int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Newest registers that came in order, beside the stays they are of. *Shape*: equal columns."""

    rows: Int
    at_ms: Int
    cumulative_wh: Int
    wh: Int
    status: Int
    day_ms: Int
    opening_wh: Int


def wave_of(fresh: Registers, stays: Stays, meters: int) -> Wave:
    """Return the new registers of import, which come by meter, channel and instant, by stay."""
    count = len(stays)
    rows = np.flatnonzero(fresh.channel == _IMPORT)
    place = np.full(meters, -1, dtype=np.int64)
    place[stays.meter] = np.arange(count)
    stay = place[fresh.meter[rows]]
    if (stay < 0).any():
        rows, stay = rows[stay >= 0], stay[stay >= 0]
    at, wh = fresh.at_ms[rows], fresh.wh[rows]
    size = np.bincount(stay, minlength=count)
    last = np.cumsum(size) - 1
    first = last - size + 1
    some = np.flatnonzero(size)

    def picked(column: Int, places: Int) -> Int:
        found = np.full(count, MISSING, dtype=np.int64)
        found[some] = column[places[some]]
        return found

    falls, outside = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
    inner = (stay[1:] == stay[:-1]) & (wh[1:] < wh[:-1])
    falls[stay[1:][inner]] = True
    outside[stay[(at < stays["since_ms"][stay]) | (at > stays["until_ms"][stay])]] = True
    last_ms = picked(at, last)
    midnight = midnights(last_ms, stays["zone"], stays.zones)
    early = np.flatnonzero(at <= midnight[stay])
    opening, opened = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    opening[stay[early]], opened[stay[early]] = wh[early], True
    return Wave(
        size=size, first_ms=picked(at, first), first_wh=picked(wh, first), last_ms=last_ms,
        last_wh=picked(wh, last), last_status=picked(fresh.status[rows], last), falls=falls,
        outside=outside, midnight_ms=midnight, opened=opened, opening_wh=opening,
    )  # fmt: skip


def sorted_out(stays: Stays, wave: Wave) -> tuple[Bool, Bool, Bool]:
    """Return which stays need segments anew, which their newest register, which are just moved."""
    known, lone = stays["known"] != 0, stays.has(LONE)
    newest_ms, since = stays["at_ms"], stays["since_ms"]
    # what the assets say must be what the segment rests on
    sound = known & (stays["segment_until_ms"] == stays["until_ms"])
    sound &= (since <= stays["segment_ms"]) & (stays["segment_w"] == stays["capacity_w"])
    sound &= ~lone | (since == stays["segment_ms"])
    came = wave.size > 0
    own = stays.has(SAME_METER) & (newest_ms != MISSING)
    unread = newest_ms == MISSING
    late = came & (wave.first_ms <= newest_ms)
    ordered = came & ~late & (own | (unread & lone))
    rollover = stays["rollover_wh"]
    rolls = rollover > 0
    fell = wave.falls | (own & (wave.first_wh < stays["wh"]))
    # figures that came late tell of no turn where none exceeds the newest, and where a whole turn
    # since the installation is more than the meter can count
    steady = late & ~wave.falls & (wave.last_ms <= newest_ms) & (wave.last_wh <= stays["wh"])
    counted = stays["max_w"] * np.maximum(newest_ms - since, 0)
    steady &= counted < rollover * _WH_MS
    plain = lone & (~rolls | steady | (ordered & ~fell))
    going_on = ordered & ~lone & (~rolls | ~fell) & (wave.first_ms >= stays["segment_ms"])
    anew = stays.touched & (~sound | wave.outside)
    anew |= came & ~(plain | going_on)
    # the last figures of a meter that was taken away may come while another speaks already
    moved = came & ~anew & ordered & ~stays.has(OVERLAID) & (stays["until_ms"] == FOREVER_MS)
    return anew, came & ~anew & ~moved, moved


def moved_to(stays: Stays, wave: Wave, moved: Bool) -> Moved:
    """Return the newest registers of those that came in order."""
    rows = np.flatnonzero(moved)
    top, bottom = stays["numerator"][rows], stays["denominator"][rows]
    add = stays["offset_wh"][rows]

    def total(wh: Int) -> Int:
        scaled: Int = wh * top // bottom + add
        return scaled

    midnight, last = wave.midnight_ms[rows], wave.last_wh[rows]
    # the newest one before stood at midnight, where the day has changed since and nothing came
    # between; the very first register opens its own day
    opening = np.where(stays["day_ms"][rows] == midnight, stays["opening_wh"][rows],
                       stays["cumulative_wh"][rows])  # fmt: skip
    opening = np.where(stays["at_ms"][rows] == MISSING, total(wave.first_wh[rows]), opening)
    opening = np.where(wave.opened[rows], total(wave.opening_wh[rows]), opening)
    return Moved(
        rows=rows, at_ms=wave.last_ms[rows], cumulative_wh=total(last), wh=last,
        status=wave.last_status[rows], day_ms=midnight, opening_wh=opening,
    )  # fmt: skip


def midnights(at_ms: Int, zone: Int, zones: Sequence[str]) -> Int:
    """Return the civil midnight at or before each instant in its zone; MISSING stays so."""
    found = np.full(len(at_ms), MISSING, dtype=np.int64)
    for number, name in enumerate(zones):
        within = (zone == number) & (at_ms != MISSING)
        if not within.any():
            continue
        rows, civil = np.flatnonzero(within), ZoneInfo(name)
        half = at_ms[rows] // _HALF_DAY_MS
        for first in range(int(half.min()), int(half.max()) + 1):
            some = rows[half == first]
            if len(some):
                found[some] = _midnights_of(at_ms[some], first * _HALF_DAY_MS, civil)
    return found


def _midnights_of(at_ms: Int, low: int, zone: ZoneInfo) -> Int:
    """Return the midnights of instants of one half day, which holds one midnight at most."""
    early = to_ms(local_day(local_date(from_ms(low), zone), zone).start)
    late = to_ms(local_day(local_date(from_ms(low + _HALF_DAY_MS - 1), zone), zone).start)
    return np.where(at_ms >= late, late, early)
