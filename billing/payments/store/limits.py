"""SQL of limits: a channel's day, an agent's float that is kept, and changes by two people."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from billing.payments.model import (
    ChangeKind,
    ChangeOutcome,
    Channel,
    ChannelChange,
    Hold,
    Policy,
)
from billing.payments.store.blocks import SQL
from cloud.store.db import Connection
from protocols.timeline import Interval


def share_channel(conn: Connection, channel: str) -> None:
    """Keep changes of a channel's limits out until commit; payments do not wait for each other."""
    conn.execute(SQL["share_channel"], {"channel": channel})


def lock_channel(conn: Connection, channel: str) -> None:
    """Wait for a channel's payments under way and keep others out until commit."""
    conn.execute(SQL["lock_channel"], {"channel": channel})


def terms_and_limit(conn: Connection, channel: str, currency: str) -> tuple[Channel, int | None]:
    """Return a channel's terms, the house's where it has none, and its limit a day or None."""
    row = conn.execute(
        SQL["terms_and_limit"], {"channel": channel, "currency": currency}
    ).fetchone()
    assert row is not None
    if row[0] is None:
        return Channel(channel=channel), row[9]
    terms = Channel(
        channel=row[0], zone=row[1], cutover=row[2], hold_seconds=row[3], quote_seconds=row[4],
        policy=Policy(row[5]), min_micros=row[6], max_micros=row[7], by_agent=row[8],
    )  # fmt: skip
    return terms, row[9]


def lock_day(conn: Connection, channel: str, currency: str, day: date) -> int:
    """Return what counts in a channel's day; its row stays locked until commit."""
    row = conn.execute(
        SQL["lock_day"], {"channel": channel, "currency": currency, "day": day}
    ).fetchone()
    assert row is not None
    return int(row[0])


def count_in_day(conn: Connection, channel: str, currency: str, day: date, amount: int) -> None:
    """Add an amount to a channel's day, or take it out again."""
    conn.execute(
        SQL["count_in_day"],
        {"channel": channel, "currency": currency, "day": day, "amount": amount},
    )


def lock_reserve(conn: Connection, channel: str, currency: str) -> int:
    """Return what of an agent's float is kept for holds; its row stays locked until commit."""
    row = conn.execute(
        SQL["lock_reserve"], {"channel": channel, "currency": currency}
    ).fetchone()  # fmt: skip
    assert row is not None
    return int(row[0])


def add_reserve(conn: Connection, channel: str, currency: str, amount: int) -> None:
    """Keep more of a float, or less."""
    conn.execute(
        SQL["add_reserve"], {"channel": channel, "currency": currency, "amount": amount}
    )  # fmt: skip


def give_back(conn: Connection, ended: Sequence[Hold]) -> None:
    """Take ended payments out of the days they counted in."""
    counted = [hold for hold in ended if hold.counted_on is not None]
    if counted:
        conn.execute(
            SQL["give_back_many"],
            {"channels": [hold.channel for hold in counted],
             "currencies": [hold.currency for hold in counted],
             "days": [hold.counted_on for hold in counted],
             "amounts": [hold.amount_micros for hold in counted]},
        )  # fmt: skip


def free(conn: Connection, ended: Sequence[Hold]) -> None:
    """Let go of what holds kept of floats."""
    kept = [hold for hold in ended if hold.reserves]
    if kept:
        conn.execute(
            SQL["free_many"],
            {"channels": [hold.channel for hold in kept],
             "currencies": [hold.currency for hold in kept],
             "amounts": [hold.amount_micros for hold in kept]},
        )  # fmt: skip


def recount_day(conn: Connection, channel: str, currency: str, day: date, span: Interval) -> None:
    """Count a channel's day anew from the payments announced in its span."""
    conn.execute(
        SQL["recount_day"],
        {"channel": channel, "currency": currency, "day": day, "since": span.start,
         "until": span.end},
    )  # fmt: skip


def set_counted(conn: Connection, hold: Hold, day: date) -> None:
    """Tell in which day a payment counts."""
    conn.execute(SQL["set_counted"], {"id": hold.id, "day": day})


def insert_change(conn: Connection, change: ChannelChange, now: datetime) -> int | None:
    """Keep a proposed change; None while another of its kind waits."""
    row = conn.execute(
        SQL["insert_change"],
        {"channel": change.channel, "currency": change.currency, "kind": change.kind.value,
         "amount": change.amount_micros, "reason": change.reason.strip(),
         "actor": change.proposed_by, "now": now},
    ).fetchone()  # fmt: skip
    return row[0] if row else None


def change_for_update(conn: Connection, number: int) -> ChannelChange | None:
    """Return one change with its row lock, or None."""
    row = conn.execute(SQL["lock_change"], {"id": number}).fetchone()
    return _change(row) if row else None


def decide_change(
    conn: Connection, number: int, outcome: ChangeOutcome, *, actor: str, entry: int | None,
    now: datetime,
) -> None:  # fmt: skip
    """Keep how a change was decided."""
    conn.execute(
        SQL["decide_change"],
        {"id": number, "outcome": outcome.value, "actor": actor, "entry": entry, "now": now},
    )


def newest_changes(conn: Connection, limit: int) -> list[ChannelChange]:
    """Return changes, those that wait first."""
    return [_change(row) for row in conn.execute(SQL["newest_changes"], {"limit": limit})]


def channel_names(conn: Connection) -> list[tuple[str, str]]:
    """Return every channel with each of its currencies."""
    return [(row[0], row[1]) for row in conn.execute(SQL["channel_names"])]


def day_taken(conn: Connection, channel: str, currency: str, day: date) -> tuple[int, int]:
    """Return what counts in a channel's day and what of its float is kept."""
    row = conn.execute(
        SQL["day_taken"], {"channel": channel, "currency": currency, "day": day}
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _change(row: Sequence[Any]) -> ChannelChange:
    return ChannelChange(
        id=row[0], channel=row[1], currency=row[2], kind=ChangeKind(row[3]), amount_micros=row[4],
        reason=row[5], proposed_by=row[6], proposed_at=row[7], outcome=ChangeOutcome(row[8]),
        decided_by=row[9], decided_at=row[10],
    )  # fmt: skip
