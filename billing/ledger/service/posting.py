"""Book once, reverse once, state: the use cases every context of money calls."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from billing.ledger import rules, store
from billing.ledger.model import (
    AccountKind,
    Draft,
    Event,
    Posted,
    Refusal,
    StatementLine,
)
from billing.ledger.rules import allocating, posting_rules
from cloud.store.db import Connection
from protocols.errors import RefusedError

RULES = posting_rules.parse(
    (Path(__file__).parents[1] / "posting_rules.json").read_text(encoding="utf-8")
)
"""How each kind of event is booked."""
ORDER = allocating.parse_order(
    (Path(__file__).parents[1] / "allocation.json").read_text(encoding="utf-8")
)
"""In which order receivables are paid."""


def open_customer_account(conn: Connection, account: str, currency: str) -> None:
    """Open the kept ledger account of a customer account unless it is open."""
    store.ensure_accounts(conn, {(account, currency): AccountKind.CUSTOMER})


def post(conn: Connection, draft: Draft, *, now: datetime) -> Posted:
    """
    Book one entry, or return the one that stands under its key.

    Locks the customer account's row until the caller commits.
    Raises: RefusedError `ledger.conflict` when the key stands with other content,
    `ledger.unbalanced` when the legs do not sum to zero.
    """
    return post_many(conn, [draft], now=now)[0]


def book(conn: Connection, event: Event, *, now: datetime) -> Posted:
    """
    Book an event by its posting rule; the same key again is the same entry.

    Raises: RefusedError as `post`, `ledger.rule_unknown`, `ledger.rule_unfit`.
    """
    return post(conn, posting_rules.draft_of(RULES, event), now=now)


def book_many(conn: Connection, events: Sequence[Event], *, now: datetime) -> list[Posted]:
    """Book many events in three statements, in their order."""
    return post_many(conn, [posting_rules.draft_of(RULES, event) for event in events], now=now)


def post_many(conn: Connection, drafts: Sequence[Draft], *, now: datetime) -> list[Posted]:
    """Book many entries in three statements; same rules and order of results as `post`."""
    if not drafts:
        return []
    for draft in drafts:
        rules.check_balanced(draft)
    hashes = [rules.request_hash(draft) for draft in drafts]
    fresh = store.insert_entries(conn, drafts, hashes, now)
    known: dict[str, tuple[int, bytes]] = {}
    if len(fresh) < len(drafts):
        known = store.entries_by_key(
            conn, [draft.key for draft in drafts if draft.key not in fresh]
        )
    legs = [
        (fresh[draft.key], seq, leg)
        for draft in drafts
        if draft.key in fresh
        for seq, leg in enumerate(draft.legs, start=1)
    ]
    if legs:
        accounts = store.account_ids(conn, [leg for _, _, leg in legs])
        store.insert_postings(conn, legs, accounts)
    posted = []
    for draft, digest in zip(drafts, hashes, strict=True):
        if draft.key in fresh:
            posted.append(Posted(entry_id=fresh[draft.key], replayed=False))
            continue
        entry_id, known_digest = known[draft.key]
        if known_digest != digest:
            raise RefusedError(
                Refusal.CONFLICT,
                f"{draft.key} was booked with other content as entry {entry_id}",
                fix="use a new key for a new fact",
            )
        posted.append(Posted(entry_id=entry_id, replayed=True))
    return posted


def reverse(
    conn: Connection, entry: int, *, key: str, actor: str, reason: str, now: datetime
) -> Posted:
    """
    Book the mirror of an entry, once; a reversal itself cannot be reversed.

    Raises: RefusedError when there is no such entry.
    """
    legs = store.legs_of(conn, entry)
    if not legs:
        raise RefusedError(Refusal.NO_ENTRY, f"there is no entry {entry}", fix="check its number")
    return post(
        conn,
        Draft(
            key=key,
            kind="reversal",
            value_date=now.date(),
            actor=actor,
            reason=reason,
            reverses=entry,
            legs=tuple(replace(leg, side=leg.side.other) for leg in legs),
        ),
        now=now,
    )


def balance_of(conn: Connection, account: str) -> int:
    """Return the posted balance of a customer account in micros; zero when it has none yet."""
    found = store.posted_balance(conn, account)
    return found[0] if found else 0


def balances_of(conn: Connection, accounts: Sequence[str]) -> dict[str, int]:
    """Return the posted balances of customer accounts in micros, as `balance_of` does for one."""
    return {**dict.fromkeys(accounts, 0), **store.posted_balances(conn, accounts)}


def float_of(conn: Connection, channel: str, currency: str) -> int:
    """Return what an agent's float holds, in micros; zero when it was never funded."""
    return store.kept_balance(conn, AccountKind.FLOAT.code_of(channel), currency)


def owed(conn: Connection, account: str, *, lock: bool = False) -> dict[AccountKind, int]:
    """
    Return what a customer account owes on its receivables, in micros; paid ones are absent.

    With `lock` the account and its receivables stay as they are until the caller commits.
    """
    found = store.receivables(conn, account, lock=lock)
    return {kind: micros for kind, micros in found.items() if micros > 0}


def owed_of_many(conn: Connection, accounts: Sequence[str]) -> dict[str, dict[AccountKind, int]]:
    """Return what each account owes, as `owed` with `lock` does, in one question."""
    return store.lock_receivables_of(conn, accounts)


def statement(conn: Connection, account: str, *, limit: int = 100) -> list[StatementLine]:
    """Return a customer account's entries, newest first, each with the balance after it."""
    return store.statement_lines(conn, account, limit)
