"""
Use cases of ingest; this is the door that other contexts and runners use.

Repeats are harmless: a batch is known by (concentrator, boot, seq), a reading by its natural key.
Functions that take `db` open one transaction; those that take `conn` join the caller's.
"""

from cloud.ingest.service.intake import (
    quarantine_payload,
    store_batch,
)
from cloud.ingest.service.lookup import (
    batches_out_of_balance,
    events_of,
    last_register_times,
    meters_seen,
    missing_batches,
    momentary_of,
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
    REUSED,
    Alongside,
    Derive,
    Policy,
)

__all__ = [
    "DEFAULT_POLICY",
    "FOREIGN",
    "REUSED",
    "Alongside",
    "Derive",
    "Policy",
    "batches_out_of_balance",
    "dismiss",
    "events_of",
    "last_register_times",
    "meters_seen",
    "missing_batches",
    "momentary_of",
    "quarantine_counts",
    "quarantine_payload",
    "quarantined",
    "raw_registers",
    "redrive",
    "relay_changes",
    "relay_reports",
    "store_batch",
    "totals",
]
