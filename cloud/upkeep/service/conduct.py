"""Use cases of time: spread rollouts, send what is signed, end what is over or was not signed."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from cloud.store import audit
from cloud.store.clock import Clock
from cloud.store.db import Connection, Database
from cloud.upkeep import rules
from cloud.upkeep.model import (
    Errand,
    ErrandEvent,
    ErrandState,
    Kind,
    Rollout,
    RolloutId,
)
from cloud.upkeep.service import bodies, steps
from cloud.upkeep.service.images import image_of
from cloud.upkeep.store import errands as errand_rows
from cloud.upkeep.store import rollouts as rollout_rows
from protocols.identity import CommandId, ConcentratorId
from protocols.mqtt.downlink import seal

EARLY_SECONDS = 300
"""Wall seconds by which a concentrator's clock may be behind."""
GRACE_SECONDS = 60
"""Wall seconds after an errand's validity in which an answer may still come."""
BEGUN_SECONDS = 6 * 3600
"""Wall seconds after its validity in which an errand that was begun may still end."""


class Outgoing(NamedTuple):
    """A signed payload for one concentrator; `errand` names it for repeats."""

    errand: CommandId
    kind: Kind
    concentrator: ConcentratorId
    payload: bytes
    expires: datetime


def advance(db: Database, clock: Clock) -> int:
    """Let every open rollout do its next step, one transaction each; return how many did one."""
    with db.transaction() as conn:
        waiting = rollout_rows.open_rollouts(conn)
    return sum(_advance(db, clock, id_) for id_ in waiting)


def _advance(db: Database, clock: Clock, id_: RolloutId) -> bool:
    with db.transaction() as conn:
        rollout = steps.locked(conn, id_)
        errands = errand_rows.errands_of(conn, id_)
        step = rules.next_step(rollout, errands, now=clock.now())
        if step.event is not None:
            steps.move_rollout(
                conn, rollout, step.event, actor=steps.SYSTEM, cause=step.cause, now=clock.now()
            )
        chosen = [item for item in errands if item.id in set(step.issue)]
        _issue(conn, clock, rollout, chosen)
    return step.event is not None or bool(step.issue)


def _issue(conn: Connection, clock: Clock, rollout: Rollout, errands: Sequence[Errand]) -> None:
    """Give errands the octets that the signer will judge."""
    image = image_of(conn, rollout.image) if rollout.image else None
    now = clock.now()
    not_before = now - clock.wall_span(EARLY_SECONDS)
    # in one order for all, so that two transactions never wait for each other's revisions
    for errand in sorted(errands, key=lambda item: item.concentrator):
        revision = None
        if errand.kind is Kind.CONFIGURATION:
            revision = errand_rows.next_revision(conn, errand.concentrator)
            body = bodies.settings_body(rollout, errand, revision, issued_at=now)
        else:
            body = bodies.command_body(rollout, errand, image, not_before=not_before)
        if errand_rows.set_issued(
            conn, errand.id, revision=revision, body=body, not_before=not_before,
            expires=rollout.until, now=now,
        ):  # fmt: skip
            people = (rollout.requested_by, rollout.approved_by)
            audit.record(
                conn, at=now, actor=steps.SYSTEM, action="errand.issue", entity="errand",
                entity_id=errand.id, on_behalf=" ".join(name for name in people if name),
                after={
                    "rollout": rollout.id, "meter": errand.meter, "kind": errand.kind.value,
                    "revision": revision,
                },
                reason=rollout.reason,
            )  # fmt: skip


def outgoing(db: Database, clock: Clock) -> list[Outgoing]:
    """
    Return everything that must be on the wire now.

    Sending twice does no harm (the edge knows ids), so whatever the edge has not answered is
    returned again; the caller paces repeats.
    """
    now = clock.now()
    found = []
    with db.transaction() as conn:
        for item in errand_rows.sendable(conn):
            if item.expires <= now:
                continue
            if item.state is ErrandState.ISSUED:
                # under the rollout's lock: one that is halted sends nothing more
                steps.locked(conn, item.rollout)
                if not errand_rows.set_dispatched(conn, item.id, now=now):
                    continue
                audit.record(
                    conn, at=now, actor=steps.SYSTEM, action="errand.dispatch", entity="errand",
                    entity_id=item.id, after={"concentrator": item.concentrator},
                )  # fmt: skip
            payload = seal(item.body, item.signature)
            found.append(Outgoing(item.id, item.kind, item.concentrator, payload, item.expires))
    return found


def take_signer_refusals(db: Database, *, now: datetime) -> int:
    """End what the signer would not sign; return how many."""
    with db.transaction() as conn:
        refused = errand_rows.not_signed(conn)
    for id_, rollout, cause in refused:
        _end(
            db, id_, rollout, ErrandEvent.REFUSED, actor="system:signer",
            reason=f"signer: {cause}", now=now,
        )  # fmt: skip
    return len(refused)


def expire_errands(db: Database, clock: Clock) -> int:
    """End errands that got no answer in time; return how many."""
    now = clock.now()
    with db.transaction() as conn:
        late = errand_rows.overdue(
            conn, before=now - clock.wall_span(GRACE_SECONDS),
            begun_before=now - clock.wall_span(BEGUN_SECONDS),
        )  # fmt: skip
    for id_, rollout, _ in late:
        _end(
            db, id_, rollout, ErrandEvent.EXPIRED, actor=steps.SYSTEM, reason="no answer in time",
            now=now,
        )  # fmt: skip
    return len(late)


def _end(
    db: Database,
    id_: CommandId,
    rollout: RolloutId,
    event: ErrandEvent,
    *,
    actor: str,
    reason: str,
    now: datetime,
) -> None:
    with db.transaction() as conn:
        steps.locked(conn, rollout)
        errand = errand_rows.errand(conn, id_)
        assert errand is not None
        evidence = {"state": errand.state.value, "progress": errand.progress}
        steps.end_errand(
            conn, errand, event, actor=actor, reason=reason, evidence=evidence, now=now
        )
