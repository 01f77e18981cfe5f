"""Doors of routes: who is there, may they, did the form come from our own page."""

from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Form, Request

from portal.auth import rules, service
from portal.auth.model import AccessRefusal, ApiCaller, Permission, SignedIn
from portal.site import site_of
from protocols.errors import RefusedError


def secret_of(request: Request) -> str:
    """Return the session's secret from the cookie, or nothing."""
    return request.cookies.get(site_of(request).cookie, "")


def address_of(request: Request) -> str:
    """Return where the browser connects from."""
    return request.client.host if request.client else ""


def maybe_signed_in(request: Request) -> SignedIn | None:
    """Return who is signed in, or None; pages for everybody use this."""
    site = site_of(request)
    person = service.who_is(site.db, secret_of(request), wall_now=site.clock.wall_now())
    request.state.person = person
    return person


MaybePerson = Annotated[SignedIn | None, Depends(maybe_signed_in)]


def signed_in(person: MaybePerson) -> SignedIn:
    """Return who is signed in. Raises: RefusedError `not_signed_in`."""
    if person is None:
        raise RefusedError(AccessRefusal.NOT_SIGNED_IN, "sign in first")
    return person


Person = Annotated[SignedIn, Depends(signed_in)]


def allowed(permission: Permission) -> Callable[[SignedIn], SignedIn]:
    """Return a door that opens only with `permission`."""

    def door(person: Person) -> SignedIn:
        if not person.may(permission):
            raise RefusedError(AccessRefusal.FORBIDDEN, f"this needs the right {permission.value}")
        return person

    return door


def same_site(request: Request) -> None:
    """Refuse a form that another site sends. *Source*: OWASP CSRF, fetch metadata and Origin."""
    fetch_site = request.headers.get("sec-fetch-site", "")
    if fetch_site and fetch_site not in {"same-origin", "none"}:
        raise RefusedError(AccessRefusal.FORM_EXPIRED, "this form was sent by another site")
    origin = request.headers.get("origin", "")
    if origin and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise RefusedError(AccessRefusal.FORM_EXPIRED, "this form was sent by another site")


def own_form(request: Request, person: Person, form_token: Annotated[str, Form()] = "") -> SignedIn:
    """Return who sends a form of our own. Raises: RefusedError `form_expired`."""
    same_site(request)
    if form_token != person.form_token:
        raise RefusedError(AccessRefusal.FORM_EXPIRED, "the form is older than the session")
    return person


def sends(permission: Permission) -> Callable[[SignedIn], SignedIn]:
    """Return a door for forms: our own page, signed in, and `permission`."""

    def door(person: Annotated[SignedIn, Depends(own_form)]) -> SignedIn:
        if not person.may(permission):
            raise RefusedError(AccessRefusal.FORBIDDEN, f"this needs the right {permission.value}")
        return person

    return door


def need_step_up(request: Request, person: SignedIn) -> None:
    """Refuse an approval unless the password was given again within five minutes."""
    wall_now = site_of(request).clock.wall_now()
    if not rules.is_stepped_up(person.stepped_up_wall, wall_now=wall_now):
        raise RefusedError(AccessRefusal.STEP_UP_NEEDED, "give the password once more")


def need_point(person: SignedIn, usage_point: str) -> None:
    """Refuse figures of a supply that is not theirs, as if there were none."""
    if not person.may_see(usage_point):
        raise RefusedError(AccessRefusal.FORBIDDEN, "this supply is not yours")


def api_caller(scope: str) -> Callable[[Request], ApiCaller]:
    """Return a door for machines whose key carries `scope`."""

    def door(request: Request) -> ApiCaller:
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip() if kind.lower() == "bearer" else request.headers.get("x-api-key", "")
        caller = service.caller_of(site_of(request).db, key)
        if caller is None:
            raise RefusedError(AccessRefusal.NOT_SIGNED_IN, "an API key is needed")
        if scope not in caller.scopes:
            raise RefusedError(AccessRefusal.FORBIDDEN, f"this key lacks the scope {scope}")
        return caller

    return door


def sign_in_path(request: Request) -> str:
    """Return the address of the sign-in page that comes back here."""
    here = request.url.path if request.method == "GET" else "/"
    return f"/sign-in?next={quote(here)}"
