"""SQL of statements, corrections, the end of suspense, and reconciliation."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from billing.customers.model import AccountId
from billing.payments.model import (
    Difference,
    DifferenceKind,
    HoldState,
    Outcome,
    StatementRow,
    SuspenseItem,
)
from billing.payments.store.blocks import SQL
from cloud.store.db import Connection
from protocols.timeline import Interval


def statement_rows(
    conn: Connection,
    channel: str,
    span: Interval,
    *,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[StatementRow]:
    """Return a channel's payments by the peer's time, after a place in that order."""
    place = after or (span.start, "")
    rows = conn.execute(
        SQL["statement_rows"],
        {"channel": channel, "start": span.start, "end": span.end, "after_time": place[0],
         "after_receipt": place[1], "limit": limit},
    )  # fmt: skip
    return [_row(row) for row in rows]


def statement_by_ids(conn: Connection, channel: str, ids: Sequence[str]) -> list[StatementRow]:
    """Return a channel's payments by the peer's ids."""
    rows = conn.execute(SQL["statement_by_ids"], {"channel": channel, "ids": list(ids)})
    return [_row(row) for row in rows]


def insert_correction(
    conn: Connection,
    receipt_no: str,
    *,
    kind: str,
    delta: int,
    entry: int,
    reason: str,
    actors: Sequence[str],
    now: datetime,
) -> None:
    """Keep what changed a payment after it was posted."""
    conn.execute(
        SQL["insert_correction"],
        {"receipt": receipt_no, "kind": kind, "delta": delta, "entry": entry, "reason": reason,
         "actors": list(actors), "now": now},
    )  # fmt: skip


def suspense_waiting(conn: Connection, now: datetime) -> list[SuspenseItem]:
    """Return money that waits for its owner, oldest first."""
    return [
        SuspenseItem(
            receipt_no=row[0], channel=row[1], peer_txn_id=row[2], account=row[3],
            amount_micros=row[4], currency=row[5], received_at=row[6],
            age_days=max(0, (now - row[6]).days),
        )
        for row in conn.execute(SQL["suspense_waiting"])
    ]  # fmt: skip


def insert_suspense_end(
    conn: Connection,
    receipt_no: str,
    *,
    outcome: str,
    account: str,
    entry: int,
    reason: str,
    actors: Sequence[str],
    now: datetime,
) -> bool:
    """Keep how money in suspense ended; return False when it has its end already."""
    row = conn.execute(
        SQL["insert_suspense_end"],
        {"receipt": receipt_no, "outcome": outcome, "account": account, "entry": entry,
         "reason": reason, "actors": list(actors), "now": now},
    ).fetchone()  # fmt: skip
    return row is not None


def suspense_end(conn: Connection, receipt_no: str) -> tuple[str, str, int] | None:
    """Return outcome, account and entry of money that was in suspense, or None."""
    row = conn.execute(SQL["suspense_end_of"], {"receipt": receipt_no}).fetchone()
    return (row[0], row[1], row[2]) if row else None


def insert_reconciliation(
    conn: Connection,
    channel: str,
    span: Interval,
    *,
    file_hash: bytes,
    matched: int,
    sums: tuple[int, int],
    actor: str,
    now: datetime,
) -> int | None:
    """Keep what a file said; return its number, or None when the same file stands."""
    row = conn.execute(
        SQL["insert_reconciliation"],
        {"channel": channel, "start": span.start, "end": span.end, "hash": file_hash,
         "matched": matched, "ours": sums[0], "theirs": sums[1], "now": now, "actor": actor},
    ).fetchone()  # fmt: skip
    return row[0] if row else None


def reconciliation(
    conn: Connection, channel: str, span: Interval, file_hash: bytes
) -> tuple[int, int, int, int] | None:
    """Return number, matched rows, our sum and theirs of a file seen before, or None."""
    row = conn.execute(
        SQL["reconciliation_by_file"],
        {"channel": channel, "start": span.start, "end": span.end, "hash": file_hash},
    ).fetchone()
    return (row[0], row[1], int(row[2]), int(row[3])) if row else None


def reconciliation_channel(conn: Connection, number: int) -> str | None:
    """Return the channel of a reconciliation, or None."""
    row = conn.execute(SQL["reconciliation_channel"], {"id": number}).fetchone()
    return row[0] if row else None


def insert_differences(
    conn: Connection, number: int, found: Sequence[Difference], now: datetime
) -> None:
    """Keep the differences of a file."""
    conn.execute(
        SQL["insert_differences"],
        {
            "id": number, "txns": [each.peer_txn_id for each in found],
            "kinds": [each.kind.value for each in found],
            "ours": [each.ours_micros for each in found],
            "theirs": [each.theirs_micros for each in found],
            "outcomes": [each.outcome.value for each in found], "now": now,
        },
    )  # fmt: skip


def differences(conn: Connection, number: int) -> list[Difference]:
    """Return the differences of one reconciliation."""
    return [_difference(row) for row in conn.execute(SQL["differences_of"], {"id": number})]


def lock_difference(conn: Connection, number: int, peer_txn_id: str) -> Difference | None:
    """Return one difference with its row lock, or None."""
    row = conn.execute(SQL["lock_difference"], {"id": number, "txn": peer_txn_id}).fetchone()
    return _difference(row) if row else None


def settle_difference(
    conn: Connection,
    number: int,
    peer_txn_id: str,
    *,
    outcome: Outcome,
    reason: str,
    actors: Sequence[str],
    now: datetime,
) -> None:
    """Keep how a difference ended."""
    conn.execute(
        SQL["settle_difference"],
        {"id": number, "txn": peer_txn_id, "outcome": outcome.value, "reason": reason,
         "actors": list(actors), "now": now},
    )  # fmt: skip


def settle_found_later(
    conn: Connection, channel: str, number: int, ids: Sequence[str], now: datetime
) -> None:
    """End what only we had until this file came."""
    conn.execute(
        SQL["settle_found_later"],
        {"channel": channel, "id": number, "txns": list(ids), "now": now},
    )


def _difference(row: Sequence[Any]) -> Difference:
    return Difference(
        peer_txn_id=row[0], kind=DifferenceKind(row[1]), ours_micros=row[2], theirs_micros=row[3],
        outcome=Outcome(row[4]),
    )  # fmt: skip


def _row(row: Sequence[Any]) -> StatementRow:
    return StatementRow(
        receipt_no=row[0], peer_txn_id=row[1], account=AccountId(row[2]), state=HoldState(row[3]),
        amount_micros=row[4], net_micros=row[5], currency=row[6], peer_time=row[7],
        received_at=row[8],
    )  # fmt: skip
