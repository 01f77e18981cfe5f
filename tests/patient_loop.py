"""
An event loop on which a time-out tells of silence, never of a busy machine.

Its time passes only while nobody on it has anything to do. An answer that both sides of a real
socket can give on this loop therefore always beats a time-out, however slow the machine; and
silence is not waited out: when nothing has come for a moment, the next timer is due at once.

For tests whose every party lives on this loop. A party that is another process or thread is
working when the loop is idle, and would be taken for silent.
"""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")
QUIET_SECONDS = 0.05
"""Real seconds without an event after which nothing is on its way inside the kernel any more."""


class _PatientSelector(selectors.DefaultSelector):
    """Counts the seconds waited for, real and skipped; those spent working are not among them."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events; of a wait longer than `QUIET_SECONDS` skip what is left."""
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        real = min(timeout, QUIET_SECONDS)
        began = time.monotonic()
        found = super().select(real)
        self.passed += min(real, time.monotonic() - began) if found else timeout
        return found


class PatientLoop(asyncio.SelectorEventLoop):
    """An event loop of real sockets and patient time."""

    def __init__(self) -> None:
        self._patient = _PatientSelector()
        super().__init__(self._patient)

    def time(self) -> float:
        """Return the seconds that were waited for."""
        return self._patient.passed


PATIENT = ("asyncio", {"loop_factory": PatientLoop})
"""What the fixture `anyio_backend` of a module returns."""


def patiently(scenario: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine on a loop of its own, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=PatientLoop) as runner:
        return runner.run(scenario)
