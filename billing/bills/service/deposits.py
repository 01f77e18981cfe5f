"""
Deposits: demanded by class, paid like any due line, held, returned by two people or applied.

What is demanded is a receivable; its payment moves it into the account of deposits in the entry
that allocates the money, so a voided payment takes it out again.
"""

from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from billing.bills.rules import deposits as rules
from billing.bills.rules.deposits import DepositEvent, DepositRefusal, DepositState
from billing.bills.service.accounts import card_of, zone_of
from billing.bills.store import deposits as store
from billing.bills.store.deposits import Deposit, NewDeposit
from billing.ledger import service as ledger
from billing.ledger.model import AccountKind, Event
from billing.prepaid import service as prepaid
from cloud.store import audit
from cloud.store.db import Connection, Database
from protocols.errors import RefusedError
from protocols.timeline import local_date

RULES = rules.parse((Path(__file__).parents[1] / "deposit_rules.json").read_text(encoding="utf-8"))
"""What is demanded of whom, and what it bears."""
LOOKBACK = timedelta(days=365)
PAGE = 200
_SYSTEM = "system:billing"


def demand(
    db: Database, account: str, *, reason: str, actor: str, now: datetime,
    terms: rules.DepositRules = RULES,
) -> Deposit:  # fmt: skip
    """
    Ask a customer for the deposit of its class; it becomes a due line at once.

    Raises: RefusedError `deposit.reason_missing`, `deposit.none_due`, `deposit.open_already`,
    `deposit.agreement_ended`, `customers.agreement_unknown`.
    """
    _need_reason(reason)
    with db.transaction() as conn:
        card = card_of(conn, account)
        if card.ended_at is not None:
            raise RefusedError(
                DepositRefusal.ENDED, f"the agreement of {account} has ended",
                fix="a deposit belongs to an agreement that is open",
            )  # fmt: skip
        zone = zone_of(conn, card)
        today = local_date(now, ZoneInfo(zone))
        found = terms.demands.get((card.kind.value, card.currency))
        billed, days = store.billed_lately(conn, card.agreement, today - LOOKBACK)
        amount = rules.amount_of(found, billed_micros=billed, billed_days=days) if found else 0
        if amount <= 0:
            raise RefusedError(
                DepositRefusal.NONE_DUE, f"no deposit is demanded of {account} ({terms.rule})",
                fix="its class leaves none; the rules say which do",
            )  # fmt: skip
        number = store.insert(
            conn,
            NewDeposit(
                account=card.account, agreement=card.agreement, currency=card.currency, zone=zone,
                amount_micros=amount, rule=terms.rule, reason=reason.strip(), demanded_by=actor,
                demanded_at=now, due_on=today + timedelta(days=terms.due_days),
            ),
        )  # fmt: skip
        if number is None:
            raise RefusedError(
                DepositRefusal.OPEN, f"account {account} has a deposit",
                fix="deposit show names it",
            )  # fmt: skip
        deposit = _locked(conn, number)
        _book(conn, deposit, "deposit_demanded", amount, key=f"deposit:{number}", actor=actor,
              on=today, now=now)  # fmt: skip
        _note(conn, deposit, "demanded", actor=actor, reason=reason, now=now)
        return deposit


def drop(db: Database, number: int, *, reason: str, actor: str, now: datetime) -> Deposit:
    """Take a demand back; what was paid of it becomes prepayment. Raises: as `demand`."""
    _need_reason(reason)
    with db.transaction() as conn:
        deposit = _locked(conn, number)
        rules.moved(deposit.state, DepositEvent.DROP, number)
        _release(conn, deposit, actor=actor, now=now)
        store.move(conn, number, DepositState.DROPPED, decided_by=actor, ended_at=now)
        _note(conn, deposit, "dropped", actor=actor, reason=reason, now=now)
        return _locked(conn, number)


def propose_return(
    db: Database, number: int, *, channel: str, reason: str, actor: str, now: datetime
) -> Deposit:
    """
    Propose to pay a deposit back through a channel; nothing moves until another person agrees.

    Raises: RefusedError `deposit.unknown`, `deposit.state`, `deposit.account_owes`.
    """
    _need_reason(reason)
    with db.transaction() as conn:
        deposit = _locked(conn, number)
        state = rules.moved(deposit.state, DepositEvent.PROPOSE, number)
        _need_no_debt(conn, deposit)
        store.move(conn, number, state, proposed_by=actor, channel=channel)
        _note(conn, deposit, "return_proposed", actor=actor, reason=reason, now=now)
        return _locked(conn, number)


def decide_return(
    db: Database, number: int, event: DepositEvent, *, actor: str, now: datetime,
    terms: rules.DepositRules = RULES,
) -> Deposit:  # fmt: skip
    """
    Approve, as the second person, that a deposit is paid back with its interest, or refuse it.

    Raises: RefusedError `deposit.same_person`, `deposit.state`, `deposit.account_owes`.
    """
    with db.transaction() as conn:
        deposit = _locked(conn, number)
        state = rules.moved(deposit.state, event, number)
        if actor in ("", deposit.proposed_by):
            raise RefusedError(
                DepositRefusal.PERSON, f"{actor or 'nobody'} cannot {event} deposit {number} alone",
                fix="let another person decide",
            )  # fmt: skip
        if state is not DepositState.RETURNED:
            store.move(conn, number, state, decided_by=actor)
            _note(conn, deposit, "return_refused", actor=actor, reason="", now=now)
            return _locked(conn, number)
        _need_no_debt(conn, deposit)
        bore = _release(conn, deposit, actor=actor, now=now, terms=terms)
        today = local_date(now, ZoneInfo(deposit.zone))
        refund = Event(
            kind="customer_refund", key=f"deposit_refund:{number}", value_date=today, actor=actor,
            currency=deposit.currency, source_ref=f"deposit:{number}",
            owners={"account": deposit.account, "channel": deposit.channel},
            amounts={"amount": deposit.amount_micros + bore},
        )  # fmt: skip
        ledger.book(conn, refund, now=now)
        prepaid.settle(conn, deposit.account, now=now)
        store.move(conn, number, state, interest=bore, decided_by=actor, ended_at=now)
        _note(conn, deposit, "returned", actor=actor, reason="", now=now,
              approver=deposit.proposed_by)  # fmt: skip
        return _locked(conn, number)


