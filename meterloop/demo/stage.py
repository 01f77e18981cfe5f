"""The stage of the story: steps with deadlines, their log, and what the world looked like."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from cloud.store.clock import Clock
from protocols.errors import RefusedError

T = TypeVar("T")


class Mark(StrEnum):
    """How a step stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class StepFailedError(Exception):
    """A step did not show what it must; the message holds what was seen instead."""


@dataclass(slots=True, kw_only=True)
class Line:
    """One line of the story; `link` is the portal's page that shows it."""

    track: str
    code: str
    text: str
    mark: Mark = Mark.RUNNING
    detail: str = ""
    link: str = ""
    began_wall: float = 0.0
    wall_seconds: float = 0.0
    at: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the summary."""
        return {
            "track": self.track, "step": self.code, "text": self.text, "state": self.mark.value,
            "detail": self.detail, "seconds": round(self.wall_seconds, 2),
        }  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Log:
    """All lines so far, and who wants to hear of each as it ends."""

    lines: list[Line] = field(default_factory=list)
    listeners: list[Callable[[Line], None]] = field(default_factory=list)

    @property
    def failed(self) -> list[Line]:
        """Return the lines that failed."""
        return [line for line in self.lines if line.mark is Mark.FAILED]

    def tell(self, line: Line) -> None:
        """Pass a line to every listener."""
        for listener in self.listeners:
            listener(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One strand of the story, told beside the others; its steps are told in order."""

    name: str
    log: Log
    clock: Clock

    async def step(
        self, code: str, text: str, act: Callable[[], Awaitable[T]], *, link: str = ""
    ) -> T:
        """
        Tell one step: `act` does or awaits it and returns what was seen.

        Raises: StepFailedError, after the line was marked, so that the track ends here.
        """
        line = Line(track=self.name, code=code, text=text, link=link, began_wall=time.monotonic())
        self.log.lines.append(line)
        try:
            seen = await act()
        except (StepFailedError, RefusedError, TimeoutError, OSError) as error:
            self._end(line, Mark.FAILED, f"{type(error).__name__}: {error}"[:400])
            if isinstance(error, StepFailedError):
                raise
            raise StepFailedError(line.detail) from error
        self._end(line, Mark.DONE, str(getattr(seen, "id", seen)) if seen is not None else "")
        return seen

    def _end(self, line: Line, mark: Mark, detail: str) -> None:
        line.mark, line.detail = mark, detail
        line.wall_seconds = time.monotonic() - line.began_wall
        line.at = self.clock.now()
        self.log.tell(line)


async def patiently(act: Callable[[], Awaitable[T]], *, wall_seconds: float = 30.0) -> T:
    """
    Do `act`, again and again while what it asks is just being started again.

    For looks, and for acts that may be done twice. Raises: OSError when it stays away.
    """
    deadline = time.monotonic() + wall_seconds
    while True:
        try:
            return await act()
        except OSError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


async def eventually(
    look: Callable[[], Awaitable[T | None]], *, wall_seconds: float, what: str, pause: float = 0.2
) -> T:
    """
    Look again and again until `look` returns something, and return that.

    Raises: StepFailedError naming `what` did not come in `wall_seconds`, with the last trouble.
    """
    deadline = time.monotonic() + wall_seconds
    trouble = ""
    while time.monotonic() < deadline:
        try:
            found = await look()
        except OSError as error:
            # a process may just be starting again; the story goes on when it is back
            found, trouble = None, f" ({type(error).__name__}: {error})"
        if found is not None:
            return found
        await asyncio.sleep(pause)
    raise StepFailedError(f"{what} did not come within {wall_seconds:g} s{trouble}")
