"""From a gap to an estimate, to the late reading that replaces it, to an edit: one graph."""

from datetime import timedelta

import pytest

from cloud.rollups import service as rollups
from cloud.rollups.model import Cause, DayRollup, Recompute
from cloud.store.db import Database
from cloud.usage import service as usage
from cloud.usage.agent import RawSupply
from cloud.vee import service as vee
from protocols.reading import Quality
from tests.integration.ingest_kit import ORIGIN, SLOT, UP1, a_batch
from tests.integration.rollup_kit import deliver
from tests.integration.vee_kit import (
    POLICY,
    STEP,
    build_one,
    date_of,
    end_of,
    register,
    rows,
    slots_of,
    truth,
)

DAY = date_of(4)
GAP = range(slots_of(4).start + 10, slots_of(4).start + 20)
TOLD = end_of(5) + timedelta(hours=4)


def look(db: Database, hours: int) -> None:
    """Validate what is complete or late, then roll up what that changed."""
    now = TOLD + timedelta(hours=hours)
    vee.work_all(db, RawSupply(), now=now, policy=POLICY, changed=rollups.want)
    rollups.keep(db, now=now)


def newest(db: Database) -> DayRollup:
    """The day with the gap, as it is told now."""
    with db.transaction() as conn:
        (found,) = rollups.days(conn, [UP1], DAY, DAY + timedelta(days=1))
    return found


def why(db: Database) -> Recompute:
    """The newest record of it."""
    with db.transaction() as conn:
        return rollups.recomputes_of(conn, UP1, DAY)[0]


@pytest.mark.req("B11", "B14", "B17")
def test_each_step_from_gap_to_edit_makes_a_version_that_says_why(db: Database) -> None:
    build_one(db)
    slots = [n for day in range(6) for n in slots_of(day) if n not in GAP]
    reads = [0, *(slots_of(day).stop for day in range(6))]
    deliver(db, a_batch(1, rows(slots, reads=reads)), now=TOLD)
    look(db, 0)
    advance = register(slots_of(4).stop) - register(slots_of(4).start)
    first = newest(db)
    assert first.figures.qualities == {Quality.VALID, Quality.ESTIMATED}
    assert (first.figures.missing, first.figures.interval_wh, first.figures.wh) == (
        0, advance, advance,
    )  # fmt: skip

    deliver(db, a_batch(2, rows(GAP)), now=TOLD + timedelta(hours=1))
    look(db, 2)
    second, told = newest(db), why(db)
    assert second.version > first.version
    assert second.figures.qualities == {Quality.VALID}
    assert second.figures.interval_wh == advance
    assert (told.mark.cause, told.mark.readings, told.difference_wh) == (Cause.READING, 10, 0)

    wrong = truth(GAP[3]) + 25
    edit = vee.propose_edit(
        db, UP1, seconds=SLOT, values={ORIGIN + STEP * GAP[3]: wrong}, reason="meter test",
        actor="user:anna", now=TOLD + timedelta(hours=3),
    )  # fmt: skip
    vee.verify_edit(
        db, edit, actor="user:boris", now=TOLD + timedelta(hours=4), changed=rollups.want,
        refresh=usage.refresh,
    )  # fmt: skip
    look(db, 5)
    third, told = newest(db), why(db)
    assert Quality.EDITED in third.figures.qualities
    assert third.figures.interval_wh == advance + 25
    # the registers stand: so does what is billed by them
    assert third.figures.wh == advance
    assert told.mark.cause is Cause.EDIT
    assert (told.mark.actor, told.mark.reference) == ("user:boris", str(edit))
    with db.transaction() as conn:
        history = rollups.versions_of_day(conn, UP1, DAY)
        for each in history:
            (then,) = rollups.days(
                conn, [UP1], DAY, DAY + timedelta(days=1), as_of=each.known_at
            )  # fmt: skip
            assert then == each
    assert [each.version for each in history] == list(range(1, third.version + 1))
