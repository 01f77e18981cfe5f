"""Use cases about a supply: payment, hold, protection, halt, policy, what the field reports."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cloud.assets import service as assets
from cloud.control import rules
from cloud.control.model import (
    HaltState,
    Policy,
    Protection,
    Refusal,
    RelayPosition,
    RequestEvent,
    RequestState,
    SupplyState,
)
from cloud.control.service import steps
from cloud.control.store import requests as request_rows
from cloud.control.store import supply as rows
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import CommandId, UsagePointId

LEVELS = ("feeder", "transformer", "usage_point")


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMark:
    """A posted payment as control needs to know it; fields as `payment_registered` takes them."""

    usage_point: UsagePointId
    ref: str
    restores: bool


def open_supply(conn: Connection, usage_point: UsagePointId, now: datetime) -> None:
    """Make the lock row of a customer's supply; repeating it changes nothing."""
    found = assets.usage_point(conn, usage_point)
    rows.open_supply(conn, usage_point, transformer=found.transformer if found else "", now=now)


def supply_of(
    conn: Connection, usage_point: UsagePointId, *, now: datetime | None = None
) -> SupplyState:
    """
    Return the state of a supply as a page shows it; no lock.

    With `now` also what the gate asks (holds, halt, limits). Raises: RefusedError UNKNOWN_SUPPLY.
    """
    if now is not None:
        return steps.supply_for_gate(conn, usage_point, rows.policy(conn), lock=False, now=now)
    found = rows.supply(conn, usage_point, lock=False)
    if found is None:
        raise RefusedError(Refusal.UNKNOWN_SUPPLY, f"{usage_point} has no supply state")
    return found


def payment_registered(
    conn: Connection, usage_point: UsagePointId, *, ref: str, restores: bool, now: datetime
) -> SupplyState:
    """
    Fence off every cut that was wanted before this payment, in the payment's own transaction.

    The epoch rises under the lock that a cut also takes. What was not yet released to the edge is
    cancelled; a cut that was, or is done, gets its reconnect issued here when `restores` tells
    that the balance allows power. Call it once per posted payment, after the ledger's locks.

    Raises: RefusedError UNKNOWN_SUPPLY.
    """
    mark = PaymentMark(usage_point=usage_point, ref=ref, restores=restores)
    payments_registered(conn, [mark], now=now)
    after = rows.supply(conn, usage_point, lock=False)
    assert after is not None
    return after


def payments_registered(conn: Connection, marks: Sequence[PaymentMark], *, now: datetime) -> None:
    """
    Do what `payment_registered` does for payments of different supplies at once.

    Raises: RefusedError UNKNOWN_SUPPLY.
    """
    points = [mark.usage_point for mark in marks]
    known = rows.lock_supplies(conn, points)
    missing = [point for point in points if point not in known]
    if missing:
        raise RefusedError(
            Refusal.UNKNOWN_SUPPLY, f"{missing[0]} has no supply state",
            fix="open_supply belongs to the registration of the customer",
        )  # fmt: skip
    epochs = rows.raise_epochs(conn, points, now=now)
    acts = [
        audit.Act(
            actor="system:billing", action="supply.payment", entity="supply",
            entity_id=mark.usage_point, before={"epoch": known[mark.usage_point].epoch},
            after={"epoch": epochs[mark.usage_point]}, reason=mark.ref,
        )
        for mark in marks
    ]  # fmt: skip
    audit.record_many(conn, acts, at=now)
    being_cut = rows.being_cut(conn, points)
    for mark in marks:
        point, found = mark.usage_point, known[mark.usage_point]
        under_way = point in being_cut and steps.cancel_cut(
            conn, point, cause=Refusal.PAYMENT_REGISTERED, actor="system:billing", now=now
        )
        if mark.restores and (under_way or found.cut_for_arrears or found.restore_due_at):
            restore_power(
                conn, found, epoch=epochs[point], actor="system:billing", reason=mark.ref, now=now
            )


def request_reconnect(
    db: Database, usage_point: UsagePointId, *, actor: str, reason: str, now: datetime
) -> CommandId:
    """
    Order power back by hand; raises the epoch as a payment does, so no older cut can follow.

    Raises: RefusedError NOT_CUT when the switch is closed and nothing is on its way to open it,
    COMMAND_OPEN when a reconnect is under way, NO_SWITCH when no meter could obey.
    """
    with db.transaction() as conn:
        found = rows.supply(conn, usage_point, lock=True)
        if found is None:
            raise RefusedError(Refusal.UNKNOWN_SUPPLY, f"{usage_point} has no supply state")
        epoch = rows.raise_epoch(conn, usage_point, now=now)
        under_way = steps.cancel_cut(
            conn, usage_point, cause="reconnect_ordered", actor=actor, now=now
        )
        if found.relay_state is RelayPosition.CONNECTED and not under_way:
            raise RefusedError(Refusal.NOT_CUT, f"{usage_point} has power")
        if found.open_command and not under_way:
            raise RefusedError(
                Refusal.COMMAND_OPEN, f"{usage_point}: {found.open_command} is under way"
            )
        command = restore_power(conn, found, epoch=epoch, actor=actor, reason=reason, now=now)
        if command is None:
            raise RefusedError(
                Refusal.NO_SWITCH, f"{usage_point} has no meter that could close",
                fix="raise a work order",
            )  # fmt: skip
        return command


