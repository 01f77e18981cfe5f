"""
What keeps a usage point from being billed, and how that ends.

    looked at again   the day is validated anew: what is found no longer blocks no longer
    edited            two people answer for every value: it counts as sound for a bill
    accepted          two people let the bill be made of what there is
"""

from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from cloud.assets import service as assets
from cloud.assets.model import Installed
from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.vee.model import Block, ExceptionKind, Refusal
from cloud.vee.rules import blocking
from cloud.vee.store import days as day_store
from cloud.vee.store import queue as store
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import local_day, to_ms

Span = tuple[UsagePointId, date, date]
"""A usage point, the first and the last civil day of a bill."""

_MOST_DAYS = 400


def blocked_points(conn: Connection, spans: Sequence[Span]) -> list[Block | None]:
    """
    Return for each usage point and days of a bill why it is not to be made, or None.

    Two questions for all of them; what blocks is looked at closer.
    """
    kinds: dict[int, set[ExceptionKind]] = {}
    days: dict[int, set[date]] = {}
    allowed: dict[int, int] = {}
    for place, kind, day, most in store.blocking_findings(conn, spans):
        kinds.setdefault(place, set()).add(kind)
        days.setdefault(place, set()).add(day)
        if kind is ExceptionKind.BILLING_GATE:
            allowed[place] = min(most, allowed.get(place, most))
    found: list[Block | None] = [None] * len(spans)
    if not kinds:
        return found
    some = sorted(kinds)
    unsound = store.unsound_time(conn, [spans[place] for place in some])
    hung: dict[UsagePointId, list[Installed]] = {}
    for item in assets.installations_at(conn, sorted({spans[place][0] for place in some})):
        hung.setdefault(item.usage_point.id, []).append(item)
    for n, place in enumerate(some):
        point, first, last = spans[place]
        whole = _hung_ms(hung.get(point, []), first, last)
        lost, most = unsound.get(n, 0), allowed.get(place, 0)
        if blocking.blocks(kinds[place], unsound_ms=lost, whole_ms=whole, allowed_permille=most):
            found[place] = Block(
                usage_point=point, kinds=tuple(sorted(kinds[place])),
                days=tuple(sorted(days[place])), allowed_permille=most,
                share_permille=blocking.share_permille(lost, whole),
            )  # fmt: skip
    return found


def accept_blocks(
    conn: Connection, span: Span, *, people: Sequence[str], reason: str, now: datetime
) -> int:
    """
    Close the findings that keep a bill from being made, as two people; return how many.

    They open again where something else is found of those days. Raises: RefusedError
    `vee.same_person`, `vee.reason_missing`.
    """
    if len(set(people)) < 2:
        raise RefusedError(Refusal.SAME_PERSON, "two people accept what was not measured")
    if not reason.strip():
        raise RefusedError(Refusal.REASON_MISSING, "a closed exception says why")
    first, *others = people
    found = store.lock_blocking(conn, *span)
    for id_, kind, day in found:
        store.settle(conn, id_, actor=others[-1], reason=reason.strip(), now=now)
        audit.record(
            conn, at=now, actor=others[-1], on_behalf=first, action="vee.exception.accept",
            entity="vee.exception", entity_id=str(id_), reason=reason.strip(),
            before={"kind": kind.value, "day": str(day)}, after={"people": list(people)},
        )  # fmt: skip
    return len(found)


def look_again(
    db: Database, usage_point: UsagePointId, days: Sequence[date], *, actor: str, now: datetime
) -> int:
    """Have days of a usage point validated again; return how many. Raises: `vee.edit_shape`."""
    chosen = sorted(set(days))
    if not 1 <= len(chosen) <= _MOST_DAYS:
        raise RefusedError(Refusal.EDIT_SHAPE, f"name 1 to {_MOST_DAYS} days, not {len(chosen)}")
    with db.transaction() as conn:
        day_store.mark_dirty(
            conn, [(usage_point, day) for day in chosen], now, cause="again", actor=actor
        )
        audit.record(
            conn, at=now, actor=actor, action="vee.day.again", entity="usage_point",
            entity_id=usage_point, after={"days": [str(day) for day in chosen]},
        )  # fmt: skip
    return len(chosen)


def _hung_ms(installed: Sequence[Installed], first: date, last: date) -> int:
    """Return how long a meter hung there on the civil days `first` to `last`. *Units*: ms."""
    total = 0
    for item in installed:
        zone, removed = ZoneInfo(item.usage_point.zone), item.installation.removed_at
        since = max(local_day(first, zone).start, item.installation.installed_at)
        until = local_day(last, zone).end
        until = min(until, removed) if removed else until
        total += max(0, to_ms(until) - to_ms(since))
    return total
