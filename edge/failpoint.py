"""
Places where a test may kill the agent, to prove that nothing is lost or done twice.

`METERLOOP_FAILPOINT=edge.after_outbox:kill` sends SIGKILL to this process when it first reaches
that place; without the variable nothing happens.
"""

import os
import signal

VARIABLE = "METERLOOP_FAILPOINT"

NAMES = frozenset(
    {
        "edge.after_read",
        "edge.after_outbox",
        "edge.after_publish",
        "edge.before_delete",
        "edge.before_clock_set",
        "edge.before_operate",
        "edge.after_operate",
    }
)
"""Every place; a test walks them all."""


def reach(name: str) -> None:
    """Die here if the environment asks for it, as a power loss would: without any clean-up."""
    assert name in NAMES, f"failpoint {name!r} is not listed"
    if os.environ.get(VARIABLE, "") == f"{name}:kill":
        os.kill(os.getpid(), signal.SIGKILL)
