"""SQL of findings of checks in the queue: one row per usage point, day and kind."""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

from psycopg.types.json import Jsonb

from cloud.store.db import Connection
from cloud.store.sql import Queries
from cloud.vee.model import DayFinding
from protocols.identity import UsagePointId

_SQL = Queries(Path(__file__).parents[1] / "sql")


def replace_findings(
    conn: Connection,
    usage_points: Sequence[UsagePointId],
    day: date,
    found: Sequence[DayFinding],
    *,
    rule_set: str,
    now: datetime,
) -> None:
    """Let the findings of a day of the usage points be those found, and no others."""
    if found:
        conn.execute(
            _SQL["upsert_findings"],
            {
                "kind": [each.kind for each in found], "meter": [each.meter for each in found],
                "usage_point": [each.usage_point for each in found],
                "start_ms": [each.start_ms for each in found],
                "end_ms": [each.end_ms for each in found],
                "severity": [each.severity for each in found],
                "places": [each.places for each in found],
                "value": [each.value for each in found],
                "allowed": [each.allowed for each in found],
                "unit": [each.unit for each in found],
                "parameters": [Jsonb(dict(each.parameters)) for each in found],
                "detail": [each.detail for each in found],
                "day": day, "rule_set": rule_set, "now": now,
            },
        )  # fmt: skip
    conn.execute(
        _SQL["close_findings"],
        {
            "usage_points": list(usage_points), "day": day, "now": now,
            "found_point": [each.usage_point for each in found],
            "found_kind": [each.kind for each in found],
        },
    )  # fmt: skip
