"""
Days priced anew: from the day that changed terms hold, every stretch again, by what was metered.

What was drawn stays; beside it stands, on the last drawn day of each stretch, what puts it right. A
new line of segments starts where the old one still holds. Counters of the year go on through it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np

from billing.customers import service as customers
from billing.customers.model import AgreementId, AgreementTerms
from billing.ledger import service as ledger
from billing.prepaid import store
from billing.prepaid.model import Drawdown, Refusal, Segment, States
from billing.prepaid.rules.hours import known_energy, periods_at
from billing.prepaid.rules.periods import OpenUse, UnfitError, Uses, pinned_use, price_uses
from billing.prepaid.service import days, versions
from billing.prepaid.service.days import Follow, Wanted
from billing.prepaid.service.hours import intervals_since
from billing.rating import service as rating
from billing.rating.rules import kernel
from cloud.store.db import Connection
from protocols.errors import RefusedError
from protocols.timeline import local_date, to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """A segment that is walked, what it was opened by, and how far its use is known."""

    segment: Segment
    use: OpenUse | None
    wanted: Wanted
    row: Drawdown
    energy: tuple[int, ...]
    """From its beginning to `row`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """Where a stretch was drawn last."""

    stretch: _Stretch
    day: date
    fee: int


def rederive(conn: Connection, agreement: AgreementId, from_day: date, *, now: datetime) -> int:
    """
    Price an agreement's days from `from_day` on as its terms say now; return what that changes.

    The caller holds the sweep's lock and the state's. *Units*: micros, more used up is positive.
    Raises: RefusedError `prepaid.terms_unfit`, `prepaid.terms_too_early`, `prepaid.terms_hours`.
    """
    states = store.states(conn, [agreement])
    rows = store.drawdowns_of(conn, agreement, date.min, date.max)
    if not any(row.day < from_day for row in rows):
        raise RefusedError(
            Refusal.TERMS_TOO_EARLY, f"no day of {agreement} was drawn before {from_day}",
            fix="name a day after its first; a wrong beginning is ended and registered anew",
        )  # fmt: skip
    known = customers.terms_of_agreements(conn, [agreement])[agreement]
    try:
        ends, last = _walk(conn, states, known, rows, from_day)
    except UnfitError as error:
        raise RefusedError(
            Refusal.TERMS_UNFIT,
            f"{agreement}: {error}",
            fix="choose a tariff that balances can keep",
        ) from error
    changed, drawn = _put_right(conn, states, rows, ends, now=now)
    _enter(conn, states, last, drawn)
    return changed


def _walk(
    conn: Connection, states: States, known: Sequence[AgreementTerms], rows: Sequence[Drawdown],
    from_day: date,
) -> tuple[list[_End], _Stretch]:  # fmt: skip
    """Return where each stretch ends that was drawn, and the one that is open."""
    points = {row.day: row for row in rows}
    base = [row for row in rows if row.day < from_day][-1]
    current = _standing(conn, states, rows, base)
    ends: list[_End] = []
    seq = max(each.seq for each in store.segments_of(conn, states.agreement[0], former=True))
    day = from_day
    while day <= states.open_day[0]:
        wanted = days.wanted_on(conn, known, day) or current.wanted
        if _parts_at(current, wanted, day):
            ends.append(_ended(conn, current, day - timedelta(days=1)))
            seq += 1
            current = _follow(conn, states, current, wanted, day, seq=seq, fee=ends[-1].fee)
        if day in points and day < states.open_day[0]:
            current = _advanced(conn, states, current, points[day])
        day += timedelta(days=1)
    if current.row.day >= _first_day(conn, current):
        ends.append(_ended(conn, current, current.row.day))
    return ends, current


def _first_day(conn: Connection, stretch: _Stretch) -> date:
    if stretch.use is not None:
        return stretch.use.start
    zone = versions.file_of(conn, stretch.segment.tariff_hash).zone_info
    return local_date(stretch.segment.started_at, zone)


