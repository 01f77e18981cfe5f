"""
Places where a test may kill the agent, to prove that nothing is lost or done twice.

`METERLOOP_FAILPOINT=edge.after_outbox:kill` sends SIGKILL to this process when it first reaches
that place, `edge.after_outbox:kill@3` at the third time; without the variable nothing happens.
"""

import os
import signal
from collections import Counter

VARIABLE = "METERLOOP_FAILPOINT"

NAMES = frozenset(
    {
        "edge.after_reserve",
        "edge.after_read",
        "edge.before_commit",
        "edge.after_outbox",
        "edge.after_publish",
        "edge.before_delete",
        "edge.after_delete",
        "edge.after_stage",
        "edge.before_clock_set",
        "edge.after_pend",
        "edge.before_promote",
        "edge.after_promote",
        "edge.after_block",
        "edge.after_send",
        "edge.after_verified",
        "edge.before_activate",
        "edge.after_activate",
        "edge.before_settings",
        "edge.after_settings",
        "edge.before_operate",
        "edge.after_operate",
        "edge.before_token",
        "edge.after_token",
    }
)
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
