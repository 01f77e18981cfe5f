"""SQL of cases, their moves and the watermarks of what was read."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from billing.collections.model import ENDS, Case, CaseState, Step, Transition
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parent / "sql")


def open_case(
    conn: Connection,
    *,
    agreement: str,
    account: str,
    usage_point: str,
    state: CaseState,
    dunned_at: datetime | None,
    notice_ends_at: datetime | None,
    now: datetime,
) -> int | None:
    """Open a case; None when the agreement has one."""
    row = conn.execute(
        _SQL["open_case"],
        {
            "agreement": agreement, "account": account, "usage_point": usage_point,
            "state": state.value, "dunned_at": dunned_at, "notice_ends_at": notice_ends_at,
            "now": now,
        },
    ).fetchone()  # fmt: skip
    return int(row[0]) if row else None


def lock_case(conn: Connection, case: int) -> Case | None:
    """Return a case and hold its row until commit."""
    row = conn.execute(_SQL["lock_case"], {"case": case}).fetchone()
    return _case(row) if row else None


def update_case(conn: Connection, case: Case, state: CaseState, step: Step, now: datetime) -> None:
    """Write where a locked case stands now."""
    conn.execute(
        _SQL["update_case"],
        {
            "case": case.id, "state": state.value, "dunned_at": step.dunned_at,
            "notice_ends_at": step.notice_ends_at, "request_id": step.request_id,
            "reason": step.reason, "now": now, "closed_at": now if state in ENDS else None,
        },
    )  # fmt: skip


def insert_transition(
    conn: Connection, case: int, seq: int, *, was: str, became: str, step: Step, now: datetime
) -> None:
    """Write a move with its figures."""
    conn.execute(
        _SQL["insert_transition"],
        {
            "case": case, "seq": seq, "now": now, "was": was, "event": step.event.value,
            "became": became, "actor": step.actor, "reason": step.reason,
            "figures": Jsonb(dict(step.figures)),
        },
    )  # fmt: skip


def open_cases(conn: Connection) -> list[Case]:
    """Return every case that has not ended, oldest first."""
    return [_case(row) for row in conn.execute(_SQL["open_cases"])]


def cases_of(conn: Connection, usage_point: str) -> list[Case]:
    """Return the cases at a usage point, newest first."""
    return [_case(row) for row in conn.execute(_SQL["cases_of"], {"usage_point": usage_point})]


def open_case_of_agreement(conn: Connection, agreement: str) -> int | None:
    """Return the open case of an agreement, or None."""
    row = conn.execute(_SQL["open_case_of_agreement"], {"agreement": agreement}).fetchone()
    return int(row[0]) if row else None


def transitions_of(conn: Connection, case: int) -> list[Transition]:
    """Return the moves of a case, oldest first."""
    return [
        Transition(
            at=row[0], was=row[1], event=row[2], became=row[3], actor=row[4], reason=row[5],
            figures=row[6],
        )
        for row in conn.execute(_SQL["transitions_of"], {"case": case})
    ]  # fmt: skip


def watermark(conn: Connection, stream: str) -> int:
    """Return how far a stream was read, zero at first."""
    row = conn.execute(_SQL["watermark"], {"stream": stream}).fetchone()
    return int(row[0]) if row else 0


def set_watermark(conn: Connection, stream: str, seq: int) -> None:
    """Note how far a stream was read."""
    conn.execute(_SQL["set_watermark"], {"stream": stream, "seq": seq})


def _case(row: Sequence[Any]) -> Case:
    return Case(
        id=row[0], agreement=row[1], account=row[2], usage_point=row[3],
        state=CaseState(row[4]), opened_at=row[5], dunned_at=row[6], notice_ends_at=row[7],
        request_id=row[8], reason=row[9], changed_at=row[10], closed_at=row[11], steps=row[12],
    )  # fmt: skip
