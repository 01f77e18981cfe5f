"""
Errors to HTTP: Refusal -> 409 or 422 (access refusals 401, 403, 404, 428, 429), PeerError -> 502,
a database that is away -> 503, a bug -> 500. Pages get a page, the API gets RFC 9457 problem+json.
"""

import logging
import secrets
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from cloud.store.db import TransientDatabaseError
from portal.auth.guard import sign_in_path
from portal.auth.model import AccessRefusal
from portal.site import is_part, page, safe_next
from protocols.errors import PeerError, RefusedError

_LOG = logging.getLogger(__name__)

_ACCESS_STATUS: dict[str, int] = {
    AccessRefusal.WRONG_PASSWORD: 422,
    AccessRefusal.TOO_MANY_TRIES: 429,
    AccessRefusal.NOT_SIGNED_IN: 401,
    AccessRefusal.FORBIDDEN: 403,
    AccessRefusal.FORM_EXPIRED: 403,
    AccessRefusal.STEP_UP_NEEDED: 403,
    AccessRefusal.KEY_REUSED: 422,
    AccessRefusal.KEY_MISSING: 428,
    AccessRefusal.BAD_INPUT: 422,
    AccessRefusal.BAD_AMOUNT: 422,
    AccessRefusal.NO_VOLTAGE_UNCONFIRMED: 422,
    AccessRefusal.NOT_FOUND: 404,
}
_INPUT_AT_FAULT = frozenset(
    {
        "payments.amount", "payments.currency", "payments.account_unknown", "payments.peer_id",
        "unknown_request", "unknown_supply", "token_shape", "no_tokens", "key_reused",
    }
)  # fmt: skip
"""Refusals of what was sent (422); every other refusal is one of the present state (409)."""


def status_of(error: RefusedError) -> int:
    """Return the HTTP status of a refusal."""
    if isinstance(error.refusal, AccessRefusal):
        return _ACCESS_STATUS[error.refusal]
    return 422 if error.refusal.value in _INPUT_AT_FAULT else 409


def problem(
    request: Request, *, status: int, code: str, title: str, detail: str, fix: str = ""
) -> JSONResponse:
    """Return an RFC 9457 answer."""
    body: dict[str, Any] = {
        "type": f"/docs/errors#{code}", "title": title, "status": status, "detail": detail,
        "code": code, "instance": request.url.path,
    }  # fmt: skip
    if fix:
        body["fix"] = fix
    headers = {"Retry-After": "5"} if status == 503 else {}
    return JSONResponse(
        body, status_code=status, media_type="application/problem+json", headers=headers
    )


def is_api(request: Request) -> bool:
    """Tell whether a machine asked."""
    return request.url.path.startswith("/api/")


def _said(request: Request, *, status: int, code: str, detail: str, fix: str = "") -> Response:
    if is_api(request):
        return problem(request, status=status, code=code, title=code, detail=detail, fix=fix)
    return page(
        request, "error.html", status=status, code=code, detail=detail, fix=fix,
        part=is_part(request), http_status=status,
    )  # fmt: skip


def install(app: FastAPI) -> None:
    """Let `app` answer every expected failure."""

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        code = error.refusal.value
        if not is_api(request) and not is_part(request):
            if error.refusal is AccessRefusal.NOT_SIGNED_IN:
                return RedirectResponse(sign_in_path(request), status_code=303)
            if error.refusal is AccessRefusal.STEP_UP_NEEDED:
                back = safe_next(_back(request))
                return RedirectResponse(f"/confirm?next={quote(back)}", status_code=303)
        _LOG.info("portal.refused", extra={"fields": {"code": code, "path": request.url.path}})
        return _said(
            request, status=status_of(error), code=code, detail=error.message, fix=error.fix
        )

    def peer_failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, PeerError)
        _LOG.warning("portal.peer_failed", extra={"fields": {"code": error.code}})
        return _said(request, status=502, code=error.code, detail=error.message)

    def database_away(request: Request, error: Exception) -> Response:
        _LOG.warning("portal.database_away", extra={"fields": {"cause": type(error).__name__}})
        return _said(request, status=503, code="database_away", detail="the database is away")

    def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = "not_found" if error.status_code == 404 else f"http_{error.status_code}"
        return _said(request, status=error.status_code, code=code, detail=str(error.detail))

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        detail = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}"
            for one in error.errors()
        )
        return _said(request, status=422, code="bad_input", detail=detail[:500])

    def bug(request: Request, error: Exception) -> Response:
        number = secrets.token_hex(4)
        _LOG.error(
            "portal.bug", exc_info=error, extra={"fields": {"id": number, "path": request.url.path}}
        )
        return _said(request, status=500, code="bug", detail=number)

    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(PeerError, peer_failed)
    app.add_exception_handler(TransientDatabaseError, database_away)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, bug)


def _back(request: Request) -> str:
    """Return the page that held the form: browsers name it in Referer, same origin only."""
    referer = urlsplit(request.headers.get("referer", ""))
    return referer.path if referer.netloc == request.headers.get("host", "") else "/"
