"""Use cases of the balance: sweep, settle after money moved, tell, explain, audit."""

from billing.prepaid.service.audit import audit_drawdowns, audit_fees
from billing.prepaid.service.exceptions import exception_counts, exceptions
from billing.prepaid.service.lines import settle, settle_many
from billing.prepaid.service.shadow import shadow_check, shadow_when_due
from billing.prepaid.service.stretches import BilledStretch, UnalignedError, stretches_of
from billing.prepaid.service.sweep import sweep
from billing.prepaid.service.terms import change_terms
from billing.prepaid.service.views import (
    balance_of,
    crossings_after,
    crossings_of,
    daily_costs,
    explain,
    standing,
)
from billing.prepaid.service.why import LadderStep, Reckoning, Stretch, reckoning_of

__all__ = [
    "BilledStretch",
    "LadderStep",
    "Reckoning",
    "Stretch",
    "UnalignedError",
    "audit_drawdowns",
    "audit_fees",
    "balance_of",
    "change_terms",
    "crossings_after",
    "crossings_of",
    "daily_costs",
    "exception_counts",
    "exceptions",
    "explain",
    "reckoning_of",
    "settle",
    "settle_many",
    "shadow_check",
    "shadow_when_due",
    "standing",
    "stretches_of",
    "sweep",
]
