"""Use by named hours of the local clock: the windows are stated by whoever asks, never by code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud.rollups.model import Refusal
from protocols.errors import RefusedError
from protocols.timeline import from_ms

_WEEK = [1, 2, 3, 4, 5, 6, 7]


class _Window(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(min_length=1, max_length=40)
    days: list[int] = Field(default=_WEEK, min_length=1)
    since: time = Field(alias="from")
    until: time = Field(alias="to")


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=40)
    windows: list[_Window] = Field(min_length=1, max_length=100)
    otherwise: str = Field(default="other", min_length=1, max_length=40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """
    Hours of the local clock on some days of the week, 1 Monday to 7 Sunday.

    *Units*: minutes since the clock showed midnight, half-open; one that ends before it begins runs
    over midnight, and one that ends when it begins is the whole day.
    """

    name: str
    days: frozenset[int]
    since: int
    until: int

    def holds(self, weekday: int, minute: int) -> bool:
        """Tell whether a local weekday and minute lie in it; the day is the one they stand in."""
        if weekday not in self.days:
            return False
        if self.since < self.until:
            return self.since <= minute < self.until
        return minute >= self.since or minute < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Windows in their order, the first that holds counts; `otherwise` names the rest."""

    name: str
    windows: tuple[Window, ...]
    otherwise: str

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name once, in order, the rest last."""
        return tuple(dict.fromkeys([*(each.name for each in self.windows), self.otherwise]))


def read_frame(document: bytes) -> Frame:
    """
    Return the windows that a JSON document states.

    `{"name": "three rates", "windows": [{"name": "peak", "days": [1, 2], "from": "08:00",
    "to": "11:00"}], "otherwise": "flat"}`. Raises: RefusedError `rollups.frame` with the place.
    """
    try:
        stated = _Frame.model_validate(json.loads(document))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise _refused(f"{place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _refused(f"it is no JSON: {error}") from error
    wrong = [each.name for each in stated.windows if not set(each.days) <= set(_WEEK)]
    if wrong:
        raise _refused(f"{wrong[0]}: days are 1 Monday to 7 Sunday")
    return Frame(
        name=stated.name,
        windows=tuple(
            Window(
                name=each.name, days=frozenset(each.days),
                since=each.since.hour * 60 + each.since.minute,
                until=each.until.hour * 60 + each.until.minute,
            )
            for each in stated.windows
        ),
        otherwise=stated.otherwise,
    )  # fmt: skip


def windows_of(frame: Frame, starts_ms: Sequence[int], zone: ZoneInfo) -> list[str]:
    """
    Return the name that holds each slot, by what the local clock shows when the slot begins.

    In the hour that a clock is turned back over, both of its passes are in the same window.
    """
    found = []
    for start in starts_ms:
        local = from_ms(start).astimezone(zone)
        weekday, minute = local.isoweekday(), local.hour * 60 + local.minute
        holding = (each.name for each in frame.windows if each.holds(weekday, minute))
        found.append(next(holding, frame.otherwise))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class HoursUse:
    """What one window held. *Units*: Wh; `wh` sums the slots that are there."""

    name: str
    slots: int
    missing: int
    wh: int
    qualities: int


def by_window(
    frame: Frame, names: Sequence[str], slots: Sequence[tuple[int, int] | None]
) -> list[HoursUse]:
    """
    Return every window's sum; `slots` are (Wh, quality bits) by slot, None where one is missing.

    The windows' sums are the sum of all slots, and their counts the count: each slot is in one.
    """
    held: Mapping[str, list[tuple[int, int] | None]] = {name: [] for name in frame.names}
    for name, slot in zip(names, slots, strict=True):
        held[name].append(slot)
    found = []
    for name, own in held.items():
        there = [slot for slot in own if slot is not None]
        qualities = 0
        for _, bits in there:
            qualities |= bits
        found.append(
            HoursUse(
                name=name, slots=len(own), missing=len(own) - len(there),
                wh=sum(wh for wh, _ in there), qualities=qualities,
            )
        )  # fmt: skip
    return found


def _refused(message: str) -> RefusedError:
    return RefusedError(
        Refusal.FRAME, f"the windows cannot be used: {message}",
        fix="state windows as docs/rollups.md shows",
    )  # fmt: skip
