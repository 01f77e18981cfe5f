"""What roll-ups are told: how long a day rests before its first version, how much at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cloud.rollups.model import Change, Dependent
from cloud.store.db import Connection

Finder = Callable[[Connection, Sequence[Change]], Sequence[Sequence[Dependent]]]
"""
Finds what in billing had used the days of changes, one answer a change; it alters nothing.

Whoever bills implements it (`billing.bills.service.dependents.find`), for cloud knows no money.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    When and how much.

    `rest` of business time passes from the end of a day to its first version: what is read at
    midnight has come by then and validation has looked, and prepayment has not drawn the day yet.
    `days` is how many waiting days choose the points of one transaction, `transactions` how many
    noted ones are sorted in at a time.
    """

    rest: timedelta = timedelta(hours=3)
    days: int = 10_000
    transactions: int = 500


DEFAULT_POLICY = Policy()
