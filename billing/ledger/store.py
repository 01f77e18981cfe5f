"""SQL of the ledger: entries and postings are inserted, never changed."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from psycopg import IntegrityError

from billing.ledger.model import (
    AccountKind,
    AccountSum,
    BookedEntry,
    BookedLeg,
    Draft,
    Leg,
    Link,
    Refusal,
    Root,
    Side,
    StatementLine,
)
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.errors import RefusedError

_SQL = Queries(Path(__file__).parent / "sql")

_RECEIVABLES = (
    AccountKind.AR_PENALTY, AccountKind.AR_CONNECTION, AccountKind.AR_ENERGY,
    AccountKind.AR_INSTALMENT, AccountKind.AR_DEPOSIT, AccountKind.AR_EMERGENCY,
    AccountKind.AR_OLD_DEBT,
)  # fmt: skip

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
            "floors": [kind.floor for kind in kinds.values()],
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
    """
    Insert (entry, seq, leg) rows, all in one statement.

    Raises: RefusedError `ledger.floor` when an account would fall below its smallest balance.
    """
    try:
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
    except IntegrityError as error:
        said = error.diag.message_primary or ""
        if not said.startswith("ledger_floor"):
            raise
        raise RefusedError(
            Refusal.FLOOR, said.partition(": ")[2], fix="bring money in first, or take less"
        ) from error


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


def posted_balances(conn: Connection, accounts: Sequence[str]) -> dict[str, int]:
    """Return the posted balances of the customer accounts named that have one."""
    return dict(conn.execute(_SQL["posted_balances"], {"accounts": list(accounts)}).fetchall())


def kept_balance(conn: Connection, code: str, currency: str) -> int:
    """Return a kept account's balance on its normal side; zero when it has none yet."""
    row = conn.execute(_SQL["kept_balance"], {"code": code, "currency": currency}).fetchone()
    return int(row[0]) if row else 0


def receivables(conn: Connection, account: str, *, lock: bool = False) -> dict[AccountKind, int]:
    """Return what stands on a customer account's receivables; `lock` keeps it so till commit."""
    rows = conn.execute(
        _SQL["lock_receivables"] if lock else _SQL["receivables"],
        {"account": account, "codes": [kind.code_of(account) for kind in _RECEIVABLES]},
    )
    return {AccountKind(row[0]): row[1] for row in rows}


def lock_receivables_of(
    conn: Connection, accounts: Sequence[str]
) -> dict[str, dict[AccountKind, int]]:
    """Return what many customer accounts owe; they and their receivables stay so till commit."""
    known = {kind.code_of(each): (each, kind) for each in accounts for kind in _RECEIVABLES}
    found: dict[str, dict[AccountKind, int]] = {each: {} for each in accounts}
    rows = conn.execute(
        _SQL["lock_receivables_of"], {"accounts": list(accounts), "codes": list(known)}
    )
    for code, owed in rows:
        account, kind = known[code]
        found[account][kind] = owed
    return found


def freeze(conn: Connection) -> None:
    """Let every later question of this transaction see one state of the book."""
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def unbalanced_entries(conn: Connection) -> list[int]:
    """Return entries that do not sum to zero; the triggers say there is none."""
    return [row[0] for row in conn.execute(_SQL["unbalanced_entries"])]


def wrong_balances(conn: Connection) -> list[str]:
    """Return accounts whose kept balance is not the sum of postings."""
    return [row[0] for row in conn.execute(_SQL["wrong_balances"])]


def wrong_buckets(conn: Connection) -> list[str]:
    """Return hot accounts whose buckets are not the sum of their sealed postings."""
    return [row[0] for row in conn.execute(_SQL["wrong_buckets"])]


def unlinked_entries(conn: Connection) -> list[int]:
    """Return entries of which neither chain nor queue knows."""
    return [row[0] for row in conn.execute(_SQL["unlinked_entries"])]


def lock_chain(conn: Connection) -> None:
    """Let one transaction at a time lengthen the chain."""
    conn.execute(_SQL["lock_chain"])


def last_link(conn: Connection) -> Link | None:
    """Return the newest link, or None."""
    row = conn.execute(_SQL["last_link"]).fetchone()
    return _link(row) if row else None


def take_unsealed(conn: Connection, limit: int) -> list[int]:
    """Remove the oldest entries from the queue and return them in order."""
    return sorted(row[0] for row in conn.execute(_SQL["take_unsealed"], {"limit": limit}))


