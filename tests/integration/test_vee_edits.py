"""Values by hand: proposed by one, verified by another, used at once, never alone."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import pytest

from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.usage.agent import RawSupply
from cloud.vee import service as vee
from cloud.vee.model import EditState, OverlayKind, Refusal
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import Interval
from tests.integration.ingest_kit import ORIGIN, SLOT, UP1
from tests.integration.vee_kit import (
    POLICY,
    STEP,
    Sender,
    build_one,
    end_of,
    rows,
    said,
    slots_of,
    truth,
    work,
)

NOW = end_of(4) + timedelta(hours=2)
GAP = range(slots_of(4).start + 10, slots_of(4).start + 20)


@pytest.fixture(autouse=True)
def _days(db: Database) -> None:
    build_one(db)
    slots = [n for day in range(6) for n in slots_of(day) if n not in GAP]
    Sender(db)(rows(slots, reads=[0, *(slots_of(day).stop for day in range(6))]))
    work(db, 4)


def propose(db: Database, values: dict[int, int | None], *, reason: str = "read off") -> int:
    return vee.propose_edit(
        db, UP1, seconds=SLOT, values={ORIGIN + STEP * n: wh for n, wh in values.items()},
        reason=reason, actor="user:anna", now=NOW,
    )  # fmt: skip


def stands(db: Database) -> dict[int, tuple[str, int]]:
    with db.transaction() as conn:
        found = vee.overlay(conn, [UP1], Interval(start=ORIGIN, end=end_of(5)))
    return {
        (start - int(ORIGIN.timestamp()) * 1000) // (SLOT * 1000): (OverlayKind(kind).name, wh)
        for start, kind, wh in zip(
            found.start_ms.tolist(), found.kind.tolist(), found.wh.tolist(), strict=True
        )
        if kind in {OverlayKind.EDIT, OverlayKind.CANCEL}
    }  # fmt: skip


@pytest.mark.req("B11")
def test_an_edit_stands_once_a_second_person_has_verified_it(db: Database) -> None:
    heard: list[tuple[str, str, str]] = []

    def changed(
        conn: Connection, usage_points: Sequence[UsagePointId], days: Sequence[date], *,
        cause: str, reference: str, actor: str, now: datetime,
    ) -> None:  # fmt: skip
        del conn, now
        heard.extend((point, cause, actor) for point in usage_points)
        assert len(days) == len(usage_points)
        assert reference

    edit = propose(db, {GAP[0]: 500, GAP[1]: 510})
    assert stands(db) == {}
    with pytest.raises(RefusedError) as refused:
        vee.verify_edit(db, edit, actor="user:anna", now=NOW)
    assert refused.value.refusal is Refusal.SAME_PERSON
    vee.verify_edit(db, edit, actor="user:boris", now=NOW, changed=changed)
    assert stands(db) == {GAP[0]: ("EDIT", 500), GAP[1]: ("EDIT", 510)}
    assert heard == [(UP1, "edit", "user:boris")]
    with pytest.raises(RefusedError):
        vee.verify_edit(db, edit, actor="user:carl", now=NOW)
    # the estimates of the other slots take what the register leaves them
    vee.work_all(db, RawSupply(), now=NOW, policy=POLICY)
    left = {n: wh for n, (_, wh) in said(db).items()}
    assert set(left) == set(GAP[2:])
    assert sum(left.values()) == sum(truth(n) for n in GAP) - 1010
    with db.transaction() as conn:
        acts = audit.history(conn, entity="vee.edit", entity_id=str(edit))
        assert [(act.action, act.actor) for act in acts] == [
            ("vee.edit.verify", "user:boris"), ("vee.edit.propose", "user:anna")
        ]  # fmt: skip
        told = vee.slot_history(conn, UP1, ORIGIN + STEP * GAP[0])
    assert [each.kind for each in told.said] == [OverlayKind.ESTIMATE, OverlayKind.EDIT]
    assert (told.said[0].method, told.said[1].verified_by) == ("analogue", "user:boris")
    assert [day.version for day in told.days] == [1, 2]


def test_a_cancelled_value_leaves_nothing_in_its_place(db: Database) -> None:
    first = propose(db, {GAP[0]: 500, GAP.stop: 1})
    vee.verify_edit(db, first, actor="user:boris", now=NOW)
    second = propose(db, {GAP[0]: None}, reason="wrong meter")
    vee.verify_edit(db, second, actor="user:boris", now=NOW)
    assert stands(db) == {GAP[0]: ("CANCEL", 0), GAP.stop: ("EDIT", 1)}
    vee.work_all(db, RawSupply(), now=NOW, policy=POLICY)
    assert GAP[0] not in said(db)
    third = propose(db, {GAP[0]: 480}, reason="found the slip")
    vee.verify_edit(db, third, actor="user:boris", now=NOW)
    assert stands(db)[GAP[0]] == ("EDIT", 480)


def test_a_refused_edit_is_never_used(db: Database) -> None:
    edit = propose(db, {GAP[0]: 500})
    with pytest.raises(RefusedError):
        vee.refuse_edit(db, edit, reason=" ", actor="user:boris", now=NOW)
    vee.refuse_edit(db, edit, reason="no such read", actor="user:boris", now=NOW)
    with pytest.raises(RefusedError):
        vee.verify_edit(db, edit, actor="user:boris", now=NOW)
    with db.transaction() as conn:
        assert [each.id for each in vee.edits(conn, state=EditState.REFUSED)] == [edit]
        assert vee.edits(conn, state=EditState.PROPOSED) == []
    assert stands(db) == {}


@pytest.mark.parametrize(
    ("seconds", "values"),
    [
        (SLOT, {}),
        (SLOT, {ORIGIN - STEP: 1}),
        (SLOT, {ORIGIN + timedelta(minutes=1): 1}),
        (SLOT, {NOW: 1}),
        (SLOT, {ORIGIN: -1}),
        (900, {ORIGIN: 1}),
    ],
)
def test_an_edit_that_cannot_be_is_refused(
    db: Database, seconds: int, values: dict[object, int]
) -> None:
    with pytest.raises(RefusedError) as refused:
        vee.propose_edit(
            db, UP1, seconds=seconds, values=values, reason="x", actor="user:anna", now=NOW,  # type: ignore[arg-type]
        )  # fmt: skip
    assert refused.value.refusal is Refusal.EDIT_SHAPE


def test_a_register_by_hand_becomes_an_anchor(db: Database) -> None:
    at = ORIGIN + STEP * GAP.stop
    wh = sum(truth(n) for n in range(GAP.stop)) - 100
    edit = vee.propose_edit(
        db, UP1, seconds=0, values={at: wh}, reason="photo", actor="user:anna", now=NOW
    )
    seen: list[str] = []
    vee.verify_edit(
        db, edit, actor="user:boris", now=NOW, refresh=lambda _, points: seen.extend(points)
    )
    assert seen == [UP1]
    vee.work_all(db, RawSupply(), now=NOW, policy=POLICY)
    assert sum(n for _, n in said(db).values()) == sum(truth(n) for n in GAP) - 100
