"""Freezing: what is known of agreements at this moment, asked in few questions for many of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from types import MappingProxyType

from billing.bills import store
from billing.bills.model import Agreement, Bill, Doubt, Item, Refusal, Run
from billing.bills.rules import inputs as rules
from billing.bills.rules.gate import ESTIMATED, QUESTIONABLE
from billing.bills.rules.inputs import Facts, Metered, ParkedError, Version
from billing.bills.rules.pinned import Versions
from billing.bills.service.drawn import drawn_items
from billing.bills.service.terms import AllTerms, as_of, terms_of
from billing.rating import service as rating
from billing.tariffs import service as tariffs
from billing.tariffs.model import Tariff
from billing.tariffs.rules.calendar import ladder_start, periods_of
from cloud.store.db import Connection
from cloud.usage import service as usage
from cloud.usage.model import UsageRegister
from protocols.identity import UsagePointId
from protocols.reading import Quality
from protocols.timeline import Interval, local_date

HISTORY = timedelta(days=430)
_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What the versions of a span ask of whoever meters it: the same for all spans like it."""

    days: tuple[date, ...]
    """Days whose registers count: both ends, version changes, ladder starts."""
    intervals: bool


_Seen = dict[tuple[date, date, tuple[str, ...]], _Terms]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    agreement: Agreement
    start: date
    end: date
    history: list[Bill]
    versions: list[Version]
    terms: "_Terms"


def freeze(
    conn: Connection, run: Run, agreements: Sequence[Agreement], *, estimated: bool = False,
    standing: Mapping[str, Item] = MappingProxyType({}),
) -> list[Item]:  # fmt: skip
    """
    Return an item for each agreement: frozen, or parked under the code that says why.

    Of those `standing` the same item comes back where its facts are what they were.
    """
    names = [each.agreement for each in agreements]
    history = store.metered_bills(conn, names, run.period_start - HISTORY)
    priced = {code: _versions(conn, code) for code in {each.tariff_code for each in agreements}}
    spans: list[_Span] = []
    seen: _Seen = {}
    changed = terms_of(conn, names)
    drawn = store.drawn_days(conn, names, run.period_start, run.period_end)
    found = _by_stretches(conn, run, agreements, history, drawn)
    for each in agreements:
        if each.agreement in found:
            continue
        bills = history.get(each.agreement, [])
        try:
            said = _as_of(run, each, bills, changed)
            if said.tariff_code not in priced:
                priced[said.tariff_code] = _versions(conn, said.tariff_code)
            spans.append(_span(conn, run, said, bills, priced[said.tariff_code], seen=seen))
        except ParkedError as error:
            found[each.agreement] = rules.parked_item(
                run.id, each, run.period_start, run.period_end, error
            )
    registers = _registers(conn, run, spans)
    # what others use reads every item of the run: asked for where an estimate may want it
    guessed = estimated or any(_quality(_end_of(registers, each)) != "actual" for each in spans)
    class_daily = store.class_daily(conn, run.id) if guessed else {}
    for span in spans:
        each = span.agreement
        try:
            taken = _drawn(conn, run, span, drawn)
            daily = class_daily.get(span.versions[-1][0])
            facts = _facts(conn, run, span, registers, taken, class_daily_wh=daily)
            known = standing.get(each.agreement)
            if known is not None and known.facts and known.facts == rules.fingerprint(facts):
                found[each.agreement] = known
                continue
            found[each.agreement] = rules.item_of(run.id, facts, run.gate, estimated=estimated)
        except ParkedError as error:
            found[each.agreement] = rules.parked_item(
                run.id, each, span.start, run.period_end, error
            )
    return [found[name] for name in names]


def freeze_end(
    conn: Connection, run: Run, agreement: Agreement, *, register_wh: int | None
) -> tuple[Item, bool]:
    """
    Return the item of a final bill up to the run's end, and whether prepayment drew of it.

    `register_wh` is the register as handed over; without it the one read then counts. Whatever was
    drawn since the last bill is taken off, days after the end too.
    Raises: ParkedError with the code that would park the account in a run.
    """
    name = agreement.agreement
    bills = store.metered_bills(conn, [name], run.period_start - HISTORY).get(name, [])
    agreement = _as_of(run, agreement, bills, terms_of(conn, [name]))
    span = _span(conn, run, agreement, bills, _versions(conn, agreement.tariff_code), seen={})
    registers = _registers(conn, run, [span])
    facts = _facts(conn, run, span, registers, None, class_daily_wh=None)
    own = dict(facts.registers)
    if register_wh is not None:
        own[span.end] = register_wh
    if span.end not in own:
        raise ParkedError(Refusal.NO_REGISTER, f"no register counts for {span.end}")
    drawn = store.drawn_days(conn, [name], span.start, date.max).get(name)
    facts = replace(facts, registers=own, end_quality="actual")
    if drawn is not None:
        first = rules.start_register(facts) if drawn[2] is None else drawn[2]
        facts = replace(facts, drawn=(drawn[1], first, own[span.end]))
    item = rules.item_of(run.id, facts, run.gate)
    if item.energy_wh < 0:
        raise ParkedError(
            Doubt.NEGATIVE, f"the register falls from {item.start_wh} to {item.end_wh} Wh"
        )
    return item, drawn is not None


