"""The REST door of peers that sign: quote, hold, post, pay, void, status, statement, reconcile."""

from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from billing.customers.model import AccountId
from billing.payments import service as payments
from billing.payments.model import FileRow, Hold, PaymentOrder, Refusal
from billing.payments.rules import signed as rules
from portal.api.kept import KeptRoute, keep_asked
from portal.api.payme import Octets
from portal.api.peers_file import peers_of
from portal.auth.model import AccessRefusal
from portal.site import Site, site_of
from protocols.errors import RefusedError
from protocols.timeline import Interval

router = APIRouter(prefix="/peers/signed", route_class=KeptRoute)
_LONGEST = 65_536
_LONGEST_FILE = 8_388_608
MOST_ROWS = 20_000
"""What one comparison takes; a longer book is sent in shorter spans."""


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


_Body = TypeVar("_Body", bound=_In)


class QuoteIn(_In):
    """Whose dues are asked for."""

    account: str = Field(min_length=1, max_length=64)


class HoldIn(_In):
    """A payment that is announced."""

    peer_txn_id: str = Field(min_length=1, max_length=128)
    account: str = Field(min_length=1, max_length=64)
    amount_micros: int
    currency: str = Field(min_length=3, max_length=3)
    peer_time: str = Field(max_length=40)
    quote_id: int | None = None
    office: str = Field(default="", max_length=32)


class PaidIn(_In):
    """A payment at once; `taken` says that the customer's money is with the peer."""

    peer_txn_id: str = Field(min_length=1, max_length=128)
    account: str = Field(min_length=1, max_length=64)
    amount_micros: int
    currency: str = Field(min_length=3, max_length=3)
    peer_time: str = Field(max_length=40)
    office: str = Field(default="", max_length=32)
    taken: bool = False


class RowIn(_In):
    """One payment of a peer's own book."""

    peer_txn_id: str = Field(min_length=1, max_length=128)
    account: str = Field(max_length=64)
    amount_micros: int
    currency: str = Field(min_length=3, max_length=3)
    peer_time: str = Field(max_length=40)


class FileIn(_In):
    """A peer's own book between two instants."""

    start: str = Field(max_length=40)
    end: str = Field(max_length=40)
    rows: list[RowIn] = Field(max_length=MOST_ROWS)


class StepIn(_In):
    """A payment that is posted; `taken` says that the customer's money is with the peer."""

    peer_txn_id: str = Field(min_length=1, max_length=128)
    taken: bool = False


class VoidedIn(_In):
    """A payment that is voided, and why."""

    peer_txn_id: str = Field(min_length=1, max_length=128)
    reason: str = Field(min_length=1, max_length=200)


def genuine(request: Request, octets: Octets) -> rules.Signer:
    """Return who signed a request. Raises: RefusedError when nobody did, or it came before."""
    site = site_of(request)
    head = request.headers
    signer = peers_of(site.config.peers_file).signers.get(head.get("x-meterloop-key", ""))
    query = request.scope["query_string"].decode("latin-1")
    said = rules.Signed(
        method=request.method,
        path=request.scope["raw_path"].decode("latin-1").partition("?")[0]
        + (f"?{query}" if query else ""),
        timestamp=head.get("x-meterloop-timestamp", ""), nonce=head.get("x-meterloop-nonce", ""),
        signature=head.get("x-meterloop-signature", ""), body=octets,
    )  # fmt: skip
    longest = _LONGEST_FILE if said.path.endswith("/reconcile") else _LONGEST
    if signer is None or len(octets) > longest or not rules.is_genuine(said, signer):
        raise RefusedError(
            AccessRefusal.NOT_SIGNED_IN, "the signature does not fit",
            fix="sign method, path, timestamp, nonce and the raw body with your secret",
        )  # fmt: skip
    if not payments.is_fresh(site.db, signer, said, wall_now=site.clock.wall_now()):
        raise RefusedError(
            AccessRefusal.FORBIDDEN, "the request is out of its time, or came before",
            fix="set your clock; sign each try anew, with a nonce of its own",
        )  # fmt: skip
    keep_asked(request, signer.channel, octets)
    return signer


Signer = Annotated[rules.Signer, Depends(genuine)]


