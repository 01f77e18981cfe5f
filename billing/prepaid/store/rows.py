"""SQL of states, segments, drawdowns, crossings and calculation exceptions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from billing.customers.model import AccountId, AgreementId
from billing.money import IntArray
from billing.prepaid.model import (
    BoolArray,
    Crossing,
    CrossingKind,
    Drawdown,
    ExceptionKind,
    OpenException,
    PastException,
    Segment,
    Shadow,
    States,
)
from cloud.store.db import Connection
from cloud.store.sql import Queries
from protocols.identity import UsagePointId
from protocols.timeline import Interval

SQL = Queries(Path(__file__).parent.parent / "sql")
"""Named blocks of the balance, for its stores alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unenrolled:
    """An open agreement that the sweep has not met."""

    agreement: AgreementId
    account: AccountId
    usage_point: UsagePointId
    currency: str
    tariff_code: str
    pinned_hash: str | None
    attributes: Mapping[str, str]
    started_at: datetime
    opening_register_wh: int | None
    opening_year_wh: int


def unenrolled(conn: Connection) -> list[Unenrolled]:
    """Return open agreements without a state."""
    return [
        Unenrolled(
            agreement=row[0], account=row[1], usage_point=row[2], currency=row[3],
            tariff_code=row[4], pinned_hash=row[5], attributes=row[6], started_at=row[7],
            opening_register_wh=row[8], opening_year_wh=row[9],
        )
        for row in conn.execute(SQL["unenrolled_agreements"])
    ]  # fmt: skip


def insert_segment(conn: Connection, segment: Segment, now: datetime) -> None:
    """Insert a segment."""
    conn.execute(
        SQL["insert_segment"],
        {
            "agreement": segment.agreement, "seq": segment.seq, "period": segment.period,
            "started_at": segment.started_at, "register_wh": segment.register_wh,
            "year_wh": segment.year_wh, "fee_before": segment.fee_before_micros,
            "tariff_hash": segment.tariff_hash, "now": now, "previous": segment.previous or 0,
            "shape": segment.shape, "start_day": segment.start,
            "before": None if segment.before is None else json.dumps(segment.before),
            "previous_wh": segment.previous_wh and list(segment.previous_wh),
        },
    )  # fmt: skip


def insert_state(
    conn: Connection,
    found: Unenrolled,
    segment: Segment,
    *,
    contract_w: int,
    quality: str,
    tier: int,
    open_day: date,
    day_ends_at: datetime,
    now: datetime,
) -> None:
    """Insert the state of an agreement that starts with `segment`; it waits no longer."""
    conn.execute(
        SQL["insert_state"],
        {
            "agreement": found.agreement, "account": found.account,
            "usage_point": found.usage_point, "currency": found.currency,
            "tariff_code": found.tariff_code, "pinned_hash": found.pinned_hash,
            "contract_w": contract_w, "period": segment.period,
            "register_wh": segment.register_wh, "year_wh": segment.year_wh,
            "tariff_hash": segment.tariff_hash, "register_at": segment.started_at,
            "quality": quality, "open_day": open_day, "day_ends_at": day_ends_at,
            "tier": tier, "now": now,
        },
    )  # fmt: skip
    conn.execute(SQL["delete_awaiting"], {"agreement": found.agreement})


