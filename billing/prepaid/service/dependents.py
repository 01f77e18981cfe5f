"""
Which drawn days and balances had used a day that has other figures now, and by how much.

Read-only. A drawn day is never altered: the next one is drawn up to its own register and so takes
up the difference, and the figures here say which way it went.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from billing.prepaid import rules, store
from billing.prepaid.model import Drawdown, Segment, States
from billing.rating import service as rating
from billing.rating.model import CompiledTariff
from billing.rating.rules import kernel
from cloud.rollups.model import Change, Dependent, DependentKind
from cloud.store.db import Connection
from cloud.usage import service as usage
from protocols.identity import UsagePointId
from protocols.timeline import from_ms

LADDER = "ladder_year"


def find(conn: Connection, changes: Sequence[Change]) -> list[list[Dependent]]:
    """Return the drawn day and the balance behind each change, as they are and as they would be."""
    of_point = defaultdict[UsagePointId, list[int]](list)
    for number, change in enumerate(changes):
        of_point[change.usage_point].append(number)
    found: list[list[Dependent]] = [[] for _ in changes]
    for point, numbers in of_point.items():
        agreement = store.agreement_at(conn, point)
        if agreement is None:
            continue
        states = store.states(conn, [agreement])
        segments = {each.seq: each for each in store.segments_of(conn, agreement, former=True)}
        tariffs = rating.compiled(
            conn, [states.tariff_hash[0], *(each.tariff_hash for each in segments.values())]
        )
        balance = _balance(conn, point, states, tariffs)
        drawn = _drawn(conn, agreement, [changes[number] for number in numbers])
        for number in numbers:
            rows = drawn.get(changes[number].day.isoformat(), [])
            if rows:
                segment = segments[rows[0].segment_seq]
                tariff = tariffs[segment.tariff_hash]
                found[number].append(
                    _day(changes[number], rows, segment, tariff, states.currency[0])
                )
            found[number].append(balance)
    return found


def _drawn(
    conn: Connection, agreement: str, changes: Sequence[Change]
) -> Mapping[str, list[Drawdown]]:
    days = [change.day for change in changes]
    rows = defaultdict[str, list[Drawdown]](list)
    for row in store.drawdowns_of(conn, agreement, min(days), max(days)):
        rows[row.day.isoformat()].append(row)
    return rows


def _day(
    change: Change,
    rows: Sequence[Drawdown],
    segment: Segment,
    tariff: CompiledTariff,
    currency: str,
) -> Dependent:
    """Return a drawn day beside what its two registers cost as they are now."""
    first, last = rows[0].from_register_wh, rows[0].register_wh
    closing = change.after.closing
    since = _begin(change, first)
    wh = None if closing is None else closing.wh - since
    micros = None
    if closing is not None and tariff.basis == LADDER:
        offset = segment.year_wh - segment.register_wh
        begin = max(since, segment.register_wh) + offset
        micros = kernel.fee_between(tariff, begin, max(closing.wh + offset, begin))
    amount = sum(row.amount_micros for row in rows)
    state = "by_hours" if micros is None else "as_drawn" if micros == amount else "carried_on"
    return Dependent(
        kind=DependentKind.DRAWN_DAY, reference=f"{rows[0].agreement}/{rows[0].day}",
        account=rows[0].account, state=state, wh_before=last - first, wh_after=wh,
        currency=currency, micros_before=amount, micros_after=micros,
    )  # fmt: skip


def _begin(change: Change, drawn_from: int) -> int:
    """
    Return the register that a drawn day begins with, as it is now. *Units*: Wh.

    The first day of an agreement begins at its own opening, and one after days of silence where the
    last drawn one ended: neither is the register of this day's midnight, and neither moves with it.
    """
    before = None if change.before is None else change.before.opening
    after = change.after.opening
    if before is None or after is None or before.wh != drawn_from:
        return drawn_from
    return after.wh


def _balance(
    conn: Connection, point: UsagePointId, states: States, tariffs: Mapping[str, CompiledTariff]
) -> Dependent:
    """
    Return what is left as it was told, and as the register of that same instant says now.

    New use since then is in neither, so that the difference is the correction alone.
    """
    at = from_ms(int(states.register_ms[0]))
    register = usage.register_at(conn, point, at)
    wh = int(states.register[0]) if register is None else register.cumulative_wh
    left = int(rules.available(states, states.fee)[0])
    after = None
    if tariffs[states.tariff_hash[0]].basis == LADDER:
        said = rules.figures(states, tariffs, np.array([wh], dtype=np.int64))
        after = int(rules.available(states, said.fee)[0])
    state = "by_hours" if after is None else "unchanged" if after == left else "next_sweep"
    return Dependent(
        kind=DependentKind.BALANCE, reference=states.agreement[0], account=states.account[0],
        state=state, wh_before=int(states.register[0]), wh_after=wh, currency=states.currency[0],
        micros_before=left, micros_after=after,
    )  # fmt: skip