def restore_power(
    conn: Connection, found: SupplyState, *, epoch: int, actor: str, reason: str, now: datetime
) -> CommandId | None:
    """Note that power is owed to a locked supply and order it back; None where no meter could."""
    rows.set_restore_due(conn, found.usage_point, now=now)
    if found.state_source == "field":
        # a crew opened it, maybe beside the meter's own switch: a crew has to close it (E6)
        request_rows.insert_outcome(
            conn, usage_point=found.usage_point, request_id=None, command=None, verb="alarm",
            result="overdue", cause="cut on site", now=now,
        )  # fmt: skip
    return steps.issue_reconnect(conn, found, epoch=epoch, actor=actor, reason=reason, now=now)


def hold(
    conn: Connection,
    usage_point: UsagePointId,
    *,
    kind: str,
    ref: str,
    reason: str,
    actor: str,
    now: datetime,
    until: datetime | None = None,
) -> None:
    """Place a reason not to cut for now (dispute, promise, instalments, grace); stops a cut."""
    found = rows.supply(conn, usage_point, lock=True)
    rows.insert_hold(
        conn, usage_point, kind=kind, ref=ref, reason=reason, actor=actor, until=until, now=now
    )
    audit.record(
        conn, at=now, actor=actor, action="supply.hold", entity="supply", entity_id=usage_point,
        after={"kind": kind, "ref": ref}, reason=reason,
    )  # fmt: skip
    too_late = steps.cancel_cut(conn, usage_point, cause=Refusal.ON_HOLD, actor=actor, now=now)
    if too_late and found is not None:
        restore_power(conn, found, epoch=found.epoch, actor=actor, reason=reason, now=now)


def release(
    conn: Connection, usage_point: UsagePointId, *, ref: str, actor: str, now: datetime
) -> bool:
    """End the hold of a reference; False when there was none."""
    rows.supply(conn, usage_point, lock=True)
    released = rows.release_hold(conn, usage_point, ref=ref, now=now)
    if released:
        audit.record(
            conn, at=now, actor=actor, action="supply.release", entity="supply",
            entity_id=usage_point, after={"ref": ref},
        )  # fmt: skip
    return released


