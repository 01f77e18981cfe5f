"""Use cases of the assets: register, exchange, and look up what hangs where."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cloud.assets import store
from cloud.assets.model import (
    Fleet,
    Installation,
    Installed,
    PastChange,
    PointKind,
    Ratio,
    RatioProposal,
    Refusal,
    Registration,
    Stays,
    UsagePoint,
)
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import ConcentratorId, MeterId, TransformerId, UsagePointId
from protocols.timeline import Interval

_CHUNK = 5000


def register(
    db: Database, registration: Registration, *, now: datetime, actor: str = "system:assets"
) -> None:
    """
    Make many things known in one transaction; repeating it changes nothing.

    Raises: RefusedError DIFFERS when an id is known with other attributes, OVERLAP when a meter or
    usage point is taken at that time; nothing of the registration is kept then.
    """
    with db.transaction() as conn:
        _same(registration.transformers, store.insert_transformers(conn, registration.transformers))
        _same(registration.usage_points, store.insert_usage_points(conn, registration.usage_points))
        _same(
            registration.concentrators,
            store.insert_concentrators(conn, registration.concentrators),
        )
        _same(registration.meters, store.insert_meters(conn, registration.meters))
        for start in range(0, len(registration.installations), _CHUNK):
            _install(conn, registration.installations[start : start + _CHUNK])
        audit.record(
            conn,
            at=now,
            actor=actor,
            action="assets.register",
            entity="assets",
            entity_id="registration",
            after={
                "transformers": len(registration.transformers),
                "usage_points": len(registration.usage_points),
                "concentrators": len(registration.concentrators),
                "meters": len(registration.meters),
                "installations": len(registration.installations),
            },
        )
        _told_late(conn, registration.installations, actor=actor, now=now)


def exchange(
    db: Database,
    *,
    usage_point: UsagePointId,
    new_meter: MeterId,
    at: datetime,
    final_wh: int | None,
    initial_wh: int | None,
    actor: str,
    now: datetime,
) -> None:
    """
    Take the meter of a usage point off at `at` and put `new_meter` there at the same instant.

    `final_wh` of the old and `initial_wh` of the new meter are what the fitter read; None lets the
    last and first register readings stand for them.
    Raises: RefusedError NOT_INSTALLED, UNKNOWN, OVERLAP.
    """
    with db.transaction() as conn:
        ended = store.end_installation(conn, usage_point, removed_at=at, final_wh=final_wh)
        if ended is None:
            raise RefusedError(
                Refusal.NOT_INSTALLED,
                f"no meter is installed at {usage_point} before {at.isoformat()}",
                fix="check the usage point and the time of the exchange",
            )
        if not store.meters(conn, [new_meter]):
            raise RefusedError(
                Refusal.UNKNOWN, f"meter {new_meter} is not registered", fix="register it first"
            )
        old_meter, concentrator = ended
        _install(
            conn,
            [
                Installation(
                    meter=new_meter,
                    usage_point=usage_point,
                    concentrator=concentrator,
                    installed_at=at,
                    initial_wh=initial_wh,
                )
            ],
        )
        audit.record(
            conn,
            at=now,
            actor=actor,
            action="assets.exchange",
            entity="usage_point",
            entity_id=usage_point,
            before={"meter": old_meter, "final_wh": final_wh},
            after={"meter": new_meter, "initial_wh": initial_wh, "at": at.isoformat()},
        )
        store.insert_changes(
            conn, [usage_point], [at], reference=f"exchange {old_meter} {new_meter}", actor=actor,
            now=now,
        )  # fmt: skip


def installation_of(conn: Connection, usage_point: UsagePointId) -> Installed | None:
    """Return what is installed at a usage point now, or None."""
    found = store.installed(conn, usage_points=[usage_point], only_open=True)
    return found[0] if found else None


def installations_of_meters(conn: Connection, meters: Sequence[MeterId]) -> list[Installed]:
    """Return every installation, past and present, of the meters, oldest first."""
    return store.installed(conn, meters=meters)


def installations_at(conn: Connection, usage_points: Sequence[UsagePointId]) -> list[Installed]:
    """Return every installation, past and present, at the usage points, oldest first."""
    return store.installed(conn, usage_points=usage_points)


def concentrators_of(
    conn: Connection, usage_points: Sequence[UsagePointId]
) -> list[ConcentratorId]:
    """Return the concentrators that ever had a meter of the usage points."""
    return store.concentrators_of(conn, usage_points)


def installed_at_concentrator(conn: Connection, concentrator: ConcentratorId) -> list[Installed]:
    """Return what a concentrator polls now."""
    return store.installed(conn, concentrator=concentrator, only_open=True)


def ever_installed_at(conn: Connection, concentrator: ConcentratorId) -> list[Installed]:
    """Return every installation, anywhere, of each meter that ever hung there, oldest first."""
    return store.ever_installed_at(conn, concentrator)


def revisions(
    conn: Connection, concentrators: Sequence[ConcentratorId]
) -> dict[ConcentratorId, int]:
    """
    Return a number per concentrator that rises with every change of what hangs there; else 0.

    Read it before the installations: then what is remembered is never newer than it says.
    """
    known = store.revisions(conn, concentrators)
    return {concentrator: known.get(concentrator, 0) for concentrator in concentrators}


def installed_now(conn: Connection) -> list[Installed]:
    """Return everything that is installed now."""
    return store.installed(conn, only_open=True)


def fleet(conn: Connection, since: datetime) -> Fleet:
    """Return how many meters hang on each concentrator, and which came or left after `since`."""
    return store.fleet(conn, since)


def usage_points_of_transformer(conn: Connection, transformer: TransformerId) -> list[UsagePoint]:
    """Return the usage points below a transformer, its head among them."""
    return store.usage_points_of_transformer(conn, transformer)


def units_of(conn: Connection, usage_points: Sequence[UsagePointId]) -> dict[UsagePointId, str]:
    """Return who looks after each usage point: its transformer's unit, else the transformer."""
    return store.units_of(conn, usage_points)


