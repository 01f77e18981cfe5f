"""
Billing processes that die, as if the power had failed, at their first, second, third write.

Each is forked from one that has loaded the product; their exit codes are printed, a line each.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from billing.bills import store
from billing.bills.service import documents
from billing.bills.service import run as runs
from cloud.store.db import Database
from tests.integration.bills_kit import NOW

WRITES = (
    "insert_items", "set_states", "set_prices", "insert_bills", "set_billed", "insert_documents",
    "set_stage",
)  # fmt: skip
MOST = 60
"""Writes that a run of a few accounts does not have."""


def main(dsn: str, run: int, kill_at: int) -> None:
    """Move a run on in chunks of two accounts; die inside the transaction of write `kill_at`."""
    runs.CHUNK = documents.CHUNK = 2
    left = kill_at

    def deadly(write: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            found = write(*args, **kwargs)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return wrapped

    for name in WRITES:
        setattr(store, name, deadly(getattr(store, name)))
    with Database(dsn, application="killed") as db:
        runs.advance(db, run, now=NOW)


def until_one_lives(dsn: str, run: int) -> None:
    """
    Bear one after the other, each to die one write later, until one comes to the end of the run.

    One write further each time: the run is killed in every stage, and gets on in the end.
    """
    code, kill_at = -signal.SIGKILL, 0
    while code == -signal.SIGKILL and kill_at < MOST:
        kill_at += 1
        child = os.fork()
        if child == 0:
            code = 1
            try:
                main(dsn, run, kill_at)
                code = 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(code, flush=True)


if __name__ == "__main__":
    until_one_lives(sys.argv[1], int(sys.argv[2]))
