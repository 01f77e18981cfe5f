"""SQL of ended agreements and their settlement."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from billing.bills.model import BillId
from billing.bills.rules.ending import EndState
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parents[1] / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEnding:
    """An agreement that has ended. *Units*: Wh, micros."""

    agreement: str
    account: str
    usage_point: str
    currency: str
    zone: str
    bill: BillId
    """The final bill, or what corrected it."""
    ended_on: date
    """The first day that was no longer its customer's."""
    register_wh: int
    drawn: bool
    """Whether prepayment drew it."""
    deposit_micros: int
    interest_micros: int
    reason: str
    ended_by: str
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending(NewEnding):
    """An end with what is left: positive goes to the customer, negative is demanded."""

    left_micros: int
    state: EndState
    proposed_by: str
    channel: str
    decided_by: str
    refunded_micros: int


def insert(conn: Connection, ending: NewEnding) -> None:
    """Insert the end of an agreement; what is left is assessed next."""
    conn.execute(
        _SQL["insert_ending"],
        {
            "agreement": ending.agreement, "account": ending.account,
            "usage_point": ending.usage_point, "currency": ending.currency, "zone": ending.zone,
            "bill": ending.bill, "ended_on": ending.ended_on, "register_wh": ending.register_wh,
            "drawn": ending.drawn, "deposit": ending.deposit_micros,
            "interest": ending.interest_micros, "reason": ending.reason,
            "actor": ending.ended_by, "now": ending.ended_at,
        },
    )  # fmt: skip


def for_update(conn: Connection, agreement: str) -> Ending | None:
    """Return the end of an agreement, locked until commit."""
    row = conn.execute(_SQL["ending_for_update"], {"agreement": agreement}).fetchone()
    return _ending(row) if row else None


def of_account(conn: Connection, account: str) -> list[Ending]:
    """Return the ends of an account's agreements, newest first."""
    rows = conn.execute(_SQL["endings_of_account"], {"account": account})
    return [_ending(row) for row in rows]


def in_states(conn: Connection, states: Iterable[EndState], limit: int) -> list[Ending]:
    """Return ends whose settlement is in some states, newest first."""
    asked = {"states": [state.value for state in states], "limit": limit}
    return [_ending(row) for row in conn.execute(_SQL["endings_in_states"], asked)]


def that_moved(conn: Connection, states: Iterable[EndState], limit: int) -> list[str]:
    """Return agreements whose account holds another sum than their settlement says."""
    asked = {"states": [state.value for state in states], "limit": limit}
    return [row[0] for row in conn.execute(_SQL["endings_that_moved"], asked)]


def take_look(conn: Connection, *, since: datetime, now: datetime) -> bool:
    """Tell whether all ends were not looked at since an instant, and note that they are now."""
    return conn.execute(_SQL["take_look"], {"since": since, "now": now}).fetchone() is not None


def move(
    conn: Connection, agreement: str, state: EndState, *, left: int, now: datetime,
    proposed_by: str | None = None, channel: str | None = None, decided_by: str | None = None,
    refunded: int = 0,
) -> None:  # fmt: skip
    """Move a locked end on; what is not named stays."""
    conn.execute(
        _SQL["move_ending"],
        {
            "agreement": agreement, "state": state.value, "left": left, "now": now,
            "proposed_by": proposed_by, "channel": channel, "decided_by": decided_by,
            "refunded": refunded,
        },
    )  # fmt: skip


def correct(
    conn: Connection, agreement: str, *, bill: int, register_wh: int, now: datetime
) -> None:
    """Give a locked end another bill and register."""
    conn.execute(
        _SQL["correct_ending"],
        {"agreement": agreement, "bill": bill, "register_wh": register_wh, "now": now},
    )


def open_agreements_of(conn: Connection, account: str) -> list[str]:
    """Return the open agreements of an account."""
    return [row[0] for row in conn.execute(_SQL["open_agreements_of"], {"account": account})]


def _ending(row: Sequence[Any]) -> Ending:
    return Ending(
        agreement=row[0], account=row[1], usage_point=row[2], currency=row[3], zone=row[4],
        bill=BillId(row[5]), ended_on=row[6], register_wh=row[7], drawn=row[8],
        deposit_micros=row[9], interest_micros=row[10], left_micros=row[11],
        state=EndState(row[12]), reason=row[13], ended_by=row[14], ended_at=row[15],
        proposed_by=row[16], channel=row[17], decided_by=row[18], refunded_micros=row[19],
    )  # fmt: skip
