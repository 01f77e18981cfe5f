"""Pure rules of money in: what is refused at the door, and what a repeat must match."""

import hashlib
import json

from billing.payments.model import Adjustment, PaymentOrder, Refusal
from protocols.errors import RefusedError
from protocols.identity import is_name

LARGEST_MICROS = 10_000_000_000_000_000
"""More than any one payment can be, in any currency here; a slip of the finger beyond it."""


def check_order(order: PaymentOrder) -> None:
    """Refuse an order that no account could take. Raises: RefusedError naming what is wrong."""
    sound = order.peer_txn_id.isprintable() and order.account.isprintable()
    if not is_name(order.channel) or not 1 <= len(order.peer_txn_id) <= 128 or not sound:
        raise RefusedError(
            Refusal.BAD_ID,
            "channel or peer transaction id is missing or malformed",
            fix="send the id by which you will ask for this payment again, 1 to 128 characters",
        )
    if not 0 < order.amount_micros <= LARGEST_MICROS:
        raise RefusedError(
            Refusal.AMOUNT,
            f"an amount of {order.amount_micros} micros cannot be paid",
            fix="pay more than zero; a refund is another call",
        )
    if order.peer_time.tzinfo is None:
        raise RefusedError(
            Refusal.BAD_ID, "peer_time has no zone", fix="send an instant with its offset"
        )


def check_currency(order: PaymentOrder, currency: str) -> None:
    """Refuse money of another currency. Raises: RefusedError `payments.currency`."""
    if order.currency != currency:
        raise RefusedError(
            Refusal.CURRENCY,
            f"account {order.account} holds {currency}, not {order.currency}",
            fix=f"pay in {currency}",
        )


def body_hash(order: PaymentOrder) -> bytes:
    """
    Return SHA-256 of what a repeat must say again.

    Peer time and actor are left out: peers restamp their retries, money does not change by it.
    """
    body = [order.channel, order.peer_txn_id, order.account, order.amount_micros, order.currency]
    return hashlib.sha256(json.dumps(body, separators=(",", ":")).encode()).digest()


def check_adjustment(change: Adjustment) -> None:
    """Refuse a change that two people do not stand for. Raises: RefusedError."""
    check_people(change.actors)
    if change.amount_micros == 0 or abs(change.amount_micros) > LARGEST_MICROS:
        raise RefusedError(
            Refusal.AMOUNT, "a change of this amount makes no sense", fix="check the amount"
        )
    if not change.reason.strip() or not change.key.strip():
        raise RefusedError(
            Refusal.BAD_ID, "a change needs a key and a reason", fix="say why, for the customer"
        )


def check_people(actors: tuple[str, str]) -> None:
    """Refuse an act on money that two different people do not stand for. Raises: RefusedError."""
    first, second = actors
    if not (first.startswith("user:") and second.startswith("user:")) or first == second:
        raise RefusedError(
            Refusal.TWO_PEOPLE,
            "a change of a balance needs two different people",
            fix="have a second person confirm it",
        )


def mask(name: str) -> str:
    """Return a name as a stranger at a counter may see it: first letters only."""
    return " ".join(word[0] + "***" for word in name.split()) or "***"
