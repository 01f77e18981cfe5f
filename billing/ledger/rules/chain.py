"""
The chain of evidence: what a link covers, and what a file outside the database may say of it.

Link n covers link n-1 and everything of one entry, so the digest of a day's last link (its root)
stands for that day and all days before it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import date

from billing.ledger.model import BookedEntry, Link, Refusal, Root
from protocols.errors import RefusedError

GENESIS = bytes(32)


def digest_of(previous: bytes, entry: BookedEntry) -> bytes:
    """Return SHA-256 over the forerunner's digest and the canonical JSON of an entry."""
    legs = [
        [leg.seq, leg.code, leg.kind.value, int(leg.side), leg.amount_micros, leg.currency]
        for leg in entry.legs
    ]
    body = [
        entry.entry_id, entry.key, entry.req_hash.hex(), entry.kind, entry.value_date.isoformat(),
        entry.booked_at.isoformat(), entry.actor, entry.reason, entry.reverses, entry.source_ref,
        legs,
    ]  # fmt: skip
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(previous + text.encode()).digest()


def links_after(last: Link | None, entries: Iterable[BookedEntry], *, day: date) -> Iterator[Link]:
    """Yield the links that chain `entries` to `last`; a day never goes back."""
    position, digest = (last.position, last.digest) if last else (0, GENESIS)
    on = max(last.day, day) if last else day
    for entry in entries:
        position, digest = position + 1, digest_of(digest, entry)
        yield Link(position=position, entry_id=entry.entry_id, day=on, digest=digest)


def broken(previous: Link | None, links: Iterable[tuple[Link, BookedEntry | None]]) -> list[str]:
    """Return a name for each link that does not fit its forerunner or its entry."""
    wrong = []
    position, digest = (previous.position, previous.digest) if previous else (0, GENESIS)
    for link, entry in links:
        if link.position != position + 1:
            wrong.append(f"link {link.position} follows {position}")
        elif entry is None or digest_of(digest, entry) != link.digest:
            wrong.append(f"link {link.position} does not fit entry {link.entry_id}")
        position, digest = link.position, link.digest
    return wrong


def root_line(root: Root) -> str:
    """Return a root as one line of a root file."""
    return json.dumps(
        {"day": root.day.isoformat(), "position": root.position, "entries": root.entries,
         "root": root.digest.hex()}
    )  # fmt: skip


def parse_roots(text: str) -> list[Root]:
    """Return the roots of a file. Raises: RefusedError `ledger.root_file` naming the line."""
    roots = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
            roots.append(
                Root(
                    day=date.fromisoformat(row["day"]), position=int(row["position"]),
                    entries=int(row["entries"]), digest=bytes.fromhex(row["root"]),
                )
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedError(
                Refusal.ROOT_FILE, f"line {number} of the root file is no root",
                fix="name the file that an earlier audit wrote, or a new one",
            ) from error  # fmt: skip
    return roots
