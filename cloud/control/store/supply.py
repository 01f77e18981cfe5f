"""Rows of supplies, protections, holds, the halt switch and the policy."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from cloud.control.model import (
    HaltState,
    KeepPower,
    Policy,
    Protection,
    RelayPosition,
    SupplyState,
)
from cloud.control.store.blocks import SQL, refusals
from cloud.store.db import Connection
from protocols.identity import CommandId, UsagePointId


class GateFacts(NamedTuple):
    """What stands against a cut beside the lock row, and how many cuts there were lately."""

    protected: bool
    held: bool
    halted: bool
    hour: int
    day: int
    transformer_day: int


class Unpublished(NamedTuple):
    """A supply whose live message is old."""

    usage_point: UsagePointId
    relay_state: str
    state_at: datetime | None
    open_command: str | None
    version: int


class KnownRelay(NamedTuple):
    """Where a switch stands as we know it, and whether an order is under way."""

    relay_state: str
    state_at: datetime | None
    busy: bool


def open_supply(
    conn: Connection, usage_point: UsagePointId, *, transformer: str, now: datetime
) -> bool:
    """Insert the lock row of a supply; return False when it was there."""
    values = {"usage_point": usage_point, "transformer": transformer, "now": now}
    return conn.execute(SQL["open_supply"], values).rowcount == 1


def supply(conn: Connection, usage_point: UsagePointId, *, lock: bool) -> SupplyState | None:
    """Return the lock row, locked until the transaction ends if asked so; None if unknown."""
    block = SQL["lock_supply_state"] if lock else SQL["supply_state"]
    row = conn.execute(block, {"usage_point": usage_point}).fetchone()
    return _supply(row) if row else None


def lock_supplies(
    conn: Connection, usage_points: Sequence[UsagePointId]
) -> dict[UsagePointId, SupplyState]:
    """Return the lock rows of supplies, locked until the transaction ends; unknown are absent."""
    rows = conn.execute(SQL["lock_supply_states"], {"usage_points": list(usage_points)})
    return {found.usage_point: found for found in map(_supply, rows)}


def raise_epochs(
    conn: Connection, usage_points: Sequence[UsagePointId], *, now: datetime
) -> dict[UsagePointId, int]:
    """Raise the fences of locked supplies by one and return them."""
    rows = conn.execute(SQL["raise_epochs"], {"usage_points": list(usage_points), "now": now})
    return {UsagePointId(point): int(epoch) for point, epoch in rows}


def being_cut(conn: Connection, usage_points: Sequence[UsagePointId]) -> set[UsagePointId]:
    """Return those of locked supplies with a request or an order to cut that is not over."""
    rows = conn.execute(SQL["supplies_being_cut"], {"usage_points": list(usage_points)})
    return {UsagePointId(row[0]) for row in rows}


def gate_facts(
    conn: Connection, supply_state: SupplyState, *, now: datetime, local_day: date
) -> GateFacts:
    """Return what else the gate asks; call it after the lock was taken."""
    row = conn.execute(
        SQL["gate_facts"],
        {
            "usage_point": supply_state.usage_point, "transformer": supply_state.transformer,
            "feeder": "", "now": now, "local_day": local_day,
            "hour_ago": now - timedelta(hours=1), "two_days_ago": now - timedelta(days=2),
        },
    ).fetchone()  # fmt: skip
    assert row is not None
    return GateFacts(*row)


def raise_epoch(conn: Connection, usage_point: UsagePointId, *, now: datetime) -> int:
    """Raise the fence of a locked supply by one and return it."""
    row = conn.execute(SQL["raise_epoch"], {"usage_point": usage_point, "now": now}).fetchone()
    assert row is not None
    return int(row[0])


def set_relay(
    conn: Connection,
    usage_point: UsagePointId,
    *,
    relay_state: RelayPosition,
    at: datetime,
    source: str,
    now: datetime,
) -> bool:
    """Note where the switch stands; False when something newer is known."""
    values = {
        "usage_point": usage_point, "relay_state": relay_state.value, "at": at, "source": source,
        "now": now,
    }  # fmt: skip
    return conn.execute(SQL["set_relay"], values).rowcount == 1


def set_cut(conn: Connection, usage_point: UsagePointId, *, cut: bool, now: datetime) -> None:
    """Note whether the supply is cut for arrears."""
    conn.execute(SQL["set_cut"], {"usage_point": usage_point, "cut": cut, "now": now})


def set_restore_due(conn: Connection, usage_point: UsagePointId, *, now: datetime) -> None:
    """Note that power is owed from `now` on."""
    conn.execute(SQL["set_restore_due"], {"usage_point": usage_point, "now": now})


def clear_restore_due(conn: Connection, usage_point: UsagePointId, *, now: datetime) -> None:
    """Note that power is no longer owed."""
    conn.execute(SQL["clear_restore_due"], {"usage_point": usage_point, "now": now})


def set_alarmed(conn: Connection, usage_point: UsagePointId, *, now: datetime) -> None:
    """Note that a restoration took too long and was told to people."""
    conn.execute(SQL["set_alarmed"], {"usage_point": usage_point, "now": now})


def restores_due(conn: Connection, *, tried_after: datetime) -> list[UsagePointId]:
    """Return supplies that wait for power with no command open or ended since `tried_after`."""
    return _points(conn.execute(SQL["restores_due"], {"tried_after": tried_after}).fetchall())


def restores_overdue(conn: Connection, *, due_before: datetime) -> list[UsagePointId]:
    """Return supplies that wait for power since before `due_before`, not yet told."""
    return _points(conn.execute(SQL["restores_overdue"], {"due_before": due_before}).fetchall())


def relay_positions(
    conn: Connection, usage_points: Sequence[UsagePointId]
) -> dict[UsagePointId, KnownRelay]:
    """Return where the switches of the supplies named stand, without a lock."""
    rows = conn.execute(SQL["relay_positions"], {"usage_points": list(usage_points)}).fetchall()
    return {UsagePointId(point): KnownRelay(*rest) for point, *rest in rows}


def unpublished(conn: Connection) -> list[Unpublished]:
    """Return supplies whose live message is old."""
    return [Unpublished(*row) for row in conn.execute(SQL["unpublished_supplies"]).fetchall()]


def mark_published(conn: Connection, usage_point: UsagePointId, *, version: int) -> None:
    """Note the version that the live message shows."""
    conn.execute(SQL["mark_published"], {"usage_point": usage_point, "version": version})


def forget_published(conn: Connection) -> None:
    """Make every supply's live message old."""
    conn.execute(SQL["forget_published"])


