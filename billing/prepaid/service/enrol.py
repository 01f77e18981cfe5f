"""New agreements: the stretch that their balance begins with, or why there is none."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from billing.customers import service as customers
from billing.customers.model import AgreementId
from billing.prepaid import rules, store
from billing.prepaid.model import BalanceQuality, ExceptionKind, Segment
from billing.prepaid.rules.hours import periods_at
from billing.prepaid.rules.periods import (
    OpenUse,
    UnfitError,
    Uses,
    check_fit,
    first_counters,
    is_hourly,
    month_of,
    price_uses,
    shape_of,
)
from billing.prepaid.service import versions
from billing.prepaid.store import Unenrolled
from billing.rating import service as rating
from billing.rating.model import CompiledTariff
from billing.rating.rules import kernel
from billing.tariffs import service as tariffs
from cloud.store.db import Connection
from cloud.usage import service as usage
from protocols.identity import UsagePointId
from protocols.timeline import Interval, local_date, local_day, to_ms

CONTRACT_W = 8_000
"""Contract power of an agreement that states none (attribute `contract_w`)."""

_LOOK_AHEAD = timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opening:
    """Where pricing starts; `opening_wh` is what was used before the first whole interval."""

    at: datetime
    register_wh: int
    hours_at: datetime
    opening_wh: tuple[int, ...]


def enrol(
    conn: Connection, now: datetime
) -> tuple[list[AgreementId], dict[AgreementId, ExceptionKind]]:
    """
    Give new agreements a first segment and a state; return those that got one, and who cannot.

    An agreement with the attribute `balance: none` is billed afterwards and keeps none.
    """
    entered: list[AgreementId] = []
    blocked: dict[AgreementId, ExceptionKind] = {}
    with_lines = customers.currencies_with_terms(conn)
    for found in store.unenrolled(conn):
        if found.attributes.get("balance") == "none":
            continue
        digest = found.pinned_hash or tariffs.version_on(
            conn, found.tariff_code, found.started_at.date()
        )
        if digest is None or found.currency not in with_lines:
            blocked[found.agreement] = ExceptionKind.NO_TARIFF
            continue
        try:
            if _begin(conn, found, digest, now):
                entered.append(found.agreement)
        except UnfitError:
            blocked[found.agreement] = ExceptionKind.NO_TARIFF
    return entered, blocked


def _begin(conn: Connection, found: Unenrolled, digest: str, now: datetime) -> bool:
    """Tell whether the agreement has a balance now; raises UnfitError where it can have none."""
    tariff = rating.compiled(conn, [digest])[digest]
    file, shape = versions.file_of(conn, digest), shape_of(found.attributes)
    check_fit(file, tariff, shape)
    opening = _opening(conn, found, tariff, digest)
    if opening is None:
        return False
    day = local_date(opening.at, tariff.zone)
    joined = local_date(found.started_at, tariff.zone)
    by_period = tariff.basis == "period"
    start = max(month_of(day), joined) if by_period else day
    before = first_counters(file, start, found.opening_year_wh)
    segment = Segment(
        agreement=found.agreement, seq=1,
        period=month_of(start) if by_period else rules.ladder_year(day), started_at=opening.at,
        register_wh=opening.register_wh, year_wh=found.opening_year_wh, fee_before_micros=0,
        tariff_hash=digest, shape=shape if by_period else None,
        before=before if by_period else None, start=start if by_period else None,
    )  # fmt: skip
    use = OpenUse(
        hourly=is_hourly(file), start=start, shape=shape, before=before, opened_at=opening.hours_at,
        opening_wh=opening.opening_wh, day_at=opening.hours_at, day_wh=opening.opening_wh,
        upto=day + timedelta(days=1), energy_wh=opening.opening_wh,
    )  # fmt: skip
    store.insert_segment(conn, segment, now)
    store.number_tariffs(conn, [digest])
    store.insert_state(
        conn, found, segment,
        contract_w=int(found.attributes.get("contract_w", CONTRACT_W)),
        quality=BalanceQuality.ACTUAL.value, tier=first_tier(tariff, segment.year_wh, use),
        open_day=day, day_ends_at=local_day(day, tariff.zone).end, now=now,
    )  # fmt: skip
    if by_period:
        store.put_stretch(conn, found.agreement, use)
        store.note_first(
            conn, found.agreement,
            register_wh=opening.register_wh + sum(opening.opening_wh), at=opening.hours_at,
        )  # fmt: skip
    return True


def first_tier(tariff: CompiledTariff, year_wh: int, use: OpenUse) -> int:
    """Return the step that a stretch begins on."""
    if tariff.basis == "ladder_year":
        return int(kernel.tier_at(tariff, np.array([year_wh], dtype=np.int64))[0])
    uses = Uses(
        row=np.zeros(1, dtype=np.int64), open=[use], energy=[use.energy_wh], upto=[use.upto]
    )
    return int(price_uses(tariff, uses).tier[0])


def _opening(
    conn: Connection, found: Unenrolled, tariff: CompiledTariff, digest: str
) -> _Opening | None:
    """
    Return where pricing starts: the take-over reading, else the first register; None: not yet.

    Raises: UnfitError when no TouPeriod can be told for use before the first interval.
    """
    at, register = found.started_at, found.opening_register_wh
    if register is None:
        first = usage.first_register(conn, found.usage_point)
        if first is None:
            return None
        at, register = max(first.at, found.started_at), first.cumulative_wh
    if len(tariff.periods) == 1:
        return _Opening(at=at, register_wh=register, hours_at=at, opening_wh=(0,))
    hours = usage.intervals(
        conn, UsagePointId(found.usage_point), Interval(start=at, end=at + _LOOK_AHEAD)
    )
    if not hours:
        return None
    begins = hours[0].start
    used = [0] * len(tariff.periods)
    if begins > at:
        read = usage.register_at(conn, UsagePointId(found.usage_point), begins)
        if read is None or read.at != begins or read.cumulative_wh < register:
            return None
        seconds = (to_ms(begins) - to_ms(at)) // 1000
        period = periods_at(
            versions.file_of(conn, digest), np.array([to_ms(at)], dtype=np.int64),
            np.array([max(1, seconds)], dtype=np.int64),
        )  # fmt: skip
        if period[0] < 0 and read.cumulative_wh > register:
            raise UnfitError("use before the first interval lies in two TouPeriods")
        used[max(0, int(period[0]))] = read.cumulative_wh - register
    return _Opening(at=at, register_wh=register, hours_at=begins, opening_wh=tuple(used))
