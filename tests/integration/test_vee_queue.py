"""The exception queue: what stands in it, who takes it, how it ends, when it comes back."""

from datetime import timedelta

import pytest

from cloud.store import audit
from cloud.store.db import Database
from cloud.usage.agent import RawSupply
from cloud.vee import service as vee
from cloud.vee.model import ExceptionKind, Refusal
from protocols.errors import RefusedError
from tests.integration.ingest_kit import ORIGIN, SLOT, UP1
from tests.integration.vee_kit import STEP, Sender, build_one, date_of, end_of, rows, slots_of, work

NOW = end_of(4) + timedelta(hours=2)
SPIKE = slots_of(3).start + 7


@pytest.fixture
def tell(db: Database) -> Sender:
    """Five days; on the third a value far above the contract, on the fourth a gap."""
    build_one(db)
    tell = Sender(db)
    gap = range(slots_of(4).start + 2, slots_of(4).start + 6)
    slots = [n for day in range(6) for n in slots_of(day) if n not in gap]
    tell(rows(slots, reads=[0, slots_of(5).stop], other={SPIKE: 9_000}))
    work(db, 4)
    return tell


def open_kinds(db: Database, **filters: object) -> list[str]:
    with db.transaction() as conn:
        return [each.kind.value for each in vee.queue(conn, **filters)]  # type: ignore[arg-type]


@pytest.mark.req("B12")
def test_findings_wait_gravest_first_with_what_was_found_and_allowed(
    db: Database, tell: Sender
) -> None:
    del tell
    with db.transaction() as conn:
        found = vee.queue(conn)
        counts = {(each.severity, each.kind): each.open for each in vee.queue_counts(conn)}
    assert [each.kind.value for each in found][:1] == ["billing_gate"]
    assert {each.kind.value for each in found} == {
        "billing_gate",
        "capacity",
        "gap",
    }
    (high,) = [each for each in found if each.kind is ExceptionKind.CAPACITY]
    assert (high.usage_point, high.day, high.value, high.allowed, high.unit) == (
        UP1, date_of(3), 9_000, 4_000, "Wh"
    )  # fmt: skip
    assert (high.rule_set, high.parameters) == ("household.v1", {"margin_permille": 1000})
    assert counts["error", ExceptionKind.CAPACITY] == 1
    assert open_kinds(db, severity="blocking") == ["billing_gate"] * 2
    assert open_kinds(db, kind=ExceptionKind.CAPACITY, unit="T-01") == ["capacity"]
    assert open_kinds(db, unit="T-99") == []
    assert open_kinds(db, opened_before=NOW) == ["billing_gate", "billing_gate", "capacity"]
    assert open_kinds(db, opened_before=end_of(4)) == []
    with db.transaction() as conn:
        blocks = vee.blocked_points(conn, [(UP1, date_of(4), date_of(4))])
        assert [(each.usage_point, each.days) for each in blocks if each] == [(UP1, (date_of(4),))]
        assert vee.blocked_points(conn, [(UP1, date_of(1), date_of(2))]) == [None]


def test_one_is_assigned_and_settled_with_a_reason(db: Database, tell: Sender) -> None:
    with db.transaction() as conn:
        (high,) = vee.queue(conn, kind=ExceptionKind.CAPACITY)
        (gap,) = vee.queue(conn, kind=ExceptionKind.GAP)
    vee.assign_exception(db, high.id, to="user:anna", actor="user:chief", now=NOW)
    assert open_kinds(db, assigned_to="user:anna") == ["capacity"]
    with pytest.raises(RefusedError) as refused:
        vee.close_exception(db, high.id, reason=" ", actor="user:anna", now=NOW)
    assert refused.value.refusal is Refusal.REASON_MISSING
    vee.close_exception(db, high.id, reason="a welder, seen", actor="user:anna", now=NOW)
    with pytest.raises(RefusedError):
        vee.close_exception(db, high.id, reason="again", actor="user:anna", now=NOW)
    with pytest.raises(RefusedError) as refused:
        vee.close_exception(db, gap.id, reason="tired of it", actor="user:anna", now=NOW)
    assert refused.value.refusal is Refusal.CLOSES_ITSELF
    # found again as it was: it stays settled
    tell(rows([slots_of(4).start + 2]))
    vee.validate_days(db, _supply(), [(UP1, date_of(3)), (UP1, date_of(4))], now=NOW)
    assert open_kinds(db, kind=ExceptionKind.CAPACITY) == []
    with db.transaction() as conn:
        acts = audit.history(conn, entity="vee.exception", entity_id=str(high.id))
    assert [act.action for act in acts] == ["vee.exception.close", "vee.exception.assign"]


def test_what_is_found_no_longer_closes_and_comes_back_when_it_does(
    db: Database, tell: Sender
) -> None:
    del tell
    (first,) = queue_of(db)
    edit(db, {SPIKE: 100})
    assert queue_of(db) == []
    edit(db, {SPIKE: 9_500})
    # edited values are people's own word, yet a contract is a contract
    (again,) = queue_of(db)
    assert (again[0], again[1], again[2]) == (first[0], 9_500, 1)


def queue_of(db: Database) -> list[tuple[int, int | None, int]]:
    with db.transaction() as conn:
        found = vee.queue(conn, kind=ExceptionKind.CAPACITY)
    return [(each.id, each.value, each.reopened) for each in found]


def edit(db: Database, values: dict[int, int]) -> None:
    id_ = vee.propose_edit(
        db, UP1, seconds=SLOT, values={ORIGIN + STEP * n: wh for n, wh in values.items()},
        reason="seen", actor="user:anna", now=NOW,
    )  # fmt: skip
    vee.verify_edit(db, id_, actor="user:boris", now=NOW)
    vee.work_all(db, _supply(), now=NOW)


def _supply() -> vee.Supply:
    return RawSupply()
