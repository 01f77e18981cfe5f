"""
What households draw: integer watt-hours per quarter hour, a pure function of (key, slot).

Noise comes from a counter-based mix instead of a random stream, so any slot of any year can be
computed alone and always comes out the same; a killed simulator therefore forgets nothing.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLOT_SECONDS = 900
SLOTS_PER_DAY = 86_400 // SLOT_SECONDS
_MILLION = 1_000_000

ZONE_SECONDS = 8 * 3600
"""Days turn over at midnight UTC+8 all year, as they do in Chongqing."""

# Weight of each local hour; normalised per day below.
_HOURS_WORKING = (22, 18, 16, 15, 16, 22, 45, 62, 48, 30, 26, 30,
                  40, 34, 28, 28, 34, 56, 86, 98, 92, 78, 56, 34)  # fmt: skip
_HOURS_HOME = (24, 20, 18, 17, 18, 24, 38, 50, 54, 52, 50, 56,
               66, 58, 50, 48, 52, 64, 80, 88, 84, 72, 54, 36)  # fmt: skip
_HOURS_NIGHT = (62, 58, 50, 40, 32, 28, 34, 40, 38, 34, 32, 34,
                38, 34, 32, 32, 38, 50, 62, 70, 74, 76, 74, 68)  # fmt: skip
_HOURS_SHOP = (14, 13, 13, 13, 13, 16, 24, 44, 72, 82, 84, 86,
               84, 82, 82, 82, 80, 78, 74, 66, 52, 36, 22, 16)  # fmt: skip
_HOURS_EVEN = (40,) * 24

SHAPES: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("working", _HOURS_WORKING, _HOURS_HOME),
    ("home", _HOURS_HOME, _HOURS_HOME),
    ("night", _HOURS_NIGHT, _HOURS_NIGHT),
    ("shop", _HOURS_SHOP, _HOURS_WORKING),
    ("even", _HOURS_EVEN, _HOURS_EVEN),
)
"""Name, weekday hours, weekend hours."""

# Hot summer, damp cold winter: permille of the yearly mean at the middle of each month.
_MONTHS = (1150, 1080, 900, 800, 850, 1050, 1380, 1430, 1060, 800, 840, 1080)


def _weights(hours: tuple[int, ...]) -> NDArray[np.int64]:
    quarters = np.repeat(np.array(hours, dtype=np.int64), SLOTS_PER_DAY // 24)
    weights: NDArray[np.int64] = quarters * _MILLION // quarters.sum()
    return weights


def _season() -> NDArray[np.int64]:
    middles = np.array([16, 45, 75, 105, 136, 166, 197, 228, 258, 289, 319, 350], dtype=np.int64)
    middles = np.concatenate(([middles[-1] - 366], middles, [middles[0] + 366]))
    values = np.array((_MONTHS[-1], *_MONTHS, _MONTHS[0]), dtype=np.int64)
    days = np.arange(366, dtype=np.int64)
    after = np.searchsorted(middles, days, side="right")
    left, right = middles[after - 1], middles[after]
    rise = (values[after] - values[after - 1]) * (days - left)
    season: NDArray[np.int64] = values[after - 1] + rise // (right - left)
    return season


_SHAPE_WEIGHTS = np.stack(
    [np.stack([_weights(weekday), _weights(weekend)]) for _, weekday, weekend in SHAPES]
)
_SEASON_PERMILLE = _season()


@dataclass(frozen=True, slots=True, kw_only=True)
class Household:
    """Who draws: `daily_wh` is the yearly mean of a day, `shape` an index into `SHAPES`."""

    key: int
    daily_wh: int
    shape: int


def key_of(seed: int, *parts: object) -> int:
    """Return 64 bits that depend on `seed` and on every part; the root of all our randomness."""
    text = ":".join((str(seed), *(str(part) for part in parts)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def mix(key: int, counters: NDArray[np.int64]) -> NDArray[np.uint64]:
    """
    Return one evenly spread 64-bit word per counter.

    *Source*: splitmix64 finaliser (Steele, Lea, Flood: Fast splittable generators, 2014).
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    word = counters.astype(np.uint64) * golden + np.uint64(key)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def draw(household: Household, first_slot: int, count: int) -> NDArray[np.int64]:
    """
    Return the watt-hours of `count` slots; slot n covers [n, n+1) * SLOT_SECONDS since 1970.

    *Shape*: (count,) int64. *Units*: Wh per slot.
    """
    slots = np.arange(first_slot, first_slot + count, dtype=np.int64)
    local = slots + ZONE_SECONDS // SLOT_SECONDS
    day, quarter = np.divmod(local, SLOTS_PER_DAY)
    weekend = ((day + 3) % 7 >= 5).astype(np.int64)  # 1970-01-01 was a Thursday
    dates = day.astype("datetime64[D]")
    of_year = (dates - dates.astype("datetime64[Y]")).astype(np.int64)
    slot_permille = 500 + (mix(household.key, slots) % np.uint64(1001)).astype(np.int64)
    day_permille = 800 + (mix(household.key ^ 0x5DEECE66D, day) % np.uint64(401)).astype(np.int64)
    weight = _SHAPE_WEIGHTS[household.shape, weekend, quarter]
    # 5e4 Wh * 5e4 ppm * 1430 * 1500 = 5.4e15, below 2**63; two divisions keep it there
    scaled = household.daily_wh * weight * _SEASON_PERMILLE[of_year] * slot_permille
    result: NDArray[np.int64] = (scaled // (_MILLION * 1000) * day_permille + 500_000) // _MILLION
    return result
