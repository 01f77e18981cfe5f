"""
The end of an agreement: its final bill, its debts and deposit settled, what is left given or asked.

One transaction ends it: the open period is priced up to the register as handed over, what
prepayment drew is taken off, the balance is swept no more, an open plan is taken back, the deposit
with its interest pays what is owed. A register that turns out otherwise later corrects the bill.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from billing.bills import store as bills
from billing.bills.model import Agreement, Bill, BillId, BillKind, Gate, Item, Refusal, Run, Stage
from billing.bills.rules import ending as rules
from billing.bills.rules import gate as hilow
from billing.bills.rules.ending import EndEvent, EndRefusal, EndState
from billing.bills.rules.inputs import ParkedError
from billing.bills.rules.pinned import price_pinned
from billing.bills.rules.plans import OPEN, PlanEvent
from billing.bills.service import (
    blocked,
    corrections,
    deposits,
    documents,
    inputs,
    plan_turns,
    posting,
)
from billing.bills.service.accounts import card_of, zone_of
from billing.bills.service.corrections import Order
from billing.bills.store import ending as store
from billing.bills.store import plans as plan_store
from billing.bills.store.ending import Ending, NewEnding
from billing.customers import service as customers
from billing.customers.model import Refusal as CustomerRefusal
from billing.ledger import service as ledger
from billing.ledger.model import Event
from billing.ledger.rules.allocating import allocate
from billing.money import Rounding, RoundMode, round_ratio
from billing.prepaid.service import closing
from billing.tariffs import service as tariffs
from cloud.store import audit
from cloud.store.db import Connection, Database
from cloud.usage import service as usage
from protocols.errors import RefusedError
from protocols.identity import UsagePointId
from protocols.timeline import local_date

PAGE = 200
ALL_EACH = timedelta(hours=1)
_DAY = timedelta(days=1)
_SYSTEM = "system:billing"
_UNSETTLED = (EndState.REFUND_DUE, EndState.REFUND_PROPOSED, EndState.DEMANDED)


def close(
    db: Database, agreement: str, *, end: date, register_wh: int | None, order: Order,
    now: datetime, gate: Gate | None = None,
) -> Ending:  # fmt: skip
    """
    End an agreement: `end` is the first day that is no longer its customer's.

    `register_wh` is the register as handed over; without it the one read then counts. A doubtful
    use needs a second person, as an ad-hoc bill does.
    Raises: RefusedError `customers.agreement_unknown`, `ending.day_bad`, and the code that would
    park the account in a run, such as `bills.register_missing`.
    """
    corrections.check(order, two=bool(order.approver))
    limits = gate or Gate()
    with db.transaction() as conn:
        bills.lock_agreement(conn, agreement)
        bills.lock_open_runs(conn)
        # from here on nothing more is drawn of it
        closing.hold_sweep(conn)
        known = _open(conn, agreement)
        zone = _zone(conn, known)
        if not known.started_at.astimezone(zone).date() < end <= local_date(now, zone) + _DAY:
            raise RefusedError(
                EndRefusal.DAY, f"{agreement} cannot end on {end}",
                fix="name a day after it began, tomorrow at the latest",
            )  # fmt: skip
        final = _final(
            conn, known, end, zone=zone, limits=limits, register_wh=register_wh, order=order,
            now=now,
        )  # fmt: skip
        customers.end_agreement(conn, agreement, at=datetime.combine(end, time(0), zone))
        closing.forget(conn, agreement)
        for plan in plan_store.plans_of(conn, known.account):
            if plan.state in OPEN:
                locked = plan_turns.plan_of(conn, plan.id)
                plan_turns.end_plan(
                    conn, locked, PlanEvent.END, actor=order.actor, now=now,
                    reason="the agreement ended",
                )  # fmt: skip
        held, bore = deposits.apply_at_end(conn, known.account, actor=order.actor, now=now)
        store.insert(
            conn,
            NewEnding(
                agreement=agreement, account=known.account, usage_point=known.usage_point,
                currency=known.currency, zone=zone.key, bill=final.bill, ended_on=end,
                register_wh=final.register_wh, drawn=final.drawn,
                deposit_micros=held, interest_micros=bore,
                reason=order.reason, ended_by=order.actor, ended_at=now,
            ),
        )  # fmt: skip
        plan_store.insert_event(
            conn, plan=None, account=known.account, agreement=agreement, event="agreement_ended",
            actor=order.actor, reason=order.reason, figures={"bill": final.bill}, now=now,
        )  # fmt: skip
        ending = _locked(conn, agreement)
        _note(conn, ending, "closed", actor=order.actor, reason=order.reason, now=now,
              approver=order.approver)  # fmt: skip
        return _assess(conn, ending, actor=order.actor, now=now)


def correct(
    db: Database, agreement: str, *, register_wh: int, order: Order, now: datetime
) -> Ending:
    """
    Correct a final bill by a register that came late, and settle what that changes.

    A second correction needs a second person. Raises: RefusedError `ending.unknown`,
    `ending.register_same`, `bills.rebill_of_rebill`, `bills.quantity_not_metered`.
    """
    with db.transaction() as conn:
        ending = _locked(conn, agreement)
        if register_wh == ending.register_wh:
            raise RefusedError(
                EndRefusal.SAME, f"{agreement} ended at {register_wh} Wh",
                fix="state the register that is right",
            )  # fmt: skip
        made = corrections.correct_in(
            conn, _standing_bill(conn, ending), kind=BillKind.CORRECTIVE_READING, wh=register_wh,
            order=order, now=now, drawn=ending.drawn,
        )  # fmt: skip
        store.correct(conn, agreement, bill=made[0], register_wh=register_wh, now=now)
        _note(conn, ending, "corrected", actor=order.actor, reason=order.reason, now=now,
              approver=order.approver)  # fmt: skip
        return _assess(conn, _locked(conn, agreement), actor=order.actor, now=now)


def propose_refund(
    db: Database, agreement: str, *, channel: str, reason: str, actor: str, now: datetime
) -> Ending:
    """
    Propose to pay out what is left through a channel; another person agrees.

    Raises: RefusedError `ending.unknown`, `ending.state`, `bills.reason_missing`.
    """
    if not reason.strip():
        raise RefusedError(Refusal.REASON, "a refund needs a reason", fix="say why")
    with db.transaction() as conn:
        ending = _assess(conn, _locked(conn, agreement), actor=actor, now=now)
        state = rules.moved(ending.state, EndEvent.PROPOSE, agreement)
        store.move(
            conn, agreement, state, left=ending.left_micros, now=now, proposed_by=actor,
            channel=channel,
        )  # fmt: skip
        _note(conn, ending, "refund_proposed", actor=actor, reason=reason, now=now)
        return _locked(conn, agreement)


def decide_refund(
    db: Database, agreement: str, event: EndEvent, *, actor: str, now: datetime
) -> Ending:
    """
    Approve, as the second person, that what is left is paid out, or refuse it.

    Raises: RefusedError `ending.same_person`, `ending.state`, `ending.sum_changed` when the
    account moved since: the refund is proposed anew.
    """
    with db.transaction() as conn:
        ending = _locked(conn, agreement)
        state = rules.moved(ending.state, event, agreement)
        if actor in ("", ending.proposed_by):
            raise RefusedError(
                EndRefusal.PERSON, f"{actor or 'nobody'} cannot {event} this refund alone",
                fix="let another person decide",
            )  # fmt: skip
        if state is not EndState.REFUNDED:
            store.move(conn, agreement, state, left=ending.left_micros, now=now, decided_by=actor)
            _note(conn, ending, "refund_refused", actor=actor, reason="", now=now)
            return _locked(conn, agreement)
        if _left(conn, ending) != ending.left_micros:
            raise RefusedError(
                EndRefusal.CHANGED, f"the account of {agreement} has moved since",
                fix="propose the refund anew",
            )  # fmt: skip
        refund = Event(
            kind="customer_refund", key=f"end_refund:{agreement}:{now.isoformat()}",
            value_date=local_date(now, ZoneInfo(ending.zone)), actor=actor,
            currency=ending.currency, source_ref=f"ending:{agreement}",
            owners={"account": ending.account, "channel": ending.channel},
            amounts={"amount": ending.left_micros},
        )  # fmt: skip
        ledger.book(conn, refund, now=now)
        store.move(
            conn, agreement, state, left=0, now=now, decided_by=actor,
            refunded=ending.left_micros,
        )  # fmt: skip
        _note(conn, ending, "refunded", actor=actor, reason="", now=now,
              approver=ending.proposed_by)  # fmt: skip
        return _locked(conn, agreement)


def step(db: Database, *, now: datetime) -> int:
    """
    Settle anew the ends whose account moved: debts that were paid, money that came late.

    Unsettled ones are looked at each time, all of them once an hour.
    """
    with db.transaction() as conn:
        everything = store.take_look(conn, since=now - ALL_EACH, now=now)
    states, seen = tuple(EndState) if everything else _UNSETTLED, 0
    while True:
        with db.transaction() as conn:
            named = store.that_moved(conn, states, PAGE)
        for agreement in named:
            with db.transaction() as conn:
                _assess(conn, _locked(conn, agreement), actor=_SYSTEM, now=now)
        seen += len(named)
        if len(named) < PAGE:
            return seen


def endings_of(conn: Connection, account: str) -> list[Ending]:
    """Return the ends of an account's agreements, newest first."""
    return store.of_account(conn, account)


