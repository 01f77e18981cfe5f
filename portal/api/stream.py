"""`/api/v1/stream`: what the operator's page shows, as exact integers for alarms and dashboards."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from cloud.ingest.service.stream import Flow, Stream
from portal.auth.guard import api_caller
from portal.auth.model import ApiCaller
from portal.site import site_of
from portal.staff import stream_view as views

router = APIRouter(prefix="/api/v1")
Watcher = Annotated[ApiCaller, Depends(api_caller("stream"))]


@router.get("/stream")
def stream(request: Request, _: Watcher) -> dict[str, Any]:
    """Return lag, rates, success by concentrator and hour, quarantine and open findings."""
    site = site_of(request)
    found, findings = views.look(site.db, site.clock)
    return told(found, findings)


def told(found: Stream, findings: views.Findings) -> dict[str, Any]:
    """Return the figures of the page; lags are business time in milliseconds."""
    batches, readings = found.per_second()
    return {
        "at": found.now.isoformat(), "wall_at": found.wall_now.isoformat(),
        "newest_received_wall": _at(found.newest_wall), "newest_event": _at(found.newest_event),
        "batches_per_1000_s": batches, "readings_per_1000_s": readings,
        "success_permille": found.success_permille, "first_hour": found.first_hour.isoformat(),
        "minutes": [
            {"at": one.at.isoformat(), "batches": one.batches, "rows": one.rows,
             "stored": one.stored, "duplicates": one.duplicates, "refused": one.refused,
             "lag_p50_ms": one.lag_p50_ms, "lag_p95_ms": one.lag_p95_ms}
            for one in found.minutes
        ],
        "concentrators": [_one(flow) for flow in found.flows],
        "quarantine": dict(found.refused), "findings": dict(findings.kinds),
    }  # fmt: skip


def _one(flow: Flow) -> dict[str, Any]:
    presence = flow.presence
    return {
        "concentrator": flow.concentrator, "meters": flow.meters, "heard": flow.heard,
        "success_permille": flow.success_permille, "expected": list(flow.expected),
        "came": list(flow.came), "newest_received_wall": _at(flow.newest_wall),
        "newest_event": _at(flow.newest_event), "batches": flow.batches, "stored": flow.stored,
        "online": presence.online if presence else None,
        "told_at": _at(presence.told_at) if presence else None,
        "told": dict(presence.told) if presence else {},
    }  # fmt: skip


def _at(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None
