"""Telling and explaining: read-only, and with the same kernel that charges."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from billing.customers import service as customers
from billing.customers.model import AgreementId
from billing.prepaid import rules, store
from billing.prepaid.model import (
    Balance,
    BalanceQuality,
    Crossing,
    DayCost,
    ExplainedLine,
    Explanation,
    Figures,
    Refusal,
    Segment,
    Standing,
    States,
)
from billing.prepaid.service import registers
from billing.prepaid.service.period_views import hidden_fee, told_of
from billing.prepaid.service.registers import Registers
from billing.prepaid.service.why import drawn_days, reckoning_of
from billing.rating import service as rating
from billing.rating.model import CompiledTariff
from billing.rating.rules import kernel
from cloud.store.db import Connection
from cloud.usage import service as usage
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import Interval, from_ms, local_date, local_day


def balance_of(conn: Connection, usage_point: str, now: datetime) -> Balance:
    """
    Return what the payer of a usage point has left, at the newest register up to `now` (C5, C6).

    Raises: RefusedError `prepaid.no_agreement` when nobody pays there or no register has come yet.
    """
    states = store.states(conn, [_agreement(conn, usage_point)])
    found = registers.known_at(conn, states, now)
    tariffs = rating.compiled(conn, states.tariff_hash)
    figures = rules.figures(states, tariffs, found.wh, found.uses)
    return balance_from(conn, states, figures, found, now=now)


def balance_from(
    conn: Connection, states: States, figures: Figures, found: Registers, *, now: datetime
) -> Balance:
    """Return the balance of the first row of columns that were computed already."""
    tariff = rating.compiled(conn, states.tariff_hash)[states.tariff_hash[0]]
    card = customers.card_of_account(conn, states.account[0])
    assert card is not None
    terms = customers.terms_of(conn, card)
    at = from_ms(int(found.at_ms[0]))
    quality = rules.quality_of(trusted=bool(found.trusted[0]), register_at=at, now=now)
    left = int(rules.available(states, figures.fee)[0])
    year, tier = int(figures.year_wh[0]), int(figures.tier[0])
    told = told_of(conn, tariff, states.tariff_hash[0], found, tier)
    hidden = (
        _hidden_fee(tariff, states, year_wh=year, at=at, quality=quality, now=now)
        if found.uses is None
        else hidden_fee(tariff, states, found, now=now)
    )
    return Balance(
        usage_point=states.usage_point[0],
        account=states.account[0],
        agreement=states.agreement[0],
        currency=states.currency[0],
        available_micros=left,
        lower_micros=left - hidden,
        posted_micros=int(states.posted[0]),
        fee_micros=int(figures.fee[0]),
        drawn_micros=int(states.drawn[0]),
        cost_today_micros=int(figures.fee[0] - states.drawn[0]),
        today_wh=int(found.wh[0] - states.day_register[0]),
        year_wh=year,
        tier=tier,
        next_tier_wh=told.next_tier_wh,
        price_micros_per_kwh=told.price_micros_per_kwh,
        reminder_micros=terms.reminder_micros,
        cut_micros=terms.cut_micros,
        as_of_register_wh=int(found.wh[0]),
        as_of_register_at=at,
        as_of_ledger=int(states.version[0]),
        tariff_code=states.tariff_code[0],
        tariff_hash=states.tariff_hash[0],
        quality=quality,
    )


def explain(
    conn: Connection, usage_point: str, *, now: datetime, span: Interval | None = None
) -> Explanation:
    """
    Return why a usage point's fee is what it is: steps, kWh, prices, amounts that sum to it.

    Without `span` it is the present ladder year, so far as this agreement runs in it; with one,
    the registers at or before its two ends are used. Raises: RefusedError as `balance_of`.
    """
    states = store.states(conn, [_agreement(conn, usage_point)])
    segments = store.segments_of(conn, states.agreement[0])
    if segments[-1].start is not None or any(each.start for each in segments):
        return _explained_by_days(conn, states, segments, now=now, span=span)
    if span is None:
        first = next(each for each in segments if each.period == states.period[0])
        newest = registers.known_at(conn, states, now)
        start = (first.started_at, first.register_wh)
        end = (from_ms(int(newest.at_ms[0])), int(newest.wh[0]))
    else:
        opening = (segments[0].started_at, segments[0].register_wh)
        start = _register(conn, usage_point, min(span.start, now), opening)
        end = _register(conn, usage_point, min(span.end, now), opening)
    tariffs = rating.compiled(conn, [each.tariff_hash for each in segments])
    lines = tuple(
        line
        for segment, following in pairwise([*segments, None])
        if segment is not None
        for line in _explained(segment, following, tariffs, start[1], end[1])
    )
    return Explanation(
        usage_point=states.usage_point[0], currency=states.currency[0],
        from_at=start[0], to_at=end[0], from_register_wh=start[1], to_register_wh=end[1],
        fee_micros=sum(line.amount_micros for line in lines), lines=lines,
    )  # fmt: skip


def _explained_by_days(
    conn: Connection, states: States, segments: list[Segment], *, now: datetime,
    span: Interval | None,
) -> Explanation:  # fmt: skip
    """Return why whole days cost what they cost; without a span those of the open period."""
    zone = rating.compiled(conn, states.tariff_hash)[states.tariff_hash[0]].zone
    opening = next(each for each in segments if each.period == states.period[0])
    first, last = opening.start or local_date(opening.started_at, zone), states.open_day[0]
    if span is not None:
        first, last = local_date(span.start, zone), local_date(min(span.end, now), zone)
    found = reckoning_of(conn, states.usage_point[0], first=first, last=last, now=now)
    begins, ends = local_day(first, zone).start, local_day(last, zone).end
    start = (opening.started_at, opening.register_wh)
    since = _register(conn, states.usage_point[0], min(begins, now), start)
    until = _register(conn, states.usage_point[0], min(ends, now), start)
    return Explanation(
        usage_point=states.usage_point[0], currency=states.currency[0], from_at=since[0],
        to_at=until[0], from_register_wh=since[1], to_register_wh=until[1],
        fee_micros=found.amount_micros, lines=found.lines,
    )  # fmt: skip


def daily_costs(conn: Connection, usage_point: str, span: Interval) -> list[DayCost]:
    """
    Return what each local day in `span` used and cost, oldest first; the open day comes last.

    Days are those that were drawn from the account, so the sum is what the ledger took.
    """
    states = store.states(conn, [_agreement(conn, usage_point)])
    zone = rating.compiled(conn, states.tariff_hash)[states.tariff_hash[0]].zone
    first, last = local_date(span.start, zone), local_date(span.end, zone)
    days = drawn_days(store.drawdowns_of(conn, states.agreement[0], first, last))
    if first <= states.open_day[0] <= last:
        # a large sweep leaves states behind: what is shown is computed from the newest register
        found = registers.newest(conn, states)
        tariffs = rating.compiled(conn, states.tariff_hash)
        figures = rules.figures(states, tariffs, found.wh, found.uses)
        days.append(
            DayCost(
                day=states.open_day[0],
                wh=int(found.wh[0] - states.day_register[0]),
                amount_micros=int(figures.fee[0] - states.drawn[0]),
                drawn=False,
            )
        )
    return days


def crossings_after(conn: Connection, after: int) -> list[Crossing]:
    """Return crossings after an id, oldest first; for collections."""
    return store.crossings_after(conn, after)


def crossings_of(conn: Connection, usage_point: str, *, limit: int = 20) -> list[Crossing]:
    """Return the newest lines passed at a usage point."""
    return store.crossings_of(conn, _agreement(conn, usage_point), limit)


def standing(conn: Connection, agreements: Sequence[str]) -> dict[AgreementId, Standing]:
    """
    Return on which side of their lines agreements stand; those not enrolled are absent.

    The sides are as last written, the balances as of the newest registers.
    """
    states = store.states(conn, agreements)
    tariffs = rating.compiled(conn, states.tariff_hash)
    found = registers.newest(conn, states)
    figures = rules.figures(states, tariffs, found.wh, found.uses)
    left = rules.available(states, figures.fee)
    return {
        agreement: Standing(
            available_micros=int(left[n]),
            below_reminder=bool(states.below_reminder[n]),
            below_zero=bool(states.below_zero[n]),
            below_cut=bool(states.below_cut[n]),
        )
        for n, agreement in enumerate(states.agreement)
    }


def _agreement(conn: Connection, usage_point: str) -> AgreementId:
    agreement = store.agreement_at(conn, usage_point)
    if agreement is None:
        raise RefusedError(
            Refusal.NO_AGREEMENT,
            f"{usage_point} has no balance: no agreement, or no register yet",
            fix="register its customer, then wait for the first reading",
        )
    return agreement


def _hidden_fee(
    tariff: CompiledTariff,
    states: States,
    *,
    year_wh: int,
    at: datetime,
    quality: BalanceQuality,
    now: datetime,
) -> int:
    """Return the most that missing registers may hide; zero while registers come."""
    if quality is not BalanceQuality.MISSING or year_wh > tariff.largest_wh:
        return 0
    most = rules.largest_plausible_wh(int(states.contract_w[0]), since=at, now=now)
    return kernel.fee_between(tariff, year_wh, min(year_wh + most, tariff.largest_wh))


def _register(
    conn: Connection, usage_point: str, at: datetime, opening: tuple[datetime, int]
) -> tuple[datetime, int]:
    found = usage.register_at(conn, UsagePointId(usage_point), at)
    if found is None or found.at < opening[0]:
        return opening
    return found.at, max(found.cumulative_wh, opening[1])


def _explained(
    segment: Segment,
    following: Segment | None,
    tariffs: dict[str, CompiledTariff],
    from_register: int,
    to_register: int,
) -> list[ExplainedLine]:
    end = to_register if following is None else min(to_register, following.register_wh)
    start = max(from_register, segment.register_wh)
    if end <= start:
        return []
    offset = segment.year_wh - segment.register_wh
    return [
        ExplainedLine(
            line=line.line, label=line.label, tariff_hash=segment.tariff_hash, step=line.step,
            from_wh=line.from_wh, upto_wh=line.upto_wh,
            wh=line.upto_wh - line.from_wh if line.step else 0,
            price_micros_per_kwh=line.price_micros_per_kwh, amount_micros=line.amount_micros,
        )
        for line in kernel.trace(tariffs[segment.tariff_hash], start + offset, end + offset)
    ]  # fmt: skip
