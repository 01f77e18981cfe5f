r"""
Deposits: how much a class of customers leaves, what it bears, what may become of it.

    demanded --pay--> held --propose--> returning --approve--> returned
        |              ^ |                 |   |
       drop            | +---- apply ------|---+--> applied
        v              +------ refuse -----+
    dropped

| state / event | pay  | drop    | propose   | approve  | refuse | apply   |
|---------------|------|---------|-----------|----------|--------|---------|
| demanded      | held | dropped |           |          |        | dropped |
| held          |      |         | returning |          |        | applied |
| returning     |      |         |           | returned | held   | applied |

A pair that is not in the table is refused. Interest is simple, by days, a year having 365: the
days under each rate are summed exactly and rounded once, down to the currency's step.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from billing.money import Rounding, RoundMode, parse_micros, round_ratio
from protocols.errors import RefusedError

_YEAR = 365
_MONTH = 30


class DepositRefusal(StrEnum):
    """Why a deposit is not demanded, or not moved on."""

    UNKNOWN = "deposit.unknown"
    STATE = "deposit.state"
    PERSON = "deposit.same_person"
    REASON = "deposit.reason_missing"
    NONE_DUE = "deposit.none_due"
    OPEN = "deposit.open_already"
    OWES = "deposit.account_owes"
    ENDED = "deposit.agreement_ended"


class DepositState(StrEnum):
    """Where a deposit stands."""

    DEMANDED = "demanded"
    HELD = "held"
    RETURNING = "returning"
    """One person proposed to return it."""
    RETURNED = "returned"
    APPLIED = "applied"
    """It went into the settlement of an ended agreement."""
    DROPPED = "dropped"


class DepositEvent(StrEnum):
    """What happens to a deposit."""

    PAY = "pay"
    DROP = "drop"
    PROPOSE = "propose"
    APPROVE = "approve"
    REFUSE = "refuse"
    APPLY = "apply"


_S, _E = DepositState, DepositEvent
MOVES: Mapping[tuple[DepositState, DepositEvent], DepositState] = {
    (_S.DEMANDED, _E.PAY): _S.HELD,
    (_S.DEMANDED, _E.DROP): _S.DROPPED,
    (_S.DEMANDED, _E.APPLY): _S.DROPPED,
    (_S.HELD, _E.PROPOSE): _S.RETURNING,
    (_S.HELD, _E.APPLY): _S.APPLIED,
    (_S.RETURNING, _E.APPROVE): _S.RETURNED,
    (_S.RETURNING, _E.REFUSE): _S.HELD,
    (_S.RETURNING, _E.APPLY): _S.APPLIED,
}
OPEN = frozenset({DepositState.DEMANDED, DepositState.HELD, DepositState.RETURNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a class leaves: some months of its average bill, at least a sum, in whole steps."""

    months: int
    least_micros: int
    step_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Interest of a year from a day on, in thousandths."""

    valid_from: date
    permille_a_year: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositRules:
    """What is demanded by class and currency, and what it bears; rates oldest first."""

    rule: str
    due_days: int
    demands: Mapping[tuple[str, str], Demand]
    rates: tuple[Rate, ...]
    interest_steps: Mapping[str, int]


def parse(text: str) -> DepositRules:
    """
    Return the rules of a file.

    Raises: ValueError, KeyError when it cannot be read: a bug in what ships, not an input.
    """
    document = json.loads(text)
    rates = [
        Rate(
            valid_from=date.fromisoformat(each["valid_from"]),
            permille_a_year=int(each["permille_a_year"]),
        )
        for each in document["interest"]
    ]
    if any(rate.permille_a_year < 0 for rate in rates):
        raise ValueError("a deposit's interest is not negative")
    return DepositRules(
        rule=document["rule"], due_days=int(document["due_days"]),
        demands={
            (name, currency): Demand(
                months=int(of["months"]), least_micros=parse_micros(of["least"]),
                step_micros=parse_micros(of["step"]),
            )
            for name, currencies in document["classes"].items()
            for currency, of in currencies.items()
        },
        rates=tuple(sorted(rates, key=lambda rate: rate.valid_from)),
        interest_steps={
            currency: parse_micros(step) for currency, step in document["interest_step"].items()
        },
    )  # fmt: skip


def amount_of(demand: Demand, *, billed_micros: int, billed_days: int) -> int:
    """Return what is demanded of a customer whose bills came to a sum over some days."""
    wanted = demand.least_micros
    if billed_days:
        wanted = max(wanted, billed_micros * demand.months * _MONTH // billed_days)
    return round_ratio(wanted, 1, Rounding(step=demand.step_micros, mode=RoundMode.UP))


def interest(
    amount: int, *, held_on: date, until: date, rates: Sequence[Rate], step_micros: int
) -> int:
    """Return what a sum bore from the day it was held to a day, this day not counted."""
    weighted = 0
    for number, rate in enumerate(rates):
        following = rates[number + 1].valid_from if number + 1 < len(rates) else until
        days = (min(until, following) - max(held_on, rate.valid_from)).days
        weighted += max(0, days) * rate.permille_a_year
    down = Rounding(step=step_micros, mode=RoundMode.DOWN)
    return round_ratio(amount * weighted, 1000 * _YEAR, down)


def moved(state: DepositState, event: DepositEvent, deposit: int) -> DepositState:
    """Return where an event takes a deposit. Raises: RefusedError `deposit.state`."""
    after = MOVES.get((state, event))
    if after is None:
        raise RefusedError(
            DepositRefusal.STATE, f"deposit {deposit} is {state}: it cannot {event}",
            fix="deposit show names where it stands",
        )  # fmt: skip
    return after