def states(conn: Connection, agreements: Sequence[str] | None = None) -> States:
    """Return states as columns: all, or of the agreements named."""
    rows = conn.execute(
        SQL["states"], {"agreements": list(agreements) if agreements is not None else None}
    ).fetchall()
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) if rows else [()] * 32

    def ints(column: int) -> IntArray:
        return np.array(columns[column], dtype=np.int64)

    def flags(column: int) -> BoolArray:
        return np.array(columns[column], dtype=np.bool_)

    return States(
        agreement=list(columns[0]), account=list(columns[1]), usage_point=list(columns[2]),
        currency=list(columns[3]), tariff_code=list(columns[4]), pinned_hash=list(columns[5]),
        tariff_hash=list(columns[6]), period=list(columns[7]), open_day=list(columns[8]),
        quality=list(columns[9]), contract_w=ints(10), segment_seq=ints(11),
        segment_register=ints(12), segment_year=ints(13), segment_before=ints(14),
        register=ints(15), register_ms=ints(16), fee=ints(17), drawn=ints(18),
        day_ends_ms=ints(19), day_register=ints(20), tier=ints(21), available=ints(22),
        below_reminder=flags(23), below_zero=flags(24), below_cut=flags(25), reminders=ints(26),
        zeros=ints(27), cuts=ints(28), restores=ints(29), posted=ints(30), version=ints(31),
    )  # fmt: skip


def lock_states(conn: Connection, agreements: Sequence[str]) -> None:
    """Lock the states named until commit."""
    conn.execute(SQL["lock_states"], {"agreements": list(agreements)})


def lock_sweep(conn: Connection) -> None:
    """Wait for another sweep's transaction to end."""
    conn.execute(SQL["lock_sweep"])


def agreement_at(conn: Connection, usage_point: str) -> AgreementId | None:
    """Return the enrolled agreement of a usage point, or None."""
    row = conn.execute(SQL["agreement_at"], {"usage_point": usage_point}).fetchone()
    return AgreementId(row[0]) if row else None


def agreement_of_account(conn: Connection, account: str) -> AgreementId | None:
    """Return the enrolled agreement that an account pays for, or None."""
    row = conn.execute(SQL["agreement_of_account"], {"account": account}).fetchone()
    return AgreementId(row[0]) if row else None


def agreements_of_accounts(conn: Connection, accounts: Sequence[str]) -> dict[str, AgreementId]:
    """Return the enrolled agreements that accounts pay for, by account."""
    rows = conn.execute(SQL["agreements_of_accounts"], {"accounts": list(accounts)})
    return {account: AgreementId(agreement) for account, agreement in rows}


def update_figures(
    conn: Connection,
    agreements: Sequence[str],
    *,
    registers: Sequence[int],
    register_ms: Sequence[int],
    qualities: Sequence[str],
    fees: Sequence[int],
    tiers: Sequence[int],
) -> None:
    """Write registers and fees of the states named."""
    conn.execute(
        SQL["update_figures"],
        {
            "agreements": list(agreements), "registers": list(registers),
            "register_ms": list(register_ms), "qualities": list(qualities), "fees": list(fees),
            "tiers": list(tiers),
        },
    )  # fmt: skip


def update_lines(
    conn: Connection, agreements: Sequence[str], columns: Mapping[str, Sequence[Any]], now: datetime
) -> None:
    """Write balance, flags and counters; `columns` has the keys of the block's parameters."""
    conn.execute(SQL["update_lines"], {**columns, "agreements": list(agreements), "now": now})


def note_first(conn: Connection, agreement: str, *, register_wh: int, at: datetime) -> None:
    """Note the register at which the first whole interval of a new agreement begins."""
    conn.execute(
        SQL["note_first"], {"agreement": agreement, "register_wh": register_wh, "register_at": at}
    )


def advance_day(
    conn: Connection,
    agreement: str,
    *,
    drawn: int,
    open_day: date,
    day_ends_at: datetime,
    register_wh: int,
) -> None:
    """Open the next business day of an agreement."""
    conn.execute(
        SQL["advance_day"],
        {
            "agreement": agreement, "drawn": drawn, "open_day": open_day,
            "day_ends_at": day_ends_at, "register_wh": register_wh,
        },
    )  # fmt: skip


def advance_segment(
    conn: Connection, segment: Segment, tier: int, *, tariff_code: str, pinned_hash: str | None,
    contract_w: int,
) -> None:  # fmt: skip
    """Price an agreement by a new segment from here."""
    conn.execute(
        SQL["advance_segment"],
        {
            "agreement": segment.agreement, "seq": segment.seq, "period": segment.period,
            "register_wh": segment.register_wh, "year_wh": segment.year_wh,
            "fee_before": segment.fee_before_micros, "tariff_hash": segment.tariff_hash,
            "tier": tier, "tariff_code": tariff_code, "pinned_hash": pinned_hash,
            "contract_w": contract_w,
        },
    )  # fmt: skip