def protect(
    db: Database,
    *,
    level: str,
    target: str,
    reason: str,
    actor: str,
    now: datetime,
    until: datetime | None = None,
) -> int:
    """
    Forbid every cut at or below one point of the network (D8) and stop those on their way.

    Return how many supplies it covers now; those opened later below it are covered too.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, not {level!r}")
    with db.transaction() as conn:
        points = rows.lock_supplies_of(conn, level=level, target=target)
        rows.insert_protection(
            conn, level=level, target=target, reason=reason, actor=actor, until=until, now=now
        )
        audit.record(
            conn, at=now, actor=actor, action="protection.set", entity=level, entity_id=target,
            after={"supplies": len(points)}, reason=reason,
        )  # fmt: skip
        for usage_point in points:
            rows.set_protected(conn, usage_point, protected=True, now=now)
            too_late = steps.cancel_cut(
                conn, usage_point, cause=Refusal.PROTECTED_CUSTOMER, actor=actor, now=now
            )
            found = rows.supply(conn, usage_point, lock=False)
            if too_late and found is not None:
                restore_power(conn, found, epoch=found.epoch, actor=actor, reason=reason, now=now)
        return len(points)


def unprotect(
    db: Database, *, level: str, target: str, actor: str, reason: str, now: datetime
) -> bool:
    """End a protection; supplies that another one covers stay protected. False when none."""
    with db.transaction() as conn:
        points = rows.lock_supplies_of(conn, level=level, target=target)
        if not rows.end_protection(conn, level=level, target=target, now=now):
            return False
        audit.record(
            conn, at=now, actor=actor, action="protection.end", entity=level, entity_id=target,
            after={"supplies": len(points)}, reason=reason,
        )  # fmt: skip
        for usage_point in points:
            covered = bool(rows.protections_of(conn, usage_point))
            rows.set_protected(conn, usage_point, protected=covered, now=now)
        return True


def protections_of(conn: Connection, usage_point: UsagePointId) -> list[Protection]:
    """Return the open protections over one supply, with their reasons."""
    return rows.protections_of(conn, usage_point)


def end_lapsed_protections(db: Database, *, now: datetime) -> int:
    """End protections whose time is over; until that is done the supply stays protected."""
    with db.transaction() as conn:
        lapsed = rows.protections_lapsed(conn, now=now)
    for level, target in lapsed:
        unprotect(
            db, level=level, target=target, actor=steps.SYSTEM, reason="time is over", now=now
        )
    return len(lapsed)


def halt(db: Database, *, actor: str, reason: str, now: datetime) -> None:
    """Stop every cut at once: none is issued or released until somebody resumes."""
    _set_halt(db, halted=True, actor=actor, reason=reason, now=now)


def resume(db: Database, *, actor: str, reason: str, now: datetime) -> None:
    """Allow cuts again; whatever waited passes the whole gate anew."""
    _set_halt(db, halted=False, actor=actor, reason=reason, now=now)


def halt_state(conn: Connection) -> HaltState:
    """Return the halt switch: who turned it, when and why."""
    return rows.halt_state(conn)


def _set_halt(db: Database, *, halted: bool, actor: str, reason: str, now: datetime) -> None:
    with db.transaction() as conn:
        before = rows.halt_state(conn)
        rows.set_halt(conn, halted=halted, actor=actor, reason=reason, now=now)
        audit.record(
            conn, at=now, actor=actor, action="control.halt" if halted else "control.resume",
            entity="control", entity_id="halt", before={"halted": before.halted},
            after={"halted": halted}, reason=reason,
        )  # fmt: skip


def policy(conn: Connection) -> Policy:
    """Return the settings of the gate."""
    return rows.policy(conn)


def set_policy(db: Database, *, actor: str, now: datetime, **changes: Any) -> Policy:
    """
    Change settings of the gate by their names in `Policy`; the others stay.

    Raises: TypeError on a name that is no setting.
    """
    with db.transaction() as conn:
        before = rows.policy(conn, lock=True)
        wanted = replace(before, **changes)
        rows.set_policy(conn, wanted)
        audit.record(
            conn, at=now, actor=actor, action="control.policy", entity="control",
            entity_id="policy", before={name: str(getattr(before, name)) for name in changes},
            after={name: str(value) for name, value in changes.items()},
        )  # fmt: skip
        return wanted


def field_report(
    conn: Connection,
    usage_point: UsagePointId,
    *,
    relay_state: RelayPosition,
    actor: str,
    ref: str,
    now: datetime,
) -> None:
    """
    Note what a crew did or found at the switch; a cut on site ends the request that failed.

    `ref` names the work order. A cut that a payment has overtaken makes power due at once.
    """
    found = rows.supply(conn, usage_point, lock=True)
    if found is None:
        raise RefusedError(Refusal.UNKNOWN_SUPPLY, f"{usage_point} has no supply state")
    rows.set_relay(conn, usage_point, relay_state=relay_state, at=now, source="field", now=now)
    audit.record(
        conn, at=now, actor=actor, action=f"supply.{relay_state.value}", entity="supply",
        entity_id=usage_point, before={"relay_state": found.relay_state.value},
        after={"relay_state": relay_state.value}, reason=ref,
    )  # fmt: skip
    if relay_state is RelayPosition.CONNECTED:
        if found.restore_due_at is not None:
            note_connected(conn, found, key=ref, now=now)
        else:
            rows.set_cut(conn, usage_point, cut=False, now=now)
        return
    rows.set_cut(conn, usage_point, cut=True, now=now)
    failed = next(iter(request_rows.requests_of(conn, usage_point)), None)
    if failed is not None and failed.epoch != found.epoch:
        rows.set_restore_due(conn, usage_point, now=now)
    elif failed is not None and failed.state is RequestState.FAILED:
        steps.move_request(conn, failed, RequestEvent.DONE, actor=actor, cause=ref, now=now)
        steps.tell_customer(conn, usage_point, "supply_cut", key=ref, now=now)


def note_connected(conn: Connection, before: SupplyState, *, key: str, now: datetime) -> None:
    """Note that a locked supply has power again, and tell its customer when it was cut."""
    rows.clear_restore_due(conn, before.usage_point, now=now)
    if before.cut_for_arrears:
        rows.set_cut(conn, before.usage_point, cut=False, now=now)
        steps.tell_customer(conn, before.usage_point, "supply_restored", key=key, now=now)


def in_window(conn: Connection, *, now: datetime) -> bool:
    """Tell whether cuts may begin at `now`."""
    return rules.in_window(rows.policy(conn), now=now)
