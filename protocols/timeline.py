"""
Time: half-open UTC intervals, grids, local days, and the one factor by which time may run fast.

Zones appear only here, in tariffs and in the portal. Instants are aware datetimes in UTC;
on wires and in columns they are integer milliseconds since 1970 (`to_ms`, `from_ms`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(instant: datetime) -> int:
    """Return milliseconds since 1970 UTC, rounded down. Raises ValueError on a naive datetime."""
    if instant.tzinfo is None:
        raise ValueError("a naive datetime has no place on the time line; give it a zone")
    return (instant - EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """Return the UTC instant `milliseconds` after 1970."""
    return EPOCH + timedelta(milliseconds=milliseconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Half-open `[start, end)` in UTC, named by its start."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        """Refuse naive ends and empty or backward intervals."""
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("an interval needs zone-aware ends")
        if self.end <= self.start:
            raise ValueError(f"an interval must end after it starts: {self.start} .. {self.end}")

    @property
    def length(self) -> timedelta:
        """Return the duration."""
        return self.end - self.start

    def __contains__(self, instant: datetime) -> bool:
        """Tell whether `instant` lies in the interval; the end does not."""
        return self.start <= instant < self.end


def floor_to_grid(instant: datetime, seconds: int) -> datetime:
    """Return the latest grid instant (multiple of `seconds` since 1970) not after `instant`."""
    step = seconds * 1000
    return from_ms(to_ms(instant) // step * step)


def grid_starts(span: Interval, seconds: int) -> Iterator[datetime]:
    """Yield the starts of every whole grid interval of `seconds` that lies within `span`."""
    step = timedelta(seconds=seconds)
    start = floor_to_grid(span.start, seconds)
    if start < span.start:
        start += step
    while start + step <= span.end:
        yield start
        start += step


def local_day(day: date, zone: ZoneInfo) -> Interval:
    """Return the UTC interval of a civil day in `zone`: 23, 24 or 25 hours long."""
    start = datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(), tzinfo=zone).astimezone(UTC)
    return Interval(start=start, end=end)


def local_date(instant: datetime, zone: ZoneInfo) -> date:
    """Return the civil date of `instant` in `zone`."""
    return instant.astimezone(zone).date()


def local_year(year: int, zone: ZoneInfo) -> Interval:
    """Return the UTC interval of a civil calendar year in `zone`."""
    return Interval(
        start=datetime(year, 1, 1, tzinfo=zone).astimezone(UTC),
        end=datetime(year + 1, 1, 1, tzinfo=zone).astimezone(UTC),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeScale:
    """
    Business time as a straight line over wall time: `origin + (wall - wall_origin) * speed`.

    Every process of one installation is given the same scale; in real use it is the identity.
    Time-outs, handshakes and sign-in sessions are wall time and never scaled.
    """

    wall_origin: datetime = EPOCH
    origin: datetime = EPOCH
    speed: int = 1

    def __post_init__(self) -> None:
        """Refuse a speed that stops or reverses time."""
        if self.speed < 1:
            raise ValueError(f"speed must be 1 or more, not {self.speed}")

    def at(self, wall: datetime) -> datetime:
        """Return business time at a wall instant."""
        return self.origin + (wall - self.wall_origin) * self.speed

    def wall_at(self, instant: datetime) -> datetime:
        """Return the wall instant at which business time is `instant`."""
        return self.wall_origin + (instant - self.origin) / self.speed

    def stretch(self, wall_seconds: float) -> timedelta:
        """Return how much business time passes in `wall_seconds` of wall time."""
        return timedelta(seconds=wall_seconds) * self.speed

    def __str__(self) -> str:
        """Return the text form read back by `parse`."""
        return f"{self.wall_origin.isoformat()},{self.origin.isoformat()},{self.speed}"

    @classmethod
    def parse(cls, text: str) -> "TimeScale":
        """
        Return the scale written by `str`; an empty text is the identity.

        Raises: ValueError naming the form expected.
        """
        if not text:
            return cls()
        try:
            wall, origin, speed = text.split(",")
            return cls(
                wall_origin=datetime.fromisoformat(wall),
                origin=datetime.fromisoformat(origin),
                speed=int(speed),
            )
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"time scale must be WALL,ORIGIN,SPEED with two ISO instants, not {text!r}"
            ) from error
