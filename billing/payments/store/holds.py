"""SQL of channels, quotes, announced payments, allocations and nonces."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from billing.customers.model import AccountId
from billing.ledger.model import AccountKind
from billing.payments.model import Channel, Hold, HoldState, PaymentOrder, Policy
from billing.payments.rules.quoting import QuotedDue
from billing.payments.store.blocks import SQL
from cloud.store.db import Connection
from protocols.timeline import Interval


def channel(conn: Connection, name: str) -> Channel:
    """Return a channel's terms; a channel that has none of its own gets the house's."""
    row = conn.execute(SQL["channel_terms"], {"channel": name}).fetchone()
    if row is None:
        return Channel(channel=name)
    return Channel(
        channel=row[0], zone=row[1], cutover=row[2], hold_seconds=row[3], quote_seconds=row[4],
        policy=Policy(row[5]), min_micros=row[6], max_micros=row[7], by_agent=row[8],
    )  # fmt: skip


def has_terms(conn: Connection, name: str) -> bool:
    """Tell whether a channel has terms of its own."""
    return conn.execute(SQL["channel_terms"], {"channel": name}).fetchone() is not None


def put_channel(conn: Connection, terms: Channel) -> None:
    """Set a channel's terms."""
    conn.execute(
        SQL["upsert_channel"],
        {
            "channel": terms.channel, "zone": terms.zone, "cutover": terms.cutover,
            "hold_seconds": terms.hold_seconds, "quote_seconds": terms.quote_seconds,
            "policy": terms.policy.value, "min": terms.min_micros, "max": terms.max_micros,
            "by_agent": terms.by_agent,
        },
    )  # fmt: skip


def insert_quote(
    conn: Connection, terms: Channel, *, account: str, currency: str, due: int, now: datetime
) -> tuple[int, datetime]:
    """Store what was quoted; return its number and when it ends."""
    expires = now + timedelta(seconds=terms.quote_seconds)
    row = conn.execute(
        SQL["insert_quote"],
        {"channel": terms.channel, "account": account, "currency": currency, "due": due,
         "now": now, "expires": expires},
    ).fetchone()  # fmt: skip
    assert row is not None
    return row[0], expires


def quoted(conn: Connection, quote: int) -> QuotedDue | None:
    """Return what a quote promised, or None."""
    row = conn.execute(SQL["quote_by_id"], {"quote": quote}).fetchone()
    if row is None:
        return None
    return QuotedDue(
        id=row[0], channel=row[1], account=row[2], due_micros=row[3], expires_at=row[4]
    )


def insert_hold(
    conn: Connection,
    order: PaymentOrder,
    *,
    body_hash: bytes,
    state: HoldState,
    quote: int | None,
    expires_at: datetime,
    now: datetime,
    room: tuple[date | None, bool],
) -> bool:
    """
    Insert an announced payment; return False when its id stands already.

    `room` is the channel's day that it counts in, and whether it keeps a part of the float.
    """
    row = conn.execute(
        SQL["insert_hold"],
        {
            "channel": order.channel, "peer_txn_id": order.peer_txn_id, "body_hash": body_hash,
            "state": state.value, "account": order.account, "amount": order.amount_micros,
            "currency": order.currency, "quote": quote, "peer_time": order.peer_time, "now": now,
            "expires": expires_at, "posted_at": None if state is HoldState.HELD else now,
            "actor": order.actor, "office": order.office, "counted_on": room[0],
            "reserves": room[1],
        },
    ).fetchone()  # fmt: skip
    return row is not None


def insert_holds(
    conn: Connection, orders: Sequence[tuple[PaymentOrder, bytes]], now: datetime
) -> set[tuple[str, str]]:
    """
    Insert payments, each with its body's hash, that are posted as they are announced.

    Return (channel, peer's id) of those that are new.
    """
    rows = conn.execute(
        SQL["insert_holds"],
        {
            "channels": [order.channel for order, _ in orders],
            "peer_txn_ids": [order.peer_txn_id for order, _ in orders],
            "body_hashes": [digest for _, digest in orders],
            "accounts": [order.account for order, _ in orders],
            "amounts": [order.amount_micros for order, _ in orders],
            "currencies": [order.currency for order, _ in orders],
            "peer_times": [order.peer_time for order, _ in orders],
            "actors": [order.actor for order, _ in orders],
            "offices": [order.office for order, _ in orders], "now": now,
        },
    )  # fmt: skip
    return {(channel, txn) for channel, txn in rows}


def hold(conn: Connection, channel_name: str, peer_txn_id: str, *, lock: bool) -> Hold | None:
    """Return an announced payment, or None; with `lock`, its row lock is taken."""
    key = {"channel": channel_name, "peer_txn_id": peer_txn_id}
    row = conn.execute(SQL["lock_hold"] if lock else SQL["hold_by_peer"], key).fetchone()
    return _hold(row) if row else None


def update_hold(
    conn: Connection, found: Hold, state: HoldState, *, reason: str, now: datetime
) -> None:
    """Move an announced payment that the caller has locked."""
    posted = {HoldState.POSTED, HoldState.SUSPENSE}
    ended = {HoldState.RELEASED, HoldState.EXPIRED, HoldState.REVERSED}
    conn.execute(
        SQL["update_hold"],
        {
            "id": found.id, "state": state.value, "reason": reason,
            "posted_at": now if state in posted else found.posted_at,
            "ended_at": now if state in ended else None,
        },
    )  # fmt: skip


def expire_holds(conn: Connection, now: datetime) -> list[Hold]:
    """End holds whose time has run out and return them."""
    return [_hold(row) for row in conn.execute(SQL["expire_holds"], {"now": now})]


def holds_in_span(conn: Connection, channel_name: str, span: Interval) -> list[Hold]:
    """Return a channel's announced payments by the peer's time."""
    rows = conn.execute(
        SQL["holds_in_span"], {"channel": channel_name, "start": span.start, "end": span.end}
    )
    return [_hold(row) for row in rows]


def insert_allocations(
    conn: Connection, receipt_no: str, parts: Mapping[AccountKind, int], *, rule: str, entry: int
) -> None:
    """Keep what of a payment went where."""
    conn.execute(
        SQL["insert_allocations"],
        {"receipt": receipt_no, "rule": rule, "entry": entry,
         "targets": [kind.value for kind in parts], "amounts": list(parts.values())},
    )  # fmt: skip


def allocation_entry(conn: Connection, receipt_no: str) -> int | None:
    """Return the entry that allocated a payment, or None."""
    row = conn.execute(SQL["allocation_entry"], {"receipt": receipt_no}).fetchone()
    return row[0] if row else None


def take_nonce(
    conn: Connection, key_id: str, nonce: str, *, wall: datetime, window: timedelta
) -> bool:
    """Keep a nonce and forget those the window has passed; return False when it was seen."""
    conn.execute(SQL["forget_nonces"], {"before": wall - 2 * window})
    found = conn.execute(SQL["insert_nonce"], {"key": key_id, "nonce": nonce, "wall": wall})
    return found.fetchone() is not None


def _hold(row: Sequence[Any]) -> Hold:
    return Hold(
        id=row[0], channel=row[1], peer_txn_id=row[2], body_hash=bytes(row[3]),
        state=HoldState(row[4]), account=AccountId(row[5]), amount_micros=row[6], currency=row[7],
        peer_time=row[8], held_at=row[9], expires_at=row[10], posted_at=row[11], ended_at=row[12],
        reason=row[13], actor=row[14], counted_on=row[15], reserves=row[16], office=row[17],
    )  # fmt: skip
