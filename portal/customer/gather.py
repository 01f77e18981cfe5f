"""Reads one supply's page from the services, in one transaction."""

from datetime import datetime, timedelta

from billing.customers import service as customers
from billing.customers.model import CustomerCard
from billing.payments import service as payments
from billing.prepaid import service as prepaid
from billing.prepaid.model import Balance, Explanation
from billing.prepaid.service import credit
from cloud.assets import service as assets
from cloud.control import service as control
from cloud.control.model import OPEN_REQUEST, DisconnectRequest
from cloud.ingest import service as ingest
from cloud.messages import service as messages
from cloud.store import audit
from cloud.store.clock import Clock
from cloud.store.db import Connection
from cloud.usage import service as usage
from portal.auth.model import AccessRefusal
from portal.customer.notice import notice_of
from portal.customer.view import ReadingView, SupplyPage, SupplyView
from portal.fmt import Reader
from portal.site import age_of
from protocols.errors import RefusedError
from protocols.identity import MeterId, UsagePointId
from protocols.reading import Channel
from protocols.timeline import Interval

_RECENT = timedelta(hours=24)
_HORIZON_DAYS = 400
_REQUESTS = 3


def card_of(conn: Connection, usage_point: str) -> CustomerCard:
    """Return who pays at a usage point. Raises: RefusedError `not_found`."""
    card = customers.card_of(conn, usage_point)
    if card is None:
        raise RefusedError(AccessRefusal.NOT_FOUND, f"nobody pays at {usage_point}")
    return card


def zone_of(conn: Connection, usage_point: str) -> str:
    """Return the IANA zone in which the supply lies."""
    point = assets.usage_point(conn, UsagePointId(usage_point))
    return point.zone if point else "UTC"


def supply_page(
    conn: Connection, card: CustomerCard, *, clock: Clock, reader: Reader, office: bool = False
) -> SupplyPage:
    """Return the page of one supply; `office` adds what only staff may see."""
    point, now, wall_now = UsagePointId(card.usage_point), clock.now(), clock.wall_now()
    installed = assets.installation_of(conn, point)
    meter = installed.meter.id if installed else MeterId("")
    reading, heard = _reading(conn, point, meter, now)
    balance = _balance(conn, card, now)
    supply = control.supply_of(conn, point)
    request = _request(conn, point)
    notice = notice_of(conn, card, supply)
    owed = max(0, -balance.available_micros) if balance else 0
    average = usage.average_daily_wh(conn, point, now)
    return SupplyPage(
        card=card,
        zone=installed.usage_point.zone if installed else zone_of(conn, point),
        meter=meter,
        reading=reading,
        reading_age=age_of(clock.scale.wall_at(heard) if heard else None, wall_now),
        supply=SupplyView(state=supply.relay_state.value, at=supply.state_at),
        balance=balance,
        balance_age=age_of(
            clock.scale.wall_at(balance.as_of_register_at) if balance else None, wall_now
        ),
        today_wh=balance.today_wh if balance else None,
        days_left=_days_left(balance, average),
        notice=notice,
        notice_amount=reader.money_exact(owed, card.currency),
        intervals=usage.intervals(conn, point, Interval(start=now - _RECENT, end=now))[::-1],
        explanation=_explanation(conn, card, now),
        payments=payments.payments_of(conn, card.account, limit=6),
        messages=messages.messages_of(conn, point, limit=6),
        commands=control.commands_of(conn, point)[:6],
        request=request,
        protected=supply.protected,
        protection_reason=_protection(conn, point) if office and supply.protected else "",
        history=_history(conn, card) if office else (),
        keep_power=supply.keep_power.value,
        keeps_power=installed is not None and installed.meter.keeps_power,
        keep_release=control.release_of(conn, point) if office else None,
        tokens=control.tokens_of(conn, point, limit=6),
        credit=credit.credit_of(conn, card, balance, now) if office and balance else None,
    )


def _reading(
    conn: Connection, point: UsagePointId, meter: MeterId, now: datetime
) -> tuple[ReadingView | None, datetime | None]:
    register = usage.register_at(conn, point, now)
    if register is None:
        return None, None
    found = ingest.momentary_of(conn, [meter]).get(meter)
    values = found.values if found else {}
    return ReadingView(
        at=register.at, quality=register.quality.value, register_wh=register.cumulative_wh,
        power_w=values.get(Channel.POWER_W), voltage_mv=values.get(Channel.VOLTAGE_L1_MV),
        current_ma=values.get(Channel.CURRENT_L1_MA),
    ), min(register.at, now)  # fmt: skip


def _balance(conn: Connection, card: CustomerCard, now: datetime) -> Balance | None:
    try:
        return prepaid.balance_of(conn, card.usage_point, now)
    except RefusedError:
        return None


def _explanation(conn: Connection, card: CustomerCard, now: datetime) -> Explanation | None:
    try:
        return prepaid.explain(conn, card.usage_point, now=now)
    except RefusedError:
        return None


def _days_left(balance: Balance | None, average_wh: int | None) -> int | None:
    """Return for how many days the balance lasts at this price; None where it means little."""
    if balance is None or not average_wh or balance.available_micros <= 0:
        return None
    daily_micros = average_wh * balance.price_micros_per_kwh // 1000
    if daily_micros <= 0:
        return None
    return min(balance.available_micros // daily_micros, _HORIZON_DAYS)


def _request(conn: Connection, point: UsagePointId) -> DisconnectRequest | None:
    for request in control.requests_of(conn, point):
        if request.state in OPEN_REQUEST:
            return request
    return None


def _protection(conn: Connection, point: UsagePointId) -> str:
    return next((one.reason for one in control.protections_of(conn, point)), "")


def _history(conn: Connection, card: CustomerCard) -> list[audit.AuditEvent]:
    point = UsagePointId(card.usage_point)
    things = [
        ("supply", card.usage_point), ("usage_point", card.usage_point),
        ("account", card.account), ("agreement", card.agreement),
        *(("request", request.id) for request in control.requests_of(conn, point)[:_REQUESTS]),
    ]  # fmt: skip
    events = [
        event
        for entity, id_ in things
        for event in audit.history(conn, entity=entity, entity_id=id_, limit=12)
    ]
    return sorted(events, key=lambda event: (event.at, event.id), reverse=True)[:12]
