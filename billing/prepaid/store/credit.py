"""SQL of fee control: policies by level, groups, lines, days without cuts, loans, old debt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from billing.prepaid.rules.credit import FIELDS, Level, PolicyPart
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parent.parent / "sql")


class Source(StrEnum):
    """Where old debt stood before it was set aside."""

    BALANCE = "balance"
    """A prepaid balance below zero."""
    ENERGY = "energy"
    """Unpaid bills of an account that paid afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emergency:
    """One loan as it was given. *Units*: micros; `before_micros` was available without it."""

    account: str
    no: int
    agreement: str
    usage_point: str
    at: datetime
    amount_micros: int
    currency: str
    before_micros: int
    entry_id: int
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OldDebt:
    """Debt that somebody proposed to set aside; booked when `entry_id` is there."""

    id: int
    account: str
    source: Source
    amount_micros: int
    currency: str
    reason: str
    proposed_by: str
    proposed_at: datetime
    ended_by: str
    ended_at: datetime | None
    entry_id: int | None


def all_policies(conn: Connection) -> dict[tuple[Level, str], PolicyPart]:
    """Return every part of a policy by level and target."""
    found = {}
    for row in conn.execute(_SQL["all_policies"]):
        says = {
            name: value for name, value in zip(FIELDS, row[2:], strict=True) if value is not None
        }
        part = PolicyPart(level=Level(row[0]), target=row[1], says=says)
        found[part.level, part.target] = part
    return found


def upsert_policy(conn: Connection, part: PolicyPart, *, actor: str, now: datetime) -> None:
    """Write what a level says, whole."""
    values = {name: part.says.get(name) for name in FIELDS}
    head = {"level": part.level.value, "target": part.target, "actor": actor, "now": now}
    conn.execute(_SQL["upsert_policy"], {**values, **head})


def groups_of(conn: Connection, agreements: Sequence[str]) -> dict[str, str]:
    """Return the group of each agreement named that has one."""
    rows = conn.execute(_SQL["groups_of"], {"agreements": list(agreements)})
    return {row[0]: row[1] for row in rows}


def members_of(conn: Connection, names: Sequence[str]) -> list[str]:
    """Return the agreements in the groups named."""
    return [row[0] for row in conn.execute(_SQL["members_of"], {"names": list(names)})]


def set_group(conn: Connection, agreement: str, name: str, *, actor: str, now: datetime) -> None:
    """Put an agreement into a group."""
    values = {"agreement": agreement, "name": name, "actor": actor, "now": now}
    conn.execute(_SQL["set_group"], values)


def line_areas(conn: Connection) -> dict[str, str]:
    """Return the line of each transformer area that has one."""
    return {row[0]: row[1] for row in conn.execute(_SQL["line_areas"])}


def set_line(conn: Connection, transformer: str, line: str, *, actor: str, now: datetime) -> None:
    """Say which line feeds an area."""
    values = {"transformer": transformer, "line": line, "actor": actor, "now": now}
    conn.execute(_SQL["set_line"], values)


def rest_days(conn: Connection, first: date) -> frozenset[date]:
    """Return the days without cuts from a day on."""
    return frozenset(row[0] for row in conn.execute(_SQL["rest_days"], {"first": first}))


def set_rest_day(conn: Connection, day: date, name: str, *, actor: str, now: datetime) -> None:
    """Let a day be without cuts."""
    values = {"day": day, "name": name, "actor": actor, "now": now}
    conn.execute(_SQL["set_rest_day"], values)


def insert_emergency(conn: Connection, given: Emergency) -> None:
    """Keep a loan that was booked."""
    conn.execute(
        _SQL["insert_emergency"],
        {
            "account": given.account, "no": given.no, "agreement": given.agreement,
            "usage_point": given.usage_point, "now": given.at, "amount": given.amount_micros,
            "currency": given.currency, "before": given.before_micros, "entry": given.entry_id,
            "actor": given.actor,
        },
    )  # fmt: skip


def emergencies_of(conn: Connection, account: str, *, limit: int = 20) -> list[Emergency]:
    """Return an account's loans, newest first."""
    return [
        Emergency(
            account=row[0], no=row[1], agreement=row[2], usage_point=row[3], at=row[4],
            amount_micros=row[5], currency=row[6], before_micros=row[7], entry_id=row[8],
            actor=row[9],
        )
        for row in conn.execute(_SQL["emergencies_of"], {"account": account, "limit": limit})
    ]  # fmt: skip


def insert_old_debt(
    conn: Connection,
    account: str,
    *,
    source: Source,
    amount: int,
    currency: str,
    reason: str,
    actor: str,
    now: datetime,
) -> int | None:
    """Keep a proposal; return its number, or None when one is open."""
    row = conn.execute(
        _SQL["insert_old_debt"],
        {
            "account": account, "source": source.value, "amount": amount, "currency": currency,
            "reason": reason, "actor": actor, "now": now,
        },
    ).fetchone()  # fmt: skip
    return int(row[0]) if row else None


def lock_old_debt(conn: Connection, number: int) -> OldDebt | None:
    """Return a proposal and hold its row until commit."""
    row = conn.execute(_SQL["lock_old_debt"], {"id": number}).fetchone()
    return _old_debt(row) if row else None


def end_old_debt(
    conn: Connection, number: int, *, entry: int | None, actor: str, now: datetime
) -> None:
    """Write how a locked proposal ended: booked under `entry`, or withdrawn."""
    values = {"id": number, "entry": entry, "actor": actor, "now": now}
    conn.execute(_SQL["end_old_debt"], values)


def old_debts_of(conn: Connection, account: str) -> list[OldDebt]:
    """Return an account's old debts and proposals, newest first."""
    return [_old_debt(row) for row in conn.execute(_SQL["old_debts_of"], {"account": account})]


def old_debts_open(conn: Connection) -> list[OldDebt]:
    """Return what waits for a second person."""
    return [_old_debt(row) for row in conn.execute(_SQL["old_debts_open"])]


def read_upto(conn: Connection, stream: str) -> int:
    """Return how far a stream was read, zero at first."""
    row = conn.execute(_SQL["read_upto"], {"stream": stream}).fetchone()
    return int(row[0]) if row else 0


def set_read_upto(conn: Connection, stream: str, seq: int) -> None:
    """Note how far a stream was read."""
    conn.execute(_SQL["set_read_upto"], {"stream": stream, "seq": seq})


def _old_debt(row: Sequence[Any]) -> OldDebt:
    return OldDebt(
        id=row[0], account=row[1], source=Source(row[2]), amount_micros=row[3], currency=row[4],
        reason=row[5], proposed_by=row[6], proposed_at=row[7], ended_by=row[8], ended_at=row[9],
        entry_id=row[10],
    )  # fmt: skip
