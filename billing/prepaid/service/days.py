"""Business days that are over: taken from the ledger, and what the next one is priced by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from billing.customers import service as customers
from billing.customers.model import AgreementId, AgreementTerms
from billing.customers.rules import terms_on
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Draft, Leg, Side
from billing.prepaid import rules, store
from billing.prepaid.model import Drawdown, ExceptionKind, Segment, States
from billing.prepaid.rules.periods import (
    OpenUse,
    UnfitError,
    carried,
    check_fit,
    is_hourly,
    month_of,
    shape_of,
)
from billing.prepaid.service import registers, versions
from billing.prepaid.service.enrol import CONTRACT_W, first_tier
from billing.prepaid.service.registers import Registers
from billing.rating import service as rating
from billing.rating.model import CompiledTariff
from billing.tariffs import service as tariffs
from cloud.store.db import Connection
from cloud.usage import service as usage
from protocols.identity import UsagePointId
from protocols.timeline import from_ms, local_day, to_ms

_ROUNDS = 400
"""More ends of stretches than a balance can have missed."""

Known = Mapping[AgreementId, Sequence[AgreementTerms]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What prices an agreement on a day: version and shape, as its terms say."""

    code: str
    pinned: str | None
    digest: str
    shape: str
    contract_w: int


def draw_days(conn: Connection, now: datetime) -> set[AgreementId]:
    """
    Take from the ledger what each finished business day cost; return whose day it was.

    A balance that was silent for long is drawn at the end of each stretch that passed.
    """
    drawn: set[AgreementId] = set()
    for _ in range(_ROUNDS):
        found = _draw_once(conn, now)
        drawn |= found
        if not found:
            break
    return drawn


def _draw_once(conn: Connection, now: datetime) -> set[AgreementId]:
    # the question only narrows; the rule decides
    narrowed = store.states(
        conn, sorted(store.agreements_over(conn, now=now, grace=now - rules.DAY_GRACE))
    )
    found = registers.newest(conn, narrowed)
    over = rules.days_over(narrowed, register_ms=found.at_ms, now=now)
    named = [narrowed.agreement[n] for n in np.flatnonzero(over)]
    states = store.states(conn, named)
    ends = registers.at_day_ends(conn, states) if named else None
    wrong = _differing(conn, states, ends, now) if ends else set()
    if wrong:
        states = store.states(conn, [each for each in named if each not in wrong])
        ends = registers.at_day_ends(conn, states)
    if not len(states) or ends is None:
        return set()
    _draw(conn, states, ends, now=now)
    return set(states.agreement)


def _differing(conn: Connection, states: States, ends: Registers, now: datetime) -> set[str]:
    """Return those whose hours and register differ; their day stays open until somebody looked."""
    uses = ends.uses
    rows = [] if uses is None else [
        row for row, use in zip(uses.row.tolist(), uses.open, strict=True) if use.hourly
    ]  # fmt: skip
    if not rows:
        return set()
    read = usage.registers_at_each(
        conn, [UsagePointId(states.usage_point[n]) for n in rows],
        [from_ms(int(ends.at_ms[n])) for n in rows],
    )  # fmt: skip
    wrong = {
        states.agreement[n]
        for n, found in zip(rows, read, strict=True)
        if found is not None
        and to_ms(found.at) == ends.at_ms[n]
        and found.cumulative_wh != ends.wh[n]
    }
    kind = ExceptionKind.INTERVALS_DIFFER
    fine = [states.agreement[n] for n in rows if states.agreement[n] not in wrong]
    store.open_exceptions(conn, [(each, kind) for each in sorted(wrong)], now)
    store.close_exceptions(conn, [(each, kind) for each in fine], now)
    return set(wrong)