def unsettled(conn: Connection, *, limit: int = 100) -> list[Ending]:
    """Return ends with something left to give or to ask, newest first."""
    return store.in_states(conn, _UNSETTLED, limit)


def late_registers(conn: Connection, *, limit: int = 1_000) -> list[tuple[Ending, int]]:
    """Return ends whose register, as known by now, is another than their bill's, and which."""
    ends = store.in_states(conn, tuple(EndState), limit)
    at = [datetime.combine(each.ended_on, time(0), ZoneInfo(each.zone)) for each in ends]
    found = usage.registers_at_each(conn, [UsagePointId(each.usage_point) for each in ends], at)
    oldest = timedelta(hours=Gate().register_age_hours)
    return [
        (ending, row.cumulative_wh)
        for ending, instant, row in zip(ends, at, found, strict=True)
        if row is not None and row.at >= instant - oldest
        and row.cumulative_wh != ending.register_wh
    ]  # fmt: skip


def _open(conn: Connection, agreement: str) -> Agreement:
    found = bills.agreements_named(conn, [agreement])
    if not found:
        raise RefusedError(
            CustomerRefusal.UNKNOWN_AGREEMENT, f"no open agreement {agreement}",
            fix="check its number; an ended one is corrected, not ended again",
        )  # fmt: skip
    return found[0]


