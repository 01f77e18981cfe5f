"""SQL of published tariff versions."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from billing.tariffs.model import Tariff
from billing.tariffs.model.proposed import Proposal, ProposalEnd
from billing.tariffs.model.published import Published
from billing.tariffs.rules import read_tariff
from cloud.store.db import Connection
from cloud.store.sql import Queries

_SQL = Queries(Path(__file__).parent / "sql")


def lock_code(conn: Connection, code: str) -> None:
    """Wait for rivals that publish the same code."""
    conn.execute(_SQL["lock_code"], {"code": code})


def insert_version(
    conn: Connection, tariff: Tariff, *, digest: str, document: str, actor: str, now: datetime
) -> bool:
    """Insert a version; tell whether it was new."""
    row = conn.execute(
        _SQL["insert_version"],
        {
            "digest": digest, "code": tariff.code, "number": tariff.version,
            "currency": tariff.currency, "zone": tariff.zone, "valid_from": tariff.valid_from,
            "valid_to": tariff.valid_to, "document": document, "now": now, "actor": actor,
            "cases": len(tariff.test_cases),
        },
    ).fetchone()  # fmt: skip
    return row is not None


def versions_of_code(conn: Connection, code: str) -> list[tuple[str, Tariff]]:
    """Return the versions of a code with their digests, oldest first."""
    rows = conn.execute(_SQL["versions_of_code"], {"code": code})
    return [(row[0], read_tariff(row[1].encode())) for row in rows]


def versions_by_digest(conn: Connection, digests: Sequence[str]) -> dict[str, Tariff]:
    """Return the versions named."""
    rows = conn.execute(_SQL["versions_by_digest"], {"digests": list(digests)})
    return {row[0]: read_tariff(row[1].encode()) for row in rows}


def published(conn: Connection) -> list[Published]:
    """Return every version with its document, by code, the newest first."""
    rows = conn.execute(_SQL["published"])
    return [
        Published(
            digest=row[0], code=row[1], number=row[2], currency=row[3], valid_from=row[4],
            valid_to=row[5], published_at=row[6], published_by=row[7], cases=row[8],
            document=row[9],
        )
        for row in rows
    ]  # fmt: skip


def insert_freeze(
    conn: Connection, *, frozen: bool, actor: str, reason: str, now: datetime
) -> None:
    """Let publishing stand still, or go on."""
    conn.execute(
        _SQL["insert_freeze"], {"now": now, "frozen": frozen, "actor": actor, "reason": reason}
    )


def frozen(conn: Connection) -> str | None:
    """Return why publishing stands still, or None when it does not."""
    row = conn.execute(_SQL["newest_freeze"]).fetchone()
    return row[1] if row and row[0] else None


def insert_proposal(
    conn: Connection, tariff: Tariff, *, digest: str, document: str, reason: str, actor: str,
    now: datetime,
) -> int:  # fmt: skip
    """Keep what somebody proposes and return its number."""
    row = conn.execute(
        _SQL["insert_proposal"],
        {
            "digest": digest, "code": tariff.code, "number": tariff.version,
            "currency": tariff.currency, "valid_from": tariff.valid_from, "document": document,
            "reason": reason, "actor": actor, "now": now,
        },
    ).fetchone()  # fmt: skip
    assert row is not None
    return int(row[0])


def proposals(conn: Connection, proposal: int | None = None) -> list[Proposal]:
    """Return the proposals that wait, or the one named if it waits."""
    rows = conn.execute(_SQL["proposals"], {"proposal": proposal})
    return [
        Proposal(
            id=row[0], digest=row[1], code=row[2], number=row[3], currency=row[4],
            valid_from=row[5], document=row[6], reason=row[7], asked_by=row[8], asked_at=row[9],
        )
        for row in rows
    ]  # fmt: skip


def end_proposal(
    conn: Connection, found: Proposal, end: ProposalEnd, *, actor: str, reason: str, now: datetime
) -> bool:
    """Note how a proposal ended; tell whether it still waited."""
    row = conn.execute(
        _SQL["end_proposal"],
        {
            "proposal": found.id, "asked_by": found.asked_by, "outcome": end.value,
            "actor": actor, "reason": reason, "now": now,
        },
    ).fetchone()  # fmt: skip
    return row is not None
