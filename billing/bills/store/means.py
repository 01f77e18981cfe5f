"""SQL of how accounts pay and get their bills."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from billing.bills.rules.means import STANDARD, Choice, Delivery, Means
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parents[1] / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How a bill went out; `opened_at` is when its customer first looked at it."""

    choice: Choice
    at: datetime
    opened_at: datetime | None
    opened_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Debit:
    """A bill that a bank is to take. *Units*: micros."""

    mandate: str
    account: str
    bill: int
    period_end: date
    due_on: date
    amount_micros: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SentCount:
    """How many bills of a run went out one way, and how many of them were looked at."""

    means: Means
    delivery: Delivery
    bills: int
    opened: int


def put(conn: Connection, account: str, choice: Choice, *, actor: str, now: datetime) -> None:
    """Write what an account has chosen."""
    conn.execute(
        _SQL["set_means"],
        {
            "account": account, "means": choice.means.value, "delivery": choice.delivery.value,
            "mandate": choice.mandate.strip(), "actor": actor, "now": now,
        },
    )  # fmt: skip


def of_accounts(conn: Connection, accounts: Sequence[str]) -> dict[str, Choice]:
    """Return what accounts have chosen; the standard where nothing was."""
    found = dict.fromkeys(accounts, STANDARD)
    for row in conn.execute(_SQL["means_of"], {"accounts": list(accounts)}):
        found[row[0]] = Choice(means=Means(row[1]), delivery=Delivery(row[2]), mandate=row[3])
    return found


def insert_sent(conn: Connection, rows: Sequence[tuple[int, str, Choice]], now: datetime) -> None:
    """Write how bills went out: bill, account, choice."""
    conn.execute(
        _SQL["insert_deliveries"],
        {
            "bills": [row[0] for row in rows], "accounts": [row[1] for row in rows],
            "means": [row[2].means.value for row in rows],
            "deliveries": [row[2].delivery.value for row in rows],
            "mandates": [row[2].mandate for row in rows], "now": now,
        },
    )  # fmt: skip


def sent_of(conn: Connection, bill: int) -> Sent | None:
    """Return how a bill went out, or None for one that did not."""
    row = conn.execute(_SQL["delivery_of"], {"bill": bill}).fetchone()
    if row is None:
        return None
    choice = Choice(means=Means(row[0]), delivery=Delivery(row[1]), mandate=row[2])
    return Sent(choice=choice, at=row[3], opened_at=row[4], opened_by=row[5])


def note_opened(conn: Connection, bill: int, *, actor: str, now: datetime) -> bool:
    """Note the first look at a bill; tell whether it was the first."""
    asked = {"bill": bill, "actor": actor, "now": now}
    return conn.execute(_SQL["note_opened"], asked).fetchone() is not None


def debits_of(conn: Connection, run: int) -> list[Debit]:
    """Return the bills of a run that banks are to take."""
    return [
        Debit(
            mandate=row[0], account=row[1], bill=row[2], period_end=row[3], due_on=row[4],
            amount_micros=row[5], currency=row[6],
        )
        for row in conn.execute(_SQL["debits_of_run"], {"run": run})
    ]  # fmt: skip


def counts_of(conn: Connection, run: int) -> list[SentCount]:
    """Return how the bills of a run went out."""
    return [
        SentCount(means=Means(row[0]), delivery=Delivery(row[1]), bills=row[2], opened=row[3])
        for row in conn.execute(_SQL["deliveries_of_run"], {"run": run})
    ]
