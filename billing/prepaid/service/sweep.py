"""
The sweep: every agreement at its newest register, in columns; only what changed is written.

Three transactions, each complete in itself: new agreements are enrolled; days that are over are
drawn from the ledger; balances, lines and messages are written. Locks are taken in one order by
everybody: ledger accounts, then states, then the supply's row in control.
"""

from datetime import date, datetime

import numpy as np

from billing.customers.model import AgreementId
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Draft, Leg, Side
from billing.prepaid import rules, store
from billing.prepaid.model import (
    BalanceQuality,
    BoolArray,
    Drawdown,
    ExceptionKind,
    Figures,
    Segment,
    States,
    Swept,
)
from billing.prepaid.service import lines, registers
from billing.prepaid.service.registers import Registers
from billing.prepaid.store import Unenrolled
from billing.rating import service as rating
from billing.rating.model import CompiledTariff
from billing.rating.rules import kernel
from billing.tariffs import service as tariffs
from cloud.store.db import Connection, Database
from cloud.usage import service as usage
from protocols.mqtt.live import LiveBalance
from protocols.timeline import from_ms, local_date, local_day

CONTRACT_W = 8_000
"""Contract power of an agreement that states none (attribute `contract_w`)."""


def sweep(db: Database, *, now: datetime, everything: bool = False) -> Swept:
    """
    Price every agreement at its newest register and act on what that means (C1, C2, C4).

    `changed` of the result holds what watchers should see: all agreements with `everything`.
    Safe to repeat, to kill and to run twice at once.
    """
    with db.transaction() as conn:
        store.lock_sweep(conn)
        blocked = _enrol(conn, now)
    with db.transaction() as conn:
        store.lock_sweep(conn)
        drawn = _draw_days(conn, now)
    with db.transaction() as conn:
        store.lock_sweep(conn)
        return _price(conn, now, blocked=blocked, drawn=drawn, everything=everything)


def _enrol(conn: Connection, now: datetime) -> set[AgreementId]:
    """Give new agreements a first segment and a state; return those without a tariff."""
    blocked = set()
    for found in store.unenrolled(conn):
        digest = found.pinned_hash or tariffs.version_on(
            conn, found.tariff_code, found.started_at.date()
        )
        if digest is None:
            blocked.add(found.agreement)
            continue
        tariff = rating.compiled(conn, [digest])[digest]
        segment = _first_segment(conn, found, tariff)
        if segment is None:
            continue
        day = local_date(segment.started_at, tariff.zone)
        store.insert_segment(conn, segment, now)
        store.insert_state(
            conn, found, segment,
            contract_w=int(found.attributes.get("contract_w", CONTRACT_W)),
            quality=BalanceQuality.ACTUAL.value,
            tier=int(kernel.tier_at(tariff, np.array([segment.year_wh], dtype=np.int64))[0]),
            open_day=day, day_ends_at=local_day(day, tariff.zone).end, now=now,
        )  # fmt: skip
    return blocked


def _first_segment(conn: Connection, found: Unenrolled, tariff: CompiledTariff) -> Segment | None:
    """Return where pricing starts: the take-over reading, else the first register there is."""
    at, register = found.started_at, found.opening_register_wh
    if register is None:
        first = usage.first_register(conn, found.usage_point)
        if first is None:
            return None
        at, register = max(first.at, found.started_at), first.cumulative_wh
    return Segment(
        agreement=found.agreement, seq=1,
        period=rules.ladder_year(local_date(at, tariff.zone)), started_at=at,
        register_wh=register, year_wh=found.opening_year_wh, fee_before_micros=0,
        tariff_hash=tariff.digest,
    )  # fmt: skip


def _draw_days(conn: Connection, now: datetime) -> set[AgreementId]:
    """Take from the ledger what each finished business day cost; return whose day it was."""
    states = store.states(conn)
    if not len(states):
        return set()
    newest = registers.newest(conn, states)
    over = np.flatnonzero(rules.days_over(states, register_ms=newest.at_ms, now=now)).tolist()
    if not over:
        return set()
    drafts = {n: _draft(states, n) for n in over if states.fee[n] != states.drawn[n]}
    posted = ledger.post_many(conn, list(drafts.values()), now=now)
    entries = {n: entry.entry_id for n, entry in zip(drafts, posted, strict=True)}
    store.insert_drawdowns(conn, [_drawdown(states, n, entries.get(n)) for n in over], now)
    compiled = rating.compiled(conn, states.tariff_hash)
    for n in over:
        day, ends = rules.next_day(
            day_ends=from_ms(int(states.day_ends_ms[n])),
            register_at=from_ms(int(newest.at_ms[n])),
            now=now,
            zone=compiled[states.tariff_hash[n]].zone,
        )
        store.advance_day(
            conn, states.agreement[n], drawn=int(states.fee[n]), open_day=day,
            day_ends_at=ends, register_wh=int(states.register[n]),
        )  # fmt: skip
        _follow(conn, states, n, day=day, started_at=ends, now=now)
    return {states.agreement[n] for n in over}


def _follow(
    conn: Connection, states: States, n: int, *, day: date, started_at: datetime, now: datetime
) -> None:
    """Open a new segment where the new day lies in another ladder year or tariff version."""
    digest = states.pinned_hash[n] or tariffs.version_on(conn, states.tariff_code[n], day)
    digest = digest or states.tariff_hash[n]
    period = rules.ladder_year(day)
    if period == states.period[n] and digest == states.tariff_hash[n]:
        return
    used = max(0, int(states.register[n] - states.segment_register[n]))
    segment = Segment(
        agreement=states.agreement[n], seq=int(states.segment_seq[n]) + 1, period=period,
        started_at=started_at, register_wh=int(states.register[n]),
        year_wh=int(states.segment_year[n]) + used if period == states.period[n] else 0,
        fee_before_micros=int(states.fee[n]), tariff_hash=digest,
    )  # fmt: skip
    tariff = rating.compiled(conn, [digest])[digest]
    tier = kernel.tier_at(tariff, np.array([segment.year_wh], dtype=np.int64))
    store.insert_segment(conn, segment, now)
    store.advance_segment(conn, segment, int(tier[0]))


