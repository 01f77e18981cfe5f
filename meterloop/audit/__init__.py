"""The invariants of an installation, counted: from the database, and against a truth file."""

from meterloop.audit.service import audit_installation

__all__ = ["audit_installation"]
