"""Collections and arrears, now and at any past moment (S30); fees across three books (G6)."""

from collections.abc import Iterator
from datetime import date, datetime
from zoneinfo import ZoneInfo

from billing.accounting import store
from billing.accounting.model import (
    Collected,
    CollectedBy,
    Owed,
    OwedAccount,
    OwedBy,
    Refusal,
    Tie,
    Untied,
)
from cloud.store.db import Connection
from protocols.errors import RefusedError
from protocols.timeline import Interval, local_date, local_day

_AT_ONCE = 2_000
LONGEST_DAYS = 400


def collected(
    conn: Connection, span: Interval, by: CollectedBy, *, moment: datetime, zone: ZoneInfo,
    now: datetime, channel: str = "", unit: str = "",
) -> list[Collected]:  # fmt: skip
    """
    Return payments received in a span by group, as the books stood at a moment (S30).

    Raises: RefusedError `accounting.moment` for a moment to come.
    """
    _check(moment, now)
    return store.collected(conn, span, by, moment=moment, zone=zone.key, channel=channel, unit=unit)


def owed(
    conn: Connection, by: OwedBy, *, moment: datetime, zone: ZoneInfo, now: datetime
) -> list[Owed]:
    """
    Return arrears by group as they stood at a moment, from the ledger as of then (S30).

    Raises: RefusedError `accounting.moment` for a moment to come.
    """
    _check(moment, now)
    return store.owed(conn, by, moment=moment, day=local_date(moment, zone))


def owed_accounts(
    conn: Connection, *, moment: datetime, zone: ZoneInfo, now: datetime, unit: str = "",
    kind: str = "", after: tuple[str, str] = ("", ""), limit: int = 0,
) -> Iterator[OwedAccount]:  # fmt: skip
    """Yield accounts in arrears at a moment by number; all of them, or at most `limit`."""
    _check(moment, now)
    left, place = limit or None, after
    while left is None or left > 0:
        some = min(_AT_ONCE, left or _AT_ONCE)
        page = store.owed_accounts(
            conn, moment=moment, day=local_date(moment, zone), unit=unit, kind=kind, after=place,
            limit=some,
        )  # fmt: skip
        yield from page
        if len(page) < some:
            return
        place = (page[-1].account, page[-1].currency)
        left = None if left is None else left - len(page)


def ties(conn: Connection, first: date, last: date, *, zone: ZoneInfo) -> list[Tie]:
    """
    Return what bills, drawdowns and receipts say of each local day beside the ledger (G6).

    Raises: RefusedError `accounting.moment` when the days are out of order or too many.
    """
    return store.day_ties(conn, _span(first, last, zone), (first, last), zone.key)


def untied(
    conn: Connection, first: date, last: date, *, zone: ZoneInfo, limit: int = 100
) -> list[Untied]:
    """Return documents and entries of some days that have not their like in the other book."""
    return store.untied(conn, _span(first, last, zone), limit)


def _span(first: date, last: date, zone: ZoneInfo) -> Interval:
    if not 0 <= (last - first).days < LONGEST_DAYS:
        raise RefusedError(
            Refusal.MOMENT, f"{first} to {last} are no {LONGEST_DAYS} days in order",
            fix="name the first day and then the last",
        )  # fmt: skip
    return Interval(start=local_day(first, zone).start, end=local_day(last, zone).end)


def _check(moment: datetime, now: datetime) -> None:
    if moment > now:
        raise RefusedError(
            Refusal.MOMENT, f"{moment.isoformat()} is still to come", fix="name a past moment"
        )
