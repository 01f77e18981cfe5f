"""The tariff book: versions in force, proposed and shipped, one drawn, two compared."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from billing.money import parse_micros
from billing.tariffs import rules
from billing.tariffs import service as tariffs
from billing.tariffs.model import Tariff
from billing.tariffs.model.proposed import Proposal
from billing.tariffs.model.published import Published
from billing.tariffs.rules.calendar import hours_of
from billing.tariffs.rules.diff import About, Change, StepChange, changes_of, step_changes
from cloud.store.db import Connection
from portal import drawing
from portal.auth.guard import allowed
from portal.auth.model import AccessRefusal, Permission, SignedIn
from portal.site import page, reader_of, site_of
from portal.staff import gather
from portal.staff.impact import ImpactView, impact_view
from protocols.errors import RefusedError
from protocols.timeline import local_date

router = APIRouter()
Viewer = Annotated[SignedIn, Depends(allowed(Permission.TARIFF_VIEW))]
_UNITS = {"energy": "kWh", "export": "kWh", "credit_kwh": "kWh", "demand": "kW", "capacity": "kVA"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TariffFile:
    """
    A version to look at: `ref` finds it again.

    It is in the book (`published`), waits for a person (`proposed`), or came with the product.
    """

    ref: str
    tariff: Tariff
    document: Mapping[str, Any]
    published: Published | None
    proposed: Proposal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayStrip:
    """The hours of one kind of day in months that are alike."""

    months: tuple[int, ...]
    day_type: str
    boxes: Sequence[drawing.Box]
    spans: Sequence[tuple[int, int, int]]
    """From minute, to minute, number of the TouPeriod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """A stretch of a ladder with both prices as bars; `boxes` has one for each side."""

    step: StepChange
    first: bool
    label: Mapping[str, str]
    unit: str
    boxes: Sequence[drawing.Box]


@router.get("/tariffs")
def tariff_list(request: Request, person: Viewer) -> Response:
    """Show the versions in force and the files that came with the product."""
    with site_of(request).db.transaction() as conn:
        files, zone = files_of(conn), gather.office_zone(conn)
    return page(
        request, "tariffs.html", zone=zone, mine=person.actor,
        in_force=[file for file in files if file.published],
        proposed=[(file, _forerunner(files, file)) for file in files if file.proposed],
        shipped=[file for file in files if not file.published and not file.proposed], files=files,
    )  # fmt: skip


@router.get("/tariffs/diff")
def tariff_diff(
    request: Request, _: Viewer, before: str, after: str, first: str = "", until: str = ""
) -> Response:
    """
    Show what changes from one version to another, price by price.

    With `first` and `until`, what it does to the accounts that were on the first in those days.
    """
    site = site_of(request)
    with site.db.transaction() as conn:
        files, zone = files_of(conn), gather.office_zone(conn)
    old, new = file_of(files, before), file_of(files, after)
    changes = changes_of(old.document, new.document)
    impact: ImpactView | None = None
    if first and until:
        impact = impact_view(
            site.db, (old.tariff, new.tariff), first, until, reader=reader_of(request, zone)
        )
    month = local_date(site.clock.now(), ZoneInfo(zone)).replace(day=1)
    return page(
        request, "tariff_diff.html", zone=zone, old=old, new=new, files=files,
        rows=_step_rows(old, new), money=_told(changes, About.PRICE),
        paper=_told(changes, About.PAPER), impact=impact,
        same_money=old.tariff.currency == new.tariff.currency,
        first=first or (month - timedelta(days=1)).replace(day=1).isoformat(),
        until=until or month.isoformat(),
    )  # fmt: skip


@router.get("/tariffs/{ref}")
def tariff_page(request: Request, _: Viewer, ref: str) -> Response:
    """Show one version: prices, ladder, hours, sources."""
    with site_of(request).db.transaction() as conn:
        files, zone = files_of(conn), gather.office_zone(conn)
    file = file_of(files, ref)
    return page(
        request, "tariff.html", zone=zone, file=file, rows=_step_rows(file, file),
        strips=strips_of(file.tariff), periods=file.tariff.period_names,
    )  # fmt: skip


