"""Penalties on a real database: accrued by day, killed and gone on, forgiven by two people."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from billing.bills.model import CancelKind
from billing.bills.rules.penalty_documents import PaperAct, PaperState, PenaltyKind, Proposal
from billing.bills.service import corrections, penalty
from billing.bills.service.corrections import Order
from billing.customers.model import CustomerKind
from billing.ledger import service as ledger
from billing.payments import service as payments
from cloud.store.db import Database
from protocols.errors import RefusedError
from tests.integration.billing_kit import YUAN, order, rows
from tests.integration.bills_kit import FEB, NOW, book, household, read
from tests.integration.people_kit import all_signed_in
from tests.integration.test_billing_bills_cli import cli, installation
from tests.integration.test_billing_bills_run import finished

TODAY = date(2026, 5, 1)
HOME, FIRM = "AC-000001", "AC-000002"


@pytest.fixture
def late(db: Database) -> Database:
    """62.15 CNY of a household and 389.85 CNY of a firm, due on 16 February."""
    book(db, household(1), household(2, kind=CustomerKind.LEGAL))
    read(db, 1, FEB, 1_100)
    read(db, 2, FEB, 1_600)
    finished(db)
    return db


def accrue(db: Database, day: int, **more: Any) -> penalty.Accrued:
    upto = date(2026, 2, day)
    return penalty.accrue(db, upto=upto, today=TODAY, actor="system:bills", now=NOW, **more)


def booked(db: Database) -> dict[str, int]:
    found = rows(
        db, "SELECT code, (posted_dr - posted_cr)::bigint FROM ledger.account"
        " WHERE kind = 'ar_penalty' AND posted_dr <> posted_cr",
    )  # fmt: skip
    return {code.partition(":")[2]: owed for code, owed in found}


def bill_no(db: Database, account: str) -> int:
    return rows(db, "SELECT max(id) FROM bills.bill WHERE account = %s", [account])[0][0]


def ask(db: Database, account: str, kind: PenaltyKind, **more: Any) -> int:
    proposal = Proposal(
        bill=bill_no(db, account), kind=kind, reason="flood", actor="user:li", **more
    )
    return penalty.propose(db, proposal, today=TODAY, now=NOW).id


def approve(db: Database, paper: int, actor: str = "user:wang") -> PaperState:
    return penalty.decide(
        db, paper, PaperAct.APPROVE, actor=actor, today=TODAY, now=NOW
    ).state  # fmt: skip


def quoted(db: Database, account: str, as_of: date) -> penalty.Quote:
    with db.transaction() as conn:
        return penalty.quote(conn, account, as_of=as_of)


def sound(db: Database) -> None:
    ledger.seal(db, now=NOW)
    assert ledger.audit_book(db).violations == 0


@pytest.mark.req("I9")
def test_penalties_are_accrued_by_day_once_and_a_killed_accrual_goes_on(
    late: Database, database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(penalty, "PAGE", 1)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    assert accrue(late, 16).bills == 0
    with pytest.raises(KeyboardInterrupt):
        accrue(late, 18, progress=killed)
    assert booked(late) == {HOME: 1 * YUAN}
    with Database(database_dsn, user="meterloop_billing") as own:
        assert accrue(own, 18).charged_micros == 1_560_000
        assert accrue(own, 18).bills == 0
        assert accrue(own, 17).bills == 0
    assert booked(late) == {HOME: 1 * YUAN, FIRM: 1_560_000}
    assert accrue(late, 20).charged_micros == 1_560_000
    paid = replace(order(2, "t", 200), peer_time=datetime(2026, 2, 20, 4, tzinfo=UTC))
    payments.pay(late, paid, now=NOW)
    assert booked(late) == {HOME: 1 * YUAN}
    # 389.85 less 196.88: four days of the whole and two of what is left, 3.89068 in all
    assert accrue(late, 22).charged_micros == 770_000
    firm = quoted(late, FIRM, date(2026, 2, 22)).bills[0]
    assert (firm.open_micros, firm.penalty_micros) == (192_970_000, 3_890_000)
    assert rows(late, "SELECT count(*) FROM audit.event WHERE action = 'penalty.accrue'") == [(4,)]
    with pytest.raises(RefusedError) as refused:
        penalty.accrue(late, upto=TODAY, today=TODAY, actor="user:li", now=NOW)
    assert refused.value.refusal == "penalty.day_not_over"
    sound(late)


def test_an_accrual_leaves_a_paid_bill_alone(late: Database) -> None:
    paid = replace(order(1, "t", 100), peer_time=datetime(2026, 2, 16, 4, tzinfo=UTC))
    payments.pay(late, paid, now=NOW)
    assert accrue(late, 20).accounts == 2
    assert booked(late).keys() == {FIRM}
    assert accrue(late, 21).accounts == 1


@pytest.mark.req("I9")
def test_a_waiver_takes_two_people_and_is_not_charged_again(
    late: Database, database_dsn: str
) -> None:
    accrue(late, 20)
    with pytest.raises(RefusedError) as refused:
        ask(late, FIRM, PenaltyKind.WAIVER, amount_micros=4 * YUAN)
    assert refused.value.refusal == "penalty.amount_bad"
    with Database(database_dsn, user="meterloop_billing") as own:
        paper = ask(own, FIRM, PenaltyKind.WAIVER, amount_micros=3 * YUAN)
        with pytest.raises(RefusedError) as refused:
            approve(own, paper, "user:li")
        assert refused.value.refusal == "penalty.same_person"
        assert approve(own, paper) is PaperState.APPROVED
    assert booked(late)[FIRM] == 120_000
    assert accrue(late, 21).charged_micros == 780_000
    assert booked(late)[FIRM] == 900_000
    with pytest.raises(RefusedError) as refused:
        approve(late, paper)
    assert refused.value.refusal == "penalty.document_state"
    noted = rows(
        late, "SELECT action, actor, on_behalf FROM audit.event WHERE entity = 'penalty_document'"
        " ORDER BY id",
    )  # fmt: skip
    assert noted == [
        ("penalty.waiver.propose", "user:li", ""),
        ("penalty.waiver.approve", "user:wang", "user:li"),
    ]  # fmt: skip
    sound(late)


@pytest.mark.req("I9")
def test_what_was_charged_beyond_what_is_due_is_given_back_by_a_refund(late: Database) -> None:
    accrue(late, 20)
    paid = replace(order(2, "t", 2), peer_time=datetime(2026, 2, 21, 4, tzinfo=UTC))
    payments.pay(late, paid, now=NOW)
    cause = Order(reason="wrong meter", actor="user:li")
    corrections.cancel(late, bill_no(late, FIRM), kind=CancelKind.ORDINARY, order=cause, now=NOW)
    bill = quoted(late, FIRM, TODAY).bills[0]
    assert (bill.due_on, bill.over_micros) == (None, 3_120_000)
    assert approve(late, ask(late, FIRM, PenaltyKind.REFUND, amount_micros=3_120_000))
    # 1.12 was unpaid, 2 come back as prepayment
    assert FIRM not in booked(late)
    with late.transaction() as conn:
        assert ledger.balance_of(conn, FIRM) == 2 * YUAN
    assert quoted(late, FIRM, TODAY).bills[0].over_micros == 0
    with pytest.raises(RefusedError) as refused:
        ask(late, FIRM, PenaltyKind.REFUND, amount_micros=1)
    assert refused.value.refusal == "penalty.amount_bad"
    sound(late)


@pytest.mark.req("I9")
def test_a_deferral_stops_the_clock_and_a_dispute_lowers_the_base(late: Database) -> None:
    span = {"from_on": date(2026, 2, 17), "until_on": date(2026, 2, 20)}
    deferral = ask(late, FIRM, PenaltyKind.DEFERRAL, **span)
    assert quoted(late, FIRM, date(2026, 2, 20)).bills[0].penalty_micros == 3_120_000
    approve(late, deferral)
    assert quoted(late, FIRM, date(2026, 2, 20)).due_micros == 0
    more = {"from_on": date(2026, 2, 21), "until_on": date(2026, 3, 1)}
    approve(late, ask(late, FIRM, PenaltyKind.DISPUTE, amount_micros=89_850_000, **more))
    assert accrue(late, 22).charged_micros == 1_200_000 + 1 * YUAN
    refused = ask(late, HOME, PenaltyKind.DEFERRAL, **span)
    penalty.decide(late, refused, PaperAct.REFUSE, actor="user:wang", today=TODAY, now=NOW)
    assert quoted(late, HOME, date(2026, 2, 20)).bills[0].penalty_micros == 1 * YUAN


def test_the_verbs_accrue_show_and_settle_documents(
    late: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = installation(tmp_path, database_dsn)
    all_signed_in(late, config, monkeypatch, "li", "wang")
    done = cli(config, "penalty", "accrue", "--upto", "2026-02-20")
    assert (done["bills"], done["charged_micros"]) == (2, 4_120_000)
    bill = str(bill_no(late, FIRM))
    short = cli(config, "penalty", "waive", bill, "--amount", "1.12")
    assert short["error"]["code"] == "penalty.reason_missing"
    assert short["error"]["fix"]
    why = ("--reason", "flood", "--actor", "user:li")
    waived = cli(config, "penalty", "waive", bill, "--amount", "1.12", *why)
    deferred = cli(config, "penalty", "defer", bill, "--until", "2099-01-01", *why)
    disputed = cli(
        config, "penalty", "dispute", bill, "--amount", "5", "--until", "2099-01-01", *why
    )
    over = cli(config, "penalty", "refund", bill, "--amount", "5", *why)
    assert over["error"]["code"] == "penalty.amount_bad"
    for paper, act in ((waived, "approve"), (deferred, "approve"), (disputed, "refuse")):
        number = str(paper["id"])
        told = cli(config, "penalty", "decide", number, act, "--actor", "user:wang")
        assert told["decided_by"] == "user:wang"
    shown = cli(config, "penalty", "show", FIRM)
    assert shown["booked_micros"] == 2 * YUAN
    states = [paper["state"] for paper in shown["documents"]]
    assert states == ["approved", "approved", "refused"]
    unknown = cli(config, "penalty", "show", "AC-9")
    assert unknown["error"]["code"] == "penalty.terms_missing"
    missing = cli(config, "penalty", "decide", "99", "approve")
    assert missing["error"]["code"] == "penalty.document_unknown"
