"""How rollouts, their targets and images are told on the command line."""

from typing import Any

from cloud.store.db import Database
from cloud.upkeep import service
from cloud.upkeep.model import Errand, Image, Rollout, RolloutId
from meterloop.cli.answer import say


def tell_rollout(db: Database, id_: RolloutId, *, as_json: bool) -> None:
    """Print a rollout and what became of each of its targets."""
    with db.transaction() as conn:
        rollout = service.rollout_of(conn, id_)
        errands = service.errands_of(conn, id_)
    row = rollout_row(rollout)
    rows = [_errand_row(item) for item in errands]
    lines = [f"{key:<14} {value}" for key, value in row.items() if value]
    lines += ["  ".join(str(v) for v in item.values() if v) for item in rows]
    say({**row, "targets": rows}, as_json=as_json, text="\n".join(lines))


def rollout_row(rollout: Rollout) -> dict[str, Any]:
    """Return what is told of a rollout."""
    return {
        "rollout": rollout.id,
        "kind": rollout.kind.value,
        "state": rollout.state.value,
        "cause": rollout.cause,
        "requested_by": rollout.requested_by,
        "approved_by": rollout.approved_by or "",
        "reason": rollout.reason,
        "until": rollout.until.isoformat(),
        "image": rollout.image.hex() if rollout.image else "",
        "settings": dict(rollout.settings) if rollout.settings is not None else {},
    }


def _errand_row(errand: Errand) -> dict[str, Any]:
    return {
        "meter": errand.meter,
        "state": errand.state.value,
        "reason": errand.end_reason,
        "evidence": errand.evidence or errand.progress or {},
    }


def image_row(image: Image) -> dict[str, Any]:
    """Return what is told of an image."""
    return {
        "image": image.sha256.hex(),
        "model": image.model,
        "version": image.version,
        "octets": image.octets,
        "uploaded_by": image.uploaded_by,
    }