def files_of(conn: Connection) -> list[TariffFile]:
    """Return the book, then what is proposed, then the shipped files that are in neither."""
    found = [
        TariffFile(
            ref=row.digest[:16], tariff=rules.read_tariff(row.document.encode()),
            document=json.loads(row.document), published=row,
        )
        for row in tariffs.published(conn)
    ]  # fmt: skip
    found += [
        TariffFile(
            ref=f"p{row.id}", tariff=rules.read_tariff(row.document.encode()),
            document=json.loads(row.document), published=None, proposed=row,
        )
        for row in tariffs.proposals(conn)
    ]  # fmt: skip
    known = {file.published.digest for file in found if file.published}
    for path in sorted(tariffs.SHIPPED.glob("*.json")):
        octets = path.read_bytes()
        if rules.digest(rules.canonical(octets)) not in known:
            found.append(
                TariffFile(
                    ref=path.name.removesuffix(".json"), tariff=rules.read_tariff(octets),
                    document=json.loads(octets), published=None,
                )
            )  # fmt: skip
    return found


def file_of(files: Sequence[TariffFile], ref: str) -> TariffFile:
    """Return the version a page names. Raises: RefusedError `not_found`."""
    for file in files:
        if file.ref == ref:
            return file
    raise RefusedError(AccessRefusal.NOT_FOUND, f"no tariff {ref[:48]!r}")


def _forerunner(files: Sequence[TariffFile], file: TariffFile) -> TariffFile | None:
    """Return the newest version of the same code that is in the book."""
    of_code = [one for one in files if one.published and one.tariff.code == file.tariff.code]
    return max(of_code, key=lambda one: one.tariff.version, default=None)


def strips_of(tariff: Tariff) -> list[DayStrip]:
    """Return a strip for each kind of day, months alike told together; none without TouPeriods."""
    if not tariff.touperiods:
        return []
    hours = hours_of(tariff)
    alike: dict[tuple[str, bytes], list[int]] = {}
    for number, day_type in enumerate(tariff.calendar.day_types):
        for month in range(12):
            key = (day_type.name, hours[month, number].tobytes())
            alike.setdefault(key, []).append(month + 1)
    found = []
    for (name, _), months in alike.items():
        number = [each.name for each in tariff.calendar.day_types].index(name)
        minutes = hours[months[0] - 1, number].tolist()
        found.append(
            DayStrip(
                months=tuple(months), day_type=name, boxes=drawing.strip(minutes),
                spans=_spans(minutes),
            )
        )  # fmt: skip
    return found


def _spans(minutes: Sequence[int]) -> list[tuple[int, int, int]]:
    found, begin = [], 0
    for at in range(1, len(minutes) + 1):
        if at == len(minutes) or minutes[at] != minutes[begin]:
            found.append((begin, at, minutes[begin]))
            begin = at
    return found


def _step_rows(old: TariffFile, new: TariffFile) -> list[StepRow]:
    lines = {
        line["id"]: line for file in (old, new) for line in file.document["lines"]
    }  # fmt: skip
    steps = step_changes(old.document, new.document)
    # a price per kW and month would dwarf one per kWh: each unit has a scale of its own
    tops: dict[str, int] = {}
    for step in steps:
        unit = _unit(lines, step)
        sizes = [abs(parse_micros(price)) for price in (step.before, step.after) if price]
        tops[unit] = max([1, tops.get(unit, 0), *sizes])
    rows, last = list[StepRow](), ""
    for step in steps:
        unit = _unit(lines, step)
        line = lines.get(_line_id(step))
        rows.append(
            StepRow(
                step=step, first=step.line != last, unit=unit, label=line["label"] if line else {},
                boxes=[
                    box
                    for n, (kind, price) in enumerate((("old", step.before), ("new", step.after)))
                    for box in _price_box(kind, price, top=tops[unit], row=n)
                ],
            )
        )  # fmt: skip
        last = step.line
    return rows


def _line_id(step: StepChange) -> str:
    return step.line.split(" (")[0]


def _unit(lines: Mapping[str, Mapping[str, Any]], step: StepChange) -> str:
    line = lines.get(_line_id(step), {})
    return _UNITS.get(str(line.get("kind", "")), str(line.get("qty", "")))


def _price_box(kind: str, price: str | None, *, top: int, row: int) -> list[drawing.Box]:
    size = abs(parse_micros(price)) if price is not None else 0
    width = size * drawing.WIDE // top
    if not width:
        return []
    half = drawing.HIGH // 2
    return [drawing.Box(x=0, y=row * half + 8, width=width, height=half - 16, kind=kind)]


def _told(changes: Sequence[Change], about: About) -> list[Change]:
    return [change for change in changes if change.about is about]
