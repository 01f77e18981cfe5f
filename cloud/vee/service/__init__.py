"""
Use cases of validation; this is the door that other contexts use.

Functions that take `db` open one transaction; those that take `conn` join the caller's.
"""

from cloud.vee.service.looking import Supply
from cloud.vee.service.overlays import overlay, register_overlay
from cloud.vee.service.published import SHIPPED, shipped_rule_sets
from cloud.vee.service.rounds import advance, mark_late, waiting, work_all, work_once
from cloud.vee.service.validating import Changed, validate_days
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
    "Supply",
    "acquisition",
    "advance",
    "mark_late",
    "note_intervals",
    "open_exceptions",
    "overlay",
    "register_overlay",
    "shipped_rule_sets",
    "statistics",
    "sweep",
    "validate_days",
    "waiting",
    "work_all",
    "work_once",
]
