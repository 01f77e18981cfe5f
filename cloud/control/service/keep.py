"""
Use cases of keep-power (D8): the meter itself refuses trips, and two people end that.

An order to keep power takes one person and a reason, and stops every cut on its way, as a
protection does. To end it makes cuts possible again: a second person approves, and never while
the supply is protected.
"""

from datetime import datetime, timedelta

from cloud.assets import service as assets
from cloud.assets.model import Installed
from cloud.control import rules
from cloud.control.model import (
    CommandRow,
    CommandState,
    KeepPower,
    KeepRelease,
    Refusal,
    SupplyState,
)
from cloud.control.service import steps
from cloud.control.service.supply import restore_power
from cloud.control.store import commands as command_rows
from cloud.control.store import keep as rows
from cloud.control.store import supply as supply_rows
from cloud.store import audit
from cloud.store.clock import Clock
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import CommandId, UsagePointId
from protocols.mqtt.downlink import Verb

PROTECTOR = "system:protection"


def keep_power(
    db: Database, usage_point: UsagePointId, *, actor: str, reason: str, now: datetime
) -> CommandId:
    """
    Have the meter refuse every trip from now on; a cut on its way is taken back.

    Raises: RefusedError NOT_A_PERSON, NO_REASON, NO_SWITCH, NO_KEEP_POWER, COMMAND_OPEN,
    UNKNOWN_SUPPLY.
    """
    _by_person_with_reason(actor, reason)
    with db.transaction() as conn:
        return _order_keep(conn, _locked(conn, usage_point), actor=actor, reason=reason, now=now)


def _order_keep(
    conn: Connection, supply: SupplyState, *, actor: str, reason: str, now: datetime
) -> CommandId:
    point = supply.usage_point
    installed = _installed(conn, point)
    if not installed.meter.keeps_power:
        raise RefusedError(
            Refusal.NO_KEEP_POWER, f"{point}: meter {installed.meter.id} knows no keep-power",
            fix="protect the supply: control then refuses every cut",
        )  # fmt: skip
    if command_rows.open_command(conn, point, Verb.KEEP_POWER) is not None:
        raise RefusedError(Refusal.COMMAND_OPEN, f"{point}: the order is under way")
    too_late = steps.cancel_cut(conn, point, cause=Refusal.KEEPS_POWER, actor=actor, now=now)
    if too_late:
        restore_power(conn, supply, epoch=supply.epoch, actor=actor, reason=reason, now=now)
    if supply.keep_power is not KeepPower.ON:
        rows.set_keep_power(conn, point, keep_power=KeepPower.ORDERED, now=now)
    wish = rows.open_release(conn, point)
    if wish is not None and not wish.approved_by:
        rows.close_release(conn, wish.id, cause="keep_power_ordered", now=now)
    return _issue(conn, supply, installed, Verb.KEEP_POWER, actor=actor, reason=reason, now=now)


def push_keep_power(db: Database, clock: Clock) -> int:
    """
    Tell the meters of protected supplies to keep power, where the policy wants it; return how many.

    A meter that cannot, or did not, is looked at again after `restore_alarm_seconds`.
    """
    with db.transaction() as conn:
        policy = supply_rows.policy(conn)
        if not policy.push_keep_power:
            return 0
        tried_before = clock.now() - clock.wall_span(policy.restore_alarm_seconds)
        owed = rows.keeps_owed(conn, tried_before=tried_before)
    ordered = 0
    for usage_point in owed:
        try:
            with db.transaction() as conn:
                supply = _locked(conn, usage_point)
                if supply.protected and supply.keep_power is not KeepPower.ON:
                    _order_keep(conn, supply, actor=PROTECTOR, reason="protected", now=clock.now())
                    rows.mark_keep_tried(conn, usage_point, now=clock.now())
                    ordered += 1
        except RefusedError:
            with db.transaction() as conn:
                rows.mark_keep_tried(conn, usage_point, now=clock.now())
    return ordered


