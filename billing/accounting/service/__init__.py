"""Use cases of the whole: arrears of any moment, books compared day by day, exceptions handled."""

from billing.accounting.service.exceptions import (
    act,
    counts,
    exceptions,
    gather,
    steps_of,
)
from billing.accounting.service.reports import (
    collected,
    owed,
    owed_accounts,
    ties,
    untied,
)

__all__ = [
    "act",
    "collected",
    "counts",
    "exceptions",
    "gather",
    "owed",
    "owed_accounts",
    "steps_of",
    "ties",
    "untied",
]
