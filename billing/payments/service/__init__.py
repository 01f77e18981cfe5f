"""Use cases of money in. Every call may come twice, late and from two channels at once."""

from billing.payments.service.core import (
    branch_of,
    channel_of,
    expire,
    hold,
    pay,
    post,
    quote,
    set_channel,
    stand,
    void,
)
from billing.payments.service.limits import changes, decide_change, limits_of, propose_change
from billing.payments.service.messages import forget as forget_messages
from billing.payments.service.payme import answer as payme_answer
from billing.payments.service.reconcile import differences, reconcile, resolve
from billing.payments.service.signed import is_fresh
from billing.payments.service.two_people import adjust, assign_suspense, return_suspense
from billing.payments.service.views import (
    audit_payments,
    hold_of,
    holds_of,
    payments_of,
    statement,
    status,
    suspense,
    totals,
)

__all__ = [
    "adjust",
    "assign_suspense",
    "audit_payments",
    "branch_of",
    "changes",
    "channel_of",
    "decide_change",
    "differences",
    "expire",
    "forget_messages",
    "hold",
    "hold_of",
    "holds_of",
    "is_fresh",
    "limits_of",
    "pay",
    "payme_answer",
    "payments_of",
    "post",
    "propose_change",
    "quote",
    "reconcile",
    "resolve",
    "return_suspense",
    "set_channel",
    "stand",
    "statement",
    "status",
    "suspense",
    "totals",
    "void",
]
