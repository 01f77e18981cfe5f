"""Pages of sign-in: in, out, confirm, language, and the demo's tour."""

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from portal.auth import service
from portal.auth.guard import (
    MaybePerson,
    Person,
    address_of,
    maybe_signed_in,
    own_form,
    same_site,
    secret_of,
)
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.i18n import LANGUAGES
from portal.site import (
    LANGUAGE_COOKIE,
    Site,
    calendar_of,
    go,
    page,
    reader_of,
    safe_next,
    site_of,
)
from protocols.errors import RefusedError

router = APIRouter()
_DOOR = "door"


def landing_of(person: SignedIn) -> str:
    """Return the page where the day of this person begins."""
    if person.may(Permission.HOME_VIEW):
        return "/home"
    if person.may(Permission.CUT_VIEW):
        return "/inbox"
    return "/crew" if person.may(Permission.WORK_REPORT) else "/customers"


@router.get("/")
def start(request: Request, person: MaybePerson) -> Response:
    """Lead everybody to their own first page."""
    if person is not None:
        return RedirectResponse(landing_of(person), status_code=303)
    return RedirectResponse("/tour" if site_of(request).config.demo else "/sign-in", 303)


@router.get("/sign-in")
def sign_in_page(request: Request, _: MaybePerson, next: str = "/") -> Response:  # noqa: A002
    """Show the form."""
    return _with_door(request, "signin.html", next=safe_next(next), login="", error="")


@router.post("/sign-in")
def sign_in(
    request: Request,
    login: Annotated[str, Form()],
    password: Annotated[str, Form()],
    door: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",  # noqa: A002
) -> Response:
    """Open a session, or say why not."""
    site, reader = site_of(request), reader_of(request)
    _need_door(request, door)
    try:
        secret = service.sign_in(
            site.db, login=login.strip().lower()[:64], password=password,
            address=address_of(request), wall_now=site.clock.wall_now(),
        )  # fmt: skip
    except RefusedError as error:
        status = 429 if error.refusal is AccessRefusal.TOO_MANY_TRIES else 422
        said = reader.words.of_code("refusal", error.refusal.value)
        return _with_door(
            request, "signin.html", status=status, next=safe_next(next), login=login[:64],
            error=said,
        )  # fmt: skip
    return _enter(site, secret, safe_next(next))


@router.get("/tour")
def tour(request: Request, _: MaybePerson) -> Response:
    """Show who one may be; only in the demo."""
    site = _demo(request)
    found = {one.login: one for one in service.tour_people(site.db, list(site.demo_passwords))}
    people = [found[login] for login in site.demo_passwords if login in found]
    return _with_door(request, "tour.html", people=people)


@router.post("/tour")
def tour_sign_in(
    request: Request, login: Annotated[str, Form()], door: Annotated[str, Form()] = ""
) -> Response:
    """Sign in with one click, through the same sign-in as everybody; only in the demo."""
    site = _demo(request)
    _need_door(request, door)
    password = site.demo_passwords.get(login)
    if password is None:
        raise RefusedError(AccessRefusal.NOT_FOUND, "nobody of that name is on the tour")
    secret = service.sign_in(
        site.db, login=login, password=password, address=address_of(request),
        wall_now=site.clock.wall_now(),
    )  # fmt: skip
    return _enter(site, secret, "/")


@router.post("/sign-out")
def sign_out(request: Request, _: Annotated[SignedIn, Depends(own_form)]) -> Response:
    """End the session."""
    site = site_of(request)
    service.sign_out(site.db, secret_of(request), wall_now=site.clock.wall_now())
    answer = go("/", flash="flash.signed_out")
    answer.delete_cookie(site.cookie, path="/")
    return answer


@router.get("/confirm")
def confirm_page(request: Request, person: Person, next: str = "/") -> Response:  # noqa: A002
    """Ask for the password once more."""
    return _confirm(request, person, safe_next(next))


@router.post("/confirm")
def confirm(
    request: Request,
    person: Annotated[SignedIn, Depends(own_form)],
    password: Annotated[str, Form()],
    next: Annotated[str, Form()] = "/",  # noqa: A002
) -> Response:
    """Note that the person is really there."""
    site = site_of(request)
    try:
        service.step_up(
            site.db, secret_of(request), password=password, address=address_of(request),
            now=site.clock.now(), wall_now=site.clock.wall_now(),
        )  # fmt: skip
    except RefusedError as error:
        said = reader_of(request).words.of_code("refusal", error.refusal.value)
        return _confirm(request, person, safe_next(next), error=said, status=422)
    return go(safe_next(next), flash="flash.confirmed")


@router.post("/language")
def language(
    request: Request,
    person: Annotated[SignedIn | None, Depends(maybe_signed_in)],
    language: Annotated[str, Form()],
    form_token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",  # noqa: A002
) -> Response:
    """Keep the language: in a cookie, and with the person where one is signed in."""
    same_site(request)
    if language not in LANGUAGES:
        raise RefusedError(AccessRefusal.BAD_INPUT, "not one of our languages")
    site, answer = site_of(request), go(safe_next(next))
    if person is not None:
        if form_token != person.form_token:
            raise RefusedError(AccessRefusal.FORM_EXPIRED, "the form is older than the session")
        service.keep_language(
            site.db, person.login, language=language, calendar=calendar_of(language)
        )
    answer.set_cookie(LANGUAGE_COOKIE, language, max_age=31_536_000, samesite="lax", path="/")
    return answer


def _enter(site: Site, secret: str, path: str) -> Response:
    answer = go(path)
    answer.set_cookie(
        site.cookie, secret, max_age=30 * 86_400, httponly=True, samesite="lax", path="/",
        secure=site.config.secure_cookies,
    )  # fmt: skip
    answer.delete_cookie(_DOOR, path="/")
    return answer


def _confirm(
    request: Request, person: SignedIn, back: str, *, error: str = "", status: int = 200
) -> Response:
    shown = site_of(request).demo_passwords.get(person.login, "")
    return page(request, "confirm.html", status=status, next=back, error=error, demo_password=shown)


def _with_door(request: Request, template: str, **context: Any) -> Response:
    """Return a page with a form for people without a session: the cookie and form must fit."""
    secret = request.cookies.get(_DOOR) or secrets.token_urlsafe(32)
    answer = page(request, template, door=service.form_token_of(secret), **context)
    answer.set_cookie(
        _DOOR, secret, max_age=7200, httponly=True, samesite="lax", path="/",
        secure=site_of(request).config.secure_cookies,
    )  # fmt: skip
    return answer


def _need_door(request: Request, door: str) -> None:
    same_site(request)
    secret = request.cookies.get(_DOOR, "")
    if not secret or service.form_token_of(secret) != door:
        raise RefusedError(AccessRefusal.FORM_EXPIRED, "open the page again")


def _demo(request: Request) -> Site:
    site = site_of(request)
    if not site.config.demo:
        raise RefusedError(AccessRefusal.NOT_FOUND, "there is no tour here")
    return site
