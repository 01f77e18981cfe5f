"""
Use cases of roll-ups; this is the door that other contexts use.

Functions that take `db` open transactions; those that take `conn` join the caller's.
"""

from cloud.rollups.service.asking import (
    days,
    find_dependents,
    kept_of,
    month,
    needed,
    periods,
    recomputes_of,
    versions_of_day,
    waiting,
)
from cloud.rollups.service.hours import DayHours, hours
from cloud.rollups.service.keeping import keep, turn
from cloud.rollups.service.marking import derive, note, request, want
from cloud.rollups.service.terms import DEFAULT_POLICY, Finder, Policy

__all__ = [
    "DEFAULT_POLICY",
    "DayHours",
    "Finder",
    "Policy",
    "days",
    "derive",
    "find_dependents",
    "hours",
    "keep",
    "kept_of",
    "month",
    "needed",
    "note",
    "periods",
    "recomputes_of",
    "request",
    "turn",
    "versions_of_day",
    "waiting",
    "want",
]
