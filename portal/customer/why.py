"""Why is it this much: the same reckoning as page, as file, and as drawing."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from billing.customers.model import CustomerCard
from billing.prepaid import service as prepaid
from billing.prepaid.model import DayCost
from billing.prepaid.service import Reckoning, Stretch
from cloud.store.db import Connection
from cloud.usage import service as usage
from portal import drawing
from portal.auth.guard import allowed
from portal.auth.model import Permission, SignedIn
from portal.customer.gather import card_of, zone_of
from portal.customer.routes import own_point
from portal.customer.spans import KINDS, Span, span_of
from portal.fmt import Reader
from portal.site import is_part, page, reader_of, site_of
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import Interval, local_date, local_day

router = APIRouter()
Customer = Annotated[SignedIn, Depends(allowed(Permission.HOME_VIEW))]
Office = Annotated[SignedIn, Depends(allowed(Permission.CUSTOMER_VIEW))]
_COLUMNS = (
    "row", "name", "from", "step", "wh", "price_micros_per_kwh", "amount_micros", "currency",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A day, a month or an hour of the chart and of its table."""

    label: str
    wh: int
    micros: int
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """A stretch with the picture of how far it climbed."""

    stretch: Stretch
    boxes: Sequence[drawing.Box]
    reached: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyView:
    """What the page shows; every amount is the reckoning's own."""

    card: CustomerCard
    span: Span
    reckoning: Reckoning | None
    rows: Sequence[Bar]
    bars: Sequence[drawing.Box]
    hours: Sequence[Bar]
    hour_bars: Sequence[drawing.Box]
    unmeasured_wh: int
    ladders: Sequence[Ladder]


@router.get("/home/why")
def why(request: Request, person: Customer, span: str = "month", on: str = "") -> Response:
    """Show a customer why a day, a month or a year costs what it costs."""
    return _why_page(request, own_point(person), home="/home", span=span, on=on)


@router.get("/home/why.csv")
def why_csv(request: Request, person: Customer, first: date, last: date) -> Response:
    """Return the same lines and days as a file."""
    return _why_file(request, own_point(person), first=first, last=last)


@router.get("/customers/{usage_point}/why")
def office_why(
    request: Request, _: Office, usage_point: str, span: str = "month", on: str = ""
) -> Response:
    """Show the office what the customer sees."""
    return _why_page(request, usage_point, home=f"/customers/{usage_point}", span=span, on=on)


@router.get("/customers/{usage_point}/why.csv")
def office_why_csv(
    request: Request, _: Office, usage_point: str, first: date, last: date
) -> Response:
    """Return the customer's file to the office."""
    return _why_file(request, usage_point, first=first, last=last)


def _why_page(request: Request, point: str, *, home: str, span: str, on: str) -> Response:
    site = site_of(request)
    now = site.clock.now()
    with site.db.transaction() as conn:
        card, zone = card_of(conn, point), zone_of(conn, point)
        reader = reader_of(request, zone)
        chosen = _span(reader, span, on, now)
        view = view_of(conn, card, chosen, reader=reader, now=now)
    today = local_date(now, reader.zone)
    on = (today if chosen.first <= today <= chosen.last else chosen.first).isoformat()
    return page(
        request, "why_part.html" if is_part(request) else "why.html", zone=zone, view=view,
        home=home, kinds=KINDS, on=on, today=today, here=f"{home}/why?span={chosen.kind}&on={on}",
        # a file is of days, whatever calendar its reader has
        file=f"{home}/why.csv?first={chosen.first.isoformat()}&last={chosen.last.isoformat()}",
    )  # fmt: skip


def _span(reader: Reader, kind: str, on: str, now: datetime) -> Span:
    return span_of(kind, on, today=local_date(now, reader.zone), calendar=reader.calendar)


