"""Pure rules of money in: orders, steps of a payment, quotes, allocation, reconciliation, doors."""

from billing.payments.rules.orders import (
    LARGEST_MICROS,
    body_hash,
    check_adjustment,
    check_currency,
    check_order,
    check_people,
    mask,
)

__all__ = [
    "LARGEST_MICROS",
    "body_hash",
    "check_adjustment",
    "check_currency",
    "check_order",
    "check_people",
    "mask",
]
