"""
Use cases of control, one module per subject; this is the door that other contexts use.

Functions that take `db` open one transaction; those that take `conn` join the caller's.
"""

from cloud.control.service.acks import record_ack
from cloud.control.service.invariants import audit_findings, audit_violations
from cloud.control.service.issue import issue_due, prepare, take_signer_refusals
from cloud.control.service.orders import command_of, commands_of
from cloud.control.service.requests import (
    approve,
    confirm_recheck,
    cut_board,
    expire_requests,
    outcomes_after,
    pending_rechecks,
    request_disconnect,
    request_of,
    requests_of,
    withdraw,
)
from cloud.control.service.supply import (
    end_lapsed_protections,
    field_report,
    halt,
    halt_state,
    hold,
    open_supply,
    payment_registered,
    policy,
    protect,
    protections_of,
    release,
    request_reconnect,
    resume,
    set_policy,
    supply_of,
    unprotect,
)
from cloud.control.service.sweep import (
    expire_commands,
    forget_published,
    outgoing,
    published,
    reconcile,
    restore_due,
    unpublished,
)

__all__ = [
    "approve",
    "audit_findings",
    "audit_violations",
    "command_of",
    "commands_of",
    "confirm_recheck",
    "cut_board",
    "end_lapsed_protections",
    "expire_commands",
    "expire_requests",
    "field_report",
    "forget_published",
    "halt",
    "halt_state",
    "hold",
    "issue_due",
    "open_supply",
    "outcomes_after",
    "outgoing",
    "payment_registered",
    "pending_rechecks",
    "policy",
    "prepare",
    "protect",
    "protections_of",
    "published",
    "reconcile",
    "record_ack",
    "release",
    "request_disconnect",
    "request_of",
    "request_reconnect",
    "requests_of",
    "restore_due",
    "resume",
    "set_policy",
    "supply_of",
    "take_signer_refusals",
    "unprotect",
    "unpublished",
    "withdraw",
]