def _by_stretches(
    conn: Connection, run: Run, agreements: Sequence[Agreement],
    history: Mapping[str, list[Bill]], drawn: store.DrawnDays,
) -> dict[str, Item]:  # fmt: skip
    """Return the items of balances on tariffs of periods."""
    spans: dict[str, tuple[Agreement, date]] = {}
    for each in agreements:
        if each.agreement in drawn:
            try:
                spans[each.agreement] = each, _start(run, each, history.get(each.agreement, []))
            except ParkedError:
                continue  # the ordinary road parks it under the same code
    if not spans:
        return {}
    late = {name: one[1] for name, one in spans.items() if one[1] < run.period_start}
    for name, start in late.items():
        drawn = {**drawn, **store.drawn_days(conn, [name], start, run.period_end)}

    def metering(agreement: Agreement, start: date, end: date, tariff: Tariff) -> Metered:
        return _metered_days(conn, run, agreement, (start, end), tariff)

    return drawn_items(
        conn, run, spans, drawn, metering=metering,
        tariffs=lambda digests: tariffs.by_digest(conn, sorted(set(digests))),
    )  # fmt: skip


def _as_of(run: Run, agreement: Agreement, bills: Sequence[Bill], changed: AllTerms) -> Agreement:
    """Return an agreement with the terms of the first day that is billed. Raises: ParkedError."""
    if agreement.agreement not in changed:
        return agreement
    return as_of(agreement, changed, _start(run, agreement, bills), run.period_end)


def versions_of(conn: Connection, digests: Sequence[str]) -> Versions:
    """Return tariff versions as files and as arrays."""
    wanted = sorted(set(digests))
    files = tariffs.by_digest(conn, wanted)
    arrays = rating.compiled(conn, wanted)
    return {digest: (files[digest], arrays[digest]) for digest in wanted}


def _versions(conn: Connection, code: str) -> list[Version]:
    return tariffs.versions(conn, code)


def _start(run: Run, agreement: Agreement, bills: Sequence[Bill]) -> date:
    """Return where the span begins: where the last bill ended, so that no day stays unbilled."""
    if bills:
        last = bills[-1].period_end
        if last > run.period_start and last >= run.period_end:
            raise ParkedError(Refusal.OVERLAP, f"bill {bills[-1].id} covers days up to {last}")
        return last
    return max(run.period_start, local_date(agreement.started_at, run.zone))


def _span(
    conn: Connection, run: Run, agreement: Agreement, bills: list[Bill], known: list[Version], *,
    seen: _Seen,
) -> _Span:  # fmt: skip
    start = _start(run, agreement, bills)
    if start >= run.period_end:
        raise ParkedError(Refusal.NO_REGISTER, f"the agreement begins on {start}")
    first = start
    for bill in reversed(bills):
        if bill.quality != ESTIMATED:
            break
        first = bill.period_start
    if agreement.pinned_hash is not None:
        pinned = tariffs.by_digest(conn, [agreement.pinned_hash])
        versions = list(pinned.items())
    else:
        versions = rules.in_force(known, first, run.period_end)
    if any(tariff.zone != run.zone.key for _, tariff in versions):
        raise ParkedError(Refusal.NO_TARIFF, f"{agreement.tariff_code} is of another time zone")
    return _Span(
        agreement=agreement, start=start, end=run.period_end, history=bills, versions=versions,
        terms=_terms(versions, start, run.period_end, seen),
    )  # fmt: skip


_Registers = dict[tuple[str, date], UsageRegister]


def _registers(conn: Connection, run: Run, spans: Sequence[_Span]) -> _Registers:
    """Return the registers that count for the days asked: read then, or not long before."""
    asked = [(span.agreement.usage_point, day) for span in spans for day in span.terms.days]
    if not asked:
        return {}
    midnights = {day: _midnight(run, day).astimezone(UTC) for day in {day for _, day in asked}}
    at = [midnights[day] for _, day in asked]
    rows = usage.registers_at_each(conn, [UsagePointId(point) for point, _ in asked], at)
    oldest = timedelta(hours=run.gate.register_age_hours)
    return {
        key: row
        for key, instant, row in zip(asked, at, rows, strict=True)
        if row is not None and row.at >= instant - oldest
    }