def usage_point(conn: Connection, id_: UsagePointId) -> UsagePoint | None:
    """Return one usage point, or None."""
    found = store.usage_points(conn, [id_])
    return found[0] if found else None


def usage_points(conn: Connection, ids: Sequence[UsagePointId]) -> list[UsagePoint]:
    """Return the usage points named that exist."""
    return store.usage_points(conn, list(ids))


def usage_point_ids(conn: Connection, kind: PointKind = PointKind.CUSTOMER) -> list[UsagePointId]:
    """Return the ids of every usage point of a kind, sorted."""
    return store.usage_point_ids(conn, kind)


def ratios(conn: Connection, usage_points: Sequence[UsagePointId]) -> list[Ratio]:
    """Return every factor of the usage points, oldest first for each; none means 1."""
    return store.ratios(conn, usage_points)


def put_ratio(conn: Connection, ratio: Ratio, *, actor: str, reason: str, now: datetime) -> None:
    """
    Let a usage point's figures be multiplied by another factor from an instant on.

    Usage rests on it: `cloud.usage.service.change_ratio` is the use case that keeps the two one.
    Raises: RefusedError UNKNOWN, DIFFERS where another factor begins at that instant.
    """
    if not store.usage_points(conn, [ratio.usage_point]):
        raise RefusedError(
            Refusal.UNKNOWN, f"usage point {ratio.usage_point} is not registered",
            fix="register it first",
        )  # fmt: skip
    if not store.insert_ratio(conn, ratio, actor=actor, reason=reason, now=now):
        raise RefusedError(
            Refusal.DIFFERS,
            f"a factor of {ratio.usage_point} begins at {ratio.valid_from.isoformat()} already",
            fix="name the instant at which the transformers were really changed",
        )
    audit.record(
        conn,
        at=now,
        actor=actor,
        action="assets.ratio",
        entity="usage_point",
        entity_id=ratio.usage_point,
        after={
            "numerator": ratio.numerator,
            "denominator": ratio.denominator,
            "valid_from": ratio.valid_from.isoformat(),
            "register_wh": ratio.register_wh,
            "reason": reason,
        },
    )
    store.insert_changes(
        conn, [ratio.usage_point], [ratio.valid_from],
        reference=f"ratio {ratio.numerator}/{ratio.denominator}", actor=actor, now=now,
    )  # fmt: skip


def zones(conn: Connection) -> dict[str, datetime]:
    """Return each zone that has meters, and when the first of them was installed."""
    return store.zones(conn)


def points_of_zone(
    conn: Connection, zone: str, span: Interval, *, after: str, limit: int
) -> list[UsagePointId]:
    """Return the next usage points of a zone by id that had a meter at some time of `span`."""
    return store.points_of_zone(conn, zone, span, after=after, limit=limit)


def propose_ratio(conn: Connection, ratio: Ratio, *, reason: str, actor: str, now: datetime) -> int:
    """
    Write down a change of a factor that waits for a second person; return its number.

    `cloud.rollups.service.ratios` is the use case. Raises: RefusedError UNKNOWN, DIFFERS.
    """
    if not store.usage_points(conn, [ratio.usage_point]):
        raise RefusedError(
            Refusal.UNKNOWN, f"usage point {ratio.usage_point} is not registered",
            fix="register it first",
        )  # fmt: skip
    if any(each.valid_from == ratio.valid_from for each in ratios(conn, [ratio.usage_point])):
        raise RefusedError(
            Refusal.DIFFERS,
            f"a factor of {ratio.usage_point} begins at {ratio.valid_from.isoformat()} already",
            fix="name the instant at which the transformers were really changed",
        )
    id_ = store.insert_ratio_proposal(conn, ratio, reason=reason, actor=actor, now=now)
    audit.record(
        conn, at=now, actor=actor, action="assets.ratio_proposed", entity="usage_point",
        entity_id=ratio.usage_point, reason=reason,
        after={
            "proposal": id_, "numerator": ratio.numerator, "denominator": ratio.denominator,
            "valid_from": ratio.valid_from.isoformat(), "register_wh": ratio.register_wh,
        },
    )  # fmt: skip
    return id_