@router.post("/quotes")
def quote(request: Request, signer: Signer, octets: Octets) -> dict[str, Any]:
    """Tell what is due, under a number that ends in a quarter of an hour."""
    site, body = site_of(request), _read(QuoteIn, octets)
    found = payments.quote(site.db, signer.channel, body.account, now=site.clock.now())
    return {
        "quote_id": found.id, "account": found.account, "branch": found.branch,
        "masked_name": found.masked_name, "currency": found.currency,
        "due_micros": found.due_micros,
        "lines": [{"code": line.code, "amount_micros": line.amount_micros} for line in found.lines],
        "policy": found.policy.value, "min_micros": found.min_micros,
        "max_micros": found.max_micros, "expires_at": found.expires_at.isoformat(),
    }  # fmt: skip


@router.post("/holds")
def hold(request: Request, signer: Signer, octets: Octets) -> dict[str, Any]:
    """Announce a payment."""
    site, body = site_of(request), _read(HoldIn, octets)
    order = PaymentOrder(
        channel=signer.channel, peer_txn_id=body.peer_txn_id, account=AccountId(body.account),
        amount_micros=body.amount_micros, currency=body.currency, actor=_actor(signer),
        peer_time=_instant(body.peer_time), office=body.office,
    )  # fmt: skip
    return _told(payments.hold(site.db, order, quote_id=body.quote_id, now=site.clock.now()))


@router.post("/pay")
def pay(request: Request, signer: Signer, octets: Octets) -> dict[str, Any]:
    """Take a payment at once, as a bank confirms one."""
    site, body = site_of(request), _read(PaidIn, octets)
    _check_taken(signer, taken=body.taken)
    order = PaymentOrder(
        channel=signer.channel, peer_txn_id=body.peer_txn_id, account=AccountId(body.account),
        amount_micros=body.amount_micros, currency=body.currency, actor=_actor(signer),
        peer_time=_instant(body.peer_time), office=body.office, already_collected=body.taken,
    )  # fmt: skip
    payments.pay(site.db, order, now=site.clock.now())
    return _status(site, signer, body.peer_txn_id)


@router.post("/reconcile")
def reconcile(request: Request, signer: Signer, octets: Octets) -> dict[str, Any]:
    """Compare a peer's own book with ours; what only the peer has is booked."""
    site, body = site_of(request), _read(FileIn, octets)
    _check_taken(signer, taken=True)
    rows = [
        FileRow(peer_txn_id=row.peer_txn_id, account=row.account, currency=row.currency,
                amount_micros=row.amount_micros, peer_time=_instant(row.peer_time))
        for row in body.rows
    ]  # fmt: skip
    span = _span(body.start, body.end)
    if any(not span.start <= row.peer_time < span.end for row in rows):
        raise RefusedError(AccessRefusal.BAD_INPUT, "a row lies outside of the span")
    found = payments.reconcile(
        site.db, signer.channel, span, rows, actor=_actor(signer), now=site.clock.now()
    )
    return {
        "reconciliation": found.id, "matched": found.matched, "ours_micros": found.ours_micros,
        "theirs_micros": found.theirs_micros, "replayed": found.replayed,
        "differences": [
            {"peer_txn_id": each.peer_txn_id, "kind": each.kind.value,
             "ours_micros": each.ours_micros, "theirs_micros": each.theirs_micros,
             "outcome": each.outcome.value}
            for each in found.differences
        ],
    }  # fmt: skip


@router.post("/post")
def post(request: Request, signer: Signer, octets: Octets) -> dict[str, Any]:
    """Book an announced payment."""
    site, body = site_of(request), _read(StepIn, octets)
    _check_taken(signer, taken=body.taken)
    payments.post(
        site.db, signer.channel, body.peer_txn_id, actor=_actor(signer), now=site.clock.now(),
        taken=body.taken,
    )  # fmt: skip
    return _status(site, signer, body.peer_txn_id)


@router.post("/void")
def void(request: Request, signer: Signer, octets: Octets) -> dict[str, Any]:
    """Release or reverse a payment."""
    site, body = site_of(request), _read(VoidedIn, octets)
    payments.void(
        site.db, signer.channel, body.peer_txn_id, reason=body.reason, actor=_actor(signer),
        now=site.clock.now(),
    )  # fmt: skip
    return _status(site, signer, body.peer_txn_id)


