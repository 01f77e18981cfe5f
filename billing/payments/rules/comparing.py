"""
A peer's settlement file against our book: what agrees, and how the rest is settled.

    difference      settled by itself                          else by two people
    ours only       a later file that has it                   reversed, or kept
    theirs only     booked: the peer has the money             -
    amount differs  -                                          corrected, or kept
    date differs    noted: no money moves                      -
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from billing.payments.model import (
    Channel,
    Difference,
    DifferenceKind,
    FileRow,
    Outcome,
    Refusal,
    StatementRow,
)
from billing.payments.rules.orders import LARGEST_MICROS
from billing.payments.rules.steps import business_day
from protocols.errors import RefusedError


def check_file(rows: Sequence[FileRow], currency_of: Mapping[str, str]) -> None:
    """
    Refuse a file that cannot be one channel's: an id twice, no amount, no zone, other money.

    `currency_of` names the currency in which we know a payment. Raises: RefusedError.
    """
    seen = set[str]()
    for number, row in enumerate(rows, 1):
        if row.peer_txn_id in seen:
            raise _bad(number, f"{row.peer_txn_id} comes twice")
        seen.add(row.peer_txn_id)
        if not 1 <= len(row.peer_txn_id) <= 128:
            raise _bad(number, "an id of the wrong length")
        if not 0 < row.amount_micros <= LARGEST_MICROS:
            raise _bad(number, f"an amount of {row.amount_micros} micros")
        if row.peer_time.tzinfo is None:
            raise _bad(number, "an instant without its offset")
        if currency_of.get(row.peer_txn_id, row.currency) != row.currency:
            raise _bad(number, f"{row.peer_txn_id} was paid in another currency")


def file_hash(rows: Sequence[FileRow]) -> bytes:
    """Return SHA-256 of a file's rows in their order."""
    plain = [
        [row.peer_txn_id, row.account, row.amount_micros, row.currency, row.peer_time.isoformat()]
        for row in rows
    ]
    return hashlib.sha256(json.dumps(plain, separators=(",", ":")).encode()).digest()


def compare(
    ours: Sequence[StatementRow], theirs: Sequence[FileRow], *, channel: Channel
) -> tuple[int, list[Difference]]:
    """
    Return how many rows agree, and the differences, in order of the file and then ours.

    `ours` are the payments of the span and those outside it that the file names.
    """
    known = {row.peer_txn_id: row for row in ours}
    found, matched = list[Difference](), 0
    for row in theirs:
        mine = known.get(row.peer_txn_id)
        kind = _kind(mine, row, channel)
        if kind is None:
            matched += 1
            continue
        found.append(
            Difference(
                peer_txn_id=row.peer_txn_id, kind=kind, theirs_micros=row.amount_micros,
                ours_micros=mine.net_micros if mine else None,
            )
        )  # fmt: skip
    named = {row.peer_txn_id for row in theirs}
    found += [
        Difference(peer_txn_id=row.peer_txn_id, kind=DifferenceKind.OURS_ONLY,
                   ours_micros=row.net_micros, theirs_micros=None)
        for row in ours
        if row.peer_txn_id not in named and row.net_micros
    ]  # fmt: skip
    return matched, found


def check_settled(difference: Difference, outcome: Outcome) -> None:
    """Refuse a way out that a difference does not have. Raises: RefusedError."""
    if difference.outcome is not Outcome.OPEN:
        raise RefusedError(
            Refusal.SETTLED, f"{difference.peer_txn_id} is {difference.outcome.value} already",
            fix="look at the reconciliation again",
        )  # fmt: skip
    if outcome not in {Outcome.CORRECTED, Outcome.KEPT}:
        raise RefusedError(
            Refusal.OUTCOME, f"nobody decides {outcome.value}", fix="decide corrected or kept"
        )


def _kind(mine: StatementRow | None, row: FileRow, channel: Channel) -> DifferenceKind | None:
    if mine is None:
        return DifferenceKind.THEIRS_ONLY
    if mine.net_micros != row.amount_micros:
        return DifferenceKind.AMOUNT
    if business_day(channel, mine.peer_time) != business_day(channel, row.peer_time):
        return DifferenceKind.DATE
    return None


def _bad(number: int, what: str) -> RefusedError:
    return RefusedError(
        Refusal.FILE, f"row {number} of the file: {what}", fix="ask the peer for a sound file"
    )