def _draw(conn: Connection, states: States, ends: Registers, *, now: datetime) -> None:
    newest = registers.newest(conn, states)
    compiled = rating.compiled(conn, states.tariff_hash)
    known = customers.terms_of_agreements(conn, states.agreement)
    # a sweep of millions leaves states behind, so the day is priced at its own last register
    said = rules.figures(states, compiled, ends.wh, ends.uses)
    states = replace(states, fee=said.fee, register=ends.wh, register_ms=ends.at_ms, tier=said.tier)
    rows = range(len(states))
    drafts = {
        n: draft(
            states, n, int(states.fee[n] - states.drawn[n]), day=states.open_day[n], seq=0
        )
        for n in rows
        if states.fee[n] != states.drawn[n]
    }  # fmt: skip
    posted = ledger.post_many(conn, list(drafts.values()), now=now)
    entries = {n: entry.entry_id for n, entry in zip(drafts, posted, strict=True)}
    energy = energies(ends)
    store.insert_drawdowns(
        conn, [_drawdown(states, n, entries.get(n), energy.get(n)) for n in rows], now
    )
    store.update_figures(
        conn, states.agreement, registers=ends.wh.tolist(), register_ms=ends.at_ms.tolist(),
        qualities=states.quality, fees=states.fee.tolist(), tiers=states.tier.tolist(),
    )  # fmt: skip
    note_uses(conn, states, ends)
    for n in rows:
        day, _ = rules.next_day(
            day_ends=from_ms(int(states.day_ends_ms[n])),
            register_at=from_ms(int(newest.at_ms[n])), now=now,
            zone=compiled[states.tariff_hash[n]].zone,
        )  # fmt: skip
        _advance(conn, states, ends, n, day=day, known=known[states.agreement[n]], now=now)


def energies(found: Registers) -> dict[int, tuple[int, ...]]:
    """Return the energy by TouPeriod of the rows that have uses."""
    if found.uses is None:
        return {}
    return dict(zip(found.uses.row.tolist(), found.uses.energy, strict=True))


def note_uses(conn: Connection, states: States, found: Registers) -> None:
    """Keep what the fees of states on a tariff of periods were computed from."""
    uses = found.uses
    if uses is not None:
        store.note_uses(
            conn,
            [
                (states.agreement[row], upto, energy)
                for row, upto, energy in zip(
                    uses.row.tolist(), uses.upto, uses.energy, strict=True
                )
            ],
        )  # fmt: skip


def _advance(
    conn: Connection, states: States, ends: Registers, n: int, *, day: date,
    known: Sequence[AgreementTerms], now: datetime,
) -> None:  # fmt: skip
    """Open the next day, and a new segment where it begins; never past the end of another one."""
    tariff = rating.compiled(conn, [states.tariff_hash[n]])[states.tariff_hash[n]]
    first = states.open_day[n] + timedelta(days=1)
    open_use = _use_of(ends, n)
    wanted = wanted_on(conn, known, first) or _kept(states, n, open_use)
    begins = _breaks(states, n, open_use, wanted, first)
    later = first + timedelta(days=1)
    while later <= day:
        # a stretch that ended meanwhile is drawn by itself
        following = wanted_on(conn, known, later)
        if following is not None and _parted(wanted, following, tariff, later):
            day = later - timedelta(days=1)
            break
        later += timedelta(days=1)
    day = max(day, first)
    store.advance_day(
        conn, states.agreement[n], drawn=int(states.fee[n]), open_day=day,
        day_ends_at=local_day(day, tariff.zone).end, register_wh=int(states.register[n]),
    )  # fmt: skip
    energy = energies(ends).get(n)
    if energy is not None:
        store.begin_day(
            conn, states.agreement[n], at=from_ms(int(states.register_ms[n])), energy=energy
        )
    if begins:
        follow(conn, states, n, Follow(wanted, first, open_use, energy, tariff.zone), now=now)


def _use_of(found: Registers, n: int) -> OpenUse | None:
    uses = found.uses
    if uses is None:
        return None
    return next((use for row, use in zip(uses.row.tolist(), uses.open, strict=True) if row == n),
                None)  # fmt: skip


