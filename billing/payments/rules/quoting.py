"""Which amounts a channel may take, and where money goes that pays several debts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from billing.ledger.model import AccountKind
from billing.payments.model import Channel, PaymentOrder, Policy, Refusal
from protocols.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotedDue:
    """What a stored quote promised."""

    id: int
    channel: str
    account: str
    due_micros: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationOrder:
    """In which order receivables are paid, and the name under which each allocation keeps it."""

    rule: str
    order: tuple[AccountKind, ...]


def parse_order(text: str) -> AllocationOrder:
    """Return an allocation order from its file. Raises: ValueError when it names a kind twice."""
    found = json.loads(text)
    order = tuple(AccountKind(kind) for kind in found["order"])
    if len(set(order)) < len(order):
        raise ValueError("an allocation order names a kind twice")
    return AllocationOrder(rule=found["rule"], order=order)


def allocate(
    amount: int, owed: Mapping[AccountKind, int], order: AllocationOrder
) -> dict[AccountKind, int]:
    """Return what of `amount` pays which receivable, in the order's order; the rest is prepaid."""
    found, left = dict[AccountKind, int](), amount
    for kind in order.order:
        part = min(left, max(0, owed.get(kind, 0)))
        if part:
            found[kind] = part
            left -= part
    return found


def check_limits(order: PaymentOrder, channel: Channel) -> None:
    """Refuse an amount outside the channel's limits. Raises: RefusedError `payments.amount`."""
    if not channel.min_micros <= order.amount_micros <= channel.max_micros:
        raise RefusedError(
            Refusal.AMOUNT,
            f"{channel.channel} takes {channel.min_micros} to {channel.max_micros} micros at once",
            fix="pay an amount within the channel's limits",
        )


def check_against_quote(
    order: PaymentOrder, quote: QuotedDue | None, policy: Policy, *, now: datetime
) -> None:
    """Refuse an amount that the quote does not allow, or a quote that is not this payment's."""
    if quote is None or (quote.channel, quote.account) != (order.channel, order.account):
        raise RefusedError(
            Refusal.QUOTE, "there is no such quote for this account",
            fix="ask for a quote first, on the same channel",
        )  # fmt: skip
    if now >= quote.expires_at:
        raise RefusedError(Refusal.QUOTE, f"quote {quote.id} has expired", fix="ask for a new one")
    paid, due = order.amount_micros, quote.due_micros
    allowed = {
        Policy.ANY: True,
        Policy.EXACT: paid == due,
        Policy.EXACT_UP: paid >= due,
        Policy.EXACT_DOWN: paid <= due,
    }
    if not allowed[policy]:
        raise RefusedError(
            Refusal.POLICY, f"{paid} micros against {due} due is not {policy.value}",
            fix=f"pay {due} micros, as the quote's policy says",
        )  # fmt: skip
