"""SQL of the ledger: entries and postings are inserted, never changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from billing.ledger.model import AccountKind, Draft, Leg, Side, StatementLine
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parent / "sql")

AccountKey = tuple[str, str]
"""Code and currency."""


def account_ids(conn: Connection, legs: Sequence[Leg]) -> dict[AccountKey, int]:
    """Return ids of the legs' accounts, opening those that are missing."""
    kinds = {(leg.code, leg.currency): leg.kind for leg in legs}
    found = _known_accounts(conn, list(kinds))
    missing = {key: kind for key, kind in kinds.items() if key not in found}
    if missing:
        ensure_accounts(conn, missing)
        found = _known_accounts(conn, list(kinds))
    return found


def ensure_accounts(conn: Connection, kinds: Mapping[AccountKey, AccountKind]) -> None:
    """Open the accounts that are missing."""
    conn.execute(
        _SQL["ensure_accounts"],
        {
            "codes": [code for code, _ in kinds],
            "currencies": [currency for _, currency in kinds],
            "kinds": [kind.value for kind in kinds.values()],
            "normals": [int(kind.normal) for kind in kinds.values()],
            "kept": [kind.kept for kind in kinds.values()],
        },
    )


def insert_entries(
    conn: Connection, drafts: Sequence[Draft], hashes: Sequence[bytes], now: datetime
) -> dict[str, int]:
    """Insert the entries whose keys are new; return their ids by key."""
    rows = conn.execute(
        _SQL["insert_entries"],
        {
            "keys": [draft.key for draft in drafts],
            "hashes": list(hashes),
            "kinds": [draft.kind for draft in drafts],
            "dates": [draft.value_date for draft in drafts],
            "actors": [draft.actor for draft in drafts],
            "reasons": [draft.reason for draft in drafts],
            "reverses": [draft.reverses for draft in drafts],
            "sources": [draft.source_ref for draft in drafts],
            "now": now,
        },
    )
    return {row[0]: row[1] for row in rows}


def entries_by_key(conn: Connection, keys: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Return id and request hash of the entries that stand under the keys."""
    rows = conn.execute(_SQL["entries_by_key"], {"keys": list(keys)})
    return {row[0]: (row[1], bytes(row[2])) for row in rows}


def insert_postings(
    conn: Connection, legs: Sequence[tuple[int, int, Leg]], accounts: Mapping[AccountKey, int]
) -> None:
    """Insert (entry, seq, leg) rows, all in one statement."""
    conn.execute(
        _SQL["insert_postings"],
        {
            "entries": [entry for entry, _, _ in legs],
            "seqs": [seq for _, seq, _ in legs],
            "accounts": [accounts[leg.code, leg.currency] for _, _, leg in legs],
            "sides": [int(leg.side) for _, _, leg in legs],
            "amounts": [leg.amount_micros for _, _, leg in legs],
            "currencies": [leg.currency for _, _, leg in legs],
        },
    )


def legs_of(conn: Connection, entry: int) -> list[Leg]:
    """Return the legs of an entry; empty when there is none."""
    return [
        Leg(
            code=row[0], kind=AccountKind(row[1]), side=Side(row[2]),
            amount_micros=row[3], currency=row[4],
        )
        for row in conn.execute(_SQL["entry_legs"], {"entry": entry})
    ]  # fmt: skip


def statement_lines(conn: Connection, account: str, limit: int) -> list[StatementLine]:
    """Return the newest lines of a customer account, newest first."""
    return [
        StatementLine(
            entry_id=row[0], kind=row[1], value_date=row[2], booked_at=row[3],
            amount_micros=row[4], balance_micros=row[5], reason=row[6], source_ref=row[7],
        )
        for row in conn.execute(_SQL["statement_lines"], {"account": account, "limit": limit})
    ]  # fmt: skip


def posted_balance(conn: Connection, account: str) -> tuple[int, int] | None:
    """Return posted balance and newest entry of a customer account, or None."""
    row = conn.execute(_SQL["posted_balance"], {"account": account}).fetchone()
    return (row[0], row[1]) if row else None


def unbalanced_entries(conn: Connection) -> list[int]:
    """Return entries that do not sum to zero; the triggers say there is none."""
    return [row[0] for row in conn.execute(_SQL["unbalanced_entries"])]


def wrong_balances(conn: Connection) -> list[str]:
    """Return customer accounts whose kept balance is not the sum of postings."""
    return [row[0] for row in conn.execute(_SQL["wrong_balances"])]


def _known_accounts(conn: Connection, keys: Sequence[AccountKey]) -> dict[AccountKey, int]:
    rows = conn.execute(
        _SQL["account_ids"],
        {"codes": [code for code, _ in keys], "currencies": [currency for _, currency in keys]},
    )
    return {(row[0], row[1]): row[2] for row in rows}
