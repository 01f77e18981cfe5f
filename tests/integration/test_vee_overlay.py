"""What is said over raw values: versions, knowledge time, cancellation, never overwritten."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from cloud.store.db import Database
from cloud.vee import service as vee
from cloud.vee.model import OverlayKind
from protocols.identity import UsagePointId
from protocols.timeline import Interval

UP1, UP2 = UsagePointId("UP-1"), UsagePointId("UP-2")
SINCE = datetime(2026, 3, 1, 16, tzinfo=UTC)
DAY = Interval(start=SINCE, end=SINCE + timedelta(days=1))
HOUR = timedelta(hours=1)


def say(db: Database, point: str, layer: str, version: int, slots: dict[int, tuple[int, int]],
        *, hours: int) -> None:  # fmt: skip
    """Write one row: slot -> (kind, Wh), created so many hours after the day began."""
    person = layer == "person"
    wh = [wh for _, wh in slots.values()]
    with db.transaction() as conn:
        conn.execute(
            "INSERT INTO vee.overlay (usage_point, day, layer, seconds, version, created_at, since,"
            " offset_s, kind, wh, low_wh, high_wh, actor, verified_by, reason)"
            " VALUES (%s, '2026-03-02', %s, 900, %s, %s, %s, %s::integer[], %s::smallint[],"
            " %s::bigint[], %s::bigint[], %s::bigint[], 'user:a', %s, 'seen')",
            (point, layer, version, SINCE + hours * HOUR, SINCE, [900 * slot for slot in slots],
             [kind for kind, _ in slots.values()], wh, wh, wh, "user:b" if person else ""),
        )  # fmt: skip


def stands(db: Database, *, hours: int | None = None) -> list[tuple[int, int, str, int]]:
    """Point, slot, kind and Wh of what stands so many hours after the day began."""
    with db.transaction() as conn:
        found = vee.overlay(
            conn, [UP1, UP2], DAY, as_of=None if hours is None else SINCE + hours * HOUR
        )
    start = (found.start_ms - int(SINCE.timestamp()) * 1000) // 900_000
    return [
        (point, slot, OverlayKind(kind).name, wh)
        for point, slot, kind, wh in zip(
            found.point.tolist(), start.tolist(), found.kind.tolist(), found.wh.tolist(),
            strict=True,
        )
    ]  # fmt: skip


def test_what_stands_is_the_newest_that_was_known(db: Database) -> None:
    say(db, "UP-1", "machine", 1, {3: (1, 100), 4: (1, 110), 9: (4, 7)}, hours=30)
    say(db, "UP-1", "machine", 2, {4: (1, 120)}, hours=40)
    say(db, "UP-1", "person", 1, {4: (2, 130), 5: (2, 140)}, hours=50)
    say(db, "UP-1", "person", 2, {5: (3, 0)}, hours=60)
    say(db, "UP-2", "machine", 1, {0: (1, 9)}, hours=30)
    other = (1, 0, "ESTIMATE", 9)
    assert stands(db, hours=29) == []
    first = [(0, 3, "ESTIMATE", 100), (0, 4, "ESTIMATE", 110), (0, 9, "SUSPECT", 7), other]
    assert stands(db, hours=39) == first
    # the newest version of the machine says all there is: slots 3 and 9 are no longer spoken of
    assert stands(db, hours=40) == [(0, 4, "ESTIMATE", 120), other]
    edited = [(0, 4, "ESTIMATE", 120), (0, 4, "EDIT", 130), (0, 5, "EDIT", 140), other]
    assert stands(db, hours=59) == edited
    # a cancellation hides the edit before it and brings nothing back
    assert stands(db) == [*edited[:2], (0, 5, "CANCEL", 0), other]


def test_the_span_names_slots_by_their_start(db: Database) -> None:
    say(db, "UP-1", "machine", 1, {n: (1, n) for n in range(96)}, hours=30)
    with db.transaction() as conn:
        some = Interval(start=SINCE + HOUR, end=SINCE + 2 * HOUR)
        assert vee.overlay(conn, [UP2, UP1], some).wh.tolist() == [4, 5, 6, 7]
        assert vee.overlay(conn, [UP2, UP1], some).point.tolist() == [1] * 4
        assert len(vee.overlay(conn, [UP2], some)) == 0
        assert len(vee.register_overlay(conn, [UP2], some)) == 0


@pytest.mark.parametrize("deed", ["UPDATE vee.overlay SET wh = '{1}'", "DELETE FROM vee.overlay"])
def test_what_was_said_is_never_altered(db: Database, deed: str) -> None:
    say(db, "UP-1", "machine", 1, {0: (1, 5)}, hours=30)
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation), db.transaction() as conn:
        conn.execute(deed)
    assert stands(db) == [(0, 0, "ESTIMATE", 5)]


def test_nobody_edits_alone(db: Database) -> None:
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction() as conn:
        conn.execute(
            "INSERT INTO vee.overlay (usage_point, day, layer, seconds, version, created_at, since,"
            " offset_s, kind, wh, low_wh, high_wh, actor, verified_by, reason) VALUES ('UP-1',"
            " '2026-03-02', 'person', 900, 1, now(), now(), '{0}', '{2}', '{1}', '{1}', '{1}',"
            " 'user:a', 'user:a', 'seen')"
        )