def _zone(conn: Connection, known: Agreement) -> ZoneInfo:
    """Return the zone its tariff cuts days in."""
    versions = tariffs.versions(conn, known.tariff_code)
    if versions:
        return versions[-1][1].zone_info
    return ZoneInfo(zone_of(conn, card_of(conn, known.account)))


@dataclass(frozen=True, slots=True)
class _Final:
    """The bill an agreement ends with."""

    bill: BillId
    register_wh: int
    drawn: bool


def _final(
    conn: Connection, known: Agreement, end: date, *, zone: ZoneInfo, limits: Gate,
    register_wh: int | None, order: Order, now: datetime,
) -> _Final:  # fmt: skip
    """Issue the final bill; one that ended on that very day already is the last itself."""
    history = bills.metered_bills(conn, [known.agreement], end - inputs.HISTORY)
    standing: list[Bill] = history.get(known.agreement, [])
    if standing and standing[-1].period_end >= end:
        return _as_billed(
            conn, standing, end, limits=limits, register_wh=register_wh, order=order, now=now
        )
    item, drawn, run = _frozen(
        conn, known, end, standing, zone=zone, limits=limits, register_wh=register_wh, order=order
    )
    bill = _issue(conn, item, run, drawn=drawn, order=order, now=now)
    assert item.end_wh is not None
    return _Final(bill, item.end_wh, drawn)


