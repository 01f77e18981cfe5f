"""Pure decisions of usage: days and averages, segments, and usage by reference to raw figures."""

from cloud.usage.rules.days import DAY_MS, daily_average, day_usage, days_of, midnights
from cloud.usage.rules.walking import Segment, accumulate, steps

__all__ = [
    "DAY_MS", "Segment", "accumulate", "daily_average", "day_usage", "days_of", "midnights",
    "steps",
]  # fmt: skip
