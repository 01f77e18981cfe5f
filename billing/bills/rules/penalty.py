"""
What a late bill costs its customer, day by day: pure, whole numbers, rounded once (I9).

Days run from the day after the due day to the day of payment, both counted. Each day takes its
rate, in thousandths, of what is open, not in dispute and not deferred. Penalties bear no penalty.
The sum of a bill's days is rounded once, to the step of its terms; then it is raised to the
minimum, unless no day counted; then the cap, cut down to the step, has the last word.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate, pairwise

from billing.money import Rounding, RoundMode, parse_micros, round_ratio

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    Terms of one class from a day on.

    A day's rate is of the terms in force that day; minimum, cap and rounding are of the terms in
    force on the first day that counts, so a penalty never falls as time goes on.
    """

    valid_from: date
    same_year_permille: int
    """A day's rate in the year in which the bill fell due."""
    later_year_permille: int
    minimum_micros: int
    cap_permille: int | None
    """The most a penalty comes to, in thousandths of its bill; none: no limit."""
    rounding: Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class PenaltyRules:
    """Terms of every class in one currency, oldest first."""

    rule: str
    currency: str
    classes: Mapping[str, tuple[Terms, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """A bill that its customer owed."""

    bill: int
    due_on: date
    amount_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Money that came to an account on a day, or that went from it again (negative)."""

    on: date
    amount_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """Days, both counted, on which a sum bears no penalty; without a sum the whole bill."""

    from_on: date
    until_on: date
    amount_micros: int | None

    def of(self, day: date, open_micros: int) -> int:
        """Return how much of what is open bears nothing on a day."""
        if not self.from_on <= day <= self.until_on:
            return 0
        return open_micros if self.amount_micros is None else self.amount_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """What a bill's lateness comes to up to a day."""

    open_micros: int
    """What is still to pay of the bill itself after that day."""
    days: int
    """Days that counted."""
    penalty_micros: int


def parse(text: str) -> PenaltyRules:
    """
    Return the terms of a file.

    Raises: ValueError, KeyError when it cannot be read: a bug in what ships, not an input.
    """
    document = json.loads(text)
    classes = {}
    for name, versions in document["classes"].items():
        terms = tuple(sorted(map(_terms, versions), key=lambda each: each.valid_from))
        if len({each.valid_from for each in terms}) < len(terms):
            raise ValueError(f"{name}: two terms from one day on")
        classes[name] = terms
    return PenaltyRules(rule=document["rule"], currency=document["currency"], classes=classes)


def open_on(day: date, debts: Iterable[Debt], flows: Sequence[Flow]) -> dict[int, int]:
    """
    Return what is open of each bill as a day begins, by bill; paid days before count.

    Money pays the bill that fell due first, whenever it came.
    """
    paid = max(0, sum(flow.amount_micros for flow in flows if flow.on < day))
    ordered = sorted(debts, key=lambda debt: (debt.due_on, debt.bill))
    sums = accumulate(debt.amount_micros for debt in ordered)
    return {
        debt.bill: max(0, min(debt.amount_micros, upto - paid))
        for debt, upto in zip(ordered, sums, strict=True)
    }


def late_of(
    debt: Debt, debts: Sequence[Debt], flows: Sequence[Flow], reliefs: Sequence[Relief],
    versions: Sequence[Terms], *, upto: date,
) -> Late:  # fmt: skip
    """Return what a bill's lateness comes to; `debts` are all of the account's, this one too."""
    end = upto + _DAY
    counted, weighted, decided = 0, 0, None
    for start, stop in pairwise(_edges(debt, flows, reliefs, versions, end)):
        terms = _in_force(versions, start)
        if terms is None:
            continue
        base = open_on(start, debts, flows)[debt.bill]
        base -= min(base, sum(relief.of(start, base) for relief in reliefs))
        same = start.year == debt.due_on.year
        rate = terms.same_year_permille if same else terms.later_year_permille
        if base * rate:
            days = (stop - start).days
            counted, weighted = counted + days, weighted + base * rate * days
            decided = decided or terms
    amount = _settled(debt, weighted, decided) if decided else 0
    return Late(
        open_micros=open_on(end, debts, flows)[debt.bill], days=counted, penalty_micros=amount
    )


def _settled(debt: Debt, weighted: int, terms: Terms) -> int:
    """Return rounded, raised and capped what thousandths of micros come to."""
    amount = max(round_ratio(weighted, 1000, terms.rounding), terms.minimum_micros)
    if terms.cap_permille is None:
        return amount
    down = Rounding(step=terms.rounding.step, mode=RoundMode.DOWN)
    return min(amount, round_ratio(debt.amount_micros * terms.cap_permille, 1000, down))


def _edges(
    debt: Debt, flows: Iterable[Flow], reliefs: Iterable[Relief], versions: Iterable[Terms],
    end: date,
) -> list[date]:  # fmt: skip
    """Return the days between which a day's penalty is the same, first and last too."""
    start = debt.due_on + _DAY
    if start >= end:
        return []
    edges = {flow.on + _DAY for flow in flows}
    edges |= {day for each in reliefs for day in (each.from_on, each.until_on + _DAY)}
    edges |= {each.valid_from for each in versions}
    edges.add(date(debt.due_on.year + 1, 1, 1))
    return [start, *sorted(day for day in edges if start < day < end), end]


def _in_force(versions: Iterable[Terms], day: date) -> Terms | None:
    found = [each for each in versions if each.valid_from <= day]
    return max(found, key=lambda each: each.valid_from) if found else None


def _terms(version: Mapping[str, object]) -> Terms:
    same, later = version["same_year_permille"], version["later_year_permille"]
    cap, rounding = version["cap_permille"], version["round"]
    assert isinstance(same, int)
    assert isinstance(later, int)
    assert isinstance(cap, int | None)
    assert isinstance(rounding, dict)
    if min(same, later, cap or 0) < 0:
        raise ValueError("rates and caps are not negative")
    return Terms(
        valid_from=date.fromisoformat(str(version["valid_from"])), same_year_permille=same,
        later_year_permille=later, minimum_micros=parse_micros(str(version["minimum"])),
        cap_permille=cap,
        rounding=Rounding(step=parse_micros(rounding["step"]), mode=RoundMode(rounding["mode"])),
    )  # fmt: skip
