"""Composition of the portal: routes, errors, static files, the live stream."""

import asyncio
from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.routing import Route
from starlette.types import Scope

from billing.customers import service as customers
from cloud.assets import service as assets
from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from portal import errors
from portal.api import routes as api
from portal.api import stream as api_stream
from portal.api import tokens as api_tokens
from portal.api import why as api_why
from portal.auth import routes as auth
from portal.auth import service as access
from portal.config import PortalConfig
from portal.crew import reading as crew_reading
from portal.crew import routes as crew
from portal.customer import bills, debts, why
from portal.customer import credit as customer_credit
from portal.customer import routes as customer
from portal.customer import statement as customer_statement
from portal.fmt import Reader
from portal.headers import SecurityHeaders
from portal.live.hub import Hub, WatchedMeter
from portal.live.stream import LiveStream, Seat
from portal.site import HERE, Site, site_of, static_version
from portal.staff import accounts as staff_accounts
from portal.staff import companies as staff_companies
from portal.staff import cycles as staff_cycles
from portal.staff import debts as staff_debts
from portal.staff import fee_control as staff_fee_control
from portal.staff import findings as staff_findings
from portal.staff import interval as staff_interval
from portal.staff import interval_edits as staff_interval_edits
from portal.staff import limits as staff_limits
from portal.staff import orders as meter_orders
from portal.staff import payments as staff_payments
from portal.staff import ratios as staff_ratios
from portal.staff import routes as staff
from portal.staff import runs as staff_runs
from portal.staff import stream as staff_stream
from portal.staff import subscribers as staff_subscribers
from portal.staff import tariff_change as staff_tariff_change
from portal.staff import tariffs as staff_tariffs
from portal.staff import terms as staff_terms
from protocols.identity import UsagePointId


class _ForEver(StaticFiles):
    """Static files whose address holds their digest: they may be kept for a year."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        answer.headers["cache-control"] = "public, max-age=31536000, immutable"
        return answer


def create_app(
    config: PortalConfig,
    db: Database,
    *,
    demo_passwords: Mapping[str, str] | None = None,
    stop: asyncio.Event | None = None,
) -> FastAPI:
    """
    Return the portal as an ASGI application; `app.state.site.hub.run` must run beside it.

    `stop` ends open streams when the process is asked to end.
    """
    clock = Clock(scale=config.scale)
    hub = Hub(config.broker, lambda point: _meter_of(db, point))
    app = FastAPI(title="Meterloop", version="1", docs_url=None, redoc_url=None)
    site = Site(
        config=config, db=db, clock=clock, hub=hub, version=static_version(HERE / "static"),
        demo_passwords=dict(demo_passwords or {}) if config.demo else {},
    )  # fmt: skip
    app.state.site = site
    errors.install(app)
    pages = (
        auth, customer, customer_credit, why, bills, debts, staff_debts, staff,
        staff_fee_control, meter_orders,
        staff_tariffs, staff_terms, staff_tariff_change,
        staff_runs, staff_payments, staff_limits, staff_accounts, staff_cycles, crew, crew_reading,
        staff_subscribers,
        staff_companies,
        customer_statement,
        staff_stream, staff_interval, staff_interval_edits, staff_findings, staff_ratios,
    )  # fmt: skip
    for part in pages:
        app.include_router(part.router, include_in_schema=False)
    for doors in (api.router, api_tokens.router, api_why.router, bills.api, api_stream.router):
        app.include_router(doors)
    app.add_api_route("/healthz", healthz, include_in_schema=False)
    app.add_api_route("/readyz", readyz, include_in_schema=False)
    app.mount(f"/static/{site.version}", _ForEver(directory=HERE / "static"))
    stream = LiveStream(hub, _seats(site), clock, stop or asyncio.Event())
    app.router.routes.append(Route("/live", stream, methods=["GET"]))
    app.add_middleware(SecurityHeaders)
    return app


def healthz() -> dict[str, str]:
    """Tell that the process lives."""
    return {"status": "alive"}


def readyz(request: Request) -> Response:
    """Tell whether database and broker answer."""
    site = site_of(request)
    try:
        with site.db.transaction() as conn:
            conn.execute("SELECT 1")
        database = True
    except TransientDatabaseError:
        database = False
    ready = database and site.hub.connected
    return JSONResponse(
        {"database": database, "broker": site.hub.connected, "viewers": site.hub.viewers},
        status_code=200 if ready else 503,
    )


def _meter_of(db: Database, point: UsagePointId) -> WatchedMeter | None:
    try:
        with db.transaction() as conn:
            found = assets.installation_of(conn, point)
    except TransientDatabaseError:
        return None
    if found is None:
        return None
    return WatchedMeter(meter=found.meter.id, concentrator=found.concentrator)


def _seats(site: Site) -> Any:
    """Return who may follow which usage point, asked at connect and again every minute."""

    def seat(scope: Mapping[str, Any], point: UsagePointId) -> Seat | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        cookies = SimpleCookie(headers.get(b"cookie", ""))
        secret = cookies[site.cookie].value if site.cookie in cookies else ""
        person = access.who_is(site.db, secret, wall_now=site.clock.wall_now())
        if person is None or not person.may_see(point):
            return None
        with site.db.transaction() as conn:
            card = customers.card_of(conn, point)
            found = assets.usage_point(conn, point)
        if card is None or found is None:
            return None
        reader = Reader(
            language=person.language, calendar=person.calendar, zone=ZoneInfo(found.zone)
        )
        return Seat(usage_point=point, reader=reader, currency=card.currency)

    return seat
