r"""
A debt in instalments: how it is shared, what becomes of it, what goes back when it is not kept.

    proposed --approve--> approved --sign--> active --complete--> paid --reopen--> active
       |  \--refuse--> refused   |             |--miss--> broken
       +--withdraw--> withdrawn <-+             +--end--> cancelled

| state / event | approve  | refuse  | withdraw  | sign   | complete | miss   | end       | reopen |
|---------------|----------|---------|-----------|--------|----------|--------|-----------|--------|
| proposed      | approved | refused | withdrawn |        |          |        | withdrawn |        |
| approved      |          |         | withdrawn | active |          |        | withdrawn |        |
| active        |          |         |           |        | paid     | broken | cancelled |        |
| paid          |          |         |           |        |          |        |           | active |

A pair that is not in the table is refused. A plan bears no fee and no interest. While it is kept
its debt bears no penalty; broken or cancelled, what is unpaid is due again. A plan up to a sum is
approved as it is proposed, above it by a second person; the customer signs either.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from billing.ledger.model import AccountKind
from billing.ledger.rules.allocating import AllocationOrder, allocate
from billing.money import parse_micros
from protocols.errors import RefusedError


class PlanRefusal(StrEnum):
    """Why a plan is not taken, or not moved on."""

    UNKNOWN = "plan.unknown"
    STATE = "plan.state"
    PERSON = "plan.same_person"
    REASON = "plan.reason_missing"
    NO_DEBT = "plan.no_debt"
    TERMS = "plan.terms_unfit"
    OPEN = "plan.open_already"
    CHANGED = "plan.debt_changed"


class PlanState(StrEnum):
    """Where a plan stands."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    ACTIVE = "active"
    PAID = "paid"
    BROKEN = "broken"
    CANCELLED = "cancelled"


class PlanEvent(StrEnum):
    """What happens to a plan."""

    APPROVE = "approve"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"
    SIGN = "sign"
    COMPLETE = "complete"
    MISS = "miss"
    END = "end"
    """Its debt is taken back by decision, or its agreement ends."""
    REOPEN = "reopen"
    """Money that had paid it was taken back: what is unpaid of it is asked for again."""


_S, _E = PlanState, PlanEvent
MOVES: Mapping[tuple[PlanState, PlanEvent], PlanState] = {
    (_S.PROPOSED, _E.APPROVE): _S.APPROVED,
    (_S.PROPOSED, _E.REFUSE): _S.REFUSED,
    (_S.PROPOSED, _E.WITHDRAW): _S.WITHDRAWN,
    (_S.PROPOSED, _E.END): _S.WITHDRAWN,
    (_S.APPROVED, _E.WITHDRAW): _S.WITHDRAWN,
    (_S.APPROVED, _E.SIGN): _S.ACTIVE,
    (_S.APPROVED, _E.END): _S.WITHDRAWN,
    (_S.ACTIVE, _E.COMPLETE): _S.PAID,
    (_S.ACTIVE, _E.MISS): _S.BROKEN,
    (_S.ACTIVE, _E.END): _S.CANCELLED,
    (_S.PAID, _E.REOPEN): _S.ACTIVE,
}
OPEN = frozenset({PlanState.PROPOSED, PlanState.APPROVED, PlanState.ACTIVE})


class Clock(StrEnum):
    """From when a debt bears penalty again whose plan was not kept."""

    FROM_START = "from_start"
    """As if there had been no plan: the days in it count."""
    FROM_END = "from_end"
    """The days in the plan stay free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Terms of a plan, pinned when it is proposed. *Units*: micros, days, thousandths."""

    rule: str
    most_instalments: int
    every_months: int
    least_first_permille: int
    grace_days: int
    """Days after an instalment's day on which it may still be paid."""
    lead_days: int
    """Days before it on which it becomes a due line."""
    drift_permille: int
    """How much the debt may have changed between proposal and signature."""
    clock: Clock
    step_micros: int
    least_micros: int
    """The smallest instalment but the last."""
    two_people_micros: int
    """Above this sum a second person approves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What of each receivable, and of a negative prepayment, a plan takes over. *Units*: micros."""

    ar_energy: int = 0
    ar_penalty: int = 0
    ar_connection: int = 0
    prepaid: int = 0

    @property
    def total(self) -> int:
        """Return the debt."""
        return self.ar_energy + self.ar_penalty + self.ar_connection + self.prepaid


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One instalment."""

    seq: int
    due_on: date
    amount_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a plan is kept as of a day. *Units*: micros."""

    paid_micros: int
    missed: Share | None
    """The oldest instalment that was not paid in time."""
    complete: bool


def parse(text: str) -> Mapping[tuple[str, str], Terms]:
    """
    Return the terms of a file by class of customer and currency.

    Raises: ValueError, KeyError when it cannot be read: a bug in what ships, not an input.
    """
    document = json.loads(text)
    return {
        (name, currency): Terms(
            rule=document["rule"], most_instalments=int(of["most_instalments"]),
            every_months=int(of["every_months"]),
            least_first_permille=int(of["least_first_permille"]),
            grace_days=int(of["grace_days"]), lead_days=int(of["lead_days"]),
            drift_permille=int(of["drift_permille"]), clock=Clock(of["clock"]),
            step_micros=parse_micros(sums["step"]), least_micros=parse_micros(sums["least"]),
            two_people_micros=parse_micros(sums["two_people_above"]),
        )
        for name, of in document["classes"].items()
        for currency, sums in document["currencies"].items()
    }  # fmt: skip