def request_end_keep_power(
    db: Database, usage_point: UsagePointId, *, actor: str, reason: str, now: datetime
) -> KeepRelease:
    """
    Ask that the meter may trip again; nothing happens before a second person approves.

    Raises: RefusedError NOT_A_PERSON, NO_REASON, PROTECTED_CUSTOMER, NOT_KEPT, REQUEST_OPEN,
    NO_SWITCH, UNKNOWN_SUPPLY.
    """
    _by_person_with_reason(actor, reason)
    with db.transaction() as conn:
        supply = _locked(conn, usage_point)
        _installed(conn, usage_point)
        _refuse_protected(conn, supply, now=now)
        if supply.keep_power is KeepPower.OFF:
            raise RefusedError(Refusal.NOT_KEPT, f"{usage_point}: the meter keeps no power")
        hours = supply_rows.policy(conn).request_valid_hours
        id_ = rows.insert_release(
            conn, usage_point, requested_by=actor, reason=reason,
            expires_at=now + timedelta(hours=hours), now=now,
        )  # fmt: skip
        _told(conn, id_, "ask", actor=actor, reason=reason, now=now)
        found = rows.keep_release(conn, id_)
        assert found is not None
        return found


def approve_end_keep_power(db: Database, release: str, *, actor: str, now: datetime) -> CommandId:
    """
    Be the second person, whereupon the order leaves.

    Raises: RefusedError UNKNOWN_REQUEST, NOT_A_PERSON, SAME_PERSON, WRONG_STATE, REQUEST_EXPIRED,
    PROTECTED_CUSTOMER, NO_SWITCH.
    """
    with db.transaction() as conn:
        found, supply = _with_supply(conn, release)
        refusal = rules.refuse_keep_release(found, actor=actor, now=now)
        if refusal is not None:
            raise RefusedError(refusal, f"{found.usage_point}: {_WORDS.get(refusal, refusal)}")
        _refuse_protected(conn, supply, now=now)
        installed = _installed(conn, found.usage_point)
        rows.approve_release(conn, release, actor=actor, now=now)
        _told(conn, release, "approve", actor=actor, reason=found.reason, now=now)
        return _issue(
            conn, supply, installed, Verb.END_KEEP_POWER, actor=actor, reason=found.reason,
            release=release, on_behalf=found.requested_by, now=now,
        )  # fmt: skip


def withdraw_end_keep_power(
    db: Database, release: str, *, actor: str, reason: str, now: datetime
) -> None:
    """
    Take the wish back before anybody approved it.

    Raises: RefusedError UNKNOWN_REQUEST, WRONG_STATE.
    """
    with db.transaction() as conn:
        found, _supply = _with_supply(conn, release)
        if found.approved_by or found.closed_at is not None:
            raise RefusedError(Refusal.WRONG_STATE, f"{release} is approved or closed")
        rows.close_release(conn, release, cause=f"withdrawn: {reason}"[:200], now=now)
        _told(conn, release, "withdraw", actor=actor, reason=reason, now=now)


def expire_releases(db: Database, *, now: datetime) -> int:
    """Close the wishes that nobody approved in time; return how many."""
    with db.transaction() as conn:
        lapsed = rows.releases_lapsed(conn, now=now)
    closed = 0
    for release, usage_point in lapsed:
        with db.transaction() as conn:
            supply_rows.supply(conn, usage_point, lock=True)
            found = rows.keep_release(conn, release)
            if found is not None and not found.approved_by:
                cause = Refusal.REQUEST_EXPIRED
                closed += rows.close_release(conn, release, cause=cause, now=now)
    return closed


def release_of(conn: Connection, usage_point: UsagePointId) -> KeepRelease | None:
    """Return the open wish to end keep-power of a supply, or None."""
    return rows.open_release(conn, usage_point)


def read_relay(
    db: Database, usage_point: UsagePointId, *, actor: str, reason: str, now: datetime
) -> CommandId:
    """
    Have the switch read now; where it stands comes with the command's evidence.

    Raises: RefusedError NOT_A_PERSON, NO_SWITCH, COMMAND_OPEN, UNKNOWN_SUPPLY.
    """
    if not rules.is_person(actor):
        raise RefusedError(Refusal.NOT_A_PERSON, "only a signed-in person may order that")
    with db.transaction() as conn:
        supply, installed = _locked(conn, usage_point), _installed(conn, usage_point)
        return _issue(conn, supply, installed, Verb.READ_RELAY, actor=actor, reason=reason, now=now)


