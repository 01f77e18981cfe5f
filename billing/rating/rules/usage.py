"""From a usage file to the use that is priced: every doubt is refused, nothing is guessed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import numpy as np

from billing.rating.model import PastDemand, PeriodUse
from billing.tariffs.model import Refusal, Tariff
from billing.tariffs.model.usage import UsageFile
from billing.tariffs.rules.calendar import days_between, months_between, periods_of
from protocols.errors import RefusedError

ByPeriod = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a period under one tariff version, and how its energy was known."""

    tariff: Tariff
    use: PeriodUse
    known_by: str
    """`reading`, `intervals`, `profile` or `days`; `whole` when the period was not cut."""


def use_of(tariff: Tariff, usage: UsageFile) -> PeriodUse:
    """Return the whole period's use. Raises: RefusedError `usage.*`."""
    return pieces_of([tariff], usage)[0].use


def pieces_of(tariffs: Sequence[Tariff], usage: UsageFile) -> list[Piece]:
    """
    Return the period cut where versions change, oldest first; annual counters run on.

    `tariffs` are versions of one code in force during the period. Raises: RefusedError `usage.*`.
    """
    span = usage.period
    versions = _in_force(tariffs, span.start, span.end)
    _check(versions[0], usage)
    whole = _whole(versions[0], usage)
    if len(versions) == 1:
        return [Piece(tariff=versions[0], use=whole, known_by="whole")]
    return _cut(versions, usage, whole)


def _in_force(tariffs: Sequence[Tariff], start: date, end: date) -> list[Tariff]:
    """Return the versions that price some of these days, each day having one."""
    if len(tariffs) == 1:
        only = tariffs[0]
        if start < only.valid_from or (only.valid_to is not None and end > only.valid_to):
            raise _refused(
                Refusal.PERIOD,
                f"{only.code} version {only.version} is valid from {only.valid_from} to "
                f"{only.valid_to or 'further notice'}, the period is {start} to {end}",
                "name the versions that are valid in the whole period",
            )
        return [only]
    order = sorted(tariffs, key=lambda each: each.valid_from)
    ends = [after.valid_from for after in order[1:]] + [order[-1].valid_to or date.max]
    found = [
        each for each, until in zip(order, ends, strict=True)
        if each.valid_from < end and until > start
    ]  # fmt: skip
    if not found or found[0].valid_from > start or ends[order.index(found[-1])] < end:
        raise _refused(
            Refusal.PERIOD,
            f"no version of {order[0].code} prices all days from {start} to {end}",
            "name the versions that are valid in the whole period",
        )
    if any(each.period_names != found[0].period_names for each in found):
        raise _refused(
            Refusal.PERIOD,
            f"versions of {order[0].code} have other TouPeriods inside one period",
            "close the period where the TouPeriods change",
        )
    return found


def _check(tariff: Tariff, usage: UsageFile) -> None:
    if usage.currency is not None and usage.currency != tariff.currency:
        raise _refused(
            Refusal.CURRENCY,
            f"the usage is in {usage.currency}, {tariff.code} in {tariff.currency}",
            f"state {tariff.currency}, or price with a tariff in {usage.currency}",
        )
    names = tariff.period_names
    maps: list[tuple[str, Mapping[str, int]]] = [
        ("kwh", usage.kwh or {}), ("loss_kwh", usage.loss_kwh), ("export_kwh", usage.export_kwh),
        ("demand_kw", usage.demand_kw),
        *[(f"readings {each.at}", each.kwh) for each in usage.readings or ()],
        *[(f"before_kwh {reset}", each) for reset, each in usage.before_kwh.items()],
        *[(f"past_peaks {each.month}", each.kw) for each in usage.past_peaks],
    ]  # fmt: skip
    for name, found in maps:
        strange = [each for each in found if each not in names]
        if strange:
            raise _refused(
                Refusal.USAGE,
                f"{name} names {strange[0]!r}, no TouPeriod of {tariff.code}",
                f"use {', '.join(names)}",
            )
    for name in usage.attributes:
        if name not in tariff.attributes:
            known = ", ".join(tariff.attributes) or "none"
            raise _refused(
                Refusal.ATTRIBUTE, f"{tariff.code} has no attribute {name}", f"known are: {known}"
            )