def _kept(states: States, n: int, open_use: OpenUse | None) -> Wanted:
    """Return what prices now: no version holds on the day, so the one before goes on."""
    return Wanted(
        code=states.tariff_code[n],
        pinned=states.pinned_hash[n],
        digest=states.tariff_hash[n],
        shape=open_use.shape if open_use else shape_of({}),
        contract_w=int(states.contract_w[n]),
    )


def wanted_on(conn: Connection, known: Sequence[AgreementTerms], day: date) -> Wanted | None:
    """Return what an agreement's terms price a day by; None when no version holds on it."""
    terms = terms_on(known, day)
    digest = terms.pinned_hash or tariffs.version_on(conn, terms.tariff_code, day)
    if digest is None:
        return None
    return Wanted(
        code=terms.tariff_code,
        pinned=terms.pinned_hash,
        digest=digest,
        shape=shape_of(terms.attributes),
        contract_w=int(terms.attributes.get("contract_w", CONTRACT_W)),
    )


def _breaks(states: States, n: int, open_use: OpenUse | None, wanted: Wanted, day: date) -> bool:
    """Tell whether a new segment begins on a day."""
    if wanted.digest != states.tariff_hash[n]:
        return True
    if open_use is None:
        return rules.ladder_year(day) != states.period[n]
    return month_of(day) != states.period[n] or wanted.shape != open_use.shape


def _parted(wanted: Wanted, following: Wanted, tariff: CompiledTariff, day: date) -> bool:
    """Tell whether a segment that began before ends when a day begins."""
    if following.digest != wanted.digest:
        return True
    if tariff.basis == "ladder_year":
        return (day.month, day.day) == (1, 1)
    return day.day == 1 or following.shape != wanted.shape


@dataclass(frozen=True, slots=True)
class Follow:
    """How a segment goes over into the next; `used` is its energy by TouPeriod, if it has any."""

    wanted: Wanted
    start: date
    open_use: OpenUse | None
    used: tuple[int, ...] | None
    zone: ZoneInfo


def follow(conn: Connection, states: States, n: int, step: Follow, *, now: datetime) -> None:
    """
    Open the segment that begins on a day; counters go on, the fee before is what was drawn.

    A version no balance can be kept under is passed over: the one before goes on, with an
    exception.
    """
    agreement = states.agreement[n]
    try:
        segment, use = opened(conn, states, n, step)
    except UnfitError:
        store.open_exceptions(conn, [(agreement, ExceptionKind.UNFIT_TARIFF)], now)
        kept = _kept(states, n, step.open_use)
        segment, use = opened(conn, states, n, replace_wanted(step, kept))
        if segment.period == states.period[n]:
            return
        step = replace_wanted(step, kept)
    else:
        if segment.tariff_hash != states.tariff_hash[n]:
            store.close_exceptions(conn, [(agreement, ExceptionKind.UNFIT_TARIFF)], now)
    store.insert_segment(conn, segment, now)
    enter(conn, segment, use, step.wanted)


def replace_wanted(step: Follow, wanted: Wanted) -> Follow:
    """Return the step into other terms."""
    return Follow(wanted, step.start, step.open_use, step.used, step.zone)


def enter(conn: Connection, segment: Segment, use: OpenUse | None, wanted: Wanted) -> None:
    """Price an agreement by a segment from here."""
    digest = segment.tariff_hash
    tariff = rating.compiled(conn, [digest])[digest]
    store.number_tariffs(conn, [digest])
    if use is None:
        tier = first_tier(tariff, segment.year_wh, _NO_USE)
        store.delete_stretch(conn, segment.agreement)
    else:
        tier = first_tier(tariff, segment.year_wh, use)
        store.put_stretch(conn, segment.agreement, use)
    store.advance_segment(
        conn, segment, tier, tariff_code=wanted.code, pinned_hash=wanted.pinned,
        contract_w=wanted.contract_w,
    )  # fmt: skip


