"""Which register each agreement is priced at: the newest that usage has, or the one it had."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from billing.money import IntArray
from billing.prepaid import rules, store
from billing.prepaid.model import BoolArray, States
from cloud.store.db import Connection
from cloud.usage import service as usage
from protocols.identity import UsagePointId
from protocols.reading import Quality
from protocols.timeline import from_ms, to_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """Registers to price at, as columns like the states. *Units*: Wh and ms."""

    wh: IntArray
    at_ms: IntArray
    trusted: BoolArray

    def qualities(self, now: datetime) -> list[str]:
        """Return what stands behind each, at `now`."""
        return [
            rules.quality_of(trusted=trusted, register_at=from_ms(at), now=now).value
            for trusted, at in zip(self.trusted.tolist(), self.at_ms.tolist(), strict=True)
        ]


def newest(conn: Connection, states: States) -> Registers:
    """Return the newest register of each agreement, from one question to usage."""
    wh, at_ms = states.register.copy(), states.register_ms.copy()
    trusted = np.array([quality != "estimated" for quality in states.quality], dtype=np.bool_)
    known = store.newest_at(conn, states.usage_point)
    for n, usage_point in enumerate(states.usage_point):
        found = known.get(usage_point)
        if found is not None and found[1] >= at_ms[n]:
            wh[n], at_ms[n], trusted[n] = found[0], found[1], not found[2]
    return Registers(wh=wh, at_ms=at_ms, trusted=trusted)


def at_day_ends(conn: Connection, states: States) -> Registers:
    """Return the register that ends each agreement's open day: the last at or before its end."""
    wh, at_ms = states.register.copy(), states.register_ms.copy()
    trusted = np.ones(len(states), dtype=np.bool_)
    ends = [from_ms(each) for each in states.day_ends_ms.tolist()]
    points = [UsagePointId(each) for each in states.usage_point]
    for n, found in enumerate(usage.registers_at_each(conn, points, ends)):
        if found is not None and to_ms(found.at) >= at_ms[n]:
            wh[n], at_ms[n] = found.cumulative_wh, to_ms(found.at)
    return Registers(wh=wh, at_ms=at_ms, trusted=trusted)


def one(conn: Connection, states: States, now: datetime) -> Registers:
    """Return the newest register at or before `now` for a single agreement's states."""
    wh, at_ms = states.register.copy(), states.register_ms.copy()
    trusted = np.array([quality != "estimated" for quality in states.quality], dtype=np.bool_)
    found = usage.register_at(conn, states.usage_point[0], now)
    if found is not None and to_ms(found.at) >= at_ms[0]:
        wh[0], at_ms[0] = found.cumulative_wh, to_ms(found.at)
        trusted[0] = found.quality is not Quality.QUESTIONABLE
    return Registers(wh=wh, at_ms=at_ms, trusted=trusted)