def _whole(tariff: Tariff, usage: UsageFile) -> PeriodUse:
    span = usage.period
    days = span.days if span.days is not None else days_between(span.start, span.end)
    months = span.months if span.months is not None else months_between(span.start, span.end)
    ratio = 1 if usage.ratio_applied else usage.ct_ratio * usage.pt_ratio
    names = tariff.period_names

    def rows(found: Mapping[str, int], times: int = ratio) -> ByPeriod:
        return tuple([found.get(name, 0) * times for name in names])

    energy = _added(_energy(tariff, usage, span.start, span.end), rows(usage.loss_kwh, 1))
    reactive = usage.reactive.import_kvarh + usage.reactive.export_kvarh
    use = PeriodUse(
        start=span.start, end=span.end, days=days, months=months, whole_days=days,
        whole_months=months, energy_wh=energy, quality=usage.quality, closing=usage.closing,
        before_wh={reset: rows(found, 1) for reset, found in usage.before_kwh.items()},
        export_wh=rows(usage.export_kwh), reactive_varh=reactive * ratio,
        demand_w=rows(usage.demand_kw), past_demand=_past(tariff, usage),
        contract_w=usage.contract_kw, capacity_va=usage.capacity_kva, customers=usage.customers,
        households=usage.households, meters=usage.meters, attributes=usage.attributes,
    )  # fmt: skip
    check_capacity(tariff, use)
    return use


def _energy(tariff: Tariff, usage: UsageFile, start: date, end: date) -> ByPeriod:
    """Return the metered energy of local days `[start, end)`, ratio in it."""
    ratio = 1 if usage.ratio_applied else usage.ct_ratio * usage.pt_ratio
    names = tariff.period_names
    if usage.kwh is not None:
        missing = [name for name in names if name not in usage.kwh]
        if missing:
            raise _missing(f"kwh of {missing[0]}", "state every TouPeriod, '0' where none was used")
        return tuple(usage.kwh[name] * ratio for name in names)
    if usage.readings is not None:
        return tuple(each * ratio for each in _register_difference(names, usage, start, end))
    return tuple(each * ratio for each in _interval_sums(tariff, usage, start, end))


def _register_difference(
    names: Sequence[str], usage: UsageFile, start: date, end: date
) -> ByPeriod:
    readings = sorted(usage.readings or (), key=lambda each: each.at)
    by_day = {each.at: each.kwh for each in readings}
    if len(by_day) != len(readings):
        raise _refused(Refusal.USAGE, "two readings are of one day", "keep the right one")
    for day in (start, end):
        if day not in by_day or any(name not in by_day[day] for name in names):
            raise _missing(
                f"the reading of {day}", "read every register, or estimate and say so in quality"
            )
    for earlier, later in pairwise(readings):
        for name in names:
            if later.kwh.get(name, 0) < earlier.kwh.get(name, 0):
                raise _refused(
                    Refusal.NEGATIVE,
                    f"register {name} falls from {earlier.at} to {later.at}",
                    "a rollover or meter change is not use: state kwh of the period instead",
                )
    return tuple(by_day[end][name] - by_day[start][name] for name in names)