def terms_as_plain(terms: Terms) -> dict[str, Any]:
    """Return terms as a plan keeps them."""
    return asdict(terms)


def terms_from_plain(plain: Mapping[str, Any]) -> Terms:
    """Return the terms a plan keeps."""
    return Terms(**{**plain, "clock": Clock(plain["clock"])})


def check_terms(total: int, first: int, count: int, terms: Terms) -> None:
    """
    Refuse shares that the terms do not allow.

    Raises: RefusedError `plan.no_debt`, `plan.terms_unfit`.
    """
    if total <= 0:
        raise RefusedError(
            PlanRefusal.NO_DEBT, "nothing is owed that a plan could share",
            fix="look at the account's bills and balance",
        )  # fmt: skip
    least_first = total * terms.least_first_permille // 1000
    if not 1 <= count <= terms.most_instalments:
        problem = f"{count} instalments; 1 to {terms.most_instalments} are allowed"
    elif not least_first <= first < total:
        problem = f"a first share of {first}; {least_first} to less than {total} is allowed"
    elif (total - first) // count < terms.least_micros and count > 1:
        problem = f"instalments below {terms.least_micros}"
    else:
        return
    raise RefusedError(
        PlanRefusal.TERMS, f"{problem} (micros, {terms.rule})",
        fix="take fewer instalments or another first share",
    )  # fmt: skip


def schedule(total: int, first: int, count: int, *, signed_on: date, terms: Terms) -> list[Share]:
    """
    Return the shares of a debt: the first at once, equal ones by months, the last takes the rest.

    They sum to the debt exactly. A month's day that is not there becomes its last day, and later
    months have the right one again.
    """
    shares = [Share(seq=0, due_on=signed_on, amount_micros=first)] if first else []
    rest = total - first
    equal = rest // count // terms.step_micros * terms.step_micros
    for number in range(1, count + 1):
        amount = equal if number < count else rest - equal * (count - 1)
        if amount:
            due = months_after(signed_on, number * terms.every_months)
            shares.append(Share(seq=number, due_on=due, amount_micros=amount))
    return shares


def months_after(day: date, months: int) -> date:
    """Return the same day some months later, or the month's last."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    following = date(year + month // 12, month % 12 + 1, 1)
    last = (following - timedelta(days=1)).day
    return date(year, month, min(day.day, last))


def moved(state: PlanState, event: PlanEvent, plan: int) -> PlanState:
    """Return where an event takes a plan. Raises: RefusedError `plan.state`."""
    after = MOVES.get((state, event))
    if after is None:
        raise RefusedError(
            PlanRefusal.STATE, f"plan {plan} is {state}: it cannot {event}",
            fix="plan show names where it stands",
        )  # fmt: skip
    return after


def drifted(proposed: int, now_owed: int, terms: Terms) -> bool:
    """Tell whether a debt changed too much since its plan was proposed."""
    return abs(now_owed - proposed) * 1000 > proposed * terms.drift_permille


def asked_for(shares: Sequence[Share], *, today: date, terms: Terms) -> list[Share]:
    """Return the shares that are due lines by a day."""
    lead = timedelta(days=terms.lead_days)
    return [share for share in shares if share.due_on - lead <= today]


def standing(
    shares: Sequence[Share], *, asked_micros: int, unpaid_micros: int, today: date, terms: Terms
) -> Standing:
    """Return how a plan is kept: money pays the oldest share first."""
    paid = asked_micros - unpaid_micros
    upto, missed = 0, None
    for share in sorted(shares, key=lambda each: (each.due_on, each.seq)):
        upto += share.amount_micros
        over = share.due_on + timedelta(days=terms.grace_days) < today
        if missed is None and over and paid < upto:
            missed = share
    return Standing(paid_micros=paid, missed=missed, complete=paid == upto)


def next_look(
    shares: Sequence[Share], *, asked: int, paid_micros: int, terms: Terms
) -> date | None:
    """Return the next day on which a plan asks for a share or may be missed; None: never."""
    lead, grace = timedelta(days=terms.lead_days), timedelta(days=terms.grace_days + 1)
    ordered = sorted(shares, key=lambda each: (each.due_on, each.seq))
    days = [share.due_on - lead for share in ordered[asked:][:1]]
    upto = 0
    for share in ordered:
        upto += share.amount_micros
        if paid_micros < upto:
            days.append(share.due_on + grace)
            break
    return min(days) if days else None


def unpaid_parts(parts: Parts, paid: int, order: AllocationOrder) -> Parts:
    """Return what is left of each part when money paid them in the order of debts."""
    owed = {
        AccountKind.AR_PENALTY: parts.ar_penalty, AccountKind.AR_CONNECTION: parts.ar_connection,
        AccountKind.AR_ENERGY: parts.ar_energy,
    }  # fmt: skip
    used = allocate(paid, owed, order)
    return Parts(
        ar_energy=parts.ar_energy - used.get(AccountKind.AR_ENERGY, 0),
        ar_penalty=parts.ar_penalty - used.get(AccountKind.AR_PENALTY, 0),
        ar_connection=parts.ar_connection - used.get(AccountKind.AR_CONNECTION, 0),
        prepaid=parts.prepaid - (paid - sum(used.values())),
    )
