"""Pure rules of double entry: balance before the database is asked, and the hash of a request."""

import hashlib
import json
from collections import defaultdict

from billing.ledger.model import Draft, Refusal
from protocols.errors import RefusedError

_COMPACT = json.JSONEncoder(separators=(",", ":")).encode


def check_balanced(draft: Draft) -> None:
    """
    Refuse a draft that the database would refuse, with a sentence about it.

    Raises: RefusedError `ledger.unbalanced` naming the currency and the difference.
    """
    sums: dict[str, int] = defaultdict(int)
    for leg in draft.legs:
        if leg.amount_micros <= 0:
            raise RefusedError(
                Refusal.UNBALANCED,
                f"{draft.key}: a leg of {leg.amount_micros} micros",
                fix="give each leg a positive amount and the right side",
            )
        sums[leg.currency] += leg.side * leg.amount_micros
    off = {currency: total for currency, total in sums.items() if total}
    if off or not draft.legs:
        raise RefusedError(
            Refusal.UNBALANCED,
            f"{draft.key}: legs do not sum to zero: {off or 'there are none'}",
            fix="book debit and credit of the same amount and currency",
        )


def request_hash(draft: Draft) -> bytes:
    """
    Return SHA-256 of what was asked for.

    The value date is left out: it may follow the clock of a repeat, and it moves no money.
    """
    legs = [
        [leg.code, leg.kind.value, int(leg.side), leg.amount_micros, leg.currency]
        for leg in draft.legs
    ]
    body = [draft.kind, legs, draft.reason, draft.source_ref, draft.reverses]
    return hashlib.sha256(_COMPACT(body).encode()).digest()
