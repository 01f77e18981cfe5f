"""
Use cases of validation; this is the door that other contexts use.

Functions that take `db` open one transaction; those that take `conn` join the caller's.
"""

from cloud.vee.service.blocking import Span, accept_blocks, blocked_points, look_again
from cloud.vee.service.edits import edits, propose_edit, refuse_edit, verify_edit
from cloud.vee.service.looking import Supply
from cloud.vee.service.overlays import overlay, register_overlay
from cloud.vee.service.published import SHIPPED, shipped_rule_sets
from cloud.vee.service.queue import (
    assign_exception,
    close_exception,
    queue,
    queue_counts,
)
from cloud.vee.service.rounds import advance, mark_late, waiting, work_all, work_once
from cloud.vee.service.telling import register_history, slot_history
from cloud.vee.service.validating import summed, validate_days
from cloud.vee.service.versions import Changed
from cloud.vee.service.watch import (
    acquisition,
    note_intervals,
    open_exceptions,
    statistics,
    sweep,
)

__all__ = [
    "SHIPPED",
    "Changed",
    "Span",
    "Supply",
    "accept_blocks",
    "acquisition",
    "advance",
    "assign_exception",
    "blocked_points",
    "close_exception",
    "edits",
    "look_again",
    "mark_late",
    "note_intervals",
    "open_exceptions",
    "overlay",
    "propose_edit",
    "queue",
    "queue_counts",
    "refuse_edit",
    "register_history",
    "register_overlay",
    "shipped_rule_sets",
    "slot_history",
    "statistics",
    "summed",
    "sweep",
    "validate_days",
    "verify_edit",
    "waiting",
    "work_all",
    "work_once",
]
