"""
The watch over those who may be without power unseen: a list for staff, a message to the care desk.

A prepaid customer who is cut, or who saves every watt in debt, complains to nobody. Whoever stands
so for some days is listed, the vulnerable first, until power is used again or money came.
"""

import logging
from datetime import datetime, timedelta

from billing.prepaid.rules.credit import Refusal
from billing.prepaid.rules.watching import Sight, reason_to_look
from billing.prepaid.service import policies
from billing.prepaid.store import credit as marks
from billing.prepaid.store import watch as store
from billing.prepaid.store.watch import Candidate, Watched
from cloud.messages import service as messages
from cloud.messages.model import Kind
from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.usage import service as usage
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import from_ms, to_ms

_LOG = logging.getLogger(__name__)
CARE_DESK = "care-desk"
"""The subject under which messages know how the care desk is reached."""
_EACH = timedelta(hours=1)
_STREAM = "watch"


def look_when_due(db: Database, *, now: datetime) -> int:
    """Look once in an hour of business time; return how many are new on the list."""
    with db.transaction() as conn:
        last = from_ms(marks.read_upto(conn, _STREAM))
        if now - last < _EACH:
            return 0
    found = look(db, now=now)
    with db.transaction() as conn:
        marks.set_read_upto(conn, _STREAM, to_ms(now))
    return found


def look(db: Database, *, now: datetime) -> int:
    """
    List who may be without power, end the watch over others; return how many are new.

    Each new one is told to the care desk once, in the same transaction.
    """
    with db.transaction() as conn:
        every = store.candidates(conn)
        seen = dict(zip([each.agreement for each in every], _sights(conn, every, now), strict=True))
        new, still = 0, set()
        for each in every:
            sight, days = seen[each.agreement]
            found = reason_to_look(sight, days=days, now=now)
            if found is None:
                continue
            still.add(each.agreement)
            first = each.vulnerable or ("protected" if each.protected else "")
            number = store.open_watch(
                conn, each, reason=found[0], since=found[1], vulnerable=first, now=now
            )
            if number is not None:
                new += 1
                _tell_care(conn, number, each, (now - found[1]).days, now)
        gone = [one.agreement for one in store.watched(conn) if one.agreement not in still]
        store.close_watches(conn, gone, now)
    if new:
        _LOG.info("prepaid.watch.new", extra={"fields": {"count": new}})
    return new


def watched(conn: Connection) -> list[Watched]:
    """Return who is watched now, the vulnerable first."""
    return store.watched(conn)


def note_seen(db: Database, number: int, *, note: str, actor: str, now: datetime) -> None:
    """
    Note that somebody looked after a customer, and what was found.

    Raises: RefusedError `credit.not_watched` when nobody is watched under that number.
    """
    with db.transaction() as conn:
        point = store.see_watch(conn, number, actor=actor, note=note.strip(), now=now)
        if point is None or not note.strip():
            raise RefusedError(
                Refusal.NOT_WATCHED, f"nobody is watched under {number}, or the note is empty",
                fix="take the number from the list and say what was found",
            )  # fmt: skip
        audit.record(
            conn, at=now, actor=actor, action="prepaid.watch_seen", entity="usage_point",
            entity_id=point, reason=note.strip(), after={"watch": number},
        )  # fmt: skip


def set_care_desk(db: Database, *, phone: str, language: str, actor: str, now: datetime) -> None:
    """Say how the care desk is reached."""
    with db.transaction() as conn:
        messages.set_contact(conn, subject=CARE_DESK, phone=phone, language=language, now=now)
        audit.record(
            conn, at=now, actor=actor, action="prepaid.set_care_desk", entity="contact",
            entity_id=CARE_DESK, after={"language": language},
        )  # fmt: skip


def _sights(conn: Connection, every: list[Candidate], now: datetime) -> list[tuple[Sight, int]]:
    """Return what is seen of each, and after how many days its policy asks for a look."""
    points = [UsagePointId(each.usage_point) for each in every]
    rules = policies.policies_of(
        conn, [(each.agreement, each.usage_point, each.currency) for each in every]
    )
    began = [now - timedelta(days=rule.watch_days) for rule in rules]
    then = usage.registers_at_each(conn, points, began)
    newest = usage.registers_at_each(conn, points, [now] * len(points))
    found = []
    for n, each in enumerate(every):
        first, last = then[n], newest[n]
        used = None
        if first is not None and last is not None and last.at > began[n]:
            used = last.cumulative_wh - first.cumulative_wh
        sight = Sight(
            relay_state=each.relay_state, relay_at=each.relay_at,
            available_micros=each.available_micros, register_missing=each.quality == "missing",
            used_wh=used, used_since=first.at if first is not None else now,
        )  # fmt: skip
        found.append((sight, rules[n].watch_days))
    return found


def _tell_care(conn: Connection, number: int, found: Candidate, days: int, now: datetime) -> None:
    messages.enqueue(
        conn, dedupe_key=f"care:{number}", kind=Kind.CARE_LOOK, subject=CARE_DESK,
        variables={"usage_point": found.usage_point, "days": days}, now=now,
    )  # fmt: skip