def view_of(
    conn: Connection, card: CustomerCard, span: Span, *, reader: Reader, now: datetime
) -> WhyView:
    """Return the page of one span of days."""
    try:
        found = prepaid.reckoning_of(
            conn, card.usage_point, first=span.first, last=span.last, now=now
        )
    except RefusedError:
        found = None
    rows = _rows(found.days if found else (), span, reader)
    hours = _hours(conn, card, span, reader=reader) if found and found.days else []
    return WhyView(
        card=card, span=span, reckoning=found, rows=rows,
        bars=drawing.bars([
            (row.micros, "open" if row.open else "bar",
             f"{row.label} · {reader.kwh_exact(row.wh)} · "
             f"{reader.money_exact(row.micros, card.currency)}")
            for row in rows
        ]),
        hours=hours,
        hour_bars=drawing.bars([
            (row.wh, "bar", f"{row.label} · {reader.kwh_exact(row.wh)}") for row in hours
        ]),
        unmeasured_wh=(found.wh if found else 0) - sum(row.wh for row in hours),
        ladders=[_ladder(each) for each in found.stretches] if found else [],
    )  # fmt: skip


def _rows(days: Sequence[DayCost], span: Span, reader: Reader) -> list[Bar]:
    """Return the days, oldest first; of a year its months."""
    if span.kind != "year":
        return [
            Bar(label=reader.day(day.day), wh=day.wh, micros=day.amount_micros, open=not day.drawn)
            for day in days
        ]
    months: dict[str, list[DayCost]] = {}
    for day in days:
        months.setdefault(reader.month_key(day.day), []).append(day)
    return [
        Bar(
            label=label, wh=sum(day.wh for day in held),
            micros=sum(day.amount_micros for day in held), open=not held[-1].drawn,
        )
        for label, held in months.items()
    ]  # fmt: skip


def _hours(conn: Connection, card: CustomerCard, span: Span, *, reader: Reader) -> list[Bar]:
    """Return the measured energy of each hour of the day, all days of the span together."""
    whole = Interval(
        start=local_day(span.first, reader.zone).start, end=local_day(span.last, reader.zone).end
    )
    sums = [0] * 24
    for row in usage.intervals(conn, UsagePointId(card.usage_point), whole):
        sums[row.start.astimezone(reader.zone).hour] += row.wh
    return [
        Bar(label=reader.digits(f"{hour:02}:00"), wh=wh, micros=0, open=False)
        for hour, wh in enumerate(sums)
    ]


def _ladder(stretch: Stretch) -> Ladder:
    steps = [
        drawing.Step(over=step.over_wh, upto=step.upto_wh, price=step.price_micros_per_kwh)
        for step in stretch.steps
    ]
    boxes = drawing.ladder(
        steps,
        since=min(stretch.from_year_wh, stretch.to_year_wh),
        now=max(stretch.from_year_wh, stretch.to_year_wh),
    )
    reached = sum(1 for step in stretch.steps if step.over_wh < stretch.to_year_wh)
    return Ladder(stretch=stretch, boxes=boxes, reached=max(1, reached))


def _why_file(request: Request, point: str, *, first: date, last: date) -> Response:
    site = site_of(request)
    with site.db.transaction() as conn:
        card = card_of(conn, point)
        found = prepaid.reckoning_of(
            conn, card.usage_point, first=first, last=last, now=site.clock.now()
        )
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    writer.writerows(_file_rows(found))
    name = f"why-{first.isoformat()}-{last.isoformat()}"
    return Response(
        text.getvalue(), media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )  # fmt: skip


def _file_rows(found: Reckoning) -> list[tuple[str | int | date | None, ...]]:
    money = found.currency
    return [
        *(
            ("line", line.line, line.from_wh, line.step, line.wh, line.price_micros_per_kwh,
             line.amount_micros, money)
            for line in found.lines
        ),
        *(
            ("day" if day.drawn else "open_day", day.day, None, None, day.wh, None,
             day.amount_micros, money)
            for day in found.days
        ),
        ("ledger", "taken", None, None, None, None, found.taken_micros, money),
        ("ledger", "running", None, None, None, None, found.running_micros or 0, money),
        ("total", "", None, None, found.wh, None, found.amount_micros, money),
    ]  # fmt: skip