_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_NO_USE = OpenUse(
    hourly=False, start=date.min, shape="{}", before={}, opened_at=_NEVER, opening_wh=(0,),
    day_at=_NEVER, day_wh=(0,), upto=date.max, energy_wh=(0,),
)  # fmt: skip


def opened(
    conn: Connection, states: States, n: int, step: Follow
) -> tuple[Segment, OpenUse | None]:
    """
    Return the segment that follows the one of a state, and its open stretch on a period tariff.

    Raises: UnfitError when no balance can be kept under the version wanted.
    """
    wanted, start = step.wanted, step.start
    former = versions.file_of(conn, states.tariff_hash[n])
    file = versions.file_of(conn, wanted.digest)
    check_fit(file, rating.compiled(conn, [wanted.digest])[wanted.digest], wanted.shape)
    used = step.used or (max(0, int(states.register[n] - states.segment_register[n])),)
    year = start.year == states.period[n].year
    year_wh = int(states.segment_year[n]) + sum(used) if year else 0
    segment = Segment(
        agreement=states.agreement[n], seq=int(states.segment_seq[n]) + 1,
        period=rules.ladder_year(start), started_at=local_day(start, step.zone).start,
        register_wh=int(states.register[n]), year_wh=year_wh,
        fee_before_micros=int(states.fee[n]), tariff_hash=wanted.digest,
        previous=int(states.segment_seq[n]), previous_wh=used,
    )  # fmt: skip
    if file.basis == "ladder_year":
        return segment, None
    before = carried(
        former, step.open_use.before if step.open_use else {}, used,
        step.open_use.start if step.open_use else states.period[n],
        tariff=file, start=start, year_wh=year_wh,
    )  # fmt: skip
    at, nothing = from_ms(int(states.register_ms[n])), (0,) * len(file.period_names)
    use = OpenUse(
        hourly=is_hourly(file), start=start, shape=wanted.shape, before=before, opened_at=at,
        opening_wh=nothing, day_at=at, day_wh=nothing, upto=start + timedelta(days=1),
        energy_wh=nothing,
    )  # fmt: skip
    segment = replace(
        segment, period=month_of(start), start=start, shape=wanted.shape, before=before
    )
    return segment, use


def draft(states: States, n: int, amount: int, *, day: date, seq: int) -> Draft:
    """Return the entry of one day, or of what puts it right."""
    # a corrected register may lower the fee: then the day gives back
    side = Side.DEBIT if amount > 0 else Side.CREDIT
    tail = f":{seq}" if seq else ""
    return Draft(
        key=f"drawdown:{states.agreement[n]}:{day}{tail}",
        kind="drawdown", value_date=day, actor="system:billing",
        source_ref=states.tariff_hash[n],
        legs=(
            Leg(
                code=states.account[n], kind=AccountKind.CUSTOMER, side=side,
                amount_micros=abs(amount), currency=states.currency[n],
            ),
            Leg(
                code="revenue_energy", kind=AccountKind.REVENUE, side=side.other,
                amount_micros=abs(amount), currency=states.currency[n],
            ),
        ),
    )  # fmt: skip


def _drawdown(
    states: States, n: int, entry: int | None, energy: tuple[int, ...] | None
) -> Drawdown:
    return Drawdown(
        agreement=states.agreement[n], account=states.account[n], day=states.open_day[n],
        segment_seq=int(states.segment_seq[n]), from_register_wh=int(states.day_register[n]),
        register_wh=int(states.register[n]), register_at=from_ms(int(states.register_ms[n])),
        fee_micros=int(states.fee[n]), amount_micros=int(states.fee[n] - states.drawn[n]),
        tariff_hash=states.tariff_hash[n], entry_id=entry, energy_wh=energy,
    )  # fmt: skip
