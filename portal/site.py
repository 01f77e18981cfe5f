"""What every route needs: database, clock, hub, templates; and how a request becomes a page."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from cloud.store.clock import Clock
from cloud.store.db import Database
from portal.auth.model import SignedIn
from portal.config import PortalConfig
from portal.fmt import Reader
from portal.i18n import LANGUAGES, Words
from portal.live.hub import Hub
from protocols.timeline import to_ms

HERE = Path(__file__).parent
_FLASH = "flash"
LANGUAGE_COOKIE = "language"


def static_version(folder: Path) -> str:
    """Return a short digest of every static file: part of their address, so they cache for ever."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def templates() -> Environment:
    """Return the template environment: escaped always, an unknown name is an error."""
    return Environment(
        loader=FileSystemLoader(
            [HERE / "templates", *(HERE / who for who in ("customer", "staff", "crew"))]
        ),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The running portal, kept in `app.state.site`."""

    config: PortalConfig
    db: Database
    clock: Clock
    hub: Hub
    version: str
    environment: Environment = field(default_factory=templates)
    demo_passwords: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def cookie(self) -> str:
        """Return the name of the session cookie."""
        return "__Host-session" if self.config.secure_cookies else "meterloop_session"


def site_of(request: Request) -> Site:
    """Return the portal that serves this request."""
    site: Site = request.app.state.site
    return site


def person_of(request: Request) -> SignedIn | None:
    """Return who is signed in, as found by the guard earlier in this request."""
    person: SignedIn | None = getattr(request.state, "person", None)
    return person


def language_of(request: Request) -> str:
    """Return the language of the answer: asked in the address, the person's, the browser's."""
    person = person_of(request)
    wishes = [
        request.query_params.get("lang", ""),
        person.language if person else "",
        request.cookies.get(LANGUAGE_COOKIE, ""),
    ]
    wishes += [
        part.split(";")[0].strip()[:2].lower()
        for part in request.headers.get("accept-language", "").split(",")
    ]
    return next((wish for wish in wishes if wish in LANGUAGES), "en")


def calendar_of(language: str) -> str:
    """Return the calendar people of a language expect."""
    return "persian" if language == "fa" else "gregorian"


def reader_of(request: Request, zone: str = "") -> Reader:
    """Return how the reader of this answer sees figures of a supply in `zone`."""
    person, language = person_of(request), language_of(request)
    same = person is not None and person.language == language
    calendar = person.calendar if person is not None and same else calendar_of(language)
    return Reader(language=language, calendar=calendar, zone=ZoneInfo(zone or "UTC"))


def page(
    request: Request, template: str, *, zone: str = "", status: int = 200, **context: Any
) -> HTMLResponse:
    """Return a rendered template in the reader's language."""
    site, reader, person = site_of(request), reader_of(request, zone), person_of(request)
    words = reader.words
    wall_now = site.clock.wall_now()
    body = site.environment.get_template(template).render(
        t=words, fmt=reader, person=person, path=request.url.path, demo=site.config.demo,
        asset=f"/static/{site.version}", zoned=bool(zone), languages=LANGUAGES,
        flash=_flash(request, reader),
        now=site.clock.now(), wall_ms=to_ms(wall_now), speed=site.clock.scale.speed,
        wall_ms_of=lambda instant: to_ms(site.clock.scale.wall_at(instant)), to_ms=to_ms,
        who=lambda actor: who(actor, words), **context,
    )  # fmt: skip
    answer = HTMLResponse(body, status_code=status)
    if _FLASH in request.cookies:
        answer.delete_cookie(_FLASH, path="/")
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """How old a figure is on the wall, and the colour that says so."""

    seconds: int
    shade: str


def age_of(wall: datetime | None, wall_now: datetime) -> Age | None:
    """Return the age of a figure: fresh to 30 s, amber to 5 min, grey beyond."""
    if wall is None:
        return None
    seconds = max(0, int((wall_now - wall).total_seconds()))
    shade = "fresh" if seconds <= 30 else "late" if seconds <= 300 else "old"
    return Age(seconds=seconds, shade=shade)


def who(actor: str, words: Words) -> str:
    """Return an actor as people call them: the login, or the part of the system that acted."""
    kind, _, name = actor.partition(":")
    return name if kind == "user" else words.of_code("actor", actor)


def go(path: str, *, flash: str = "", tone: str = "good", **filled: str) -> RedirectResponse:
    """Return a redirect after a form, with a sentence of the catalogue for the next page."""
    answer = RedirectResponse(path, status_code=303)
    if flash:
        note = json.dumps({"k": flash, "v": filled, "tone": tone}).encode()
        answer.set_cookie(
            _FLASH, base64.urlsafe_b64encode(note).decode(), max_age=60, httponly=True,
            samesite="lax", path="/",
        )  # fmt: skip
    return answer


def _flash(request: Request, reader: Reader) -> dict[str, str] | None:
    raw = request.cookies.get(_FLASH)
    if not raw or len(raw) > 2000:
        return None
    try:
        note = json.loads(base64.urlsafe_b64decode(raw))
        text = reader.words(str(note["k"]), **{str(k): str(v) for k, v in note["v"].items()})
        tone = note["tone"] if note["tone"] in {"good", "bad"} else "good"
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return {"text": text, "tone": tone}


def safe_next(path: str, otherwise: str = "/") -> str:
    """Return a path of our own site; anything that could lead elsewhere becomes `otherwise`."""
    ours = path.startswith("/") and not path.startswith(("//", "/\\")) and "\n" not in path
    return path if ours and len(path) < 500 else otherwise


def is_part(request: Request) -> bool:
    """Tell whether the browser asked for a part of a page, to swap it in."""
    return request.headers.get("hx-request") == "true"


def empty(status: int = 204) -> Response:
    """Return an answer without a body."""
    return Response(status_code=status)