def _standing(
    conn: Connection, states: States, rows: Sequence[Drawdown], base: Drawdown
) -> _Stretch:
    """Return the segment that still holds on the base's day, as far as it was used then."""
    chain = store.segments_of(conn, states.agreement[0])
    zone = versions.file_of(conn, chain[0].tariff_hash).zone_info
    begun = [(each.start or local_date(each.started_at, zone), each) for each in chain]
    begins, segment = [one for one in begun if one[0] <= base.day][-1]
    use = pinned_use(segment) if segment.start else None
    wanted = Wanted(
        code=versions.file_of(conn, segment.tariff_hash).code, pinned=None,
        digest=segment.tariff_hash, shape=segment.shape or "{}",
        contract_w=int(states.contract_w[0]),
    )  # fmt: skip
    mine = [row for row in rows if row.segment_seq == segment.seq and row.day <= base.day]
    first = next((row for row in reversed(rows) if row.day < begins), None)
    if mine:
        found = mine[-1]
        energy = found.energy_wh or (max(0, found.register_wh - segment.register_wh),)
        current = _Stretch(segment=segment, use=use, wanted=wanted, row=found, energy=energy)
    else:
        # drawn on a line of segments that a change before this one put aside
        assert first is not None
        nothing = (0,) * len(versions.file_of(conn, segment.tariff_hash).period_names)
        current = _Stretch(segment=segment, use=use, wanted=wanted, row=first, energy=nothing)
    for row in rows:
        if current.row.day < row.day <= base.day and row.seq == 0:
            current = _advanced(conn, states, current, row)
    return current


def _parts_at(current: _Stretch, wanted: Wanted, day: date) -> bool:
    if wanted.digest != current.wanted.digest:
        return True
    if current.use is None:
        return (day.month, day.day) == (1, 1)
    return day.day == 1 or wanted.shape != current.use.shape


def _advanced(conn: Connection, states: States, current: _Stretch, row: Drawdown) -> _Stretch:
    """Return a stretch used as far as another day that was drawn."""
    file = versions.file_of(conn, current.segment.tariff_hash)
    used = row.register_wh - current.row.register_wh
    parts: tuple[int, ...] = (used,)
    if len(file.period_names) > 1:
        since = np.array([to_ms(current.row.register_at)], dtype=np.int64)
        until = np.array([to_ms(row.register_at)], dtype=np.int64)
        found = intervals_since(conn, [states.usage_point[0]], since, until)
        told = known_energy(
            found, periods_at(file, found.start_ms, found.seconds), since, len(file.period_names)
        )
        parts = tuple(told.energy[:, 0].tolist())
        if sum(parts) != used:
            raise RefusedError(
                Refusal.TERMS_HOURS,
                f"hours of {row.day} tell {sum(parts)} Wh, the register {used} Wh",
                fix="choose a first day from which every hour is known",
            )  # fmt: skip
    energy = tuple(one + other for one, other in zip(current.energy, parts, strict=True))
    return replace(current, row=row, energy=energy)


def _ended(conn: Connection, stretch: _Stretch, day: date) -> _End:
    """Return the fee of a stretch up to the end of a day."""
    segment = stretch.segment
    tariff = rating.compiled(conn, [segment.tariff_hash])[segment.tariff_hash]
    if stretch.use is None:
        fee = kernel.fee_between(
            tariff, segment.year_wh, segment.year_wh + max(0, sum(stretch.energy))
        )
    else:
        uses = Uses(
            row=np.zeros(1, dtype=np.int64), open=[stretch.use], energy=[stretch.energy],
            upto=[day + timedelta(days=1)],
        )  # fmt: skip
        said = price_uses(tariff, uses)
        if said.beyond[0]:
            raise UnfitError(f"use up to {day} is beyond the limits of {tariff.code}")
        fee = int(said.fee[0])
    return _End(stretch=stretch, day=day, fee=segment.fee_before_micros + fee)