def lock_supplies_of(conn: Connection, *, level: str, target: str) -> list[UsagePointId]:
    """Lock the supplies at or below a point of the network, in one order, and return them."""
    return _points(
        conn.execute(SQL["lock_supplies_of"], {"level": level, "target": target}).fetchall()
    )


def set_protected(
    conn: Connection, usage_point: UsagePointId, *, protected: bool, now: datetime
) -> bool:
    """Set the flag of a locked supply; False when it stood so already."""
    values = {"usage_point": usage_point, "protected": protected, "now": now}
    return conn.execute(SQL["set_protected"], values).rowcount == 1


def insert_protection(
    conn: Connection,
    *,
    level: str,
    target: str,
    reason: str,
    actor: str,
    until: datetime | None,
    now: datetime,
) -> None:
    """Insert a protection, or renew the open one of that target."""
    values = {
        "level": level, "target": target, "reason": reason, "actor": actor, "until": until,
        "now": now,
    }  # fmt: skip
    conn.execute(SQL["insert_protection"], values)


def end_protection(conn: Connection, *, level: str, target: str, now: datetime) -> bool:
    """End the open protection of a target; False when there was none."""
    values = {"level": level, "target": target, "now": now}
    return conn.execute(SQL["end_protection"], values).rowcount == 1