def _as_billed(
    conn: Connection, standing: list[Bill], end: date, *, limits: Gate, register_wh: int | None,
    order: Order, now: datetime,
) -> _Final:  # fmt: skip
    """
    Return the bill that ended on the day, corrected if the register handed over is another.

    Not one that was estimated, nor where prepayment drew days after it: its days are billed anew.
    """
    last = standing[-1]
    drawn = bills.drawn_days(conn, [last.agreement], end, date.max).get(last.agreement)
    after = drawn is not None and bool(drawn[1])
    if last.period_end != end or last.quality == hilow.ESTIMATED or last.end_wh is None or after:
        raise RefusedError(
            Refusal.OVERLAP, f"bill {last.id} covers days up to {last.period_end}",
            fix="cancel that bill first: the final bill takes its days in",
        )  # fmt: skip
    if register_wh is None or register_wh == last.end_wh:
        return _Final(last.id, last.end_wh, drawn is not None)
    assert last.start_wh is not None
    _check_use(
        last.agreement, register_wh - last.start_wh, (last.period_start, end), "actual",
        standing[:-1], limits=limits, order=order,
    )  # fmt: skip
    made = corrections.correct_in(
        conn, last.id, kind=BillKind.CORRECTIVE_READING, wh=register_wh, order=order, now=now,
        drawn=drawn is not None,
    )  # fmt: skip
    return _Final(made[0], register_wh, drawn is not None)


def _check_use(
    agreement: str, energy_wh: int, days: tuple[date, date], quality: str, history: list[Bill], *,
    limits: Gate, order: Order,
) -> None:  # fmt: skip
    """Raises: RefusedError `bills.item_state` for a doubtful use that nobody else approved."""
    doubts = hilow.doubts(
        energy_wh=energy_wh, start=days[0], end=days[1], quality=quality, history=history,
        gate=limits,
    )  # fmt: skip
    if doubts:
        _needs_approver(agreement, doubts[0].value, order)


def _needs_approver(agreement: str, doubt: str, order: Order) -> None:
    if not order.approver:
        raise RefusedError(
            Refusal.ITEM_STATE,
            f"{agreement}: {doubt}",
            fix="check the register; a doubt may be approved by a second person",
        )


def _frozen(
    conn: Connection, known: Agreement, end: date, standing: list[Bill], *, zone: ZoneInfo,
    limits: Gate, register_wh: int | None, order: Order,
) -> tuple[Item, bool, Run]:  # fmt: skip
    joined = known.started_at.astimezone(zone).date()
    run = Run(
        id=corrections.NO_RUN, book="", seq=0, zone=zone, stage=Stage.OPENED, gate=limits,
        period_start=standing[-1].period_end if standing else joined, period_end=end,
        opened_by=order.actor,
    )  # fmt: skip
    try:
        item, drawn = inputs.freeze_end(conn, run, known, register_wh=register_wh)
    except ParkedError as error:
        raise RefusedError(
            Refusal.ITEM_STATE,
            f"{known.agreement}: {error}",
            fix="mend the cause, or state the register as handed over",
        ) from error
    _check_use(
        known.agreement, item.energy_wh, (item.period_start, end), item.quality, standing,
        limits=limits, order=order,
    )  # fmt: skip
    (block,) = blocked.blocks_of(conn, [item])
    if block is not None:
        _needs_approver(known.agreement, blocked.told(block), order)
    return item, drawn, run


