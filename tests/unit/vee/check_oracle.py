"""
The checks written a second time: one value after another, fractions, no array.

Written from the rules of docs/vee.md, not from the kernels; a property test holds both together.
"""

from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from itertools import groupby
from statistics import median
from zoneinfo import ZoneInfo

from cloud.vee.rules import parameters as given
from cloud.vee.rules.grid import State
from cloud.vee.rules.observed import Observed
from protocols.timeline import from_ms

Row = tuple[int, int, int, int, int]


class Series:
    """One series as a person would write it down."""

    def __init__(self, seen: Observed, number: int) -> None:
        grid, facts = seen.grid, seen.facts
        self.number, self.step = number, grid.frame.step_s * 1000
        self.start = grid.frame.start_ms
        self.zone = ZoneInfo(grid.frame.zone)
        self.count = grid.wh.shape[1]
        self.state = [State(int(each)) for each in grid.state[number]]
        self.wh = [
            None if state is State.MISSING else int(value)
            for value, state in zip(grid.wh[number], self.state, strict=True)
        ]
        self.installed = [
            int(facts.installed_ms[number]) <= self.at(n)
            and self.at(n + 1) <= int(facts.removed_ms[number])
            for n in range(self.count)
        ]

    def at(self, slot: int) -> int:
        return self.start + slot * self.step

    def sound(self, slot: int) -> bool:
        return self.state[slot] in (State.MEASURED, State.VALID, State.EDITED)

    def hit(self, first: int, end: int, value: int, limit: int) -> Row:
        return (self.number, self.at(first), self.at(end), value, limit)

    def stretches(self, wanted: list[bool]) -> Iterator[tuple[int, int]]:
        for truth, places in groupby(range(self.count), key=lambda n: wanted[n]):
            found = list(places)
            if truth:
                yield found[0], found[-1] + 1

    def days(self) -> list[list[int]]:
        key = lambda n: from_ms(self.at(n)).astimezone(self.zone).date()  # noqa: E731
        return [list(places) for _, places in groupby(range(self.count), key=key)]


def all_series(seen: Observed) -> list[Series]:
    return [Series(seen, number) for number in range(len(seen.grid.wh))]


def spike_daily(seen: Observed, p: given.SpikeDaily) -> set[Row]:
    found = set()
    for one in all_series(seen):
        for day in one.days():
            known = [(one.wh[n], -n) for n in day if one.wh[n] is not None]
            if len(known) < 3:
                continue
            ranked = sorted(known, reverse=True)
            top, third = ranked[0][0], ranked[2][0]
            if third > 0 and top >= p.least_wh:
                ratio = Fraction(top - third, third) * 1000
                if ratio > p.threshold_permille:
                    where = -ranked[0][1]
                    found.add(one.hit(where, where + 1, int(ratio), p.threshold_permille))
    return found


def spike_robust_places(seen: Observed, p: given.SpikeRobust) -> set[tuple[int, int]]:
    found = set()
    for one in all_series(seen):
        for slot, value in enumerate(one.wh):
            low, high = max(0, slot - p.side_slots), slot + p.side_slots + 1
            window = [each for each in one.wh[low:high] if each is not None]
            if value is None or len(window) < max(1, p.least_values):
                continue
            middle = median(Fraction(each) for each in window)
            apart = [abs(each - middle) for each in window]
            mad = median(apart)
            spread = (
                Fraction("1.4826") * mad if mad else Fraction("1.2533") * sum(apart) / len(apart)
            )
            if abs(value - middle) > Fraction(p.times_permille, 1000) * max(
                spread, Fraction(p.floor_wh)
            ):
                found.add((one.number, one.at(slot)))
    return found


def demand_step(seen: Observed, p: given.DemandStep) -> set[Row]:
    found = set()
    for one in all_series(seen):
        last = None
        for slot, value in enumerate(one.wh):
            if (
                value is not None
                and last is not None
                and last > 0
                and max(value, last) >= p.least_wh
            ):
                share = Fraction(abs(value - last), last) * 1000
                if share > p.threshold_permille:
                    found.add(one.hit(slot, slot + 1, int(share), p.threshold_permille))
            if value is not None and one.sound(slot):
                last = value
    return found