def _interval_sums(tariff: Tariff, usage: UsageFile, start: date, end: date) -> ByPeriod:
    found = usage.intervals
    assert found is not None
    zone = tariff.zone_info
    if found.start.tzinfo is None:
        raise _refused(
            Refusal.INTERVAL, "intervals.start has no offset", "write it as 2026-01-01T00:00+08:00"
        )
    count = len(found.wh)
    missing = [n for n, wh in enumerate(found.wh) if wh is None]
    if missing:
        at = found.start.astimezone(UTC) + timedelta(seconds=missing[0] * found.seconds)
        raise _refused(
            Refusal.GAP, f"the interval of {at.isoformat()} is missing", "estimate it and say so"
        )
    wh = np.array(found.wh, dtype=np.int64)
    if int(wh.min()) < 0:
        raise _refused(Refusal.NEGATIVE, "an interval is negative", "export goes into export_kwh")
    span = usage.period
    first = datetime.combine(span.start, time(0), zone)
    last = datetime.combine(span.end, time(0), zone)
    covers = found.start.astimezone(UTC) + timedelta(seconds=count * found.seconds)
    if _seconds(first, found.start) or _seconds(last, covers):
        raise _refused(
            Refusal.GAP,
            f"intervals cover {found.start.isoformat()} to {covers.isoformat()}, the period is "
            f"{first.isoformat()} to {last.isoformat()}",
            "cover the period exactly; a day of a clock change has 23 or 25 hours",
        )
    try:
        periods = periods_of(tariff, found.start, found.seconds, count)
    except ValueError as error:
        raise _refused(Refusal.INTERVAL, str(error), "use shorter intervals") from error
    low, high = (
        _seconds(first, datetime.combine(day, time(0), zone)) // found.seconds
        for day in (start, end)
    )
    part = slice(low, high)
    return tuple(int(wh[part][periods[part] == n].sum()) for n in range(len(tariff.period_names)))


def _seconds(start: datetime, end: datetime) -> int:
    """Return the true seconds between two instants, over clock changes too."""
    return (end.astimezone(UTC) - start.astimezone(UTC)) // timedelta(seconds=1)


def check_capacity(tariff: Tariff, use: PeriodUse) -> None:
    """
    Refuse use that its agreement class cannot have.

    Raises: RefusedError `usage.beyond`.
    """
    bounds = tariff.bounds
    asked = [
        ("energy", sum(use.energy_wh), bounds.energy_wh, "Wh"),
        ("reactive energy", use.reactive_varh, bounds.reactive_varh, "varh"),
        ("export", sum(use.export_wh), bounds.export_wh, "Wh"),
        ("demand", max(use.demand_w, default=0), bounds.demand_w, "W"),
        *[("an old peak", max(each.demand_w), bounds.demand_w, "W") for each in use.past_demand],
        ("contracted power", use.contract_w, bounds.contract_w, "W"),
        ("capacity", use.capacity_va, bounds.capacity_va, "VA"),
        ("customers", use.customers, bounds.customers, ""),
        ("households", use.households, bounds.households, ""),
        ("meters", use.meters, bounds.meters, ""),
        ("days", use.days, bounds.days, "parts"), ("months", use.months, bounds.months, "parts"),
    ]  # fmt: skip
    if use.capacity_va:
        hours = 24 * (use.end - use.start).days + 1
        asked.append(
            ("energy, by its capacity,", sum(use.energy_wh), use.capacity_va * hours, "Wh")
        )
    for reset, counter in use.before_wh.items():
        most = bounds.energy_wh if reset == "period" else bounds.counter_wh
        asked.append((f"the counter of {reset}", sum(counter), most, "Wh"))
    if tariff.basis == "ladder_year":
        year = sum(use.before_wh.get("calendar_year", ())) + sum(use.energy_wh)
        asked.append(("energy of the year", year, bounds.energy_wh, "Wh"))
    for name, found, most, unit in asked:
        if found > most:
            raise _refused(
                Refusal.BEYOND,
                f"{name} is {found} {unit}, and at most {most} in {tariff.code}",
                "check the reading; if it is right, another class of agreement applies",
            )


def _past(tariff: Tariff, usage: UsageFile) -> tuple[PastDemand, ...]:
    ratio = 1 if usage.ratio_applied else usage.ct_ratio * usage.pt_ratio
    last = usage.period.end - timedelta(days=1)
    found = []
    for past in usage.past_peaks:
        year, month = (int(part) for part in past.month.split("-"))
        ago = (last.year - year) * 12 + last.month - month
        if not 1 <= ago <= 36:
            raise _refused(
                Refusal.PERIOD,
                f"the peak of {past.month} is not of the 36 months before",
                "leave it",
            )
        found.append(
            PastDemand(
                month=month, months_ago=ago,
                demand_w=tuple(past.kw.get(name, 0) * ratio for name in tariff.period_names),
            )
        )  # fmt: skip
    return tuple(found)


