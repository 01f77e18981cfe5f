"""
Places where a test may kill a process of the cloud, to prove that nothing is half done.

`METERLOOP_FAILPOINT=ingest.day_packed:kill` sends SIGKILL to this process when it first reaches
that place, `ingest.day_packed:kill@3` at the third time; without the variable nothing happens.
"""

import os
import signal
from collections import Counter

VARIABLE = "METERLOOP_FAILPOINT"

NAMES = frozenset(
    {
        "ingest.day_packed", "ingest.day_dropped", "rollups.days_written", "vee.before_write",
        "vee.written",
    }
)  # fmt: skip
"""Every place; a test walks them all."""

_reached: Counter[str] = Counter()


def reach(name: str) -> None:
    """Die here if the environment asks for it, as a power loss would: without any clean-up."""
    assert name in NAMES, f"failpoint {name!r} is not listed"
    place, _, deed = os.environ.get(VARIABLE, "").partition(":kill")
    if place != name:
        return
    _reached[name] += 1
    if _reached[name] >= int(deed.removeprefix("@") or 1):
        os.kill(os.getpid(), signal.SIGKILL)
