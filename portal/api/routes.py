"""`/api/v1`: payments of peers, readings and balance of a usage point. JSON, integers exact."""

import hashlib
import json
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from billing.customers.model import AccountId
from billing.payments import service as payments
from billing.payments.model import PaymentOrder, PaymentReceipt
from billing.prepaid import service as prepaid
from cloud.usage import service as usage
from portal.amounts import micros_of
from portal.api import payme, signed
from portal.auth import service as access
from portal.auth.guard import api_caller
from portal.auth.model import AccessRefusal, ApiCaller
from portal.customer.gather import card_of
from portal.site import site_of
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import Interval

router = APIRouter(prefix="/api/v1")
router.include_router(payme.router)
router.include_router(signed.router)
Payer = Annotated[ApiCaller, Depends(api_caller("payments"))]
Looker = Annotated[ApiCaller, Depends(api_caller("readings"))]
_SPAN = timedelta(days=1)


class PaymentIn(BaseModel):
    """A payment as a peer reports it: `amount_micros`, or `amount` as decimal text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    account: str = Field(min_length=1, max_length=64)
    currency: str = Field(min_length=3, max_length=3)
    amount_micros: int | None = None
    amount: str | None = Field(default=None, max_length=24)
    peer_txn_id: str | None = Field(default=None, min_length=1, max_length=128)
    peer_time: str | None = Field(default=None, max_length=40)


@router.post("/payments", status_code=201)
def post_payment(
    request: Request,
    caller: Payer,
    body: PaymentIn,
    idempotency_key: Annotated[str, Header(max_length=128)] = "",
) -> Response:
    """Take one payment, once: the same key gets the same answer, whatever was lost between."""
    if not idempotency_key:
        raise RefusedError(
            AccessRefusal.KEY_MISSING, "send an Idempotency-Key",
            fix="draw one key for each payment and repeat it with each try",
        )  # fmt: skip
    site = site_of(request)
    order = _order(caller, body, idempotency_key, now=site.clock.now())
    fingerprint = _fingerprint(order)
    known = access.answer_of(
        site.db, caller=caller.name, key=idempotency_key, fingerprint=fingerprint
    )
    if known is not None:
        return _json(known[1], status=known[0], replayed=True)
    receipt = payments.pay(site.db, order, now=site.clock.now())
    text = json.dumps(_receipt(receipt))
    access.keep_answer(
        site.db, caller=caller.name, key=idempotency_key, fingerprint=fingerprint, status=201,
        body=text, wall_now=site.clock.wall_now(),
    )  # fmt: skip
    return _json(text, status=201, replayed=receipt.replayed)


@router.get("/payments/{peer_txn_id}")
def payment_status(request: Request, caller: Payer, peer_txn_id: str) -> Response:
    """Tell what became of a payment of this peer: ask, never guess."""
    with site_of(request).db.transaction() as conn:
        receipt = payments.status(conn, caller.channel, peer_txn_id)
    if receipt is None:
        raise RefusedError(AccessRefusal.NOT_FOUND, "no such payment has arrived")
    return _json(json.dumps(_receipt(receipt)), status=200, replayed=True)


@router.get("/usage-points/{usage_point}/balance")
def balance(request: Request, _: Looker, usage_point: str) -> dict[str, Any]:
    """Return what is left, with everything it is as of."""
    site = site_of(request)
    with site.db.transaction() as conn:
        card_of(conn, usage_point)
        found = prepaid.balance_of(conn, usage_point, site.clock.now())
    return {
        "usage_point": found.usage_point, "account": found.account,
        "available": _decimal(found.available_micros), "currency": found.currency,
        "available_micros": found.available_micros, "cost_today_micros": found.cost_today_micros,
        "as_of_register_wh": found.as_of_register_wh,
        "as_of_register_at": found.as_of_register_at.isoformat(),
        "as_of_ledger": found.as_of_ledger, "tariff_hash": found.tariff_hash,
        "quality": found.quality.value,
    }  # fmt: skip


@router.get("/usage-points/{usage_point}/readings")
def readings(
    request: Request, _: Looker, usage_point: str, start: datetime | None = None,
    end: datetime | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return intervals that start in `[start, end)`, at most a day unless asked."""
    site = site_of(request)
    upto = end or site.clock.now()
    since = start or upto - _SPAN
    if since.tzinfo is None or upto.tzinfo is None or upto <= since:
        raise RefusedError(AccessRefusal.BAD_INPUT, "start and end must be instants in order")
    if upto - since > timedelta(days=62):
        raise RefusedError(AccessRefusal.BAD_INPUT, "ask for at most 62 days at once")
    with site.db.transaction() as conn:
        card_of(conn, usage_point)
        rows = usage.intervals(conn, UsagePointId(usage_point), Interval(start=since, end=upto))
    return {
        "usage_point": usage_point,
        "intervals": [
            {"start": row.start.isoformat(), "seconds": row.seconds, "wh": row.wh,
             "quality": row.quality.value}
            for row in rows
        ],
    }  # fmt: skip


def _order(caller: ApiCaller, body: PaymentIn, key: str, *, now: datetime) -> PaymentOrder:
    if (body.amount is None) == (body.amount_micros is None):
        raise RefusedError(AccessRefusal.BAD_INPUT, "send either amount or amount_micros")
    amount = micros_of(body.amount) if body.amount is not None else body.amount_micros
    assert amount is not None
    try:
        peer_time = datetime.fromisoformat(body.peer_time) if body.peer_time else now
    except ValueError as error:
        raise RefusedError(AccessRefusal.BAD_INPUT, "peer_time is no ISO instant") from error
    return PaymentOrder(
        channel=caller.channel, peer_txn_id=body.peer_txn_id or key,
        account=AccountId(body.account), amount_micros=amount, currency=body.currency,
        peer_time=peer_time, actor=caller.actor,
        already_collected="payments:collected" in caller.scopes,
    )  # fmt: skip


def _fingerprint(order: PaymentOrder) -> bytes:
    """Return what a repeat under one key must say again; peers restamp the time of retries."""
    said = [order.peer_txn_id, order.account, order.amount_micros, order.currency]
    return hashlib.sha256(json.dumps(said).encode()).digest()


def _receipt(receipt: PaymentReceipt) -> dict[str, Any]:
    return {
        "receipt_no": receipt.receipt_no, "state": receipt.state.value,
        "account": receipt.account, "amount": _decimal(receipt.amount_micros),
        "amount_micros": receipt.amount_micros, "currency": receipt.currency,
        "available_micros": receipt.available_micros,
        "received_at": receipt.received_at.isoformat(),
    }  # fmt: skip


def _decimal(micros: int) -> str:
    sign = "-" if micros < 0 else ""
    return f"{sign}{abs(micros) // 1_000_000}.{abs(micros) % 1_000_000:06}"


def _json(text: str, *, status: int, replayed: bool) -> Response:
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    return Response(text, status_code=status, media_type="application/json", headers=headers)
