"""The chain of evidence and the proofs of the whole book, with roots kept outside the database."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import count

from billing.ledger import store
from billing.ledger.model import BookAudit, Findings, Link, Root
from billing.ledger.rules import chain
from cloud.store.db import Connection, Database

EXAMPLES = 5
"""How many violations an audit names."""
_AT_ONCE = 5_000
Progress = Callable[[int, int], None]
"""Told how many steps of how many are done."""


def seal(db: Database, *, now: datetime) -> int:
    """
    Chain every committed entry that no link covers yet and sum its hot legs; return how many.

    Repeat it as often as you like: an entry is taken from the queue and linked in one transaction.
    """
    sealed = 0
    for _ in count():
        with db.transaction() as conn:
            taken = _seal_some(conn, now)
        sealed += taken
        if taken < _AT_ONCE:
            return sealed
    raise AssertionError("unreachable")


def _seal_some(conn: Connection, now: datetime) -> int:
    store.lock_chain(conn)
    taken = store.take_unsealed(conn, _AT_ONCE)
    if not taken:
        return 0
    entries = store.booked(conn, taken)
    links = list(
        chain.links_after(
            store.last_link(conn), [entries[entry] for entry in taken], day=now.date()
        )
    )
    store.insert_links(conn, links)
    store.insert_buckets(conn, taken, links[-1].position)
    return len(taken)


def audit_sums(conn: Connection) -> Findings:
    """Prove M1: every entry sums to zero and every kept balance is the sum of its postings."""
    wrong = [f"entry {entry}" for entry in store.unbalanced_entries(conn)]
    wrong += [f"balance of {code}" for code in store.wrong_balances(conn)]
    return _findings(wrong)


def audit_book(
    db: Database, *, kept_roots: Sequence[Root] = (), progress: Progress = lambda _done, _all: None
) -> BookAudit:
    """
    Prove the whole book at one instant: sums, balances, buckets, the chain, roots kept outside.

    `kept_roots` are what earlier audits wrote down elsewhere: whoever rewrites the book and its
    chain together is found out by them.
    """
    with db.transaction() as conn:
        store.freeze(conn)
        entries, linked = store.counts(conn)
        findings: Mapping[str, Findings] = {
            "sums_and_balances": audit_sums(conn),
            "hot_account_sums": _findings(store.wrong_buckets(conn)),
            "every_entry_linked": _findings(
                [f"entry {entry}" for entry in store.unlinked_entries(conn)]
            ),
            "chain": _findings(_walk(conn, linked, progress)),
            "roots_kept_outside": _findings(_against(conn, kept_roots)),
        }
        roots = store.day_roots(conn)
    return BookAudit(entries=entries, linked=linked, findings=findings, roots=tuple(roots))


def _walk(conn: Connection, linked: int, progress: Progress) -> list[str]:
    wrong, done = list[str](), 0
    previous: Link | None = None
    while page := store.links_page(conn, previous.position if previous else 0, _AT_ONCE):
        entries = store.booked(conn, [link.entry_id for link in page])
        wrong += chain.broken(previous, [(link, entries.get(link.entry_id)) for link in page])
        previous = page[-1]
        done += len(page)
        progress(done, linked)
    return wrong


def _against(conn: Connection, kept: Sequence[Root]) -> list[str]:
    links = store.links_at(conn, [root.position for root in kept])
    return [
        f"root of {root.day} at link {root.position}"
        for root in kept
        if root.position not in links or links[root.position].digest != root.digest
    ]


def _findings(wrong: Sequence[str]) -> Findings:
    return Findings(count=len(wrong), examples=tuple(wrong[:EXAMPLES]))