def protections_lapsed(conn: Connection, *, now: datetime) -> list[tuple[str, str]]:
    """Return (level, target) of protections whose time is over."""
    rows = conn.execute(SQL["protections_lapsed"], {"now": now}).fetchall()
    return [(level, target) for level, target in rows]


def protections_of(conn: Connection, usage_point: UsagePointId) -> list[Protection]:
    """Return the open protections over one supply."""
    rows = conn.execute(SQL["protections_of"], {"usage_point": usage_point}).fetchall()
    return [
        Protection(
            id=id_, level=level, target=target, reason=reason, actor=actor,
            valid_from=valid_from, valid_until=valid_until,
        )
        for id_, level, target, reason, actor, valid_from, valid_until in rows
    ]  # fmt: skip


def insert_hold(
    conn: Connection,
    usage_point: UsagePointId,
    *,
    kind: str,
    ref: str,
    reason: str,
    actor: str,
    until: datetime | None,
    now: datetime,
) -> None:
    """Insert a hold, or renew the one of that reference."""
    values = {
        "usage_point": usage_point, "kind": kind, "ref": ref, "reason": reason, "actor": actor,
        "until": until, "now": now,
    }  # fmt: skip
    conn.execute(SQL["insert_hold"], values)


def release_hold(conn: Connection, usage_point: UsagePointId, *, ref: str, now: datetime) -> bool:
    """End the hold of a reference; False when there was none open."""
    values = {"usage_point": usage_point, "ref": ref, "now": now}
    return conn.execute(SQL["release_hold"], values).rowcount == 1


def halt_state(conn: Connection) -> HaltState:
    """Return the halt switch."""
    row = conn.execute(SQL["halt_state"]).fetchone()
    assert row is not None
    halted, actor, reason, at = row
    return HaltState(halted=halted, actor=actor, reason=reason, at=at)


def set_halt(conn: Connection, *, halted: bool, actor: str, reason: str, now: datetime) -> None:
    """Turn the halt switch."""
    values = {"halted": halted, "actor": actor, "reason": reason, "now": now}
    conn.execute(SQL["set_halt"], values)


def policy(conn: Connection, *, lock: bool = False) -> Policy:
    """Return the settings of the gate; locked, so that limits are counted by one at a time."""
    row = conn.execute(SQL["lock_policy"] if lock else SQL["policy"]).fetchone()
    assert row is not None
    (zone, start, end, weekdays, hour, day, transformer_day, request_valid, recheck_valid, ttl,
     handshake, retry, alarm, tries, push) = row  # fmt: skip
    return Policy(
        zone=zone, window_start_hour=start, window_end_hour=end, weekdays=tuple(weekdays),
        max_cuts_per_hour=hour, max_cuts_per_day=day,
        max_cuts_per_transformer_day=transformer_day, request_valid_hours=request_valid,
        recheck_valid_hours=recheck_valid, command_ttl_seconds=ttl, handshake_seconds=handshake,
        restore_retry_seconds=retry, restore_alarm_seconds=alarm, cut_tries=tries,
        push_keep_power=push,
    )  # fmt: skip


def set_policy(conn: Connection, wanted: Policy) -> None:
    """Write the settings of the gate."""
    with refusals():
        conn.execute(SQL["set_policy"], {**asdict(wanted), "weekdays": list(wanted.weekdays)})


def _points(rows: Sequence[Sequence[Any]]) -> list[UsagePointId]:
    return [UsagePointId(row[0]) for row in rows]


def _supply(row: Sequence[Any]) -> SupplyState:
    (usage_point, protected, epoch, open_command, relay_state, state_at, source, cut, restore_due,
     transformer, _feeder, keep_power) = row  # fmt: skip
    return SupplyState(
        usage_point=UsagePointId(usage_point), protected=protected, epoch=epoch, cuts_left=0,
        open_command=CommandId(open_command) if open_command else None,
        relay_state=RelayPosition(relay_state), state_at=state_at, state_source=source,
        cut_for_arrears=cut, restore_due_at=restore_due, transformer=transformer,
        keep_power=KeepPower(keep_power),
    )  # fmt: skip
