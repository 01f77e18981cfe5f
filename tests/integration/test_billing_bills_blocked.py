"""Bills ask validation: what was not measured is held, with its reason and three ways on."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from billing.bills import store
from billing.bills.model import Decision, Doubt, Gate, Item, ItemState, Run, Stage
from billing.bills.service import ending, review
from billing.bills.service import run as runs
from billing.bills.service.corrections import Order
from cloud.store import audit
from cloud.store.db import Database
from cloud.usage import service as usage
from cloud.usage.agent import RawSupply
from cloud.vee import service as vee
from cloud.vee.model import ExceptionKind, Refusal
from meterloop.cli import app
from protocols.errors import RefusedError
from tests.integration.bills_kit import ZONE, book, household
from tests.integration.ingest_kit import ORIGIN, SLOT, UP1
from tests.integration.vee_kit import (
    STEP,
    Sender,
    build_one,
    date_of,
    end_of,
    register,
    rows,
    slots_of,
    truth,
    work,
)

FIRST, PAST = date_of(1), date_of(6)
"""The bill is of five whole days."""
NOW = end_of(5) + timedelta(hours=3)
HOLE = range(slots_of(3).start + 10, slots_of(3).start + 22)
"""6 hours of 120: 50 of 1000."""


def built(db: Database, *, without: range = HOLE) -> Run:
    """A household whose meter lacks some slots, each day validated, its bill run not begun."""
    build_one(db)
    slots = [n for day in range(7) for n in slots_of(day) if n not in without]
    tell = Sender(db)
    tell(rows(slots, reads=[0, *(slots_of(day).stop for day in range(7))]))
    work(db, 5)
    opening = register(slots_of(1).start)
    book(
        db,
        household(
            1, usage_point=UP1, opening_register_wh=opening,
            started_at=datetime.combine(FIRST, datetime.min.time(), ZONE),
        ),
    )  # fmt: skip
    return runs.open_run(
        db, start=FIRST, end=PAST, zone=ZONE, actor="user:reza", now=NOW, gate=Gate()
    )


def item_of(db: Database, run: Run) -> Item:
    with db.transaction() as conn:
        found = store.item_for_update(conn, run.id, "SA-000001")
    assert found is not None
    return found


def decided(db: Database, run: Run, decision: Decision, actor: str) -> Item:
    return review.decide(
        db, run.id, "SA-000001", decision, actor=actor, reason="a concentrator was down", now=NOW
    )


@pytest.mark.req("B17", "G6")
def test_what_was_not_measured_is_held_with_its_reason(db: Database) -> None:
    run = built(db)
    moved = runs.advance(db, run.id, now=NOW)
    assert (moved.run.stage, moved.waiting, moved.states) == (Stage.PRICED, "held", {"held": 1})
    held = item_of(db, run)
    assert held.reasons == (Doubt.BLOCKED,)
    assert held.detail == (
        f"billing_gate: 50 of 1000 not measured, 20 allowed; 1 days from {date_of(3)} "
        f"to {date_of(3)}"
    )
    assert runs.advance(db, run.id, now=NOW).states == {"held": 1}


def test_a_little_of_a_month_is_billed_though_it_is_much_of_a_day(db: Database) -> None:
    # 2 of 240 slots: 8 of 1000 of the bill, 42 of 1000 of its day
    run = built(db, without=range(HOLE.start, HOLE.start + 2))
    with db.transaction() as conn:
        (day,) = vee.queue(conn, kind=ExceptionKind.BILLING_GATE)
        assert vee.blocked_points(conn, [(UP1, FIRST, date_of(5))]) == [None]
        assert vee.blocked_points(conn, [(UP1, date_of(3), date_of(3))]) != [None]
    assert (day.value, day.allowed) == (42, 20)
    assert runs.advance(db, run.id, now=NOW).states == {"billed": 1}


@pytest.mark.req("B17", "G6")
def test_two_people_let_it_pass_and_the_findings_close_in_their_names(db: Database) -> None:
    run = built(db)
    runs.advance(db, run.id, now=NOW)
    assert decided(db, run, Decision.ACCEPT, "user:li").state is ItemState.HELD
    with pytest.raises(RefusedError) as refused:
        decided(db, run, Decision.ACCEPT, "user:li")
    assert refused.value.refusal == "bills.same_person"
    # another decision is another matter: nobody has agreed to an estimate yet
    assert decided(db, run, Decision.ESTIMATE, "user:wu").state is ItemState.HELD
    passed = decided(db, run, Decision.ACCEPT, "user:wu")
    assert (passed.state, passed.accepted_by) == (ItemState.READY, "user:li, user:wu")
    with db.transaction() as conn:
        assert vee.queue(conn, kind=ExceptionKind.BILLING_GATE) == []
        (closed,) = vee.queue(conn, kind=ExceptionKind.BILLING_GATE, closed=True)
        acts = audit.history(conn, entity="vee.exception", entity_id=str(closed.id))
    assert [(act.action, act.actor, act.on_behalf) for act in acts] == [
        ("vee.exception.accept", "user:wu", "user:li")
    ]
    assert runs.advance(db, run.id, now=NOW).states == {"billed": 1}
    with db.transaction() as conn:
        (bill,) = store.bills_of_account(conn, "AC-000001", 9)
    assert bill.energy_wh == sum(truth(n) for day in range(1, 6) for n in slots_of(day))


def test_who_let_doubtful_energy_pass_has_said_nothing_of_a_large_amount(db: Database) -> None:
    run = built(db)
    with db.transaction() as conn:
        conn.execute(
            "UPDATE bills.run SET gate = gate || '{\"two_people_micros\": 1}'::jsonb WHERE id = %s",
            (run.id,),
        )
    runs.advance(db, run.id, now=NOW)
    for actor in ("user:li", "user:wu"):
        decided(db, run, Decision.ACCEPT, actor)
    assert runs.advance(db, run.id, now=NOW).waiting == "approval"
    assert review.approve(db, run.id, "SA-000001", actor="user:li", now=NOW).state == "approval"


def test_two_people_have_an_estimate_billed_instead(db: Database) -> None:
    run = built(db)
    runs.advance(db, run.id, now=NOW)
    decided(db, run, Decision.ESTIMATE, "user:li")
    assert decided(db, run, Decision.ESTIMATE, "user:wu").quality == "estimated"
    assert runs.advance(db, run.id, now=NOW).states == {"billed": 1}


def test_one_person_leaves_it_out(db: Database) -> None:
    run = built(db)
    runs.advance(db, run.id, now=NOW)
    assert decided(db, run, Decision.PARK, "user:li").state is ItemState.PARKED


def test_values_that_come_late_let_the_run_go_on_by_itself(db: Database) -> None:
    run = built(db)
    runs.advance(db, run.id, now=NOW)
    tell = Sender(db)
    tell.seq = 10
    tell(rows(list(HOLE)))
    vee.work_all(db, RawSupply(), now=NOW)
    assert runs.advance(db, run.id, now=NOW).states == {"billed": 1}


def test_verified_values_are_sound_for_a_bill(db: Database) -> None:
    run = built(db)
    runs.advance(db, run.id, now=NOW)
    number = vee.propose_edit(
        db, UP1, seconds=SLOT, values={ORIGIN + STEP * n: truth(n) for n in HOLE},
        reason="read at the meter", actor="user:anna", now=NOW,
    )  # fmt: skip
    vee.verify_edit(db, number, actor="user:boris", now=NOW, refresh=usage.refresh)
    vee.work_all(db, RawSupply(), now=NOW)
    with db.transaction() as conn:
        # the day is still told of: its values are by hand
        assert len(vee.queue(conn, kind=ExceptionKind.BILLING_GATE)) == 1
    assert runs.advance(db, run.id, now=NOW).states == {"billed": 1}


def test_what_is_blocked_after_the_review_is_parked_and_comes_back(db: Database) -> None:
    run = built(db, without=range(0))
    runs.advance(db, run.id, now=NOW, until=Stage.APPROVED)
    number = vee.propose_edit(
        db, UP1, seconds=SLOT, values={ORIGIN + STEP * n: None for n in HOLE},
        reason="another meter's", actor="user:anna", now=NOW,
    )  # fmt: skip
    vee.verify_edit(db, number, actor="user:boris", now=NOW, refresh=usage.refresh)
    vee.work_all(db, RawSupply(), now=NOW)
    assert runs.advance(db, run.id, now=NOW).states == {"parked": 1}
    assert item_of(db, run).reasons == (Doubt.BLOCKED,)
    runs.reopen(db, run.id, actor="user:reza", now=NOW)
    assert runs.advance(db, run.id, now=NOW).waiting == "held"


def test_no_one_person_closes_what_blocks_a_bill(db: Database) -> None:
    built(db)
    with db.transaction() as conn:
        (found,) = vee.queue(conn, kind=ExceptionKind.BILLING_GATE)
    with pytest.raises(RefusedError) as refused:
        vee.close_exception(db, found.id, reason="tired of it", actor="user:anna", now=NOW)
    assert refused.value.refusal is Refusal.BLOCKS
    with pytest.raises(RefusedError) as refused, db.transaction() as conn:
        vee.accept_blocks(
            conn, (UP1, FIRST, PAST), people=["user:li", "user:li"], reason="same", now=NOW
        )
    assert refused.value.refusal is Refusal.SAME_PERSON


def test_a_day_is_looked_at_again_when_somebody_asks(db: Database) -> None:
    built(db)
    assert vee.look_again(db, UP1, [date_of(3)], actor="user:anna", now=NOW) == 1
    with db.transaction() as conn:
        assert vee.waiting(conn) == (0, 1)
    assert vee.work_all(db, RawSupply(), now=NOW).days == 1
    with db.transaction() as conn:
        acts = audit.history(conn, entity="usage_point", entity_id=UP1)
    assert "vee.day.again" in [act.action for act in acts]


def test_the_verb_says_what_is_blocked_and_what_can_be_done(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    built(db)
    config = tmp_path / "installation.toml"
    config.write_text(f'data = "{tmp_path}"\n[database]\ndsn = "{database_dsn}"\n')
    words = ["bill", "run", "--start", str(FIRST), "--end", str(PAST), "--config", str(config)]
    plain = CliRunner().invoke(app, words)
    assert plain.exit_code == 0, plain.output
    assert f"SA-000001 at {UP1}: billing_gate: 50 of 1000 not measured" in plain.output
    assert "bill decide RUN AGREEMENT accept|estimate" in plain.output
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [(each["agreement"], each["reasons"]) for each in told["blocked"]] == [
        ("SA-000001", ["vee.blocked"])
    ]


def test_a_final_bill_of_what_is_blocked_needs_a_second_person(db: Database) -> None:
    run = built(db)
    end = date(PAST.year, PAST.month, PAST.day)

    def close(approver: str) -> None:
        ending.close(
            db, "SA-000001", end=end, register_wh=None, now=NOW,
            order=Order(reason="moved out", actor="user:li", approver=approver),
        )  # fmt: skip

    with pytest.raises(RefusedError, match="billing_gate"):
        close("")
    close("user:wu")
    with db.transaction() as conn:
        assert [bill.kind for bill in store.bills_of_account(conn, "AC-000001", 9)] == ["final"]
    assert run.stage is Stage.OPENED