def _issue(
    conn: Connection, item: Item, run: Run, *, drawn: bool, order: Order, now: datetime
) -> BillId:
    versions = inputs.versions_of(conn, item.versions)
    priced = price_pinned(item.usage, item.versions, versions)
    for credited in bills.bills_by_id(conn, item.credits):
        posting.withdraw(
            conn, credited, corrections.TRUED, reason=order.reason, actor=order.actor, now=now
        )
    draft = corrections.final_bill(item, priced, run, order, now)
    bill = posting.issue(conn, [draft], drawn=[drawn], now=now)[0]
    documents.write(conn, bills.bills_by_id(conn, [bill]), zone=run.zone, now=now)
    return bill


def _assess(conn: Connection, ending: Ending, *, actor: str, now: datetime) -> Ending:
    """Pay what is owed from what lies there, and say what is left."""
    owed = ledger.owed(conn, ending.account, lock=True)
    parts = allocate(max(0, ledger.balance_of(conn, ending.account)), owed, ledger.ORDER)
    if parts:
        amounts = {kind.value: parts.get(kind, 0) for kind in ledger.ORDER.order}
        total = sum(parts.values())
        paid = Event(
            kind="allocation",
            key=f"allocation:end:{ending.agreement}:{now.isoformat()}:{total}",
            value_date=local_date(now, ZoneInfo(ending.zone)), actor=actor,
            currency=ending.currency, owners={"account": ending.account},
            amounts={**amounts, "total": total}, reason=ledger.ORDER.rule,
            source_ref=f"ending:{ending.agreement}",
        )  # fmt: skip
        ledger.book(conn, paid, now=now)
    alone = not store.open_agreements_of(conn, ending.account)
    left = _whole(conn, ending, actor=actor, now=now) if alone else 0
    state = rules.moved(ending.state, rules.assessed(left), ending.agreement)
    if ending.state is EndState.REFUND_PROPOSED and left == ending.left_micros:
        return ending
    if (state, left) != (ending.state, ending.left_micros):
        store.move(conn, ending.agreement, state, left=left, now=now)
        changed = _locked(conn, ending.agreement)
        _note(conn, changed, state.value, actor=actor, reason="", now=now)
        return changed
    return ending


def _whole(conn: Connection, ending: Ending, *, actor: str, now: datetime) -> int:
    """Return what is left in sums that can be paid; parts of a cent go to the rounding carry."""
    left = _left(conn, ending)
    step = deposits.RULES.interest_steps.get(ending.currency, 1)
    whole = round_ratio(left, 1, Rounding(step=step, mode=RoundMode.HALF_UP))
    if whole != left:
        rounded = Event(
            kind="end_rounding", key=f"end_rounding:{ending.agreement}:{now.isoformat()}:{left}",
            value_date=local_date(now, ZoneInfo(ending.zone)), actor=actor,
            currency=ending.currency, owners={"account": ending.account},
            amounts={"amount": whole - left}, source_ref=f"ending:{ending.agreement}",
        )  # fmt: skip
        ledger.book(conn, rounded, now=now)
    return whole


def _standing_bill(conn: Connection, ending: Ending) -> int:
    """Return the final bill as it stands: an earlier bill's correction may have replaced it."""
    bill: int = ending.bill
    while (following := bills.corrected_by(conn, bill)) is not None:
        bill = following
    return bill


def _left(conn: Connection, ending: Ending) -> int:
    return ledger.balance_of(conn, ending.account) - sum(ledger.owed(conn, ending.account).values())


def _locked(conn: Connection, agreement: str) -> Ending:
    ending = store.for_update(conn, agreement)
    if ending is None:
        raise RefusedError(
            EndRefusal.UNKNOWN, f"{agreement} has not ended", fix="bill final close ends it"
        )
    return ending


def _note(
    conn: Connection, ending: Ending, act: str, *, actor: str, reason: str, now: datetime,
    approver: str = "",
) -> None:  # fmt: skip
    audit.record(
        conn, at=now, actor=actor, on_behalf=approver, action=f"ending.{act}", entity="account",
        entity_id=ending.account, reason=reason,
        after={
            "agreement": ending.agreement, "bill": ending.bill, "left_micros": ending.left_micros,
            "register_wh": ending.register_wh,
        },
    )  # fmt: skip