def decide_ratio(
    conn: Connection, id_: int, *, verified: bool, reason: str, actor: str, now: datetime
) -> RatioProposal:
    """
    Write down what a second person says of a proposed factor, and return the proposal.

    Raises: RefusedError UNKNOWN, DECIDED, SAME_PERSON (who proposed does not verify), RATIO where a
    refusal has no reason.
    """
    found = store.ratio_proposals(conn, id_=id_, limit=1)
    if not found:
        raise RefusedError(
            Refusal.UNKNOWN, f"no change of a factor has the number {id_}",
            fix="meterloop assets ratio list",
        )  # fmt: skip
    if verified and found[0].proposed_by == actor:
        raise RefusedError(
            Refusal.SAME_PERSON, f"{actor} proposed it: another person must verify",
            fix="let somebody else sign in and verify",
        )  # fmt: skip
    if not verified and not reason.strip():
        raise RefusedError(Refusal.RATIO, "why is not said", fix="name the reason")
    if not store.insert_ratio_decision(
        conn, id_, verified=verified, reason=reason.strip(), actor=actor, now=now
    ):
        raise RefusedError(
            Refusal.DECIDED, f"change {id_} is decided already", fix="meterloop assets ratio list"
        )
    audit.record(
        conn, at=now, actor=actor,
        action="assets.ratio_verified" if verified else "assets.ratio_refused",
        entity="usage_point", entity_id=found[0].ratio.usage_point, after={"proposal": id_},
        reason=reason.strip(),
    )  # fmt: skip
    return store.ratio_proposals(conn, id_=id_, limit=1)[0]


def ratio_proposals(
    conn: Connection,
    *,
    id_: int | None = None,
    usage_point: UsagePointId | None = None,
    only_open: bool = False,
    limit: int = 100,
) -> list[RatioProposal]:
    """Return proposed changes of factors, newest first; None is any."""
    return store.ratio_proposals(
        conn, id_=id_, usage_point=usage_point, only_open=only_open, limit=limit
    )


def stays(conn: Connection, usage_points: Sequence[UsagePointId]) -> Stays:
    """Return what hung at the usage points, for those who compute with many at once."""
    return store.stays(conn, usage_points)


def points_by_zone(
    conn: Connection, kind: PointKind = PointKind.CUSTOMER
) -> dict[str, list[UsagePointId]]:
    """Return every usage point of a kind by zone, sorted."""
    return store.points_by_zone(conn, kind)


def zones_of(conn: Connection, usage_points: Sequence[UsagePointId]) -> dict[UsagePointId, str]:
    """Return the zone of each usage point that exists."""
    return store.zones_of(conn, usage_points)


def take_changes(conn: Connection, limit: int) -> list[PastChange]:
    """Take what was told of past time, oldest first: who takes it makes anew what rests on it."""
    return store.take_changes(conn, limit)


def _told_late(
    conn: Connection, installations: Sequence[Installation], *, actor: str, now: datetime
) -> None:
    """Note installations of past time beside others at their point: what was first has no past."""
    late = [each for each in installations if each.installed_at < now]
    points, since = [each.usage_point for each in late], [each.installed_at for each in late]
    several = store.points_with_others(conn, points, since)
    store.insert_changes(
        conn, [points[n] for n in several], [since[n] for n in several], reference="installation",
        actor=actor, now=now,
    )  # fmt: skip


def _same(wanted: Sequence[Any], found: Sequence[Any]) -> None:
    known = {thing.id: thing for thing in found}
    for thing in wanted:
        if known.get(thing.id) != thing:
            raise RefusedError(
                Refusal.DIFFERS,
                f"{thing.id} is known as {known.get(thing.id)}, not as {thing}",
                fix="correct the import, or change the known thing first",
            )


def _install(conn: Connection, installations: Sequence[Installation]) -> None:
    if not installations:
        return
    store.insert_installations(conn, installations)
    meters = sorted({installation.meter for installation in installations})
    known = {
        (found.installation.meter, found.installation.installed_at): found.installation
        for found in store.installed(conn, meters=meters)
    }
    for wanted in installations:
        found = known.get((wanted.meter, wanted.installed_at))
        if found is None:
            raise RefusedError(
                Refusal.OVERLAP,
                f"{wanted.meter} or {wanted.usage_point} is taken from "
                f"{wanted.installed_at.isoformat()}",
                fix="remove or exchange the meter that is there first",
            )
        # a removal since then is news, not a contradiction
        if (found.usage_point, found.concentrator, found.initial_wh) != (
            wanted.usage_point, wanted.concentrator, wanted.initial_wh,
        ):  # fmt: skip
            raise RefusedError(
                Refusal.DIFFERS,
                f"{wanted.meter} was installed then at {found.usage_point} below "
                f"{found.concentrator}",
                fix="correct the import",
            )
