"""SQL of batches and their sums."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cloud.ingest.model import Arrival, BatchAccount
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import BatchId, ConcentratorId
from protocols.mqtt.receipt import Custody

_SQL = Queries(Path(__file__).parents[1] / "sql")
_ACCOUNT = ("rows", "stored", "duplicates", "momentary", "quarantined", "reports",
            "reports_quarantined")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBatch:
    """A batch that came before."""

    no: int
    digest: bytes
    custody: Custody
    account: BatchAccount


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch to write down with its sum."""

    no: int
    id: BatchId
    digest: bytes
    custody: Custody
    made_at: datetime | None
    arrival: Arrival
    account: BatchAccount


def lock_concentrators(conn: Connection, concentrators: Sequence[ConcentratorId]) -> None:
    """Wait until no other transaction judges rows of these concentrators; held until commit."""
    conn.execute(_SQL["lock_concentrators"], {"concentrators": sorted(set(concentrators))})


def known_batches(conn: Connection, ids: Sequence[BatchId]) -> dict[BatchId, KnownBatch]:
    """Return those of the batches that came before."""
    rows = conn.execute(_SQL["batches_by_id"], _keys(ids))
    found = {}
    for concentrator, boot, seq, number, digest, custody, *counts in rows:
        id_ = BatchId(concentrator=ConcentratorId(concentrator), boot=boot, seq=seq)
        found[id_] = KnownBatch(
            no=number, digest=bytes(digest), custody=Custody(custody),
            account=BatchAccount(**dict(zip(_ACCOUNT, counts, strict=True))),
        )  # fmt: skip
    return found


def next_numbers(conn: Connection, size: int) -> list[int]:
    """Return `size` numbers for new batches."""
    return [row[0] for row in conn.execute(_SQL["next_batch_numbers"], {"size": size})]


def insert_batches(conn: Connection, batches: Sequence[NewBatch]) -> None:
    """Write down batches and their sums."""
    conn.execute(
        _SQL["insert_batches"],
        {
            **_keys([each.id for each in batches]),
            "no": [each.no for each in batches],
            "digest": [each.digest for each in batches],
            "custody": [each.custody.value for each in batches],
            "made_at": [each.made_at for each in batches],
            "received_at": [each.arrival.now for each in batches],
            "received_wall": [each.arrival.wall_now for each in batches],
            **{name: [getattr(each.account, name) for each in batches] for name in _ACCOUNT},
        },
    )


def batch_takes_rows(conn: Connection, id_: BatchId, account: BatchAccount) -> bool:
    """Give a batch that stood in quarantine its account; False when it has one already."""
    changed = conn.execute(
        _SQL["batch_takes_rows"],
        {
            "concentrator": id_.concentrator, "boot": id_.boot, "seq": id_.seq,
            **{name: getattr(account, name) for name in _ACCOUNT},
        },
    )  # fmt: skip
    return changed.rowcount == 1


def totals(conn: Connection) -> dict[str, int]:
    """Return the sums over all batches and the number of raw readings."""
    sums = conn.execute(_SQL["batch_totals"]).fetchone()
    readings = conn.execute(_SQL["reading_totals"]).fetchone()
    assert sums is not None
    assert readings is not None
    names = ("batches", "rows", "stored", "duplicates", "momentary", "quarantined")
    return {**dict(zip(names, sums, strict=True)), "readings": int(readings[0])}


def missing_batches(conn: Connection) -> dict[tuple[ConcentratorId, int], int]:
    """Return per (concentrator, boot) how many sequence numbers are missing, where any is."""
    return {(ConcentratorId(c), boot): n for c, boot, n in conn.execute(_SQL["missing_batches"])}


def batches_out_of_balance(conn: Connection, limit: int) -> list[BatchId]:
    """Return batches whose count of quarantined rows differs from the quarantine."""
    return [
        BatchId(concentrator=ConcentratorId(concentrator), boot=boot, seq=seq)
        for concentrator, boot, seq in conn.execute(
            _SQL["batches_out_of_balance"], {"limit": limit}
        )
    ]


def _keys(ids: Sequence[BatchId]) -> Mapping[str, list[Any]]:
    return {
        "concentrator": [id_.concentrator for id_ in ids],
        "boot": [id_.boot for id_ in ids],
        "seq": [id_.seq for id_ in ids],
    }