def _follow(
    conn: Connection, states: States, former: _Stretch, wanted: Wanted, day: date, *, seq: int,
    fee: int,
) -> _Stretch:  # fmt: skip
    """Return the stretch that begins on a day, by the same rule that a sweep opens one by."""
    segment, row = former.segment, former.row

    def one(value: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([value], dtype=np.int64)

    at = replace(
        states, tariff_hash=[segment.tariff_hash], period=[segment.period],
        segment_seq=one(segment.seq), segment_year=one(segment.year_wh),
        segment_register=one(segment.register_wh), register=one(row.register_wh),
        register_ms=one(to_ms(row.register_at)), fee=one(fee),
    )  # fmt: skip
    zone = versions.file_of(conn, wanted.digest).zone_info
    step = Follow(wanted, day, former.use, former.energy, zone)
    opened, use = days.opened(conn, at, 0, step)
    nothing = (0,) * len(versions.file_of(conn, wanted.digest).period_names)
    return _Stretch(
        segment=replace(opened, seq=seq), use=use, wanted=wanted, row=row, energy=nothing
    )


def _put_right(
    conn: Connection, states: States, rows: Sequence[Drawdown], ends: Sequence[_End], *,
    now: datetime,
) -> tuple[int, int]:  # fmt: skip
    """Write what each stretch is off by, on its last day; return that together, and all drawn."""
    changed = 0
    found: list[Drawdown] = []
    drafts = {}
    for end in ends:
        taken = sum(row.amount_micros for row in rows if row.day <= end.day)
        amount = end.fee - taken - changed
        segment = end.stretch.segment
        here = [row for row in rows if row.day == end.day]
        if not amount and any(row.segment_seq == segment.seq for row in here):
            continue
        seq = max((row.seq for row in here), default=0) + 1
        if amount:
            drafts[len(found)] = days.draft(states, 0, amount, day=end.day, seq=seq)
        found.append(_correction(states, end, amount, seq, here))
        changed += amount
    posted = ledger.post_many(conn, list(drafts.values()), now=now)
    entries = {n: entry.entry_id for n, entry in zip(drafts, posted, strict=True)}
    known = {each.seq for each in store.segments_of(conn, states.agreement[0], former=True)}
    store.insert_drawdowns(
        conn, [replace(row, entry_id=entries.get(n)) for n, row in enumerate(found)], now
    )
    for end in ends:
        if end.stretch.segment.seq not in known:
            store.insert_segment(conn, end.stretch.segment, now)
    return changed, sum(row.amount_micros for row in rows) + changed


def _correction(
    states: States, end: _End, amount: int, seq: int, here: Sequence[Drawdown]
) -> Drawdown:
    stretch = end.stretch
    return Drawdown(
        agreement=states.agreement[0], account=states.account[0], day=end.day,
        segment_seq=stretch.segment.seq,
        from_register_wh=here[0].from_register_wh if here else stretch.row.register_wh,
        register_wh=stretch.row.register_wh, register_at=stretch.row.register_at,
        fee_micros=end.fee, amount_micros=amount, tariff_hash=stretch.segment.tariff_hash,
        entry_id=None, seq=seq, energy_wh=stretch.energy if stretch.use is not None else None,
    )  # fmt: skip


def _enter(conn: Connection, states: States, last: _Stretch, drawn: int) -> None:
    """Price the agreement by the open stretch from here."""
    agreement = states.agreement[0]
    if last.segment.seq not in {
        each.seq for each in store.segments_of(conn, agreement, former=True)
    }:
        store.insert_segment(conn, last.segment, last.row.register_at)
    days.enter(conn, last.segment, last.use, last.wanted)
    if last.use is not None:
        store.begin_day(conn, agreement, at=last.row.register_at, energy=last.energy)
    store.set_drawn(conn, agreement, drawn)