def _cut(versions: Sequence[Tariff], usage: UsageFile, whole: PeriodUse) -> list[Piece]:
    """
    Return the parts of a cut period; each figure's parts add up to it.

    Days, months and export go by days, reactive energy by energy; the largest power is that of the
    whole period, in each part.
    """
    starts = [usage.period.start, *[each.valid_from for each in versions[1:]]]
    ends = [*starts[1:], usage.period.end]
    energy, known_by = _energy_parts(versions[0], usage, whole, ends)
    gone = [0, *[(end - whole.start).days for end in ends]]
    days = _shared(whole.days, gone)
    months = _shared(whole.months, gone)
    reactive = _shared(whole.reactive_varh, _sums([sum(each) for each in energy]))
    export = [_shared(each, gone) for each in whole.export_wh]
    found: list[Piece] = []
    done: ByPeriod = (0,) * len(whole.energy_wh)
    for n, version in enumerate(versions):
        before = {
            reset: _added(whole.before_wh.get(reset, (0,) * len(done)), done)
            for reset in ("period", "calendar_year", "tariff_year", "purchase_month")
            if reset == "period" or reset in whole.before_wh
        }
        use = replace(
            whole, start=starts[n], end=ends[n], days=days[n], months=months[n],
            energy_wh=energy[n], before_wh=before, reactive_varh=reactive[n],
            export_wh=tuple(each[n] for each in export),
            closing=whole.closing and n == len(versions) - 1,
        )  # fmt: skip
        check_capacity(version, use)
        found.append(Piece(tariff=version, use=use, known_by=known_by))
        done = _added(done, energy[n])
    return found


def _energy_parts(
    tariff: Tariff, usage: UsageFile, whole: PeriodUse, ends: Sequence[date]
) -> tuple[list[ByPeriod], str]:
    """Return the energy of each part: by intervals, a register read there, a profile, or days."""
    starts = [whole.start, *ends[:-1]]
    ways = {line.prorate for line in tariff.lines if line.kind in ("energy", "export")}
    way = ways.pop() if ways else "days"
    read = {each.at for each in usage.readings or ()}
    if way == "by_reading" and (usage.intervals or read.issuperset(ends[:-1])):
        loss = tuple(usage.loss_kwh.get(name, 0) for name in tariff.period_names)
        metered = [_energy(tariff, usage, s, e) for s, e in zip(starts, ends, strict=True)]
        weights = [sum(each) for each in metered]
        lost = [_shared(each, _sums(weights)) for each in loss]
        return [
            _added(each, tuple(row[n] for row in lost)) for n, each in enumerate(metered)
        ], "intervals" if usage.intervals else "reading"
    gone = [0, *[(end - whole.start).days for end in ends]]
    known_by = "days"
    if way != "days" and usage.profile is not None:
        if len(usage.profile) != gone[-1] or min(usage.profile) < 0 or not sum(usage.profile):
            raise _refused(
                Refusal.USAGE,
                f"the profile has {len(usage.profile)} weights for {gone[-1]} days, or no use",
                "give each day of the period a whole number of 0 or more",
            )
        gone, known_by = [sum(usage.profile[:n]) for n in gone], "profile"
    rows = [_shared(each, gone) for each in whole.energy_wh]
    return [tuple(row[n] for row in rows) for n in range(len(ends))], known_by


def _sums(parts: Sequence[int]) -> list[int]:
    return [sum(parts[:n]) for n in range(len(parts) + 1)]


def _shared(whole: int, marks: Sequence[int]) -> list[int]:
    """Return the parts of a whole by marks that rise from 0: differences of a truncated share."""
    last = marks[-1]
    if not last:
        return [0] * (len(marks) - 2) + [whole]
    shares = [whole * mark // last for mark in marks]
    return [high - low for low, high in pairwise(shares)]


def _added(first: ByPeriod, second: ByPeriod) -> ByPeriod:
    return tuple(one + other for one, other in zip(first, second, strict=True))


def _missing(what: str, fix: str) -> RefusedError:
    return _refused(Refusal.MISSING, f"{what} is missing", fix)


def _refused(refusal: Refusal, message: str, fix: str) -> RefusedError:
    return RefusedError(refusal, message, fix=fix)
