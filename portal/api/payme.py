"""Payme's door: JSON-RPC over POST with Basic authorisation; every answer is HTTP 200."""

import base64
import hmac
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from billing.payments import service as payments
from billing.payments.rules import payme as words
from cloud.store.db import TransientDatabaseError
from portal.api.kept import KeptRoute, keep_asked
from portal.api.peers_file import peers_of
from portal.auth.model import AccessRefusal
from portal.site import site_of
from protocols.errors import RefusedError

_LOG = logging.getLogger(__name__)
router = APIRouter(prefix="/peers", route_class=KeptRoute)


async def raw_body(request: Request) -> bytes:
    """Return the octets of a request as they came."""
    return await request.body()


Octets = Annotated[bytes, Depends(raw_body)]


@router.api_route(
    "/payme", methods=["GET", "POST", "PUT", "DELETE", "PATCH"], include_in_schema=False
)
def payme(request: Request, octets: Octets) -> dict[str, Any]:
    """Answer one call of Payme's."""
    site = site_of(request)
    door = peers_of(site.config.peers_file).payme
    if door is None:
        raise RefusedError(AccessRefusal.NOT_FOUND, "this door is shut")
    if request.method != "POST":
        return words.fault_body(words.Fault(code=-32300))
    call = words.parse(octets)
    if not _knows(door, request.headers.get("authorization", "")):
        return words.fault_body(words.Fault(code=-32504, id=call.id))
    try:
        keep_asked(request, door.channel, octets)
        return payments.payme_answer(site.db, door, octets, now=site.clock.now())
    except TransientDatabaseError as error:
        _LOG.warning("payme.database.away", extra={"fields": {"cause": type(error).__name__}})
        return words.fault_body(words.Fault(code=-32400, id=call.id))


def _knows(door: words.Door, header: str) -> bool:
    """Tell whether a header carries the door's login and key; takes equally long either way."""
    kind, _, text = header.partition(" ")
    wanted = base64.b64encode(f"{door.login}:{door.key}".encode())
    return hmac.compare_digest(wanted, text.strip().encode()) and kind.lower() == "basic"