def note_keep_end(
    conn: Connection,
    command: CommandRow,
    supply: SupplyState,
    state: CommandState,
    *,
    reason: str,
    now: datetime,
) -> None:
    """Follow the end of an order to keep power or to end that; the supply is locked."""
    after = rules.keep_power_after(
        supply.keep_power, on=command.verb == Verb.KEEP_POWER, result=state, reason=reason
    )
    if after is not supply.keep_power:
        rows.set_keep_power(conn, command.usage_point, keep_power=after, now=now)
        audit.record(
            conn, at=now, actor="system:edge", action="supply.keep_power", entity="supply",
            entity_id=command.usage_point, before={"keep_power": supply.keep_power.value},
            after={"keep_power": after.value}, reason=reason,
        )  # fmt: skip
    if command.keep_release is not None:
        rows.close_release(conn, command.keep_release, cause=state.value, now=now)


def note_late_keep(
    conn: Connection, command: CommandRow, supply: SupplyState, *, now: datetime
) -> None:
    """Follow a done that came after its order had ended, unless a newer order was given since."""
    if rows.newest_keep_order(conn, command.usage_point) == command.id:
        note_keep_end(conn, command, supply, CommandState.DONE, reason="found late", now=now)


_WORDS = {
    Refusal.SAME_PERSON: "who asked for it cannot approve it",
    Refusal.NOT_A_PERSON: "only a signed-in person may approve",
    Refusal.WRONG_STATE: "it is approved or closed already",
    Refusal.REQUEST_EXPIRED: "it is too old: ask anew",
}


def _by_person_with_reason(actor: str, reason: str) -> None:
    if not rules.is_person(actor):
        raise RefusedError(Refusal.NOT_A_PERSON, "only a signed-in person may order that")
    if not reason.strip():
        raise RefusedError(Refusal.NO_REASON, "say why", fix="give a reason")


def _locked(conn: Connection, usage_point: UsagePointId) -> SupplyState:
    found = supply_rows.supply(conn, usage_point, lock=True)
    if found is None:
        raise RefusedError(
            Refusal.UNKNOWN_SUPPLY, f"{usage_point} has no supply state",
            fix="register the usage point first",
        )  # fmt: skip
    return found


def _with_supply(conn: Connection, release: str) -> tuple[KeepRelease, SupplyState]:
    """Lock the supply of a release and return both as they are then."""
    found = rows.keep_release(conn, release)
    if found is None:
        raise RefusedError(Refusal.UNKNOWN_REQUEST, f"there is no request {release}")
    supply = _locked(conn, found.usage_point)
    found = rows.keep_release(conn, release)
    assert found is not None
    return found, supply


def _installed(conn: Connection, usage_point: UsagePointId) -> Installed:
    installed = assets.installation_of(conn, usage_point)
    if installed is None or not installed.meter.has_relay:
        raise RefusedError(Refusal.NO_SWITCH, f"{usage_point} has no meter with a switch")
    return installed


def _refuse_protected(conn: Connection, supply: SupplyState, *, now: datetime) -> None:
    policy = supply_rows.policy(conn)
    seen = steps.supply_for_gate(conn, supply.usage_point, policy, lock=False, now=now)
    if seen.protected:
        raise RefusedError(
            Refusal.PROTECTED_CUSTOMER, f"{supply.usage_point} is protected",
            fix="end the protection first",
        )  # fmt: skip


def _issue(
    conn: Connection,
    supply: SupplyState,
    installed: Installed,
    verb: Verb,
    *,
    actor: str,
    reason: str,
    release: str | None = None,
    on_behalf: str = "",
    now: datetime,
) -> CommandId:
    command = command_rows.insert_command(
        conn, usage_point=supply.usage_point, transformer=supply.transformer,
        meter=installed.meter.id, concentrator=installed.concentrator, verb=verb, request=None,
        epoch=supply.epoch, cuts_left=None, issued_by=actor, reason=reason[:200], local_day=None,
        keep_release=release, now=now,
    )  # fmt: skip
    audit.record(
        conn, at=now, actor=actor, action="command.issue", entity="command", entity_id=command,
        on_behalf=on_behalf, after={"verb": verb.value, "usage_point": supply.usage_point},
        reason=reason[:200],
    )  # fmt: skip
    return command


def _told(
    conn: Connection, release: str, what: str, *, actor: str, reason: str, now: datetime
) -> None:
    audit.record(
        conn, at=now, actor=actor, action=f"keep_release.{what}", entity="keep_release",
        entity_id=release, reason=reason[:200],
    )  # fmt: skip
