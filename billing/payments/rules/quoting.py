"""Which amounts a channel may take, with a quote or without."""

from dataclasses import dataclass
from datetime import datetime

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