@router.get("/status")
def status(request: Request, signer: Signer, peer_txn_id: str) -> dict[str, Any]:
    """Tell where a payment stands."""
    return _status(site_of(request), signer, peer_txn_id)


@router.get("/statement")
def statement(
    request: Request, signer: Signer, *, start: str, end: str, after: str = "", limit: int = 500
) -> dict[str, Any]:
    """List payments by the peer's own time; `after` is the `next` of the page before."""
    site = site_of(request)
    span = _span(start, end)
    if not 1 <= limit <= 5_000:
        raise RefusedError(AccessRefusal.BAD_INPUT, "limit is out of order")
    _check_text(after)
    time, _, receipt = after.partition(" ")
    with site.db.transaction() as conn:
        found = payments.statement(
            conn, signer.channel, span,
            after=(_instant(time), receipt) if after else None, limit=limit,
        )  # fmt: skip
    last = found[-1].place if len(found) == limit else None
    return {
        "rows": [
            {
                "peer_txn_id": row.peer_txn_id, "receipt_no": row.receipt_no,
                "account": row.account, "state": row.state.value,
                "amount_micros": row.amount_micros, "net_micros": row.net_micros,
                "currency": row.currency, "peer_time": row.peer_time.isoformat(),
            }
            for row in found
        ],
        "next": f"{last[0].isoformat()} {last[1]}" if last else "",
    }  # fmt: skip


def _status(site: Site, signer: rules.Signer, peer_txn_id: str) -> dict[str, Any]:
    _check_text(peer_txn_id)
    with site.db.transaction() as conn:
        found = payments.stand(conn, signer.channel, peer_txn_id, now=site.clock.now())
        receipt = payments.status(conn, signer.channel, peer_txn_id)
        branch = payments.branch_of(conn, receipt.usage_point) if receipt else ""
    if found is None:
        raise RefusedError(
            Refusal.UNKNOWN, f"{peer_txn_id!r} was never announced", fix="announce it first"
        )
    return {
        **_told(found), "receipt_no": receipt.receipt_no if receipt else "", "branch": branch,
        "available_micros": receipt.available_micros if receipt else None,
    }  # fmt: skip


def _told(found: Hold) -> dict[str, Any]:
    return {
        "peer_txn_id": found.peer_txn_id, "state": found.state.value, "account": found.account,
        "amount_micros": found.amount_micros, "currency": found.currency,
        "expires_at": found.expires_at.isoformat(), "reason": found.reason,
        "office": found.office,
        "posted_at": found.posted_at.isoformat() if found.posted_at else None,
        "ended_at": found.ended_at.isoformat() if found.ended_at else None,
    }  # fmt: skip


def _read(kind: type[_Body], octets: bytes) -> _Body:
    try:
        found = kind.model_validate_json(octets)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise RefusedError(AccessRefusal.BAD_INPUT, wrong[:300]) from error
    parts: list[_In] = [found, *(found.rows if isinstance(found, FileIn) else [])]
    for part in parts:
        for value in part.model_dump(exclude={"rows"}).values():
            if isinstance(value, str):
                _check_text(value)
    return found


def _check_text(text: str) -> None:
    """Refuse what no database keeps as text: zero octets, halves of characters, line ends."""
    if not text.isprintable():
        raise RefusedError(AccessRefusal.BAD_INPUT, f"{ascii(text)[:60]} is no plain text")


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise RefusedError(AccessRefusal.BAD_INPUT, f"{text!r} is no ISO instant") from error
    if found.tzinfo is None:
        raise RefusedError(AccessRefusal.BAD_INPUT, f"{text!r} has no offset")
    return found


def _span(start: str, end: str) -> Interval:
    since, upto = _instant(start), _instant(end)
    if upto <= since:
        raise RefusedError(AccessRefusal.BAD_INPUT, "start and end are out of order")
    return Interval(start=since, end=upto)


def _check_taken(signer: rules.Signer, *, taken: bool) -> None:
    if taken and not signer.may_say_taken:
        raise RefusedError(AccessRefusal.FORBIDDEN, "this key may not say `taken`")


def _actor(signer: rules.Signer) -> str:
    return f"peer:{signer.key_id}"