def _end_of(registers: _Registers, span: _Span) -> UsageRegister | None:
    return registers.get((span.agreement.usage_point, span.end))


def _facts(
    conn: Connection, run: Run, span: _Span, registers: _Registers,
    taken: tuple[int, int, int] | None, *, class_daily_wh: int | None,
) -> Facts:  # fmt: skip
    agreement = span.agreement
    own = {
        day: row.cumulative_wh
        for day in span.terms.days
        if (row := registers.get((agreement.usage_point, day))) is not None
    }
    joined = local_date(agreement.started_at, run.zone)
    if span.start == joined and agreement.opening_register_wh is not None:
        own[span.start] = agreement.opening_register_wh
    end = _end_of(registers, span)
    return Facts(
        agreement=agreement, versions=span.versions, start=span.start, end=span.end,
        history=span.history, registers=own,
        end_quality="actual" if taken else _quality(end),
        metered=_metered(conn, run, span) if span.terms.intervals else None,
        drawn=taken, class_daily_wh=class_daily_wh,
    )  # fmt: skip


def _terms(versions: Sequence[Version], start: date, end: date, seen: _Seen) -> _Terms:
    key = (start, end, tuple([digest for digest, _ in versions]))
    if key not in seen:
        days = {start, end, *(tariff.valid_from for _, tariff in versions[1:])}
        days |= {ladder_start(versions[0][1], reset, start) for reset in rules.resets_of(versions)}
        seen[key] = _Terms(days=tuple(sorted(days)), intervals=rules.needs_intervals(versions))
    return seen[key]


def _quality(register: UsageRegister | None) -> str:
    if register is None:
        return ""
    if register.quality is Quality.QUESTIONABLE:
        return QUESTIONABLE
    return ESTIMATED if register.quality is Quality.ESTIMATED else "actual"


def _drawn(
    conn: Connection, run: Run, span: _Span, drawn: store.DrawnDays
) -> tuple[int, int, int] | None:
    name = span.agreement.agreement
    if name not in drawn:
        return None
    open_day, micros, first, last = drawn[name]
    if span.start < run.period_start:
        one = store.drawn_days(conn, [name], span.start, span.end)
        open_day, micros, first, last = one[name]
    if open_day < span.end or first is None or last is None:
        raise ParkedError(
            Refusal.NOT_DRAWN, f"prepayment is drawn up to {open_day}, the period ends {span.end}"
        )
    return micros, first, last


def _metered(conn: Connection, run: Run, span: _Span) -> Metered:
    """Return energy and peaks by TouPeriod. Raises: ParkedError when an interval is missing."""
    return _metered_days(conn, run, span.agreement, (span.start, span.end), span.versions[-1][1])


def _metered_days(
    conn: Connection, run: Run, agreement: Agreement, days: tuple[date, date], tariff: Tariff
) -> Metered:
    start, end = _midnight(run, days[0]), _midnight(run, days[1])
    rows = usage.intervals(
        conn, UsagePointId(agreement.usage_point), Interval(start=start, end=end)
    )
    seconds = rows[0].seconds if rows else 0
    whole = int((end - start).total_seconds())
    steps = timedelta(seconds=seconds)
    gapless = bool(rows) and seconds * len(rows) == whole and _HOUR % seconds == 0
    if not gapless or any(
        row.start != start + number * steps or row.seconds != seconds
        for number, row in enumerate(rows)
    ):
        raise ParkedError(
            Refusal.INTERVALS, f"{len(rows)} intervals do not cover {days[0]} to {days[1]}"
        )
    periods = periods_of(tariff, start, seconds, len(rows)).tolist()
    energy, peak = ([0] * len(tariff.period_names) for _ in range(2))
    for row, period in zip(rows, periods, strict=True):
        energy[period] += row.wh
        peak[period] = max(peak[period], row.wh * (_HOUR // seconds))
    return Metered(wh=tuple(energy), demand_w=tuple(peak))


def _midnight(run: Run, day: date) -> datetime:
    return datetime.combine(day, time(0), run.zone)


def still_the_same(conn: Connection, run: Run, items: Sequence[Item]) -> list[bool]:
    """
    Tell of each frozen item whether registers, tariff and earlier bills are what they were.

    An estimate stays as it was made, unless a register has come since.
    """
    named = store.agreements_named(conn, [item.agreement for item in items])
    standing = {item.agreement: item for item in items}
    fresh = {item.agreement: item for item in freeze(conn, run, named, standing=standing)}
    same = []
    for item in items:
        now = fresh.get(item.agreement)
        if now is None:
            same.append(False)
        elif item.quality == ESTIMATED and item.method not in ("", "validation"):
            waits = now.quality == ESTIMATED or item.accepted_by is not None
            same.append(waits and now.start_wh == item.start_wh)
        else:
            same.append(now.input_hash == item.input_hash)
    return same
