"""`/api/v1/usage-points/{id}/tokens`: a peer has a token carried to a meter, and asks after it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from cloud.control import service as control
from cloud.control.model import NewToken, TokenRow
from portal.auth.guard import api_caller
from portal.auth.model import AccessRefusal, ApiCaller
from portal.customer.gather import card_of
from portal.site import site_of
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

router = APIRouter(prefix="/api/v1")
Carrier = Annotated[ApiCaller, Depends(api_caller("tokens"))]


class TokenIn(BaseModel):
    """Octets for the meter as hex, of the kind that it takes; nobody on the way reads them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str = Field(min_length=1, max_length=16)
    token_hex: str = Field(min_length=2, max_length=512, pattern="^([0-9a-fA-F]{2})+$")


@router.post("/usage-points/{usage_point}/tokens", status_code=202)
def post_token(
    request: Request,
    caller: Carrier,
    usage_point: str,
    body: TokenIn,
    idempotency_key: Annotated[str, Header(max_length=128)] = "",
) -> JSONResponse:
    """Take one token, once: the same key gets told what became of it."""
    if not idempotency_key:
        raise RefusedError(
            AccessRefusal.KEY_MISSING, "send an Idempotency-Key",
            fix="draw one key for each token and repeat it with each try",
        )  # fmt: skip
    site = site_of(request)
    with site.db.transaction() as conn:
        card_of(conn, usage_point)
        row = control.take_token(
            conn,
            NewToken(
                source=f"api:{caller.name}", key=idempotency_key, kind=body.kind,
                usage_point=UsagePointId(usage_point), opaque=bytes.fromhex(body.token_hex),
            ),
            actor=caller.actor, now=site.clock.now(),
        )  # fmt: skip
    return JSONResponse(_told(row), status_code=202)


@router.get("/usage-points/{usage_point}/tokens/{token}")
def token_status(request: Request, caller: Carrier, usage_point: str, token: int) -> dict[str, Any]:
    """Tell what became of a token of this peer: ask, never guess."""
    with site_of(request).db.transaction() as conn:
        row = control.token_of(conn, token)
    if row is None or (row.source, row.usage_point) != (f"api:{caller.name}", usage_point):
        raise RefusedError(AccessRefusal.NOT_FOUND, "no such token was brought")
    return _told(row)


def _told(row: TokenRow) -> dict[str, Any]:
    return {
        "token": row.id, "usage_point": row.usage_point, "meter": row.meter, "kind": row.kind,
        "state": row.state.value, "reason": row.cause, "evidence": row.evidence,
        "taken_at": row.taken_at.isoformat(), "expires_at": row.expires_at.isoformat(),
        "ended_at": row.ended_at.isoformat() if row.ended_at else None,
    }  # fmt: skip
