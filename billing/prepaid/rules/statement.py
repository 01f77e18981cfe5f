"""A span of days on an account: what stood before, what came and went, what stands after."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from billing.ledger.model import StatementLine


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSum:
    """All entries of one kind together. *Units*: micros, positive to the customer's good."""

    kind: str
    count: int
    amount_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthStatement:
    """
    Local days `[first, last]` by the entries' own value dates.

    `opening_micros` and the sums of the kinds add up to `closing_micros`.
    """

    first: date
    last: date
    opening_micros: int
    closing_micros: int
    kinds: tuple[KindSum, ...]
    lines: tuple[StatementLine, ...]
    """The entries, oldest first."""


def statement_from(lines: Sequence[StatementLine], first: date, last: date) -> MonthStatement:
    """
    Return the statement of a span from all entries of an account.

    Entries are placed by their value date, whenever they were booked: a late drawdown belongs to
    its day, so the same days may close differently once it comes.
    """
    inside = sorted(
        (line for line in lines if first <= line.value_date <= last),
        key=lambda line: (line.value_date, line.entry_id),
    )
    opening = sum(line.amount_micros for line in lines if line.value_date < first)
    sums: dict[str, list[int]] = {}
    for line in inside:
        sums.setdefault(line.kind, []).append(line.amount_micros)
    return MonthStatement(
        first=first, last=last, opening_micros=opening,
        closing_micros=opening + sum(line.amount_micros for line in inside),
        kinds=tuple(
            KindSum(kind=kind, count=len(amounts), amount_micros=sum(amounts))
            for kind, amounts in sorted(sums.items())
        ),
        lines=tuple(inside),
    )  # fmt: skip
