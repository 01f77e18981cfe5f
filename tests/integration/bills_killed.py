"""A billing process that dies, as if the power had failed, at the Nth write it makes."""

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


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
