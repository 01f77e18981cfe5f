"""
How much a channel may take: the most of one of its days, and no more than an agent's float.

A day is the channel's own, from cut-over to cut-over. What is held counts from its hold, and counts
no more when it is released, expires or is voided. Money that a peer has already is never refused.
"""

from billing.payments.model import ChangeKind, Channel, ChannelChange, PaymentOrder, Refusal
from billing.payments.rules.orders import LARGEST_MICROS, check_people
from protocols.errors import RefusedError
from protocols.identity import is_name

LARGEST_DAY_MICROS = 1_000 * LARGEST_MICROS


def check_day(order: PaymentOrder, *, limit: int, taken: int) -> None:
    """Refuse what a channel's day has no room for. Raises: RefusedError `payments.day_limit`."""
    if taken + order.amount_micros > limit:
        left = max(0, limit - taken)
        raise RefusedError(
            Refusal.DAY_LIMIT, f"{order.channel} may take {left} micros more today",
            fix="pay through another channel or tomorrow, or have two people raise the limit",
        )  # fmt: skip


def check_float(order: PaymentOrder, *, floating: int, reserved: int) -> None:
    """Refuse what an agent's free float does not cover. Raises: RefusedError `payments.float`."""
    free = floating - reserved
    if order.amount_micros > free:
        raise RefusedError(
            Refusal.FLOAT, f"the float of {order.channel} has {max(0, free)} micros free",
            fix="bring money in first (payments limits propose), or take less",
        )  # fmt: skip


def check_change(change: ChannelChange) -> None:
    """Refuse a change that makes no sense. Raises: RefusedError `payments.change`."""
    sound = is_name(change.channel) and len(change.currency) == 3 and change.currency.isupper()
    amount = change.amount_micros
    if change.kind is ChangeKind.DAY_LIMIT:
        sound = sound and (amount is None or 0 < amount <= LARGEST_DAY_MICROS)
    else:
        sound = sound and amount is not None and 0 < abs(amount) <= LARGEST_DAY_MICROS
    if not sound:
        raise _unfit("channel, currency or amount cannot be", "name a channel, CNY, and an amount")
    if not change.reason.strip():
        raise _unfit("a change needs a reason", "say why")


def check_terms(before: Channel, after: Channel, actors: tuple[str, str]) -> None:
    """Refuse other limits at once, or another purse, that two people do not stand for."""
    old = (before.min_micros, before.max_micros, before.by_agent)
    if old != (after.min_micros, after.max_micros, after.by_agent):
        check_people(actors)


def _unfit(what: str, fix: str) -> RefusedError:
    return RefusedError(Refusal.CHANGE, what, fix=fix)
