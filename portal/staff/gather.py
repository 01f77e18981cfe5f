"""Reads the office pages from the services, in the caller's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.customers import service as customers
from billing.customers.model import CustomerCard
from billing.prepaid import service as prepaid
from cloud.control import rules as control_rules
from cloud.control import service as control
from cloud.control.model import OPEN_REQUEST, CutRow, HaltState, RequestState
from cloud.ingest import service as ingest
from cloud.store.db import Connection
from cloud.vee import service as vee
from cloud.work import service as work
from cloud.work.model import Order, OrderState
from portal.auth.model import SignedIn
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

STAGES = tuple(
    state.value
    for state in (
        RequestState.REQUESTED, RequestState.APPROVED_1, RequestState.APPROVED_2,
        RequestState.RECHECKED, RequestState.ORDERED, RequestState.CUT,
    )
)  # fmt: skip
"""The walk of a cut as the board draws it."""
_PAST = 30
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The cut board for one viewer: `interlocks` says per request why this person may not."""

    open: Sequence[CutRow]
    past: Sequence[CutRow]
    halt: HaltState
    names: Mapping[str, str]
    interlocks: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A reading or calculation that somebody should look at."""

    kind: str
    usage_point: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """What waits for a person."""

    approvals: Sequence[CutRow]
    orders: Sequence[Order]
    exceptions: Sequence[Finding]
    quarantined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """One line of the quarantine."""

    received_at: datetime
    batch: str
    cause: str
    detail: str


def office_zone(conn: Connection) -> str:
    """Return the zone of the company's supplies, for dates on office pages."""
    return control.policy(conn).zone


def board(conn: Connection, person: SignedIn, *, now: datetime) -> Board:
    """Return the cut board; each lock is the gate's own rule asked for this person."""
    rows = control.cut_board(conn, limit=120)
    opened = [row for row in rows if row.request.state in OPEN_REQUEST]
    past = [row for row in rows if row.request.state not in OPEN_REQUEST][:_PAST]
    names, locks = dict[str, str](), dict[str, str]()
    for row in [*opened, *past]:
        point = row.request.usage_point
        if point not in names:
            card = customers.card_of(conn, point)
            names[point] = card.name if card else point
    for row in opened:
        if row.request.state in {RequestState.REQUESTED, RequestState.APPROVED_1}:
            supply = control.supply_of(conn, row.request.usage_point, now=now)
            refusal = control_rules.refuse_approval(
                row.request, supply, actor=person.actor, now=now
            )
            if refusal is not None:
                locks[row.request.id] = refusal.value
    return Board(
        open=opened, past=past, halt=control.halt_state(conn), names=names, interlocks=locks
    )


def inbox(conn: Connection) -> Inbox:
    """Return what waits for a person, newest or gravest first."""
    waiting = [
        row
        for row in control.cut_board(conn, limit=120)
        if row.request.state in {RequestState.REQUESTED, RequestState.APPROVED_1}
    ]
    found = [
        Finding(kind=one.kind.value, usage_point=one.usage_point, since=one.since)
        for one in prepaid.exceptions(conn)
    ] + [
        Finding(kind=one.kind.value, usage_point=one.usage_point, since=one.opened_at)
        for one in vee.open_exceptions(conn)
    ]
    found.sort(key=lambda one: one.since, reverse=True)
    counts = ingest.quarantine_counts(conn)
    orders = [order for order in work.orders(conn) if order.state is not OrderState.VERIFIED]
    return Inbox(
        approvals=waiting[:_SHOWN],
        orders=orders[:_SHOWN],
        exceptions=found[:_SHOWN],
        quarantined=sum(n for (_, state), n in counts.items() if state == "open"),
    )


def figures(conn: Connection, card: CustomerCard, *, now: datetime) -> dict[str, Any]:
    """Return the figures that stand beside a request, as integers with what they are as of."""
    try:
        balance = prepaid.balance_of(conn, card.usage_point, now)
    except RefusedError:
        return {"currency": card.currency}
    return {
        "available_micros": balance.available_micros, "currency": balance.currency,
        "as_of_register_wh": balance.as_of_register_wh, "as_of_ledger": balance.as_of_ledger,
        "tariff_hash": balance.tariff_hash, "quality": balance.quality.value,
    }  # fmt: skip


def quarantine(conn: Connection) -> list[Quarantined]:
    """Return what could not be believed."""
    return [
        Quarantined(
            received_at=item.received_at,
            batch=f"{item.concentrator}/{item.boot or 0}/{item.seq or 0}",
            cause=item.cause,
            detail=item.detail,
        )
        for item in ingest.quarantined(conn, limit=100)
    ]


def names_at(conn: Connection, points: Sequence[UsagePointId]) -> dict[str, str]:
    """Return who lives at the usage points named, where anybody has an agreement there."""
    cards = {point: customers.card_of(conn, point) for point in points}
    return {point: card.name for point, card in cards.items() if card is not None}
