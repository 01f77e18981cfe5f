"""SQL of deposits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from billing.bills.model import METERED
from billing.bills.rules.deposits import DepositState
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parents[1] / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDeposit:
    """A deposit as it is demanded. *Units*: micros."""

    account: str
    agreement: str
    currency: str
    zone: str
    amount_micros: int
    rule: str
    reason: str
    demanded_by: str
    demanded_at: datetime
    due_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit(NewDeposit):
    """A deposit as it stands."""

    id: int
    state: DepositState
    held_on: date | None
    interest_micros: int
    """What it bore when it ended."""
    proposed_by: str
    channel: str
    """Through which it goes back."""
    decided_by: str
    ended_at: datetime | None


def insert(conn: Connection, deposit: NewDeposit) -> int | None:
    """Insert a deposit; None when the account has an open one."""
    row = conn.execute(
        _SQL["insert_deposit"],
        {
            "account": deposit.account, "agreement": deposit.agreement,
            "currency": deposit.currency, "zone": deposit.zone, "amount": deposit.amount_micros,
            "rule": deposit.rule, "reason": deposit.reason, "actor": deposit.demanded_by,
            "now": deposit.demanded_at, "due_on": deposit.due_on,
        },
    ).fetchone()  # fmt: skip
    return int(row[0]) if row else None


def for_update(conn: Connection, deposit: int) -> Deposit | None:
    """Return a deposit, locked until commit."""
    row = conn.execute(_SQL["deposit_for_update"], {"deposit": deposit}).fetchone()
    return _deposit(row) if row else None


def of_account(conn: Connection, account: str) -> list[Deposit]:
    """Return an account's deposits, newest first."""
    rows = conn.execute(_SQL["deposits_of_account"], {"account": account})
    return [_deposit(row) for row in rows]


def in_states(conn: Connection, states: Iterable[DepositState], limit: int) -> list[Deposit]:
    """Return deposits in some states, oldest first."""
    asked = {"states": [state.value for state in states], "limit": limit}
    return [_deposit(row) for row in conn.execute(_SQL["deposits_in_states"], asked)]


def paid(conn: Connection, limit: int) -> list[int]:
    """Return demanded deposits of which nothing is owed any more."""
    return [row[0] for row in conn.execute(_SQL["deposits_paid"], {"limit": limit})]


def move(
    conn: Connection, deposit: int, state: DepositState, *, held_on: date | None = None,
    interest: int | None = None, proposed_by: str | None = None, channel: str | None = None,
    decided_by: str | None = None, ended_at: datetime | None = None,
) -> None:  # fmt: skip
    """Move a locked deposit on; what is not named stays."""
    conn.execute(
        _SQL["move_deposit"],
        {
            "deposit": deposit, "state": state.value, "held_on": held_on, "interest": interest,
            "proposed_by": proposed_by, "channel": channel, "decided_by": decided_by,
            "ended_at": ended_at,
        },
    )  # fmt: skip


def billed_lately(conn: Connection, agreement: str, since: date) -> tuple[int, int]:
    """Return what standing bills of metered time came to since a day, and their days."""
    row = conn.execute(
        _SQL["billed_lately"],
        {"agreement": agreement, "kinds": [kind.value for kind in METERED], "since": since},
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _deposit(row: Sequence[Any]) -> Deposit:
    return Deposit(
        id=row[0], account=row[1], agreement=row[2], currency=row[3], zone=row[4],
        amount_micros=row[5], rule=row[6], state=DepositState(row[7]), reason=row[8],
        demanded_by=row[9], demanded_at=row[10], due_on=row[11], held_on=row[12],
        interest_micros=row[13], proposed_by=row[14], channel=row[15], decided_by=row[16],
        ended_at=row[17],
    )  # fmt: skip
