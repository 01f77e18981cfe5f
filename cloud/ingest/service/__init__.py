"""
Use cases of ingest; this is the door that other contexts and runners use.

Repeats are harmless: a batch is known by (concentrator, boot, seq), a reading by its natural key.
Functions that take `db` open one transaction; those that take `conn` join the caller's.
"""

from cloud.ingest.service.columns import raw_columns, registers_beside
from cloud.ingest.service.days import (
    close_day,
    close_past_days,
    days_open,
    kept_by,
    open_days_ahead,
)
from cloud.ingest.service.intake import (
    quarantine_payload,
    store_batch,
    store_batches,
)
from cloud.ingest.service.lookup import (
    batches_out_of_balance,
    concentrator_presence,
    events_of,
    hold_concentrators,
    last_register_times,
    meters_seen,
    missing_batches,
    momentaries,
    momentary_of,
    note_presence,
    raw_intervals,
    raw_registers,
    relay_changes,
    relay_reports,
    totals,
)
from cloud.ingest.service.mending import (
    dismiss,
    quarantine_counts,
    quarantined,
    redrive,
)
from cloud.ingest.service.terms import (
    DEFAULT_POLICY,
    FOREIGN,
    POISONED,
    REUSED,
    Alongside,
    Derive,
    Lives,
    Policy,
)

__all__ = [
    "DEFAULT_POLICY",
    "FOREIGN",
    "POISONED",
    "REUSED",
    "Alongside",
    "Derive",
    "Lives",
    "Policy",
    "batches_out_of_balance",
    "close_day",
    "close_past_days",
    "concentrator_presence",
    "days_open",
    "dismiss",
    "events_of",
    "hold_concentrators",
    "kept_by",
    "last_register_times",
    "meters_seen",
    "missing_batches",
    "momentaries",
    "momentary_of",
    "note_presence",
    "open_days_ahead",
    "quarantine_counts",
    "quarantine_payload",
    "quarantined",
    "raw_columns",
    "raw_intervals",
    "raw_registers",
    "redrive",
    "registers_beside",
    "relay_changes",
    "relay_reports",
    "store_batch",
    "store_batches",
    "totals",
]