def _draft(states: States, n: int) -> Draft:
    amount = int(states.fee[n] - states.drawn[n])
    # a corrected register may lower the fee: then the day gives back
    side = Side.DEBIT if amount > 0 else Side.CREDIT
    return Draft(
        key=f"drawdown:{states.agreement[n]}:{states.open_day[n]}",
        kind="drawdown", value_date=states.open_day[n], actor="system:billing",
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


def _drawdown(states: States, n: int, entry: int | None) -> Drawdown:
    return Drawdown(
        agreement=states.agreement[n], account=states.account[n], day=states.open_day[n],
        segment_seq=int(states.segment_seq[n]), from_register_wh=int(states.day_register[n]),
        register_wh=int(states.register[n]), register_at=from_ms(int(states.register_ms[n])),
        fee_micros=int(states.fee[n]), amount_micros=int(states.fee[n] - states.drawn[n]),
        tariff_hash=states.tariff_hash[n], entry_id=entry,
    )  # fmt: skip


def _price(
    conn: Connection,
    now: datetime,
    *,
    blocked: set[AgreementId],
    drawn: set[AgreementId],
    everything: bool,
) -> Swept:
    """Compute all in columns, then lock, read again and write the rows that changed."""
    states = store.states(conn)
    newest = registers.newest(conn, states)
    tariff_of = rating.compiled(conn, states.tariff_hash)
    figures = rules.figures(states, tariff_of, newest.wh)
    changed = _changed(conn, states, newest, figures, now)
    crossings = 0
    if changed.any():
        touched = [states.agreement[n] for n in np.flatnonzero(changed)]
        store.lock_states(conn, touched)
        # money may have moved before the lock was ours: these rows are read anew
        locked = store.states(conn, touched)
        rows = Registers(
            wh=newest.wh[changed], at_ms=newest.at_ms[changed], trusted=newest.trusted[changed]
        )
        fresh = rules.figures(locked, tariff_of, rows.wh)
        crossings = len(
            lines.write_lines(conn, locked, fresh, rows, tariff_of, now=now, tiers=True)
        )
        store.update_figures(
            conn, touched, registers=rows.wh.tolist(), register_ms=rows.at_ms.tolist(),
            qualities=rows.qualities(now), fees=fresh.fee.tolist(), tiers=fresh.tier.tolist(),
        )  # fmt: skip
    standing = _except(conn, states, newest, figures, blocked=blocked, now=now)
    told = changed | np.array([name in drawn for name in states.agreement], dtype=np.bool_)
    if everything:
        told = np.ones(len(states), dtype=np.bool_)
    return Swept(
        points=len(states),
        changed=tuple(_live(conn, states, told)),
        crossings=crossings,
        drawdowns=len(drawn),
        exceptions=standing,
    )


def _changed(
    conn: Connection, states: States, newest: Registers, figures: Figures, now: datetime
) -> BoolArray:
    marks = lines.lines_of(conn, states)
    left = rules.available(states, figures.fee)
    moved: BoolArray = (
        (newest.at_ms != states.register_ms)
        | (newest.wh != states.register)
        | (figures.fee != states.fee)
        | (left != states.available)
        | ((left < marks.reminder) != states.below_reminder)
        | ((left < 0) != states.below_zero)
        | ((left < marks.cut) != states.below_cut)
        | (np.array(newest.qualities(now), dtype=object) != np.array(states.quality, dtype=object))
    )
    return moved


def _live(conn: Connection, states: States, told: BoolArray) -> list[LiveBalance]:
    """Return live messages from what was written, not from what was meant."""
    names = [states.agreement[n] for n in np.flatnonzero(told)]
    if not names:
        return []
    written = store.states(conn, names)
    return [
        LiveBalance(
            usage_point=written.usage_point[n],
            available_micros=int(written.available[n]),
            cost_today_micros=int(written.fee[n] - written.drawn[n]),
            today_wh=int(written.register[n] - written.day_register[n]),
            as_of_register_wh=int(written.register[n]),
            at_ms=int(written.register_ms[n]),
            tariff_hash=written.tariff_hash[n],
        )
        for n in range(len(written))
    ]


def _except(
    conn: Connection,
    states: States,
    newest: Registers,
    figures: Figures,
    *,
    blocked: set[AgreementId],
    now: datetime,
) -> int:
    """Open and close calculation exceptions; return how many stand."""
    missing = np.array(newest.qualities(now), dtype=object) == BalanceQuality.MISSING.value
    found = {(agreement, ExceptionKind.NO_TARIFF) for agreement in blocked}
    for mask, kind in (
        (missing, ExceptionKind.MISSING_REGISTER),
        (figures.beyond, ExceptionKind.BEYOND_BOUND),
        (figures.below_opening, ExceptionKind.BELOW_OPENING),
    ):
        found |= {(states.agreement[n], kind) for n in np.flatnonzero(mask)}
    standing = {(each.agreement, each.kind) for each in store.standing_exceptions(conn)}
    if found - standing:
        store.open_exceptions(conn, sorted(found - standing), now)
    if standing - found:
        store.close_exceptions(conn, sorted(standing - found), now)
    return len(found)
