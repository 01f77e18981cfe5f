"""What the signer reads of upkeep's rows, its own memory, and the two columns it may write."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cloud.signer.model import Allowance, Errand, OrderedImage, UpkeepCause
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import CommandId, ConcentratorId, MeterId

_SQL = Queries(Path(__file__).parent.parent / "sql")


def waiting(conn: Connection) -> list[CommandId]:
    """Return what waits for a signature."""
    return [CommandId(row[0]) for row in conn.execute(_SQL["unsigned_errands"]).fetchall()]


def errand(conn: Connection, id_: CommandId) -> Errand | None:
    """Return an errand that still waits, or None."""
    row = conn.execute(_SQL["unsigned_errand"], {"errand": id_}).fetchone()
    return _errand(row) if row else None


def lock_counts(conn: Connection) -> None:
    """Count alone until the transaction ends."""
    conn.execute(_SQL["lock_upkeep_counts"])


def allowance(conn: Connection, kind: str, *, now: datetime) -> Allowance:
    """Return how many of a kind may be signed in a day, and how many were."""
    values = {"kind": kind, "day_ago": now - timedelta(days=1)}
    row = conn.execute(_SQL["upkeep_allowance"], values).fetchone()
    assert row is not None
    return Allowance(most=row[0], signed=row[1])


def write_signature(
    conn: Connection,
    errand: Errand,
    *,
    signature: bytes,
    digest: bytes,
    now: datetime,
    wall_now: datetime,
) -> bool:
    """Remember and write a signature; False when the row changed or ended meanwhile."""
    values = {"errand": errand.id, "body": errand.body, "signature": signature, "now": now}
    if conn.execute(_SQL["write_errand_signature"], values).fetchone() is None:
        return False
    conn.execute(
        _SQL["insert_upkeep_signature"],
        {
            "errand": errand.id, "kind": errand.kind, "target": errand.meter, "now": now,
            "wall_now": wall_now, "digest": digest,
        },
    )  # fmt: skip
    return True


def write_refusal(conn: Connection, errand: Errand, cause: UpkeepCause, *, now: datetime) -> None:
    """Remember and write a refusal."""
    values = {"errand": errand.id, "cause": cause.value, "now": now}
    conn.execute(_SQL["write_errand_refusal"], {"errand": errand.id, "cause": cause.value})
    conn.execute(_SQL["insert_upkeep_refusal"], values)


def _errand(row: Sequence[Any]) -> Errand:
    (id_, kind, concentrator, meter, sealed, source, revision, body, expires, rollout_kind, state,
     requested_by, approved_by, until, settings, activate, activate_at, sha256, octets, identifier,
     block_octets, source_fits, whole) = row  # fmt: skip
    image = None
    if sha256 is not None:
        image = OrderedImage(
            sha256=bytes(sha256), size=octets, identifier=bytes(identifier), block=block_octets,
            whole=bool(whole),
        )  # fmt: skip
    return Errand(
        id=CommandId(id_), kind=kind, concentrator=ConcentratorId(concentrator),
        meter=MeterId(meter), sealed=bytes(sealed) if sealed is not None else None,
        source=CommandId(source) if source else None, source_fits=bool(source_fits),
        revision=revision, body=bytes(body), expires=expires, rollout_kind=rollout_kind,
        rollout_state=state, requested_by=requested_by, approved_by=approved_by, until=until,
        settings=settings, activate=activate, activate_at=activate_at, image=image,
    )  # fmt: skip
