"""SQL of penalties: what is owed and paid, what was accrued, documents."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from billing.bills.rules.penalty import Debt, Flow
from billing.bills.rules.penalty_documents import Paper, PaperState, PenaltyKind, Proposal
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parents[1] / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """What accruals charged of a bill, up to which day, and whether one found it paid."""

    amount_micros: int
    upto: date
    paid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Accrual:
    """One bill's step up to a day."""

    bill: int
    amount_micros: int
    open_micros: int
    entry_id: int | None


def lock_accounts(conn: Connection, accounts: Sequence[str]) -> None:
    """Let nobody else accrue or forgive on these accounts until commit."""
    conn.execute(_SQL["lock_penalty_accounts"], {"accounts": sorted(accounts)})


def accounts_to_accrue(conn: Connection, upto: date, *, after: str, limit: int) -> list[str]:
    """Return accounts that may have something to accrue, in pages by name."""
    rows = conn.execute(_SQL["accounts_to_accrue"], {"upto": upto, "after": after, "limit": limit})
    return [row[0] for row in rows]


def owed_bills(conn: Connection, accounts: Sequence[str]) -> dict[str, list[Debt]]:
    """Return bills that were owed, by account; refunds are negative."""
    found: dict[str, list[Debt]] = defaultdict(list)
    for row in conn.execute(_SQL["owed_bills"], {"accounts": list(accounts)}):
        found[row[0]].append(Debt(bill=row[1], due_on=row[2], amount_micros=row[3]))
    return found


def money_flows(conn: Connection, accounts: Sequence[str]) -> dict[str, list[Flow]]:
    """Return money that came and went, by account."""
    found: dict[str, list[Flow]] = defaultdict(list)
    for row in conn.execute(_SQL["money_flows"], {"accounts": list(accounts)}):
        found[row[0]].append(Flow(on=row[1], amount_micros=row[2]))
    return found


def charged(conn: Connection, accounts: Sequence[str]) -> dict[int, Charged]:
    """Return what was charged, by bill."""
    rows = conn.execute(_SQL["penalties_charged"], {"accounts": list(accounts)})
    return {row[0]: Charged(amount_micros=row[1], upto=row[2], paid=row[3]) for row in rows}


def account_kinds(conn: Connection, accounts: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return currency and kind of customer, by account."""
    rows = conn.execute(_SQL["account_kinds"], {"accounts": list(accounts)})
    return {row[0]: (row[1], row[2]) for row in rows}


def insert_accruals(
    conn: Connection, accruals: Sequence[Accrual], *, upto: date, rule: str, now: datetime
) -> None:
    """Note how far bills were accrued."""
    conn.execute(
        _SQL["insert_accruals"],
        {
            "bills": [each.bill for each in accruals],
            "amounts": [each.amount_micros for each in accruals],
            "opens": [each.open_micros for each in accruals],
            "entries": [each.entry_id for each in accruals],
            "upto": upto, "rule": rule, "now": now,
        },
    )  # fmt: skip


def insert_paper(conn: Connection, proposal: Proposal, now: datetime) -> int:
    """Insert a document, proposed, and return its number."""
    row = conn.execute(
        _SQL["insert_paper"],
        {
            "bill": proposal.bill, "kind": proposal.kind.value, "amount": proposal.amount_micros,
            "from_on": proposal.from_on, "until_on": proposal.until_on,
            "reason": proposal.reason, "actor": proposal.actor, "now": now,
        },
    ).fetchone()  # fmt: skip
    assert row is not None
    return int(row[0])


def papers_of(conn: Connection, accounts: Sequence[str]) -> list[Paper]:
    """Return the documents of accounts, oldest first."""
    rows = conn.execute(_SQL["papers_of_accounts"], {"accounts": list(accounts)})
    return [_paper(row) for row in rows]


def paper_for_update(conn: Connection, paper: int) -> Paper | None:
    """Return one document, locked, or None."""
    row = conn.execute(_SQL["paper_for_update"], {"paper": paper}).fetchone()
    return _paper(row) if row else None


def decide_paper(
    conn: Connection, paper: int, state: PaperState, *, actor: str, entry: int | None,
    now: datetime,
) -> None:  # fmt: skip
    """Move a document on."""
    conn.execute(
        _SQL["decide_paper"],
        {"paper": paper, "state": state.value, "actor": actor, "entry": entry, "now": now},
    )


def _paper(row: Sequence[Any]) -> Paper:
    return Paper(
        id=row[0], bill=row[1], account=row[2], kind=PenaltyKind(row[3]),
        state=PaperState(row[4]), amount_micros=row[5], from_on=row[6], until_on=row[7],
        reason=row[8], actor=row[9], decided_by=row[10], entry_id=row[11],
    )  # fmt: skip
