"""Proofs over what was charged: the oracle prices every drawn day and every open balance again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import numpy as np

from billing.ledger.model import Findings
from billing.ledger.service import EXAMPLES
from billing.prepaid import store
from billing.prepaid.model import Drawdown, Segment, States
from billing.prepaid.rules.periods import Uses, period_use, pinned_use
from billing.prepaid.service import registers
from billing.rating.rules.oracle import oracle_between, oracle_open
from billing.tariffs import service as tariffs
from billing.tariffs.model import Tariff
from cloud.store.db import Connection
from cloud.usage import service as usage
from protocols.identity import UsagePointId
from protocols.timeline import Interval, from_ms, local_date

Segments = Mapping[tuple[str, int], Segment]


def audit_drawdowns(conn: Connection) -> Findings:
    """
    Prove M3: for each agreement the drawdowns sum to the bill of its whole use, to the micro.

    The bill is the oracle's price of the registers that the last drawdown names; each day's ledger
    entry must have taken that day's amount, and the sum must be what the state says was drawn.
    """
    prices, segments = _tariffs_and_segments(conn)
    wrong = [f"ledger of {each}" for each in store.drawdowns_unlike_ledger(conn)]
    drawn: dict[str, int] = {}
    for row, following in pairwise([*store.all_drawdowns(conn), None]):
        assert row is not None
        drawn[row.agreement] = drawn.get(row.agreement, 0) + row.amount_micros
        # what puts several stretches right is one act: it adds up with its last row
        if row.seq and following and following.seq and following.agreement == row.agreement:
            continue
        bill = oracle_fee(prices, segments, row.agreement, drawn_point(row))
        if drawn[row.agreement] != bill:
            wrong.append(f"{row.agreement} {row.day}: drew {drawn[row.agreement]}, bill {bill}")
    states = store.states(conn)
    for agreement, taken in zip(states.agreement, states.drawn.tolist(), strict=True):
        if taken != drawn.get(agreement, 0):
            wrong.append(f"{agreement}: state says {taken} was drawn")
    return Findings(count=len(wrong), examples=tuple(wrong[:EXAMPLES]))


def audit_fees(conn: Connection) -> Findings:
    """
    Prove M4 for what is open: each stored fee is reproduced from its register and tariff hash.

    Each drawn day and each state is priced again by the oracle from published tariff text alone,
    and the register a state stands on must be one that usage holds.
    """
    prices, segments = _tariffs_and_segments(conn)
    wrong: list[str] = []
    for row in store.all_drawdowns(conn):
        fee = oracle_fee(prices, segments, row.agreement, drawn_point(row))
        if fee != row.fee_micros:
            wrong.append(f"{row.agreement} {row.day}: {row.fee_micros} stored, {fee} recomputed")
    states = store.states(conn)
    points = state_points(conn, states)
    for n, agreement in enumerate(states.agreement):
        register = int(states.register[n])
        fee = oracle_fee(prices, segments, agreement, points[n])
        if fee != states.fee[n]:
            wrong.append(f"{agreement}: {states.fee[n]} stored, {fee} recomputed")
        if not _register_known(conn, states.usage_point[n], int(states.register_ms[n]), register):
            first = segments[agreement, 1]
            by_hours = points[n].energy_wh is not None and len(points[n].energy_wh or ()) > 1
            if register != first.register_wh and not by_hours:
                wrong.append(f"{agreement}: register {register} is not in usage")
    return Findings(count=len(wrong), examples=tuple(wrong[:EXAMPLES]))


def _tariffs_and_segments(conn: Connection) -> tuple[dict[str, Tariff], Segments]:
    segments: dict[tuple[str, int], Segment] = {
        (each.agreement, each.seq): each for each in store.all_segments(conn)
    }
    return (
        tariffs.by_digest(conn, [each.tariff_hash for each in segments.values()]),
        segments,
    )


@dataclass(frozen=True, slots=True)
class Point:
    """How far a fee goes: segment and register, and under a tariff of periods energy and days."""

    seq: int
    register_wh: int
    energy_wh: tuple[int, ...] | None = None
    upto: date | None = None


def oracle_fee(
    prices: Mapping[str, Tariff], segments: Segments, agreement: str, point: Point
) -> int:
    """Return the fee since the agreement started, every earlier segment priced again too."""
    fee = 0
    while True:
        segment = segments[agreement, point.seq]
        fee += _priced(prices[segment.tariff_hash], segment, point)
        if segment.previous is None:
            return fee
        zone = prices[segment.tariff_hash].zone_info
        begins = segment.start or local_date(segment.started_at, zone)
        point = Point(segment.previous, segment.register_wh, segment.previous_wh, begins)


def _priced(tariff: Tariff, segment: Segment, point: Point) -> int:
    if segment.start is None:
        used = max(0, point.register_wh - segment.register_wh)
        return oracle_between(tariff, segment.year_wh, segment.year_wh + used)
    assert point.energy_wh is not None
    assert point.upto is not None
    uses = Uses(
        row=np.zeros(1, dtype=np.int64), open=[pinned_use(segment)], energy=[point.energy_wh],
        upto=[point.upto],
    )  # fmt: skip
    return oracle_open(tariff, period_use(tariff, uses, 0)).total


def drawn_point(row: Drawdown) -> Point:
    """Return how far a day drawn went."""
    return Point(row.segment_seq, row.register_wh, row.energy_wh, row.day + timedelta(days=1))


def state_points(conn: Connection, states: States) -> list[Point]:
    """Return how far the stored fee of each state went."""
    stored = registers.at_stored(conn, states).uses
    known = {} if stored is None else {
        row: (stored.energy[n], stored.upto[n]) for n, row in enumerate(stored.row.tolist())
    }  # fmt: skip
    return [
        Point(int(states.segment_seq[n]), int(states.register[n]), *known.get(n, (None, None)))
        for n in range(len(states))
    ]


def _register_known(conn: Connection, usage_point: str, at_ms: int, register: int) -> bool:
    at = from_ms(at_ms)
    span = Interval(start=at, end=at + timedelta(milliseconds=1))
    found = usage.registers(conn, UsagePointId(usage_point), span)
    return any(each.cumulative_wh == register for each in found)