def apply_at_end(
    conn: Connection, account: str, *, actor: str, now: datetime,
    terms: rules.DepositRules = RULES,
) -> tuple[int, int]:  # fmt: skip
    """
    Give an open deposit with its interest back as prepayment, for the settlement of an end.

    Joins the caller's transaction. Returns what was held and what it bore, zeros without one.
    """
    found = [each for each in store.of_account(conn, account) if each.state in rules.OPEN]
    if not found:
        return 0, 0
    deposit = _locked(conn, found[0].id)
    state = rules.moved(deposit.state, DepositEvent.APPLY, deposit.id)
    unpaid = _unpaid(conn, deposit)
    bore = _release(conn, deposit, actor=actor, now=now, terms=terms)
    store.move(conn, deposit.id, state, interest=bore, decided_by=actor, ended_at=now)
    _note(conn, deposit, state.value, actor=actor, reason="the agreement ended", now=now)
    return deposit.amount_micros - unpaid, bore


def step(db: Database, *, now: datetime) -> int:
    """Note which deposits have been paid; return how many."""
    seen = 0
    while True:
        with db.transaction() as conn:
            numbers = store.paid(conn, PAGE)
            for number in numbers:
                deposit = _locked(conn, number)
                if deposit.state is DepositState.DEMANDED and not _unpaid(conn, deposit):
                    store.move(
                        conn, number, DepositState.HELD,
                        held_on=local_date(now, ZoneInfo(deposit.zone)),
                    )  # fmt: skip
                    _note(conn, deposit, "held", actor=_SYSTEM, reason="", now=now)
        seen += len(numbers)
        if len(numbers) < PAGE:
            return seen


def deposits_of(conn: Connection, account: str) -> list[Deposit]:
    """Return an account's deposits, newest first."""
    return store.of_account(conn, account)


def waiting(conn: Connection, *, limit: int = 100) -> list[Deposit]:
    """Return deposits whose return waits for a second person, oldest first."""
    return store.in_states(conn, (DepositState.RETURNING,), limit)


def _release(
    conn: Connection, deposit: Deposit, *, actor: str, now: datetime,
    terms: rules.DepositRules = RULES,
) -> int:  # fmt: skip
    """Book a deposit back into prepayment with its interest, its unpaid rest away; the interest."""
    today = local_date(now, ZoneInfo(deposit.zone))
    unpaid = _unpaid(conn, deposit)
    key = f"deposit_end:{deposit.id}"
    if unpaid:
        _book(conn, deposit, "deposit_demanded", -unpaid, key=f"{key}:unpaid", actor=actor,
              on=today, now=now)  # fmt: skip
    held = deposit.amount_micros - unpaid
    if held:
        _book(conn, deposit, "deposit_returned", held, key=key, actor=actor, on=today, now=now)
    if deposit.held_on is None:
        return 0
    bore = rules.interest(
        held, held_on=deposit.held_on, until=today, rates=terms.rates,
        step_micros=terms.interest_steps[deposit.currency],
    )  # fmt: skip
    if bore:
        _book(conn, deposit, "deposit_interest", bore, key=f"{key}:interest", actor=actor,
              on=today, now=now)  # fmt: skip
    return bore


def _unpaid(conn: Connection, deposit: Deposit) -> int:
    return ledger.owed(conn, deposit.account, lock=True).get(AccountKind.AR_DEPOSIT, 0)


def _need_no_debt(conn: Connection, deposit: Deposit) -> None:
    owed = ledger.owed(conn, deposit.account, lock=True)
    if owed or ledger.balance_of(conn, deposit.account) < 0:
        raise RefusedError(
            DepositRefusal.OWES, f"account {deposit.account} owes money",
            fix="a deposit goes back when nothing is owed; an end settles both",
        )  # fmt: skip


def _need_reason(reason: str) -> None:
    if not reason.strip():
        raise RefusedError(DepositRefusal.REASON, "a deposit needs a reason", fix="say why")


def _book(
    conn: Connection, deposit: Deposit, kind: str, amount: int, *, key: str, actor: str,
    on: date, now: datetime,
) -> None:  # fmt: skip
    event = Event(
        kind=kind, key=key, value_date=on, actor=actor, currency=deposit.currency,
        owners={"account": deposit.account}, amounts={"amount": amount}, reason=deposit.rule,
        source_ref=f"deposit:{deposit.id}",
    )  # fmt: skip
    ledger.book(conn, event, now=now)


def _locked(conn: Connection, number: int) -> Deposit:
    deposit = store.for_update(conn, number)
    if deposit is None:
        raise RefusedError(
            DepositRefusal.UNKNOWN, f"there is no deposit {number}",
            fix="deposit show lists an account's",
        )  # fmt: skip
    return deposit


def _note(
    conn: Connection, deposit: Deposit, act: str, *, actor: str, reason: str, now: datetime,
    approver: str = "",
) -> None:  # fmt: skip
    audit.record(
        conn, at=now, actor=actor, on_behalf=approver, action=f"deposit.{act}", entity="account",
        entity_id=deposit.account, reason=reason,
        after={"deposit": deposit.id, "amount_micros": deposit.amount_micros},
    )  # fmt: skip
