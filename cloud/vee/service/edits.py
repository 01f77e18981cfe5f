"""
Values by hand: one person proposes, another verifies; nobody's word stands alone (B11).

    proposed -> verified     by somebody else: the values stand from then on
    proposed -> refused      by anybody, the proposer too, with a reason

An edit outranks whatever was measured or estimated. Cancelling a value leaves nothing in its place:
no older value comes back.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from cloud.assets import service as assets
from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.vee.model import Edit, EditState, OverlayKind, Refusal
from cloud.vee.service.versions import Changed
from cloud.vee.store import days as day_store
from cloud.vee.store import edits as store
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import from_ms, local_date, local_day, to_ms

_MOST = 3200
"""Values of one edit: a month of quarter hours."""

_MOST_WH = 10**13


def propose_edit(
    db: Database,
    usage_point: UsagePointId,
    *,
    seconds: int,
    values: Mapping[datetime, int | None],
    reason: str,
    actor: str,
    now: datetime,
) -> int:
    """
    Propose interval values by their starts, or registers (`seconds` 0) by their instants.

    None cancels a value. *Units*: Wh of the usage point. Returns the number of the proposal.
    Raises: RefusedError `vee.reason_missing`, `vee.edit_shape`.
    """
    if not reason.strip():
        raise RefusedError(Refusal.REASON_MISSING, "an edit says why")
    chosen = sorted((to_ms(at), wh) for at, wh in values.items())
    with db.transaction() as conn:
        fault = _fault(conn, usage_point, seconds, chosen, now)
        if fault:
            raise RefusedError(
                Refusal.EDIT_SHAPE, fault, fix="name intervals by their start, in whole Wh"
            )
        id_ = store.insert(
            conn, usage_point=usage_point, seconds=seconds, start_ms=[at for at, _ in chosen],
            wh=[wh for _, wh in chosen], reason=reason.strip(), actor=actor, now=now,
        )  # fmt: skip
        audit.record(
            conn, at=now, actor=actor, action="vee.edit.propose", entity="vee.edit",
            entity_id=str(id_), reason=reason.strip(),
            after={"usage_point": usage_point, "seconds": seconds, "values": len(chosen),
                   "wh": sum(wh or 0 for _, wh in chosen)},
        )  # fmt: skip
        return id_


def verify_edit(
    db: Database,
    id_: int,
    *,
    actor: str,
    now: datetime,
    changed: Changed | None = None,
    refresh: Callable[[Connection, Sequence[UsagePointId]], object] | None = None,
) -> Edit:
    """
    Let proposed values stand, as somebody other than who proposed them.

    `changed` hears of the days in the same transaction, `refresh` of a usage point whose registers
    changed. Raises: RefusedError `vee.unknown`, `vee.settled`, `vee.same_person`.
    """
    with db.transaction() as conn:
        edit = _locked(conn, id_)
        if edit.proposed_by == actor:
            raise RefusedError(
                Refusal.SAME_PERSON, f"{actor} proposed edit {id_} and cannot verify it",
                fix="have somebody else look at it",
            )  # fmt: skip
        store.decide(conn, id_, state=EditState.VERIFIED, actor=actor, decision="", now=now)
        (point,) = assets.usage_points(conn, [edit.usage_point])
        zone = ZoneInfo(point.zone)
        days = sorted({local_date(from_ms(at), zone) for at in edit.start_ms})
        if edit.seconds:
            for day in days:
                _say_slots(conn, edit, day=day, zone=zone, actor=actor, now=now)
        else:
            # a register at midnight ends the day before too
            days = sorted({*days, *(local_date(from_ms(at - 1), zone) for at in edit.start_ms)})
            for at, wh in zip(edit.start_ms, edit.wh, strict=True):
                store.insert_register(
                    conn, edit, at=from_ms(at), kind=int(_kind(wh)), wh=wh or 0,
                    verified_by=actor, now=now,
                )  # fmt: skip
            if refresh is not None:
                refresh(conn, [edit.usage_point])
        day_store.mark_dirty(
            conn, [(edit.usage_point, day) for day in days], now, cause="edit",
            reference=str(id_), actor=actor,
        )  # fmt: skip
        audit.record(
            conn, at=now, actor=actor, action="vee.edit.verify", entity="vee.edit",
            entity_id=str(id_), on_behalf=edit.proposed_by, reason=edit.reason,
            after={"usage_point": edit.usage_point, "days": [str(day) for day in days]},
        )  # fmt: skip
        if changed is not None:
            changed(
                conn, [edit.usage_point] * len(days), days, cause="edit", reference=str(id_),
                actor=actor, now=now,
            )  # fmt: skip
        return edit


def refuse_edit(db: Database, id_: int, *, reason: str, actor: str, now: datetime) -> None:
    """
    Refuse or take back a proposal, with a reason.

    Raises: RefusedError `vee.unknown`, `vee.settled`, `vee.reason_missing`.
    """
    if not reason.strip():
        raise RefusedError(Refusal.REASON_MISSING, "a refusal says why")
    with db.transaction() as conn:
        _locked(conn, id_)
        store.decide(
            conn, id_, state=EditState.REFUSED, actor=actor, decision=reason.strip(), now=now
        )
        audit.record(
            conn, at=now, actor=actor, action="vee.edit.refuse", entity="vee.edit",
            entity_id=str(id_), reason=reason.strip(),
        )  # fmt: skip


def edits(
    conn: Connection,
    *,
    state: EditState | None = None,
    usage_point: UsagePointId | None = None,
    limit: int = 200,
) -> list[Edit]:
    """Return proposals, newest first; None means any."""
    return store.edits(conn, state, usage_point, limit)


def _say_slots(
    conn: Connection, edit: Edit, *, day: date, zone: ZoneInfo, actor: str,
    now: datetime,
) -> None:  # fmt: skip
    span = local_day(day, zone)
    mine = [
        (at, wh)
        for at, wh in zip(edit.start_ms, edit.wh, strict=True)
        if from_ms(at) in span
    ]  # fmt: skip
    store.insert_slots(
        conn, edit, day=day, since=span.start,
        offset_s=[(at - to_ms(span.start)) // 1000 for at, _ in mine],
        kind=[int(_kind(wh)) for _, wh in mine], wh=[wh or 0 for _, wh in mine],
        verified_by=actor, now=now,
    )  # fmt: skip


def _kind(wh: int | None) -> OverlayKind:
    return OverlayKind.CANCEL if wh is None else OverlayKind.EDIT


def _fault(
    conn: Connection,
    usage_point: UsagePointId,
    seconds: int,
    chosen: Sequence[tuple[int, int | None]],
    now: datetime,
) -> str:
    """Return what is wrong with a proposal, empty where nothing is."""
    if not 1 <= len(chosen) <= _MOST:
        return f"an edit has 1 to {_MOST} values, not {len(chosen)}"
    if any(wh is not None and not 0 <= wh <= _MOST_WH for _, wh in chosen):
        return f"values lie between 0 and {_MOST_WH} Wh"
    if seconds < 0 or (seconds and any(at % (seconds * 1000) for at, _ in chosen)):
        return f"starts lie on the grid of {seconds} s"
    if chosen[-1][0] + seconds * 1000 > to_ms(now):
        return "nothing is known of the future"
    spans = [
        (to_ms(item.installation.installed_at), item.installation.removed_at)
        for item in assets.installations_at(conn, [usage_point])
        if not seconds or item.meter.interval_seconds == seconds
    ]
    for at, _ in chosen:
        if not any(since <= at and (end is None or at <= to_ms(end)) for since, end in spans):
            return f"no meter with such intervals hangs at {usage_point} at {from_ms(at)}"
    return ""


def _locked(conn: Connection, id_: int) -> Edit:
    found = store.lock(conn, id_)
    if found is None:
        raise RefusedError(
            Refusal.UNKNOWN, f"there is no edit {id_}", fix="see `meterloop vee edits`"
        )
    if found.state is not EditState.PROPOSED:
        raise RefusedError(Refusal.SETTLED, f"edit {id_} is {found.state.value} already")
    return found
