"""
The sweep: every agreement at its newest register, in columns; only what changed is written.

Three transactions, each complete in itself: new agreements are enrolled; days that are over are
drawn from the ledger; balances, lines and messages are written. Locks are taken in one order by
everybody: ledger accounts, then states, then the supply's row in control.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np

from billing.customers.model import AgreementId
from billing.money import IntArray
from billing.prepaid import rules, store
from billing.prepaid.model import ExceptionKind, FeeBlock, Swept
from billing.prepaid.service import lines, registers
from billing.prepaid.service.days import draw_days, note_uses
from billing.prepaid.service.enrol import enrol
from billing.prepaid.service.screen import Progress, Seen, screen
from billing.prepaid.service.terms import apply_due
from billing.rating import service as rating
from cloud.store.db import Connection, Database
from protocols.mqtt.live import LiveBalance

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
    chosen: IntArray | None = None,
    progress: Progress | None = None,
) -> Swept:
    """
    Price every agreement at its newest register and act on what that means (C1, C2, C4).

    `changed` of the result holds what watchers should see: all agreements with `everything`.
    With `moved_only` just those are priced whose register moved since the last sweep (C1), and
    likewise while every account was looked at less than `every_account_each` ago. The first
    sweep prices all the same. With `chosen` those points alone are priced, as a plan of looks
    names them (C2, C3). Safe to repeat, to kill and to run twice at once.
    """
    with db.transaction() as conn:
        store.lock_sweep(conn)
        entered, blocked = enrol(conn, now)
    with db.transaction() as conn:
        store.lock_sweep(conn)
        entered += apply_due(conn, now)
        drawn = draw_days(conn, now)
    with db.transaction() as conn:
        store.lock_sweep(conn)
        mark = store.mark(conn)
        before = oldest = store.next_moved(conn)
        since = None
        if mark is None or everything:
            chosen = None
        elif chosen is not None:
            # what moved elsewhere was not looked at: the mark stays where it is
            since, before = mark.next_moved, mark.next_moved
        else:
            fresh = now - mark.every_account_at < every_account_each
            since = mark.next_moved if moved_only or fresh else None
        seen = screen(db, conn, now=now, since=since, progress=progress, chosen=chosen)
        at = now if since is None or mark is None else mark.every_account_at
        store.set_mark(conn, store.Mark(next_moved=before, every_account_at=at))
        # a plan of looks wants none of them; what an older mark asks for is found without
        store.forget_moves(conn, oldest)
        return _act(
            conn,
            seen,
            now=now,
            blocked=blocked,
            entered=entered,
            drawn=drawn,
            everything=everything,
        )


def _act(
    conn: Connection,
    seen: Seen,
    *,
    now: datetime,
    blocked: dict[AgreementId, ExceptionKind],
    entered: list[AgreementId],
    drawn: set[AgreementId],
    everything: bool,
) -> Swept:
    """Lock what crossed or moved, read it again and write; of too many, only what crossed."""
    few = len(seen.moved.point) <= WRITE_BACK
    wanted = seen.moved.point if few else seen.crossed
    if not few:
        store.append_snapshot(conn, _blocks(seen.moved), now)
    touched = sorted({*store.agreements_at(conn, wanted.tolist()).values(), *entered})
    crossings = 0
    if touched:
        store.lock_states(conn, touched)
        # money may have moved before the lock was ours: these rows are read anew
        locked = store.states(conn, touched)
        tariff_of = rating.compiled(conn, locked.tariff_hash)
        rows = registers.newest(conn, locked)
        fresh = rules.figures(locked, tariff_of, rows.wh, rows.uses)
        crossings = len(
            lines.write_lines(conn, locked, fresh, rows, tariff_of, now=now, tiers=True)
        )
        store.update_figures(
            conn, touched, registers=rows.wh.tolist(), register_ms=rows.at_ms.tolist(),
            qualities=rows.qualities(now), fees=fresh.fee.tolist(), tiers=fresh.tier.tolist(),
        )  # fmt: skip
        note_uses(conn, locked, rows)
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


def _except(
    conn: Connection, seen: Seen, *, blocked: dict[AgreementId, ExceptionKind], now: datetime
) -> int:
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
    opened += [(each, kind) for each, kind in blocked.items() if each not in known]
    closed += [(each, ExceptionKind.NO_TARIFF) for each in known - blocked.keys()]
    if opened:
        store.open_exceptions(conn, sorted(opened), now)
    if closed:
        store.close_exceptions(conn, sorted(closed), now)
    return len(found) + len(blocked)
