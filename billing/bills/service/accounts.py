"""Whose account it is and where its days are cut: what plans, deposits and ends ask first."""

from billing.customers import service as customers
from billing.customers.model import CustomerCard
from billing.customers.model import Refusal as CustomerRefusal
from cloud.assets import service as assets
from cloud.store.db import Connection
from protocols.errors import RefusedError
from protocols.identity import UsagePointId


def card_of(conn: Connection, account: str) -> CustomerCard:
    """Return whose account it is. Raises: RefusedError `customers.agreement_unknown`."""
    card = customers.card_of_account(conn, account)
    if card is None:
        raise RefusedError(
            CustomerRefusal.UNKNOWN_AGREEMENT, f"there is no account {account!r}",
            fix="check its number",
        )  # fmt: skip
    return card


def zone_of(conn: Connection, card: CustomerCard) -> str:
    """Return the IANA zone in which an account's days are cut."""
    point = assets.usage_point(conn, UsagePointId(card.usage_point))
    return point.zone if point else "UTC"