def insert_links(conn: Connection, links: Sequence[Link]) -> None:
    """Lengthen the chain."""
    conn.execute(
        _SQL["insert_links"],
        {
            "positions": [link.position for link in links],
            "entries": [link.entry_id for link in links],
            "days": [link.day for link in links],
            "digests": [link.digest for link in links],
        },
    )


def insert_buckets(conn: Connection, entries: Sequence[int], upto: int) -> None:
    """Sum the hot legs of entries just sealed."""
    conn.execute(_SQL["insert_buckets"], {"entries": list(entries), "upto": upto})


def booked(conn: Connection, entries: Sequence[int]) -> dict[int, BookedEntry]:
    """Return entries with their legs, by id; unknown ones are absent."""
    rows = conn.execute(_SQL["booked_by_id"], {"entries": list(entries)}).fetchall()
    return {
        entry_id: _booked(list(legs)) for entry_id, legs in groupby(rows, key=lambda row: row[0])
    }


def links_page(conn: Connection, after: int, limit: int) -> list[Link]:
    """Return links after a position, in order."""
    rows = conn.execute(_SQL["links_page"], {"after": after, "limit": limit})
    return [_link(row) for row in rows]


def links_at(conn: Connection, positions: Sequence[int]) -> dict[int, Link]:
    """Return the links at some positions."""
    rows = conn.execute(_SQL["links_at"], {"positions": list(positions)})
    return {row[0]: _link(row) for row in rows}


def day_roots(conn: Connection) -> list[Root]:
    """Return the last link of each day."""
    return [
        Root(day=row[0], position=row[1], entries=row[2], digest=bytes(row[3]))
        for row in conn.execute(_SQL["day_roots"])
    ]


def counts(conn: Connection) -> tuple[int, int]:
    """Return how many entries and links there are."""
    row = conn.execute(_SQL["count_book"]).fetchone()
    assert row is not None
    return row[0], row[1]


def account_sums(conn: Connection) -> list[AccountSum]:
    """Return every account's debits and credits, hot ones from their buckets."""
    return [_sum(row) for row in conn.execute(_SQL["account_sums"])]


def sums_before(conn: Connection, day: date) -> list[AccountSum]:
    """Return what postings of value dates before `day` come to."""
    return [_sum(row) for row in conn.execute(_SQL["sums_before"], {"before": day})]


def entries_page(
    conn: Connection, start: date, end: date, *, after: tuple[date, int], limit: int
) -> list[tuple[date, int]]:
    """Return value date and id of entries in `[start, end)` after a place in that order."""
    rows = conn.execute(
        _SQL["entries_page"],
        {"start": start, "end": end, "after_day": after[0], "after_id": after[1], "limit": limit},
    )
    return [(row[0], row[1]) for row in rows]


def value_span(conn: Connection, start: date, end: date) -> tuple[date | None, date | None, int]:
    """Return the first and last value date of the book and how many entries lie in a span."""
    row = conn.execute(_SQL["value_span"], {"start": start, "end": end}).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _link(row: Sequence[Any]) -> Link:
    return Link(position=row[0], entry_id=row[1], day=row[2], digest=bytes(row[3]))


def _sum(row: Sequence[Any]) -> AccountSum:
    return AccountSum(
        code=row[0], kind=AccountKind(row[1]), currency=row[2], dr=int(row[3]), cr=int(row[4])
    )


def _booked(rows: Sequence[Sequence[Any]]) -> BookedEntry:
    first = rows[0]
    return BookedEntry(
        entry_id=first[0], key=first[1], req_hash=bytes(first[2]), kind=first[3],
        value_date=first[4], booked_at=first[5], actor=first[6], reason=first[7],
        reverses=first[8], source_ref=first[9],
        legs=tuple(
            BookedLeg(
                seq=row[10], code=row[11], kind=AccountKind(row[12]), side=Side(row[13]),
                amount_micros=row[14], currency=row[15],
            )
            for row in rows
        ),
    )  # fmt: skip


def _known_accounts(conn: Connection, keys: Sequence[AccountKey]) -> dict[AccountKey, int]:
    rows = conn.execute(
        _SQL["account_ids"],
        {"codes": [code for code, _ in keys], "currencies": [currency for _, currency in keys]},
    )
    return {(row[0], row[1]): row[2] for row in rows}
