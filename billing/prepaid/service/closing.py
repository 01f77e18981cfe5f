"""The end of a balance: when an agreement ends, what it used is billed and it is swept no more."""

from billing.prepaid import store
from billing.prepaid.store import closing
from cloud.store.db import Connection


def hold_sweep(conn: Connection) -> None:
    """Let no sweep draw anything until the caller commits."""
    store.lock_sweep(conn)


def forget(conn: Connection, agreement: str) -> bool:
    """
    Take an agreement's state away; tell whether it had one. The caller holds the sweep.

    Days drawn, segments and crossings stay as they were written.
    """
    return closing.forget_state(conn, agreement)
