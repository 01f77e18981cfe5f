"""SQL of the quarantine: payloads and rows that could not be believed."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cloud.ingest.model import Arrival, QuarantineItem, QuarantineState
from cloud.ingest.store.text import clean
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import BatchId, ConcentratorId

_SQL = Queries(Path(__file__).parents[1] / "sql")


def insert_payload(conn: Connection, digest: bytes, arrival: Arrival) -> None:
    """Keep the octets of a payload once."""
    conn.execute(
        _SQL["insert_payload"],
        {
            "digest": digest, "topic": clean(arrival.topic),
            "content_type": clean(arrival.content_type), "octets": arrival.payload,
        },
    )  # fmt: skip


def quarantine_payload(
    conn: Connection,
    concentrator: ConcentratorId,
    id_: BatchId | None,
    *,
    cause: str,
    detail: str,
    digest: bytes,
    received_at: datetime,
) -> None:
    """Put a payload as a whole into quarantine, once."""
    conn.execute(
        _SQL["insert_quarantined_payload"],
        {
            "concentrator": concentrator, "boot": id_.boot if id_ else None,
            "seq": id_.seq if id_ else None, "cause": clean(cause), "detail": clean(detail),
            "digest": digest, "received_at": received_at,
        },
    )  # fmt: skip


def quarantine_rows(
    conn: Connection,
    id_: BatchId,
    *,
    digest: bytes,
    rows: Sequence[tuple[str, str, Mapping[str, Any]]],
    received_at: datetime,
) -> None:
    """Put rows of a batch into quarantine: cause, detail and the row itself of each."""
    conn.execute(
        _SQL["insert_quarantined_rows"],
        {
            **_key(id_), "digest": digest, "received_at": received_at,
            "cause": [cause for cause, _, _ in rows],
            "detail": [clean(detail) for _, detail, _ in rows],
            "row": [json.dumps(_clean(row)) for _, _, row in rows],
        },
    )  # fmt: skip


def quarantine_list(conn: Connection, state: QuarantineState, limit: int) -> list[QuarantineItem]:
    """Return what is in quarantine, newest first."""
    rows = conn.execute(_SQL["quarantine_list"], {"state": state.value, "limit": limit})
    return [item_of(row) for row in rows]


def lock_quarantine(conn: Connection, id_: int) -> tuple[QuarantineItem, bytes, str, str] | None:
    """Return one item, its octets, content type and topic, locked until commit."""
    row = conn.execute(_SQL["lock_quarantine"], {"id": id_}).fetchone()
    return None if row is None else (item_of(row[:10]), bytes(row[10]), row[11], row[12])


def settle_quarantine(
    conn: Connection, id_: int, *, state: QuarantineState, at: datetime, by: str
) -> None:
    """End an open item."""
    conn.execute(
        _SQL["settle_quarantine"],
        {"id": id_, "state": state.value, "settled_at": at, "settled_by": by},
    )


def quarantine_counts(conn: Connection) -> dict[tuple[str, str], int]:
    """Return how many items there are per (cause, state)."""
    return {(cause, state): n for cause, state, n in conn.execute(_SQL["quarantine_counts"])}


def _key(id_: BatchId) -> dict[str, Any]:
    return {"concentrator": id_.concentrator, "boot": id_.boot, "seq": id_.seq}


def item_of(row: Sequence[Any]) -> QuarantineItem:
    """Return one line of the quarantine."""
    id_, concentrator, boot, seq, cause, detail, content, received_at, state, octets = row
    return QuarantineItem(
        id=id_, concentrator=ConcentratorId(concentrator), boot=boot, seq=seq, cause=cause,
        detail=detail, row=content, received_at=received_at, state=QuarantineState(state),
        octets=octets,
    )  # fmt: skip


def _clean(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: clean(value) if isinstance(value, str) else value for name, value in row.items()}
