"""SQL of the watch over those without power, and of fee control's statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from billing.prepaid.rules.watching import WatchReason
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.timeline import Interval

_SQL = Queries(Path(__file__).parent.parent / "sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An agreement that may have to be watched, with its switch."""

    agreement: str
    account: str
    usage_point: str
    currency: str
    available_micros: int
    quality: str
    relay_state: str
    relay_at: datetime | None
    protected: bool
    vulnerable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Somebody who may be without power; `vulnerable` says why this one comes first."""

    id: int
    agreement: str
    account: str
    usage_point: str
    name: str
    reason: WatchReason
    since: datetime
    vulnerable: str
    available_micros: int
    currency: str
    found_at: datetime
    seen_by: str
    seen_at: datetime | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How many agreements of an area and class stand on a side of their lines."""

    area: str
    kind: str
    currency: str
    side: str
    quality: str
    count: int
    available_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many of something there are in an area."""

    area: str
    what: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditSum:
    """What all customers owe of loans or old debt in one currency."""

    kind: str
    currency: str
    accounts: int
    owed_micros: int


def candidates(conn: Connection) -> list[Candidate]:
    """Return agreements in debt, or without a closed switch."""
    return [
        Candidate(
            agreement=row[0], account=row[1], usage_point=row[2], currency=row[3],
            available_micros=row[4], quality=row[5], relay_state=row[6], relay_at=row[7],
            protected=row[8], vulnerable=row[9],
        )
        for row in conn.execute(_SQL["watch_candidates"])
    ]  # fmt: skip


def watched(conn: Connection) -> list[Watched]:
    """Return who is watched: the vulnerable first, then those nobody has seen, the longest ago."""
    return [
        Watched(
            id=row[0], agreement=row[1], account=row[2], usage_point=row[3], name=row[4],
            reason=WatchReason(row[5]), since=row[6], vulnerable=row[7], available_micros=row[8],
            currency=row[9], found_at=row[10], seen_by=row[11], seen_at=row[12], note=row[13],
        )
        for row in conn.execute(_SQL["watch_open"])
    ]  # fmt: skip


def open_watch(
    conn: Connection,
    found: Candidate,
    *,
    reason: WatchReason,
    since: datetime,
    vulnerable: str,
    now: datetime,
) -> int | None:
    """Begin to watch an agreement; None when it is watched already."""
    row = conn.execute(
        _SQL["open_watch"],
        {
            "agreement": found.agreement, "account": found.account,
            "usage_point": found.usage_point, "reason": reason.value, "since": since,
            "vulnerable": vulnerable, "available": found.available_micros,
            "currency": found.currency, "now": now,
        },
    ).fetchone()  # fmt: skip
    return int(row[0]) if row else None


def close_watches(conn: Connection, agreements: Sequence[str], now: datetime) -> None:
    """End the watch over agreements."""
    conn.execute(_SQL["close_watches"], {"agreements": list(agreements), "now": now})


def see_watch(conn: Connection, number: int, *, actor: str, note: str, now: datetime) -> str | None:
    """Note that somebody looked; return the usage point, or None when it is not watched now."""
    values = {"id": number, "actor": actor, "note": note, "now": now}
    row = conn.execute(_SQL["see_watch"], values).fetchone()
    return str(row[0]) if row else None


def standing_by_area(conn: Connection) -> list[Standing]:
    """Return how agreements stand, by area, class, currency, side and quality."""
    return [
        Standing(
            area=row[0], kind=row[1], currency=row[2], side=row[3], quality=row[4], count=row[5],
            available_micros=int(row[6]),
        )
        for row in conn.execute(_SQL["standing_by_area"])
    ]  # fmt: skip


def switches_by_area(conn: Connection) -> list[Count]:
    """Return where switches stand, by area."""
    rows = conn.execute(_SQL["switches_by_area"])
    return [Count(area=row[0], what=row[1], count=row[2]) for row in rows]


def crossings_by_area(conn: Connection, span: Interval) -> list[Count]:
    """Return how many lines were passed, by area and kind."""
    rows = conn.execute(_SQL["crossings_by_area"], {"start": span.start, "end": span.end})
    return [Count(area=row[0], what=row[1], count=row[2]) for row in rows]


def exceptions_by_area(conn: Connection) -> list[Count]:
    """Return how many calculation exceptions stand, by area and kind."""
    rows = conn.execute(_SQL["exceptions_by_area"])
    return [Count(area=row[0], what=row[1], count=row[2]) for row in rows]


def credit_owed(conn: Connection) -> list[CreditSum]:
    """Return what is owed of loans and old debt, by currency."""
    return [
        CreditSum(kind=row[0], currency=row[1], accounts=row[2], owed_micros=int(row[3]))
        for row in conn.execute(_SQL["credit_owed"])
    ]


def daily_fees(conn: Connection, agreements: Sequence[str], first: date) -> dict[str, int]:
    """Return the average day's fee of agreements, in micros, of the days drawn since `first`."""
    rows = conn.execute(_SQL["daily_fees"], {"agreements": list(agreements), "first": first})
    return {row[0]: row[1] for row in rows}
