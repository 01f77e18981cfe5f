"""Use cases of people: ask for a rollout, approve it, stop it, look at it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from cloud.assets import service as assets
from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.upkeep import rules
from cloud.upkeep.model import (
    RUNNING,
    TWO_PEOPLE,
    Errand,
    Kind,
    Refusal,
    Rollout,
    RolloutEvent,
    RolloutId,
    Target,
    Wish,
)
from cloud.upkeep.service import steps
from cloud.upkeep.service.images import image_of
from cloud.upkeep.store import errands as errand_rows
from cloud.upkeep.store import rollouts as rollout_rows
from protocols.errors import RefusedError
from protocols.identity import ConcentratorId, MeterId

_FIX = {
    Refusal.SAME_PERSON: "let somebody else approve it",
    Refusal.NO_APPROVAL_NEEDED: "settings run without approval",
    Refusal.EXPIRED: "choose another time, or ask anew",
    Refusal.BUSY: "wait until it has ended, or withdraw the other rollout",
    Refusal.SETTING: "correct the setting",
    Refusal.OTHER_MODEL: "choose an image of that model",
    Refusal.NO_TARGETS: "name at least one",
    Refusal.UNKNOWN_TARGET: "check the ids",
    Refusal.NOT_BROUGHT: "roll the firmware out first, without activating it",
}


def ask(db: Database, wish: Wish, *, now: datetime) -> RolloutId:
    """
    Take a wish; settings start at once, firmware and keys wait for a second person.

    Raises: RefusedError naming what is wrong with it; BUSY where a target has one open.
    """
    _raise(rules.refuse_wish(wish, now=now))
    with db.transaction() as conn:
        if wish.kind is Kind.CONFIGURATION:
            _check_concentrators(conn, wish)
        else:
            _check_meters(conn, wish)
        id_ = rollout_rows.insert_rollout(conn, wish, now=now)
        errand_rows.insert_errands(conn, id_, wish.kind, wish.targets)
        audit.record(
            conn, at=now, actor=wish.requested_by, action="rollout.ask", entity="rollout",
            entity_id=id_, reason=wish.reason,
            after={
                "kind": wish.kind.value, "targets": len(wish.targets),
                "settings": dict(wish.settings) if wish.settings is not None else None,
                "image": wish.image.hex() if wish.image else None,
                "until": wish.until.isoformat(),
            },
        )  # fmt: skip
        if wish.kind not in TWO_PEOPLE:
            found = steps.locked(conn, id_)
            steps.move_rollout(conn, found, RolloutEvent.START, actor=wish.requested_by, now=now)
    return id_


def approve(db: Database, id_: RolloutId, *, actor: str, now: datetime) -> None:
    """
    Approve as the second person, which starts the rollout.

    Raises: RefusedError SAME_PERSON, WRONG_STATE, EXPIRED, NOT_A_PERSON, NO_APPROVAL_NEEDED.
    """
    with db.transaction() as conn:
        found = steps.locked(conn, id_)
        refusal = rules.refuse_approval(found, actor, now=now)
        if refusal is not None:
            text = f"{actor} cannot approve {id_}, which is {found.state.value}"
            _raise((refusal, text))
        rollout_rows.set_approved(conn, id_, actor=actor, now=now)
        steps.move_rollout(conn, found, RolloutEvent.START, actor=actor, now=now)


def withdraw(db: Database, id_: RolloutId, *, actor: str, reason: str, now: datetime) -> None:
    """
    Stop a rollout: nothing more of it is sent. What was sent goes on to its end.

    Raises: RefusedError NOT_A_PERSON, WRONG_STATE, UNKNOWN_ROLLOUT.
    """
    if not rules.is_person(actor):
        _raise((Refusal.NOT_A_PERSON, f"{actor} is no person"))
    with db.transaction() as conn:
        found = steps.locked(conn, id_)
        event = RolloutEvent.HALT if found.state in RUNNING else RolloutEvent.WITHDRAW
        steps.move_rollout(conn, found, event, actor=actor, cause=reason, now=now)


def rollout_of(conn: Connection, id_: RolloutId) -> Rollout:
    """Return a rollout. Raises: RefusedError UNKNOWN_ROLLOUT."""
    return steps.locked(conn, id_)


def rollouts(conn: Connection, *, most: int = 50) -> list[Rollout]:
    """Return the newest rollouts."""
    return rollout_rows.rollouts(conn, most=most)


def errands_of(conn: Connection, id_: RolloutId) -> list[Errand]:
    """Return what became of each target of a rollout, in their order."""
    return errand_rows.errands_of(conn, id_)


def targets_of(
    conn: Connection,
    meters: Sequence[MeterId],
    *,
    sealed: Mapping[MeterId, bytes] | None = None,
    activates: bytes | None = None,
) -> tuple[Target, ...]:
    """
    Return meters as targets behind the concentrators that poll them now.

    `sealed` are their new keys, `activates` the image to activate that an earlier rollout brought.
    Raises: RefusedError UNKNOWN_TARGET.
    """
    where = _concentrators(conn, meters)
    brought = errand_rows.brought(conn, meters, activates) if activates else {}
    return tuple(
        Target(
            concentrator=where[meter], meter=meter, sealed=(sealed or {}).get(meter),
            source=brought.get(meter),
        )
        for meter in meters
    )  # fmt: skip


def concentrators_as_targets(concentrators: Sequence[ConcentratorId]) -> tuple[Target, ...]:
    """Return concentrators as targets of settings: each stands under its own name."""
    return tuple(Target(concentrator=name, meter=MeterId(name)) for name in concentrators)


def meters_of_model(conn: Connection, model: str) -> list[MeterId]:
    """Return the meters of a model that are installed now, by id."""
    return sorted(item.meter.id for item in assets.installed_now(conn) if item.meter.model == model)


def _check_concentrators(conn: Connection, wish: Wish) -> None:
    known = {item.concentrator for item in assets.installed_now(conn)}
    for target in wish.targets:
        if target.concentrator not in known or str(target.meter) != target.concentrator:
            text = f"no concentrator {target.concentrator} polls any meter"
            _raise((Refusal.UNKNOWN_TARGET, text))


def _check_meters(conn: Connection, wish: Wish) -> None:
    image = image_of(conn, wish.image) if wish.image else None
    names = [target.meter for target in wish.targets]
    where = _concentrators(conn, names)
    known = {item.meter.id: item.meter for item in assets.installations_of_meters(conn, names)}
    for target in wish.targets:
        if where[target.meter] != target.concentrator:
            text = f"{target.meter} is polled by {where[target.meter]}, not {target.concentrator}"
            _raise((Refusal.UNKNOWN_TARGET, text))
        _raise(rules.refuse_meter(wish.kind, known[target.meter], image))


def _concentrators(conn: Connection, meters: Sequence[MeterId]) -> dict[MeterId, ConcentratorId]:
    where = {
        item.meter.id: item.concentrator
        for item in assets.installations_of_meters(conn, meters)
        if item.installation.removed_at is None
    }
    missing = sorted(set(meters) - set(where))
    if missing:
        text = f"not installed anywhere: {', '.join(missing[:10])}"
        raise RefusedError(Refusal.UNKNOWN_TARGET, text, fix="check the ids of the meters")
    return where


def _raise(refused: tuple[Refusal, str] | None) -> None:
    if refused is not None:
        refusal, text = refused
        raise RefusedError(refusal, text, fix=_FIX.get(refusal, ""))
