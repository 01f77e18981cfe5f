"""SQL of the whole: it reads what other contexts let be read and keeps its own exceptions."""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from billing.accounting.model import (
    Collected,
    CollectedBy,
    Event,
    FeeException,
    Finding,
    Owed,
    OwedAccount,
    OwedBy,
    Source,
    State,
    Step,
    Tie,
    Untied,
)
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.timeline import Interval

_SQL = Queries(Path(__file__).parent / "sql")
_RECEIPTS = [
    "payment", "payment_by_agent", "payment_in_suspense", "suspense_returned",
    "payment_corrected", "agent_payment_corrected",
]  # fmt: skip
"""Kinds of entries whose money legs are receipts or take them back."""


def collected(
    conn: Connection, span: Interval, by: CollectedBy, *, moment: datetime, zone: str,
    channel: str, unit: str,
) -> list[Collected]:  # fmt: skip
    """Return payments of a span by group, as they stood at a moment."""
    rows = conn.execute(
        _SQL["collected"],
        {"by": by.value, "start": span.start, "end": span.end, "moment": moment, "zone": zone,
         "channel": channel, "unit": unit},
    )  # fmt: skip
    return [
        Collected(
            group=row[0], currency=row[1], payments=row[2], paid_micros=int(row[3]),
            voided=row[4], net_micros=int(row[5]),
        )
        for row in rows
    ]  # fmt: skip


def owed(conn: Connection, by: OwedBy, *, moment: datetime, day: date) -> list[Owed]:
    """Return arrears by group at a moment; bills due on `day` or later are within their time."""
    rows = conn.execute(_SQL["owed"], {"by": by.value, "moment": moment, "day": day})
    return [
        Owed(
            group=row[0], currency=row[1], accounts=row[2], households=row[3],
            owed_micros=int(row[4]), overdue_micros=int(row[5]), planned_micros=int(row[6]),
        )
        for row in rows
    ]  # fmt: skip


def owed_accounts(
    conn: Connection, *, moment: datetime, day: date, unit: str, kind: str,
    after: tuple[str, str], limit: int,
) -> list[OwedAccount]:  # fmt: skip
    """Return accounts in arrears at a moment, in pages by account and currency."""
    rows = conn.execute(
        _SQL["owed_accounts"],
        {"moment": moment, "day": day, "unit": unit, "kind": kind, "after": after[0],
         "after_currency": after[1], "limit": limit},
    )  # fmt: skip
    return [
        OwedAccount(
            account=row[0], name=row[1], kind=row[2], usage_point=row[3], unit=row[4],
            transformer=row[5], currency=row[6], energy_micros=int(row[7]),
            penalty_micros=int(row[8]), other_micros=int(row[9]), prepaid_micros=int(row[10]),
            owed_micros=int(row[11]), overdue_micros=int(row[12]), planned_micros=int(row[13]),
        )
        for row in rows
    ]  # fmt: skip


def day_ties(conn: Connection, span: Interval, days: tuple[date, date], zone: str) -> list[Tie]:
    """Return what documents and ledger say of each day, newest day first."""
    rows = conn.execute(
        _SQL["day_ties"],
        {"start": span.start, "end": span.end, "first": days[0], "last": days[1], "zone": zone,
         "receipts": _RECEIPTS},
    )  # fmt: skip
    return [
        Tie(
            day=row[0], kind=row[1], currency=row[2], documents=row[3], ours_micros=int(row[4]),
            booked_micros=int(row[5]),
        )
        for row in rows
    ]  # fmt: skip


def untied(conn: Connection, span: Interval, limit: int) -> list[Untied]:
    """Return documents and entries of a span that have not their like."""
    rows = conn.execute(
        _SQL["untied"],
        {"start": span.start, "end": span.end, "receipts": _RECEIPTS, "limit": limit},
    )
    return [
        Untied(
            kind=row[0], subject=row[1], account=row[2], ours_micros=int(row[3]),
            booked_micros=int(row[4]),
        )
        for row in rows
    ]  # fmt: skip


def bills_waiting(conn: Connection) -> list[Finding]:
    """Return items of runs that wait or were parked, as findings."""
    return [
        Finding(
            source=Source.BILL, subject=f"{row[0]}:{row[1]}", kind=(row[4] or [row[3]])[0],
            account=row[2], detail=row[5],
        )
        for row in conn.execute(_SQL["bills_waiting"])
    ]  # fmt: skip


def lock_gathering(conn: Connection) -> None:
    """Let one at a time compare the sources with the queue."""
    conn.execute(_SQL["lock_gathering"])


def known_exceptions(conn: Connection, found: Sequence[Finding]) -> list[FeeException]:
    """Return exceptions that stand or are found again, locked."""
    rows = conn.execute(
        _SQL["known_exceptions"],
        {"sources": [each.source.value for each in found],
         "subjects": [each.subject for each in found], "kinds": [each.kind for each in found]},
    )  # fmt: skip
    return [_exception(row) for row in rows]


def insert_exceptions(
    conn: Connection, found: Sequence[Finding], *, actor: str, now: datetime
) -> None:
    """Open exceptions that nobody knew."""
    conn.execute(
        _SQL["insert_exceptions"],
        {"sources": [each.source.value for each in found],
         "subjects": [each.subject for each in found], "kinds": [each.kind for each in found],
         "accounts": [each.account for each in found], "details": [each.detail for each in found],
         "actor": actor, "now": now},
    )  # fmt: skip


def move_exceptions(
    conn: Connection, moves: Sequence[tuple[FeeException, State, str, str]], *, event: Event,
    actor: str, reason: str, now: datetime,
) -> None:  # fmt: skip
    """Give locked exceptions (exception, state, owner, detail), each with its step."""
    conn.execute(
        _SQL["move_exceptions"],
        {"ids": [each[0].id for each in moves], "states": [each[1].value for each in moves],
         "owners": [each[2] for each in moves], "details": [each[3] for each in moves],
         "event": event.value, "actor": actor, "reason": reason, "now": now},
    )  # fmt: skip


def exception_for_update(conn: Connection, number: int) -> FeeException | None:
    """Return one exception, locked, or None."""
    row = conn.execute(_SQL["exception_for_update"], {"id": number}).fetchone()
    return _exception(row) if row else None


def exceptions_in(
    conn: Connection, states: Sequence[State], *, after: int, limit: int
) -> list[FeeException]:
    """Return exceptions in some states, in pages by number."""
    rows = conn.execute(
        _SQL["exceptions_in"],
        {"states": [state.value for state in states], "after": after, "limit": limit},
    )
    return [_exception(row) for row in rows]


def exception_counts(conn: Connection) -> list[tuple[str, str, int]]:
    """Return how many exceptions there are of each source and state."""
    return [(row[0], row[1], row[2]) for row in conn.execute(_SQL["exception_counts"])]


def steps_of(conn: Connection, number: int) -> list[Step]:
    """Return what was done about an exception."""
    return [
        Step(
            seq=row[0], event=Event(row[1]), state=State(row[2]), actor=row[3], reason=row[4],
            at=row[5],
        )
        for row in conn.execute(_SQL["steps_of"], {"id": number})
    ]  # fmt: skip


def _exception(row: Sequence[Any]) -> FeeException:
    return FeeException(
        id=row[0],
        finding=Finding(
            source=Source(row[1]), subject=row[2], kind=row[3], account=row[4], detail=row[5]
        ),
        state=State(row[6]), owner=row[7], found_at=row[8], moved_at=row[9],
    )  # fmt: skip
