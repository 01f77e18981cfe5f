"""All that was ever said over one slot, for people who ask why a value is what it is."""

from datetime import UTC, date, datetime, time, timedelta

from cloud.store.db import Connection
from cloud.vee.model import OverlayKind, RegisterHistory, SaidOver, SlotHistory
from cloud.vee.service.register_days import REGISTERS
from cloud.vee.store import days as day_store
from cloud.vee.store import edits as store
from cloud.vee.store import registers as register_store
from protocols.identity import UsagePointId
from protocols.timeline import Interval, to_ms


def slot_history(conn: Connection, usage_point: UsagePointId, start: datetime) -> SlotHistory:
    """Return what was said over the slots that begin at `start`, and the looks at their day."""
    near = (start - timedelta(days=1)).astimezone(UTC).date()
    far = (start + timedelta(days=1)).astimezone(UTC).date()
    said = []
    for row in store.overlay_versions(conn, usage_point, near, far):
        (_, _, version, created_at, since, offset_s, kind, wh, low, high, made, rule_set, hash_,
         actor, verified_by, reason) = row  # fmt: skip
        offset = (to_ms(start) - to_ms(since)) // 1000
        if offset not in offset_s:
            continue
        at = offset_s.index(offset)
        piece: dict[str, str] = next(
            (e for e in made if "method" in e and e["start_ms"] <= to_ms(start) < e["end_ms"]), {}
        )
        estimate = OverlayKind(kind[at]) is OverlayKind.ESTIMATE
        said.append(
            SaidOver(
                kind=OverlayKind(kind[at]), version=version, created_at=created_at, wh=wh[at],
                low_wh=low[at], high_wh=high[at],
                method=piece.get("method", "") if estimate else "",
                reason=piece.get("reason", "") if estimate else reason, rule_set=rule_set,
                rule_hash=hash_, actor=actor, verified_by=verified_by,
            )
        )  # fmt: skip
    days = [
        day for day in day_store.days_of_point(conn, usage_point, near, far)
        if day.seconds and day.since <= start < day.until
    ]  # fmt: skip
    return SlotHistory(said=tuple(said), days=tuple(days))


def register_history(
    conn: Connection, usage_point: UsagePointId, first: date, last: date
) -> RegisterHistory:
    """Return what was said over the registers of civil days, and why a midnight stays without."""
    looks = day_store.days_of_point(conn, usage_point, first, last)
    begin = datetime.combine(first, time(0), UTC) - timedelta(days=1)
    until = datetime.combine(last, time(0), UTC) + timedelta(days=2)
    return RegisterHistory(
        said=tuple(
            register_store.versions(conn, usage_point, Interval(start=begin, end=until))
        ),
        days=tuple(day for day in looks if day.seconds == REGISTERS),
    )  # fmt: skip
