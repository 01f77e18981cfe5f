"""One interval's whole history: from the batch that brought it to the money it moved."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from billing.bills.model import Bill
from billing.bills.service import asking
from billing.customers import service as customers
from billing.customers.model import CustomerCard
from billing.prepaid import service as prepaid
from billing.prepaid.model import DayCost
from cloud.assets import service as assets
from cloud.assets.model import Installed, UsagePoint
from cloud.ingest.service import tracing
from cloud.ingest.service.tracing import Trace
from cloud.rollups import service as rollups
from cloud.rollups.model import Recompute
from cloud.store.clock import Clock
from cloud.store.db import Connection
from cloud.usage import service as usage
from cloud.usage.model import IntervalUsage
from cloud.vee import service as vee
from cloud.vee.model import Edit, EditState, SlotHistory, VeeException
from portal import drawing
from portal.auth.guard import allowed
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.fmt import Reader, plain_digits
from portal.site import page, reader_of, site_of
from portal.staff import gather
from portal.staff.stream_view import brief
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.reading import Channel
from protocols.timeline import Interval, grid_starts, local_date, local_day, to_ms

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.STREAM_VIEW))]
_HALF_HOUR = 1800
_MOST_RECOMPUTES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One slot of the day; `used` is None where nothing is used for it."""

    start: datetime
    used: IntervalUsage | None
    future: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What was asked of the customer for the day: the drawn day, and the bills that hold it."""

    card: CustomerCard
    day: DayCost | None
    bills: Sequence[Bill]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What somebody proposes for this slot; `wh` None: that it has no value."""

    edit: Edit
    wh: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The day and one slot of it, as far back as anything is known."""

    point: UsagePoint
    installed: Installed | None
    day: date
    slots: Sequence[Slot]
    bars: Sequence[drawing.Box]
    chosen: Slot
    seconds: int
    trace: Trace | None
    lag: str
    findings: Sequence[VeeException]
    said: SlotHistory
    proposed: Sequence[Proposal]
    charge: Charge | None
    recomputes: Sequence[Recompute]


@router.get("/stream/intervals")
def find(_: Viewer, point: str = "", day: str = "") -> Response:
    """Lead to the intervals of a usage point and day."""
    known = plain_digits(point.strip())[:64]
    return RedirectResponse(
        f"/stream/intervals/{quote(known, safe='')}?day={quote(plain_digits(day)[:10])}",
        status_code=303,
    )


@router.get("/stream/intervals/{usage_point}")
def interval(
    request: Request, person: Viewer, usage_point: str, day: str = "", at: str = ""
) -> Response:
    """Show a day of a usage point and where one of its slots came from and went to."""
    site = site_of(request)
    with site.db.transaction() as conn:
        point = assets.usage_point(conn, UsagePointId(usage_point))
        if point is None:
            raise RefusedError(AccessRefusal.NOT_FOUND, f"no usage point is called {usage_point}")
        zone = ZoneInfo(point.zone)
        wanted = instant_of(at)
        chosen = local_date(wanted, zone) if wanted else _day(day, site.clock, zone)
        view = history_of(
            conn, point, chosen, wanted, clock=site.clock, reader=reader_of(request, point.zone)
        )
        name = gather.names_at(conn, [point.id]).get(point.id, "")
    n = view.slots.index(view.chosen)
    return page(
        request, "interval.html", zone=point.zone, view=view, name=name, mine=person.actor,
        before=view.slots[n - 1] if n else None,
        after=view.slots[n + 1] if n + 1 < len(view.slots) else None,
        yesterday=view.day - timedelta(days=1), tomorrow=view.day + timedelta(days=1),
        until=view.chosen.start + timedelta(seconds=view.seconds),
    )  # fmt: skip


def history_of(
    conn: Connection,
    point: UsagePoint,
    day: date,
    wanted: datetime | None,
    *,
    clock: Clock,
    reader: Reader,
) -> History:
    """Return the history of the slot at `wanted`, else of the newest that has a value."""
    span, now = local_day(day, ZoneInfo(point.zone)), clock.now()
    stood = assets.installations_at(conn, [point.id])
    here = _installed(stood, span)
    seconds = (here.meter.interval_seconds if here else None) or _HALF_HOUR
    used = {one.start: one for one in usage.intervals(conn, point.id, span)}
    starts = list(grid_starts(span, seconds))
    slots = [
        Slot(start=start, used=used.get(start), future=start + timedelta(seconds=seconds) > now)
        for start in starts
    ]
    known = [slot for slot in slots if slot.used is not None]
    chosen = next((slot for slot in slots if slot.start == wanted), None)
    chosen = chosen or (known[-1] if known else slots[0])
    meter = _installed(stood, Interval(start=chosen.start, end=chosen.start + timedelta(seconds=1)))
    found = (
        tracing.trace(conn, meter.meter.id, Channel.IMPORT_INTERVAL_WH, chosen.start)
        if meter
        else None
    )
    return History(
        point=point, installed=meter, day=day, slots=slots, bars=_bars(slots, chosen, reader),
        chosen=chosen, seconds=seconds, trace=found, lag=_lag(found, clock, reader),
        findings=_findings(conn, point.id, chosen.start, seconds),
        said=vee.slot_history(conn, point.id, chosen.start),
        proposed=_proposed(conn, point.id, chosen.start, seconds),
        charge=_charge(conn, point.id, day, now),
        recomputes=rollups.recomputes_of(conn, point.id, day, limit=_MOST_RECOMPUTES),
    )  # fmt: skip


def _installed(stood: Sequence[Installed], span: Interval) -> Installed | None:
    """Return what hung there in the span; of several the last."""
    found = [
        one
        for one in stood
        if one.installation.installed_at < span.end
        and (one.installation.removed_at is None or span.start < one.installation.removed_at)
    ]
    return found[-1] if found else None


def _findings(
    conn: Connection, point: UsagePointId, start: datetime, seconds: int
) -> list[VeeException]:
    """Return what was found about the slot, open findings first."""
    end = start + timedelta(seconds=seconds)
    return [
        one
        for closed in (False, True)
        for one in vee.queue(conn, usage_points=[point], closed=closed)
        if one.range_start < end and start < one.range_end
    ]


def _proposed(
    conn: Connection, point: UsagePointId, start: datetime, seconds: int
) -> list[Proposal]:
    return [
        Proposal(edit=edit, wh=wh)
        for edit in vee.edits(conn, state=EditState.PROPOSED, usage_point=point)
        if edit.seconds == seconds
        for at, wh in zip(edit.start_ms, edit.wh, strict=True)
        if at == to_ms(start)
    ]


def _bars(slots: Sequence[Slot], chosen: Slot, reader: Reader) -> list[drawing.Box]:
    """Return a bar for each slot; one without a value is a gap of full height."""
    words = reader.words
    rows = []
    for slot in slots:
        at = reader.time(slot.start)
        if slot.used is None:
            kind = "ahead" if slot.future else "hole"
            rows.append((0, kind, f"{at} · {words('interval.' + kind)}"))
            continue
        quality = slot.used.quality.value
        said = f"{at} · {reader.kwh_exact(slot.used.wh)} · {words.of_code('quality', quality)}"
        rows.append((slot.used.wh, f"q-{quality}", said))
    found = []
    for slot, box in zip(slots, drawing.bars(rows), strict=True):
        whole = replace(box, y=0, height=drawing.HIGH) if box.kind == "hole" else box
        found.append(replace(whole, kind=f"{box.kind} chosen") if slot == chosen else whole)
    return found


def _lag(found: Trace | None, clock: Clock, reader: Reader) -> str:
    if found is None or found.batch is None or found.batch.made_at is None:
        return ""
    late = max(timedelta(), found.batch.received_at - found.batch.made_at) // clock.scale.speed
    return brief(late // timedelta(milliseconds=1), reader)


def _charge(conn: Connection, point: UsagePointId, day: date, now: datetime) -> Charge | None:
    card = customers.card_of(conn, point)
    if card is None:
        return None
    try:
        found = prepaid.reckoning_of(conn, point, first=day, last=day, now=now)
        days = [one for one in found.days if one.day == day]
    except RefusedError:
        # no balance is kept there: what it owes comes with bills alone
        days = []
    bills = [
        bill
        for bill in asking.bills_of(conn, card.account)
        if bill.usage_point == point and bill.period_start <= day < bill.period_end
    ]
    return Charge(card=card, day=days[0] if days else None, bills=bills)


def instant_of(text: str) -> datetime | None:
    """Return the instant of an address, None of an empty one. Raises: RefusedError `bad_input`."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise _unread() from error
    if found.tzinfo is None or not 1990 < found.year < 2200:
        raise _unread()
    return found.astimezone(UTC)


def _day(text: str, clock: Clock, zone: ZoneInfo) -> date:
    if not text:
        return local_date(clock.now(), zone)
    try:
        found = date.fromisoformat(plain_digits(text))
    except ValueError as error:
        raise _unread() from error
    if not 1990 < found.year < 2200:
        raise _unread()
    return found


def _unread() -> RefusedError:
    return RefusedError(
        AccessRefusal.BAD_INPUT, "a day is like 2026-11-18, an instant like 2026-11-18T04:00Z"
    )