def insert_drawdowns(conn: Connection, drawdowns: Sequence[Drawdown], now: datetime) -> None:
    """Insert days that were drawn."""
    conn.execute(
        SQL["insert_drawdowns"],
        {
            "agreements": [row.agreement for row in drawdowns],
            "days": [row.day for row in drawdowns],
            "accounts": [row.account for row in drawdowns],
            "seqs": [row.segment_seq for row in drawdowns],
            "from_registers": [row.from_register_wh for row in drawdowns],
            "registers": [row.register_wh for row in drawdowns],
            "register_ats": [row.register_at for row in drawdowns],
            "fees": [row.fee_micros for row in drawdowns],
            "amounts": [row.amount_micros for row in drawdowns],
            "tariff_hashes": [row.tariff_hash for row in drawdowns],
            "entries": [row.entry_id for row in drawdowns],
            "seqs_of_day": [row.seq for row in drawdowns],
            "energies": [
                None if row.energy_wh is None else "{" + ",".join(map(str, row.energy_wh)) + "}"
                for row in drawdowns
            ],
            "now": now,
        },
    )


def insert_crossings(
    conn: Connection, columns: Mapping[str, Sequence[Any]], now: datetime
) -> list[Crossing]:
    """Insert crossings that are new and return those; `columns` as the block's parameters."""
    return [
        _crossing(row) for row in conn.execute(SQL["insert_crossings"], {**columns, "now": now})
    ]


def crossings_after(conn: Connection, after: int) -> list[Crossing]:
    """Return crossings after an id, oldest first, never skipping one still being written."""
    return [_crossing(row) for row in conn.execute(SQL["crossings_after"], {"after": after})]


def crossings_of(conn: Connection, agreement: str, limit: int) -> list[Crossing]:
    """Return the newest crossings of an agreement."""
    rows = conn.execute(SQL["crossings_of"], {"agreement": agreement, "limit": limit})
    return [_crossing(row) for row in rows]


def segments_of(conn: Connection, agreement: str, *, former: bool = False) -> list[Segment]:
    """
    Return the segments that an agreement's fee is built on, oldest first.

    With `former` those too that a change of terms put aside, by their number.
    """
    every = [_segment(row) for row in conn.execute(SQL["segments_of"], {"agreement": agreement})]
    if former or not every:
        return every
    by_seq, chain = {each.seq: each for each in every}, [every[-1]]
    while chain[0].previous is not None:
        chain.insert(0, by_seq[chain[0].previous])
    return chain


def all_segments(conn: Connection) -> list[Segment]:
    """Return every segment."""
    return [_segment(row) for row in conn.execute(SQL["all_segments"])]


def segments_of_many(conn: Connection, agreements: Sequence[str]) -> list[Segment]:
    """Return the segments of agreements, oldest first of each."""
    rows = conn.execute(SQL["segments_of_many"], {"agreements": list(agreements)})
    return [_segment(row) for row in rows]


def drawn_at_random(conn: Connection, seed: int, per_10000: int) -> list[str]:
    """Return the agreements of a share of all states that a seed picks."""
    rows = conn.execute(SQL["drawn_at_random"], {"seed": seed, "per_10000": per_10000})
    return [row[0] for row in rows]


def insert_shadow(conn: Connection, found: Shadow) -> None:
    """Keep what a second opinion said."""
    conn.execute(
        SQL["insert_shadow"],
        {
            "now": found.at, "seed": found.seed, "checked": found.checked,
            "differing": found.differing, "examples": list(found.examples),
        },
    )  # fmt: skip


