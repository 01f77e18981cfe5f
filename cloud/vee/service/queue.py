"""The exception queue: what waits for a person, who takes it, how it ends."""

from collections.abc import Sequence
from datetime import datetime

from cloud.assets import service as assets
from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.vee.model import WATCHED, ExceptionKind, QueueCount, Refusal, VeeException
from cloud.vee.rules.findings import Severity
from cloud.vee.store import queue as store
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

_MOST_LOOKED_AT = 20_000


def queue(
    conn: Connection,
    *,
    kind: ExceptionKind | None = None,
    severity: str | None = None,
    unit: str | None = None,
    usage_points: Sequence[UsagePointId] | None = None,
    assigned_to: str | None = None,
    opened_before: datetime | None = None,
    closed: bool = False,
    limit: int = 200,
) -> list[VeeException]:
    """
    Return open exceptions, or closed ones, gravest first, then oldest; None means any (B12).

    `unit` is who looks after the usage point, as `cloud.assets` knows it.
    """
    found = store.queue(
        conn, open_=not closed, kind=kind, severity=severity, usage_points=usage_points,
        assigned_to=assigned_to, opened_before=opened_before,
        limit=_MOST_LOOKED_AT if unit else limit,
    )  # fmt: skip
    if unit:
        units = assets.units_of(conn, sorted({each.usage_point for each in found}))
        found = [each for each in found if units.get(each.usage_point) == unit]
    return found[:limit]


def queue_counts(conn: Connection) -> list[QueueCount]:
    """Return how many are open of each severity and kind, and since when the oldest is."""
    return store.counts(conn)


def assign_exception(db: Database, id_: int, *, to: str, actor: str, now: datetime) -> None:
    """
    Give an open exception to somebody, `user:ID`; again to somebody else.

    Raises: RefusedError `vee.unknown`, `vee.settled`.
    """
    with db.transaction() as conn:
        found = _locked(conn, id_)
        store.assign(conn, id_, to=to, now=now)
        audit.record(
            conn, at=now, actor=actor, action="vee.exception.assign", entity="vee.exception",
            entity_id=str(id_), before={"assigned_to": found.assigned_to},
            after={"assigned_to": to},
        )  # fmt: skip


def close_exception(db: Database, id_: int, *, reason: str, actor: str, now: datetime) -> None:
    """
    Settle an open finding with a reason. It stays closed while the same is found (B12).

    Raises: RefusedError `vee.unknown`, `vee.settled`, `vee.reason_missing`,
    `vee.closes_itself` where values are missing: those end when values come, or `vee.blocks_bills`
    where it keeps a bill from being made: two people accept that.
    """
    with db.transaction() as conn:
        found = _locked(conn, id_)
        if found.kind in WATCHED:
            raise RefusedError(
                Refusal.CLOSES_ITSELF, f"exception {id_} ({found.kind}) ends when readings come",
                fix="assign it, or edit the values and have them verified",
            )  # fmt: skip
        if found.severity == Severity.BLOCKING:
            raise RefusedError(
                Refusal.BLOCKS, f"exception {id_} ({found.kind}) keeps a bill from being made",
                fix="edit the values, look at the day again, or let two people accept it where "
                "the bill waits: bill decide",
            )  # fmt: skip
        if not reason.strip():
            raise RefusedError(Refusal.REASON_MISSING, "a closed exception says why")
        store.settle(conn, id_, actor=actor, reason=reason.strip(), now=now)
        audit.record(
            conn, at=now, actor=actor, action="vee.exception.close", entity="vee.exception",
            entity_id=str(id_), before={"kind": found.kind.value, "severity": found.severity},
            reason=reason.strip(),
        )  # fmt: skip


def _locked(conn: Connection, id_: int) -> VeeException:
    found = store.lock_exception(conn, id_)
    if found is None:
        raise RefusedError(
            Refusal.UNKNOWN, f"there is no exception {id_}", fix="see `meterloop vee queue`"
        )
    if found.closed_at is not None:
        raise RefusedError(Refusal.SETTLED, f"exception {id_} is closed already")
    return found
