"""SQL of instalment plans and of what happened to debts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from billing.bills.rules.plans import (
    Parts,
    PlanState,
    Share,
    Terms,
    terms_as_plain,
    terms_from_plain,
)
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parents[1] / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPlan:
    """A plan as it is proposed. *Units*: micros."""

    account: str
    agreement: str
    usage_point: str
    currency: str
    zone: str
    parts: Parts
    first_micros: int
    instalments: int
    terms: Terms
    two_people: bool
    reason: str
    proposed_by: str
    proposed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(NewPlan):
    """A plan as it stands."""

    id: int
    state: PlanState
    decided_by: str
    signed_by: str
    signed_ref: str
    """Where the signed paper lies, when the customer did not sign at a page."""
    signed_on: date | None
    ended_by: str
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instalment(Share):
    """A share of a signed plan; `entry_id` stands when it has become a due line."""

    entry_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DebtEvent:
    """What happened to a plan, or to an agreement that ended."""

    id: int
    plan: int | None
    account: str
    agreement: str
    event: str
    at: datetime
    actor: str
    reason: str
    figures: Mapping[str, Any]


def insert_plan(conn: Connection, plan: NewPlan, state: PlanState) -> int | None:
    """Insert a plan; None when the account has an open one."""
    row = conn.execute(
        _SQL["insert_plan"],
        {
            "account": plan.account, "agreement": plan.agreement,
            "usage_point": plan.usage_point, "currency": plan.currency, "zone": plan.zone,
            "state": state.value, **_parts(plan.parts), "first": plan.first_micros,
            "instalments": plan.instalments, "terms": Jsonb(terms_as_plain(plan.terms)),
            "two_people": plan.two_people, "reason": plan.reason, "actor": plan.proposed_by,
            "now": plan.proposed_at,
        },
    ).fetchone()  # fmt: skip
    return int(row[0]) if row else None


def plan_for_update(conn: Connection, plan: int) -> Plan | None:
    """Return a plan, locked until commit."""
    row = conn.execute(_SQL["plan_for_update"], {"plan": plan}).fetchone()
    return _plan(row) if row else None


def plans_of(conn: Connection, account: str) -> list[Plan]:
    """Return an account's plans, newest first."""
    return [_plan(row) for row in conn.execute(_SQL["plans_of_account"], {"account": account})]


def plans_in(conn: Connection, states: Iterable[PlanState], limit: int) -> list[Plan]:
    """Return plans in some states, oldest first."""
    asked = {"states": [state.value for state in states], "limit": limit}
    return [_plan(row) for row in conn.execute(_SQL["plans_in_states"], asked)]


def plans_to_look_at(conn: Connection, now: datetime, limit: int) -> list[int]:
    """Return active plans that something may have happened to."""
    rows = conn.execute(_SQL["plans_to_look_at"], {"now": now, "limit": limit})
    return [row[0] for row in rows]


def plans_to_reopen(conn: Connection, limit: int) -> list[int]:
    """Return paid plans of which something is owed again, as a voided payment leaves them."""
    return [row[0] for row in conn.execute(_SQL["plans_to_reopen"], {"limit": limit})]


def reopen(conn: Connection, plan: int, now: datetime) -> None:
    """Let a locked plan that was paid go on."""
    conn.execute(_SQL["reopen_plan"], {"plan": plan, "now": now})


def decide(conn: Connection, plan: int, state: PlanState, *, actor: str, now: datetime) -> None:
    """Write who decided on a locked plan."""
    conn.execute(
        _SQL["decide_plan"], {"plan": plan, "state": state.value, "actor": actor, "now": now}
    )


def sign(
    conn: Connection, plan: int, parts: Parts, shares: Sequence[Share], *, actor: str, ref: str,
    signed_on: date,
) -> None:  # fmt: skip
    """Write what a locked plan takes over and its shares."""
    conn.execute(
        _SQL["sign_plan"],
        {"plan": plan, **_parts(parts), "actor": actor, "ref": ref, "signed_on": signed_on},
    )
    conn.execute(
        _SQL["insert_instalments"],
        {
            "plan": plan, "seqs": [share.seq for share in shares],
            "days": [share.due_on for share in shares],
            "amounts": [share.amount_micros for share in shares],
        },
    )  # fmt: skip


def end(conn: Connection, plan: int, state: PlanState, *, actor: str, now: datetime) -> None:
    """End a locked plan."""
    conn.execute(_SQL["end_plan"], {"plan": plan, "state": state.value, "actor": actor, "now": now})


def look_again(conn: Connection, plan: int, at: datetime | None) -> None:
    """Write when a locked plan is looked at again."""
    conn.execute(_SQL["look_again"], {"plan": plan, "at": at})


def instalments_of(conn: Connection, plans: Sequence[int]) -> dict[int, list[Instalment]]:
    """Return the shares of signed plans, by plan."""
    found: dict[int, list[Instalment]] = defaultdict(list)
    for row in conn.execute(_SQL["instalments_of"], {"plans": list(plans)}):
        found[row[0]].append(
            Instalment(seq=row[1], due_on=row[2], amount_micros=row[3], entry_id=row[4])
        )
    return found


def demand(conn: Connection, plan: int, seq: int, *, entry: int, now: datetime) -> None:
    """Note that a share has become a due line."""
    conn.execute(_SQL["demand_instalment"], {"plan": plan, "seq": seq, "entry": entry, "now": now})


def insert_event(
    conn: Connection, *, plan: int | None, account: str, agreement: str, event: str, actor: str,
    reason: str, figures: Mapping[str, Any], now: datetime,
) -> None:  # fmt: skip
    """Write what happened to a debt."""
    conn.execute(
        _SQL["insert_debt_event"],
        {
            "plan": plan, "account": account, "agreement": agreement, "event": event,
            "actor": actor, "reason": reason, "figures": Jsonb(dict(figures)), "now": now,
        },
    )  # fmt: skip


def events_after(conn: Connection, after: int) -> list[DebtEvent]:
    """Return events after a number, of transactions that surely ended, oldest first."""
    return [_event(row) for row in conn.execute(_SQL["debt_events_after"], {"after": after})]


def events_of(conn: Connection, account: str, limit: int) -> list[DebtEvent]:
    """Return what happened to an account's debts, newest first."""
    asked = {"account": account, "limit": limit}
    return [_event(row) for row in conn.execute(_SQL["debt_events_of"], asked)]


def _parts(parts: Parts) -> dict[str, int]:
    return {
        "ar_energy": parts.ar_energy, "ar_penalty": parts.ar_penalty,
        "ar_connection": parts.ar_connection, "prepaid": parts.prepaid,
    }  # fmt: skip


def _event(row: Sequence[Any]) -> DebtEvent:
    return DebtEvent(
        id=row[0], plan=row[1], account=row[2], agreement=row[3], event=row[4], at=row[5],
        actor=row[6], reason=row[7], figures=row[8],
    )  # fmt: skip


def _plan(row: Sequence[Any]) -> Plan:
    return Plan(
        id=row[0], account=row[1], agreement=row[2], usage_point=row[3], currency=row[4],
        zone=row[5], state=PlanState(row[6]),
        parts=Parts(ar_energy=row[7], ar_penalty=row[8], ar_connection=row[9], prepaid=row[10]),
        first_micros=row[11], instalments=row[12], terms=terms_from_plain(row[13]),
        two_people=row[14], reason=row[15], proposed_by=row[16], proposed_at=row[17],
        decided_by=row[18], signed_by=row[19], signed_ref=row[20], signed_on=row[21],
        ended_by=row[22], ended_at=row[23],
    )  # fmt: skip
