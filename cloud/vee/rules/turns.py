"""When checks that need weeks look at a usage point, and how far back they look."""

import zlib
from datetime import date, timedelta

from cloud.vee.model import ExceptionKind
from cloud.vee.rules.parameters import HighLow, HistoricalMax
from cloud.vee.rules.rule_sets import RuleSet
from protocols.identity import UsagePointId

LONG = (ExceptionKind.HIGH_LOW, ExceptionKind.HISTORICAL_MAX)
"""Checks that compare the last days with weeks before them."""


def days_back(rules: RuleSet) -> int:
    """Return how many days, the one looked at among them, the checks need; 0 where none looks."""
    need = 0
    for code in LONG:
        told = rules.checks.get(code)
        if told is None:
            continue
        given = told.parameters
        if isinstance(given, HighLow):
            need = max(need, given.window_days + rules.estimate.history_days)
        elif isinstance(given, HistoricalMax):
            need = max(need, 2 * given.window_days)
    return need


def has_turn(usage_point: UsagePointId, day: date, every: int) -> bool:
    """
    Tell whether long checks look at a usage point on a day: every so many days, by its name.

    Weeks of readings are fetched for it, so each day takes a part of all; the same ones whenever
    the day is looked at.
    """
    return day.toordinal() % every == zlib.crc32(usage_point.encode()) % every


def turns_after(
    usage_point: UsagePointId, day: date, last: date, *, every: int, back: int
) -> list[date]:
    """Return the turns after `day`, up to `last`, whose long checks look at that day too."""
    until = min(last, day + timedelta(days=back - 1))
    first = zlib.crc32(usage_point.encode()) % every
    found, at = [], day + timedelta(days=1)
    at += timedelta(days=(first - at.toordinal()) % every)
    while at <= until:
        found.append(at)
        at += timedelta(days=every)
    return found
