"""Taking in subscribers that can be priced: one at the counter, or a file of them (G12, G13)."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from billing.customers import service as customers
from billing.customers.model import NewCustomer, Occupied, Registration
from billing.customers.rules import check_free
from billing.rating.rules.subscriber_file import FileLine, lines_of
from billing.rating.rules.subscribing import Refusal, Subscription, check_subscription
from billing.tariffs import service as tariffs
from billing.tariffs.model import Tariff
from cloud.assets import service as assets
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLine:
    """A line that was not taken: where, why, and the way out."""

    number: int
    code: str
    message: str
    fix: str


@dataclass(slots=True, kw_only=True)
class Taken:
    """What became of a file: new, known already with the same content, refused."""

    added: int = 0
    unchanged: int = 0
    refused: list[RefusedLine] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Known:
    """What has been looked up or seen already, so that a file of thousands asks once."""

    versions: dict[str, list[tuple[str, Tariff]]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    people: dict[str, tuple[str, str]] = field(default_factory=dict)


def _silent(_done: int, _of: int) -> None:
    """Tell nobody."""


def subscribe(db: Database, wish: Subscription, *, actor: str, now: datetime) -> bool:
    """
    Take in one subscriber; tell whether it is new. Again, nothing changes.

    Raises: RefusedError `subscribers.*`, `customers.*`.
    """
    with db.transaction() as conn:
        _check(conn, [wish], _Known())
    taken = customers.register(db, Registration(customers=(wish.record,), actor=actor), now=now)
    return bool(taken.added)


def subscribe_file(
    db: Database, text: str, *, zone: ZoneInfo, actor: str, now: datetime,
    only_check: bool = False, told: Callable[[int, int], None] = _silent,
) -> Taken:  # fmt: skip
    """
    Take in every good line of a file and tell of each other line why it was refused.

    The same file again adds nothing. `only_check` takes nothing in; `told` is told lines done, of.
    Raises: RefusedError `subscribers.line` when the file's columns are wrong.
    """
    lines = lines_of(text, zone)
    taken, known = Taken(), _Known()
    for start in range(0, len(lines), CHUNK):
        chunk = lines[start : start + CHUNK]
        good = _good(db, chunk, known, taken)
        if only_check:
            taken.added += len(good)
        elif good:
            found = customers.register(
                db, Registration(customers=tuple(good), actor=actor), now=now
            )
            taken.added += found.added
            taken.unchanged += found.unchanged
        told(start + len(chunk), len(lines))
    return taken


def report_of(taken: Taken) -> str:
    """Return refused lines as a comma-separated file: line, code, why, way out."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("line", "code", "why", "fix"))
    writer.writerows((one.number, one.code, one.message, one.fix) for one in taken.refused)
    return text.getvalue()


def _good(
    db: Database, chunk: Sequence[FileLine], known: _Known, taken: Taken
) -> list[NewCustomer]:
    """Return the records of a chunk that can be taken in; the others are told of."""
    good = []
    with db.transaction() as conn:
        wishes = [line.wish for line in chunk if line.wish is not None]
        occupied = customers.occupied(conn, [wish.record for wish in wishes])
        zones = _zones(conn, wishes)
        for line in chunk:
            refused = line.refused
            if line.wish is not None:
                try:
                    _check_one(conn, line.wish, known, occupied, zones)
                except RefusedError as error:
                    refused = error
                else:
                    good.append(line.wish.record)
            if refused is not None:
                taken.refused.append(
                    RefusedLine(
                        number=line.number, code=refused.refusal.value, message=refused.message,
                        fix=refused.fix,
                    )
                )  # fmt: skip
    return good


def _check(conn: Connection, wishes: Sequence[Subscription], known: _Known) -> None:
    occupied = customers.occupied(conn, [wish.record for wish in wishes])
    zones = _zones(conn, wishes)
    for wish in wishes:
        _check_one(conn, wish, known, occupied, zones)


def _check_one(
    conn: Connection, wish: Subscription, known: _Known, occupied: Occupied,
    zones: dict[str, str],
) -> None:  # fmt: skip
    record = wish.record
    code = record.tariff_code
    if code not in known.versions:
        known.versions[code] = tariffs.versions(conn, code)
    zone = zones.get(record.usage_point)
    start = record.started_at.astimezone(ZoneInfo(zone or "UTC")).date()
    check_subscription(wish, known.versions[code], zone=zone, start=start)
    check_free(record, occupied)
    for name in (record.agreement, record.account, record.usage_point):
        if name in known.seen:
            raise RefusedError(
                Refusal.TWICE, f"{name} stands in an earlier line", fix="each supply stands once"
            )
    said = (record.name, record.kind.value)
    if known.people.setdefault(record.customer, said) != said:
        raise RefusedError(
            Refusal.CUSTOMER, f"{record.customer} has another name or kind in an earlier line",
            fix="use the same name and kind, or another customer",
        )  # fmt: skip
    known.seen.update((record.agreement, record.account, record.usage_point))


def _zones(conn: Connection, wishes: Sequence[Subscription]) -> dict[str, str]:
    points = [UsagePointId(wish.record.usage_point) for wish in wishes]
    return {point.id: point.zone for point in assets.usage_points(conn, points)}
