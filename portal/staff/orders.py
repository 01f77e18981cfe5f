"""Orders to one meter from its customer's page: keep power, end that by two people, look."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from cloud.control import service as control
from portal.auth.guard import need_step_up, sends
from portal.auth.model import Permission, SignedIn
from portal.site import go, site_of
from protocols.identity import UsagePointId

router = APIRouter()

Orderer = Annotated[SignedIn, Depends(sends(Permission.SUPPLY_ORDER))]
Approver = Annotated[SignedIn, Depends(sends(Permission.CUT_APPROVE))]
Withdrawer = Annotated[SignedIn, Depends(sends(Permission.CUT_WITHDRAW))]
Reason = Annotated[str, Form(min_length=3, max_length=200)]


@router.post("/supplies/{usage_point}/keep-power")
def keep_power(request: Request, person: Orderer, usage_point: str, reason: Reason) -> Response:
    """Have the meter itself refuse every trip."""
    site = site_of(request)
    control.keep_power(
        site.db, UsagePointId(usage_point), actor=person.actor, reason=reason.strip(),
        now=site.clock.now(),
    )  # fmt: skip
    return go(f"/customers/{usage_point}", flash="flash.ordered")


@router.post("/supplies/{usage_point}/end-keep-power")
def ask_end(request: Request, person: Orderer, usage_point: str, reason: Reason) -> Response:
    """Ask that the meter may trip again."""
    site = site_of(request)
    control.request_end_keep_power(
        site.db, UsagePointId(usage_point), actor=person.actor, reason=reason.strip(),
        now=site.clock.now(),
    )  # fmt: skip
    return go(f"/customers/{usage_point}", flash="flash.requested")


@router.post("/supplies/{usage_point}/end-keep-power/{release}/approve")
def approve_end(request: Request, person: Approver, usage_point: str, release: str) -> Response:
    """Be the second person; the password must be fresh."""
    site = site_of(request)
    need_step_up(request, person)
    control.approve_end_keep_power(site.db, release, actor=person.actor, now=site.clock.now())
    return go(f"/customers/{usage_point}", flash="flash.ordered")


@router.post("/supplies/{usage_point}/end-keep-power/{release}/withdraw")
def withdraw_end(request: Request, person: Withdrawer, usage_point: str, release: str) -> Response:
    """Take the wish back."""
    site = site_of(request)
    control.withdraw_end_keep_power(
        site.db, release, actor=person.actor, reason="withdrawn", now=site.clock.now()
    )
    return go(f"/customers/{usage_point}", flash="flash.withdrawn")


@router.post("/supplies/{usage_point}/read-relay")
def read_relay(request: Request, person: Orderer, usage_point: str) -> Response:
    """Have the switch read now."""
    site = site_of(request)
    control.read_relay(
        site.db, UsagePointId(usage_point), actor=person.actor, reason="operator",
        now=site.clock.now(),
    )  # fmt: skip
    return go(f"/customers/{usage_point}", flash="flash.ordered")
