"""Where money goes that pays several debts: an order as data, parts that never exceed a debt."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from billing.ledger.model import AccountKind


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