def last_shadow(conn: Connection) -> datetime | None:
    """Return when the newest second opinion was taken, or None."""
    row = conn.execute(SQL["last_shadow"]).fetchone()
    return row[0] if row else None


def exceptions_between(conn: Connection, span: Interval) -> list[PastException]:
    """Return the exceptions that began in a span, oldest first."""
    rows = conn.execute(SQL["exceptions_between"], {"start": span.start, "end": span.end})
    return [
        PastException(
            agreement=row[0], usage_point=row[1], kind=ExceptionKind(row[2]), since=row[3],
            closed_at=row[4],
        )
        for row in rows
    ]  # fmt: skip


def drawdowns_of(conn: Connection, agreement: str, first: date, last: date) -> list[Drawdown]:
    """Return days drawn of an agreement, both ends in."""
    rows = conn.execute(SQL["drawdowns_of"], {"agreement": agreement, "first": first, "last": last})
    return [drawdown_of_row(row) for row in rows]


def all_drawdowns(conn: Connection) -> list[Drawdown]:
    """Return every day drawn."""
    return [drawdown_of_row(row) for row in conn.execute(SQL["all_drawdowns"])]


def drawdowns_unlike_ledger(conn: Connection) -> list[str]:
    """Return days whose ledger entry took another amount."""
    return [f"{row[0]} {row[1]}" for row in conn.execute(SQL["drawdowns_unlike_ledger"])]


def standing_exceptions(conn: Connection) -> list[OpenException]:
    """Return the exceptions that stand."""
    return [
        OpenException(
            agreement=row[0], usage_point=row[1], kind=ExceptionKind(row[2]), since=row[3],
            detail=row[4],
        )
        for row in conn.execute(SQL["standing_exceptions"])
    ]  # fmt: skip


def open_exceptions(
    conn: Connection, found: Sequence[tuple[str, ExceptionKind]], now: datetime
) -> None:
    """Open exceptions by agreement and kind."""
    conn.execute(SQL["open_exceptions"], _pairs(found, now))


def close_exceptions(
    conn: Connection, gone: Sequence[tuple[str, ExceptionKind]], now: datetime
) -> None:
    """Close exceptions by agreement and kind."""
    conn.execute(SQL["close_exceptions"], _pairs(gone, now))


def _pairs(found: Sequence[tuple[str, ExceptionKind]], now: datetime) -> dict[str, Any]:
    return {
        "agreements": [agreement for agreement, _ in found],
        "kinds": [kind.value for _, kind in found],
        "now": now,
    }


def _crossing(row: Sequence[Any]) -> Crossing:
    return Crossing(
        id=row[0], agreement=row[1], account=row[2], usage_point=row[3],
        kind=CrossingKind(row[4]), level=row[5], period=row[6], crossing_no=row[7], at=row[8],
        available_micros=row[9], register_wh=row[10], register_at=row[11], tariff_hash=row[12],
        ledger_version=row[13],
    )  # fmt: skip


def _segment(row: Sequence[Any]) -> Segment:
    return Segment(
        agreement=row[0], seq=row[1], period=row[2], started_at=row[3], register_wh=row[4],
        year_wh=row[5], fee_before_micros=row[6], tariff_hash=row[7],
        previous=(row[1] - 1 if row[8] is None else row[8]) or None, shape=row[9],
        before=None if row[10] is None else {r: tuple(wh) for r, wh in row[10].items()},
        previous_wh=None if row[11] is None else tuple(row[11]), start=row[12],
    )  # fmt: skip


def drawdown_of_row(row: Sequence[Any]) -> Drawdown:
    """Return a day drawn from its columns."""
    return Drawdown(
        agreement=row[0], account=row[1], day=row[2], segment_seq=row[3],
        from_register_wh=row[4], register_wh=row[5], register_at=row[6], fee_micros=row[7],
        amount_micros=row[8], tariff_hash=row[9], entry_id=row[10], seq=row[11],
        energy_wh=None if row[12] is None else tuple(row[12]),
    )  # fmt: skip
