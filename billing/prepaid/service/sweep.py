"""
The sweep: every agreement at its newest register, in columns; only what changed is written.

Three transactions, each complete in itself: new agreements are enrolled; days that are over are
drawn from the ledger; balances, lines and messages are written. Locks are taken in one order by
everybody: ledger accounts, then states, then the supply's row in control.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np

from billing.customers.model import AgreementId
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Draft, Leg, Side
from billing.prepaid import rules, store
from billing.prepaid.model import (
    BalanceQuality,
    Drawdown,
    ExceptionKind,
    FeeBlock,
    Segment,
    States,
    Swept,
)
from billing.prepaid.service import lines, registers
from billing.prepaid.service.screen import Progress, Seen, screen
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


WRITE_BACK = 5_000
"""Agreements that moved without a crossing up to which a sweep writes their states; beyond, it
keeps their fees as a snapshot and leaves the states as they are."""


def sweep(
    db: Database,
    *,
    now: datetime,
    everything: bool = False,
    moved_only: bool = False,
    every_account_each: timedelta = timedelta(0),
    progress: Progress | None = None,
) -> Swept:
    """
    Price every agreement at its newest register and act on what that means (C1, C2, C4).

    `changed` of the result holds what watchers should see: all agreements with `everything`.
    With `moved_only` just those are priced whose register moved since the last sweep (C1), and
    likewise while every account was looked at less than `every_account_each` ago. The first
    sweep prices all the same. Safe to repeat, to kill and to run twice at once.
    """
    with db.transaction() as conn:
        store.lock_sweep(conn)
        blocked = _enrol(conn, now)
    with db.transaction() as conn:
        store.lock_sweep(conn)
        drawn = _draw_days(conn, now)
    with db.transaction() as conn:
        store.lock_sweep(conn)
        mark = store.mark(conn)
        before = store.next_moved(conn)
        since = None
        if mark and not everything:
            fresh = now - mark.every_account_at < every_account_each
            since = mark.next_moved if moved_only or fresh else None
        seen = screen(db, conn, now=now, since=since, progress=progress)
        at = now if since is None or mark is None else mark.every_account_at
        store.set_mark(conn, store.Mark(next_moved=before, every_account_at=at))
        return _act(conn, seen, now=now, blocked=blocked, drawn=drawn, everything=everything)


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
        if not rules.keeps_a_balance(tariff):
            blocked.add(found.agreement)
            continue
        segment = _first_segment(conn, found, tariff)
        if segment is None:
            continue
        day = local_date(segment.started_at, tariff.zone)
        store.insert_segment(conn, segment, now)
        store.number_tariffs(conn, [digest])
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
    # the question only narrows; the rule decides
    narrowed = store.states(
        conn, sorted(store.agreements_over(conn, now=now, grace=now - rules.DAY_GRACE))
    )
    found = registers.newest(conn, narrowed)
    over = rules.days_over(narrowed, register_ms=found.at_ms, now=now)
    states = store.states(conn, [narrowed.agreement[n] for n in np.flatnonzero(over)])
    if not len(states):
        return set()
    newest = registers.newest(conn, states)
    compiled = rating.compiled(conn, states.tariff_hash)
    # a sweep of millions leaves states behind, so the day is priced at its own last register
    ends = registers.at_day_ends(conn, states)
    states = replace(
        states, fee=rules.figures(states, compiled, ends.wh).fee, register=ends.wh,
        register_ms=ends.at_ms,
    )  # fmt: skip
    rows = range(len(states))
    drafts = {n: _draft(states, n) for n in rows if states.fee[n] != states.drawn[n]}
    posted = ledger.post_many(conn, list(drafts.values()), now=now)
    entries = {n: entry.entry_id for n, entry in zip(drafts, posted, strict=True)}
    store.insert_drawdowns(conn, [_drawdown(states, n, entries.get(n)) for n in rows], now)
    store.update_figures(
        conn, states.agreement, registers=ends.wh.tolist(), register_ms=ends.at_ms.tolist(),
        qualities=states.quality, fees=states.fee.tolist(), tiers=states.tier.tolist(),
    )  # fmt: skip
    for n in rows:
        day, ends_at = rules.next_day(
            day_ends=from_ms(int(states.day_ends_ms[n])),
            register_at=from_ms(int(newest.at_ms[n])),
            now=now,
            zone=compiled[states.tariff_hash[n]].zone,
        )
        store.advance_day(
            conn, states.agreement[n], drawn=int(states.fee[n]), open_day=day,
            day_ends_at=ends_at, register_wh=int(states.register[n]),
        )  # fmt: skip
        _follow(conn, states, n, day=day, started_at=ends_at, now=now)
    return set(states.agreement)


def _follow(
    conn: Connection, states: States, n: int, *, day: date, started_at: datetime, now: datetime
) -> None:
    """Open a new segment where the new day lies in another ladder year or tariff version."""
    digest = states.pinned_hash[n] or tariffs.version_on(conn, states.tariff_code[n], day)
    digest = digest or states.tariff_hash[n]
    if not rules.keeps_a_balance(rating.compiled(conn, [digest])[digest]):
        store.open_exceptions(conn, [(states.agreement[n], ExceptionKind.UNFIT_TARIFF)], now)
        digest = states.tariff_hash[n]
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
    if digest != states.tariff_hash[n]:
        store.close_exceptions(conn, [(states.agreement[n], ExceptionKind.UNFIT_TARIFF)], now)
    store.insert_segment(conn, segment, now)
    store.number_tariffs(conn, [digest])
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


def _act(
    conn: Connection,
    seen: Seen,
    *,
    now: datetime,
    blocked: set[AgreementId],
    drawn: set[AgreementId],
    everything: bool,
) -> Swept:
    """Lock what crossed or moved, read it again and write; of too many, only what crossed."""
    few = len(seen.moved.point) <= WRITE_BACK
    wanted = seen.moved.point if few else seen.crossed
    if not few:
        store.append_snapshot(conn, _blocks(seen.moved), now)
    touched = sorted(store.agreements_at(conn, wanted.tolist()).values())
    crossings = 0
    if touched:
        store.lock_states(conn, touched)
        # money may have moved before the lock was ours: these rows are read anew
        locked = store.states(conn, touched)
        tariff_of = rating.compiled(conn, locked.tariff_hash)
        rows = registers.newest(conn, locked)
        fresh = rules.figures(locked, tariff_of, rows.wh)
        crossings = len(
            lines.write_lines(conn, locked, fresh, rows, tariff_of, now=now, tiers=True)
        )
        store.update_figures(
            conn, touched, registers=rows.wh.tolist(), register_ms=rows.at_ms.tolist(),
            qualities=rows.qualities(now), fees=fresh.fee.tolist(), tiers=fresh.tier.tolist(),
        )  # fmt: skip
    standing = _except(conn, seen, blocked=blocked, now=now)
    told = None if everything else sorted({*touched, *drawn})
    return Swept(
        points=seen.points,
        changed=tuple(_live(conn, told)),
        crossings=crossings,
        drawdowns=len(drawn),
        exceptions=standing,
    )


def _blocks(fees: FeeBlock) -> Iterator[FeeBlock]:
    """Cut fees into blocks in the order of points, so that a block can be found by one."""
    order = np.argsort(fees.point, kind="stable")
    for start in range(0, len(order), store.RANGE):
        at = order[start : start + store.RANGE]
        yield FeeBlock(
            point=fees.point[at], register_wh=fees.register_wh[at],
            register_ms=fees.register_ms[at], fee_micros=fees.fee_micros[at],
            tariff_no=fees.tariff_no[at],
        )  # fmt: skip


def _live(conn: Connection, names: list[str] | None) -> list[LiveBalance]:
    """Return live messages from what was written, not from what was meant; None: of all."""
    if names is not None and not names:
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


def _except(conn: Connection, seen: Seen, *, blocked: set[AgreementId], now: datetime) -> int:
    """Open and close calculation exceptions of what was looked at; return how many were found."""
    standing = store.standing_points(conn)
    found = set(seen.found)
    gone = standing - found
    if not seen.every_account:
        looked_at = set(seen.looked_at.tolist()) if gone else set()
        gone = {each for each in gone if each[0] in looked_at}
    names = store.agreements_at(conn, sorted({each[0] for each in (found - standing) | gone}))
    opened = [(names[point], kind) for point, kind in found - standing]
    closed = [(names[point], kind) for point, kind in gone]
    known = {
        each.agreement for each in store.standing_exceptions(conn)
        if each.kind is ExceptionKind.NO_TARIFF
    }  # fmt: skip
    opened += [(each, ExceptionKind.NO_TARIFF) for each in blocked - known]
    closed += [(each, ExceptionKind.NO_TARIFF) for each in known - blocked]
    if opened:
        store.open_exceptions(conn, sorted(opened), now)
    if closed:
        store.close_exceptions(conn, sorted(closed), now)
    return len(found) + len(blocked)