def historical_max(seen: Observed, p: given.HistoricalMax) -> set[Row]:
    found = set()
    for one in all_series(seen):
        size = p.window_days * int(timedelta(days=1).total_seconds() * 1000 // one.step)
        now = range(one.count - size, one.count)
        past = range(one.count - 2 * size, one.count - size)
        if past.start < 0:
            continue
        fresh = {n: max(one.wh[n], 0) for n in now if one.sound(n)}
        old = {n: max(one.wh[n], 0) for n in past if one.sound(n)}
        if (
            min(len(fresh), len(old)) * 1000 < p.least_coverage_permille * size
            or not fresh
            or not old
        ):
            continue
        top, before = max(fresh.values()), max(old.values())
        if before > 0 and Fraction(top, before) * 1000 > p.threshold_permille:
            slot = min(n for n, value in fresh.items() if value == top)
            found.add(one.hit(slot, slot + 1, top * 1000 // before, p.threshold_permille))
    return found


def gap(seen: Observed, p: given.Gap) -> set[Row]:
    return {
        one.hit(first, end, end - first, p.allowed_slots)
        for one in all_series(seen)
        for first, end in one.stretches(
            [one.wh[n] is None and one.installed[n] for n in range(one.count)]
        )
        if end - first > p.allowed_slots
    }


def zero_run(seen: Observed, p: given.ZeroRun) -> set[Row]:
    return {
        one.hit(first, end, end - first, -(-p.least_seconds * 1000 // one.step))
        for one in all_series(seen)
        for first, end in one.stretches([value == 0 for value in one.wh])
        if (end - first) * one.step >= p.least_seconds * 1000
    }


def stale_run(seen: Observed, p: given.StaleRun) -> set[Row]:
    found = set()
    for one in all_series(seen):
        at = 0
        for value, places in groupby(one.wh):
            size = len(list(places))
            if value and size >= max(2, p.least_slots):
                found.add(one.hit(at, at + size, size, p.least_slots))
            at += size
    return found


def negative(seen: Observed, p: given.Negative) -> set[Row]:
    return {
        one.hit(slot, slot + 1, value, -p.least_wh)
        for one in all_series(seen)
        for slot, value in enumerate(one.wh)
        if value is not None and value < -p.least_wh
    }


def capacity(seen: Observed, p: given.Capacity) -> set[Row]:
    found = set()
    for one in all_series(seen):
        power = int(seen.facts.capacity_w[one.number])
        limit = int(Fraction(power * p.margin_permille, 1000) * Fraction(one.step, 3_600_000))
        found |= {
            one.hit(slot, slot + 1, value, limit)
            for slot, value in enumerate(one.wh)
            if power and value is not None and value > limit
        }
    return found


def device_inactive(seen: Observed, p: given.DeviceInactive) -> set[Row]:
    return {
        one.hit(slot, slot + 1, value, p.least_wh)
        for one in all_series(seen)
        for slot, value in enumerate(one.wh)
        if value is not None and value > p.least_wh and not one.installed[slot]
    }


def sibling_missing(seen: Observed, p: given.SiblingMissing) -> set[Row]:
    every = all_series(seen)
    found = set()
    for one in every:
        group = [
            each for each in every
            if seen.facts.device[each.number] == seen.facts.device[one.number]
        ]  # fmt: skip
        lacking = [
            one.wh[n] is None and one.installed[n] and any(each.wh[n] is not None for each in group)
            for n in range(one.count)
        ]
        found |= {
            one.hit(first, end, end - first, p.least_slots)
            for first, end in one.stretches(lacking)
            if end - first >= max(1, p.least_slots)
        }
    return found


def estimated_too_long(seen: Observed, p: given.EstimatedTooLong) -> set[Row]:
    longest = [p.longest_seconds * 1000 // one.step for one in all_series(seen)]
    return {
        one.hit(first, end, end - first, most)
        for one, most in zip(all_series(seen), longest, strict=True)
        for first, end in one.stretches([state is State.ESTIMATED for state in one.state])
        if end - first > most
    }


def reactive_without_active(seen: Observed, p: given.ReactiveWithoutActive) -> set[Row]:
    every = all_series(seen)
    found = set()
    for one in every:
        other = int(seen.facts.active_of[one.number])
        if other < 0:
            continue
        found |= {
            one.hit(slot, slot + 1, value, p.least_varh)
            for slot, value in enumerate(one.wh)
            if value is not None and value > p.least_varh and every[other].wh[slot] == 0
        }
    return found


def high_low(seen: Observed, p: given.HighLow) -> set[Row]:
    found = set()
    for one in all_series(seen):
        per_day = 86_400_000 // one.step
        cut = one.count - p.window_days * per_day
        now = [max(one.wh[n], 0) for n in range(max(cut, 0), one.count) if one.sound(n)]
        past = [max(one.wh[n], 0) for n in range(max(cut, 0)) if one.sound(n)]
        if cut < 1 or not now or len(past) < p.least_history_days * per_day or not sum(past):
            continue
        share = Fraction(sum(now), len(now)) / Fraction(sum(past), len(past)) * 1000
        for wrong, limit in (
            (share > p.high_permille, p.high_permille), (share < p.low_permille, p.low_permille),
        ):  # fmt: skip
            if wrong:
                found.add(one.hit(cut, one.count, int(share), limit))
    return found


def billing_gate(seen: Observed, p: given.BillingGate) -> set[Row]:
    found = set()
    for one in all_series(seen):
        expected = [n for n in range(one.count) if one.installed[n]]
        good = [n for n in expected if one.state[n] in (State.MEASURED, State.VALID)]
        if not expected:
            continue
        share = Fraction(len(expected) - len(good), len(expected)) * 1000
        if share > p.most_permille:
            found.add(one.hit(0, one.count, -int(-share // 1), p.most_permille))
    return found
