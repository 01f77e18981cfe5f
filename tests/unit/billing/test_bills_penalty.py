"""Late-payment penalties against an oracle that walks every day in fractions, written apart."""

import itertools
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.bills.rules import penalty_documents as documents
from billing.bills.rules.penalty import Debt, Flow, Late, Relief, Terms, late_of, open_on
from billing.bills.rules.penalty_documents import (
    MOVES,
    Paper,
    PaperAct,
    PaperState,
    PenaltyKind,
    Proposal,
)
from billing.bills.service.penalty import RULES
from billing.money import Rounding, RoundMode
from protocols.errors import RefusedError

YUAN = 1_000_000
FEN = 10_000
DAY = timedelta(days=1)
HOUSEHOLD, LEGAL = RULES.classes["household"], RULES.classes["legal"]
DUE = date(2026, 3, 10)


def late(
    amount: int, upto: date, *, terms: tuple[Terms, ...] = LEGAL, due: date = DUE,
    flows: tuple[Flow, ...] = (), reliefs: tuple[Relief, ...] = (),
) -> Late:  # fmt: skip
    debt = Debt(bill=1, due_on=due, amount_micros=amount)
    return late_of(debt, [debt], flows, reliefs, terms, upto=upto)


@pytest.mark.req("I9")
def test_days_run_from_the_day_after_the_due_day_to_the_day_of_payment() -> None:
    assert late(1000 * YUAN, DUE).penalty_micros == 0
    assert late(1000 * YUAN, DUE + DAY).penalty_micros == 2 * YUAN
    assert late(1000 * YUAN, DUE + DAY, terms=HOUSEHOLD).penalty_micros == 1 * YUAN
    paid = (Flow(on=DUE + 3 * DAY, amount_micros=1000 * YUAN),)
    found = late(1000 * YUAN, DUE + 100 * DAY, flows=paid)
    assert (found.penalty_micros, found.days, found.open_micros) == (6 * YUAN, 3, 0)
    in_time = (Flow(on=DUE, amount_micros=1000 * YUAN),)
    assert late(1000 * YUAN, DUE + 100 * DAY, flows=in_time).penalty_micros == 0


@pytest.mark.req("I9")
def test_after_new_year_others_pay_three_per_mille_and_households_one() -> None:
    due, upto = date(2025, 12, 29), date(2026, 1, 2)
    assert late(1000 * YUAN, upto, due=due).penalty_micros == (2 * 2 + 2 * 3) * YUAN
    assert late(1000 * YUAN, upto, due=due, terms=HOUSEHOLD).penalty_micros == 4 * YUAN
    eve = date(2025, 12, 31)
    assert late(1000 * YUAN, eve + DAY, due=eve).penalty_micros == 3 * YUAN


def test_a_part_payment_lowers_the_base_and_the_clock_goes_on() -> None:
    flows = (Flow(on=DUE + 2 * DAY, amount_micros=400 * YUAN),)
    found = late(1000 * YUAN, DUE + 5 * DAY, flows=flows)
    assert found.penalty_micros == 2 * 2 * YUAN + 3 * 1_200_000
    assert found.open_micros == 600 * YUAN


def test_a_penalty_is_one_yuan_at_least_rounded_once_and_capped_last() -> None:
    assert late(10 * YUAN, DUE + DAY).penalty_micros == 1 * YUAN
    # 123.45 for 5 days at 2 per mille: 1.2345, half up 1.23; each day rounded would give 1.25
    assert late(123_450_000, DUE + 5 * DAY).penalty_micros == 1_230_000
    capped = (replace(LEGAL[0], cap_permille=1000),)
    assert late(500_000, DUE + 900 * DAY, terms=capped).penalty_micros == 500_000
    assert late(100 * YUAN, DUE + 900 * DAY, terms=capped).penalty_micros == 100 * YUAN


def test_neither_disputed_sums_nor_deferred_days_bear_a_penalty() -> None:
    first, last = DUE + DAY, DUE + 5 * DAY
    disputed = (Relief(from_on=first, until_on=last, amount_micros=700 * YUAN),)
    found = late(1000 * YUAN, DUE + 10 * DAY, reliefs=disputed)
    assert found.penalty_micros == 5 * 600_000 + 5 * 2 * YUAN
    deferred = (Relief(from_on=first, until_on=last, amount_micros=None),)
    assert late(1000 * YUAN, last, reliefs=deferred).penalty_micros == 0
    assert late(1000 * YUAN, last + DAY, reliefs=deferred).penalty_micros == 2 * YUAN


def test_money_pays_the_bill_that_fell_due_first() -> None:
    debts = [
        Debt(bill=2, due_on=DUE + DAY, amount_micros=50),
        Debt(bill=1, due_on=DUE, amount_micros=100),
    ]
    flows = [Flow(on=DUE - 9 * DAY, amount_micros=120)]
    assert open_on(DUE, debts, flows) == {1: 0, 2: 30}


BASE = date(2025, 11, 1)
days = st.integers(0, 150).map(lambda n: BASE + n * DAY)
micros = st.integers(1, 5_000 * YUAN)


@st.composite
def terms_lists(draw: st.DrawFn) -> tuple[Terms, ...]:
    starts = draw(st.lists(days, min_size=1, max_size=3, unique=True))
    return tuple(
        Terms(
            valid_from=start, same_year_permille=draw(st.integers(0, 5)),
            later_year_permille=draw(st.integers(0, 5)),
            minimum_micros=draw(st.sampled_from([0, YUAN, 3 * YUAN])),
            cap_permille=draw(st.sampled_from([None, 10, 100, 1000])),
            rounding=Rounding(
                step=draw(st.sampled_from([FEN, YUAN])),
                mode=draw(st.sampled_from([RoundMode.HALF_UP, RoundMode.DOWN])),
            ),
        )
        for start in sorted(starts)
    )  # fmt: skip


@st.composite
def reliefs_of(draw: st.DrawFn) -> Relief:
    start = draw(days)
    return Relief(
        from_on=start, until_on=start + draw(st.integers(0, 40)) * DAY,
        amount_micros=draw(st.none() | micros),
    )  # fmt: skip


def debts_of(bills: list[tuple[date, int]]) -> list[Debt]:
    return [
        Debt(bill=number, due_on=due, amount_micros=amount)
        for number, (due, amount) in enumerate(bills, start=1)
    ]


def oracle(
    debt: Debt, debts: list[Debt], flows: list[Flow], reliefs: list[Relief],
    versions: tuple[Terms, ...], upto: date,
) -> Fraction:  # fmt: skip
    """Walk every day; money is poured over the bills anew each day, purse in hand."""
    total, first = Fraction(0), None
    day = debt.due_on + DAY
    while day <= upto:
        purse = sum((Fraction(f.amount_micros) for f in flows if f.on < day), Fraction(0))
        rest = {}
        for each in sorted(debts, key=lambda d: (d.due_on, d.bill)):
            given_now = min(purse, Fraction(each.amount_micros)) if purse > 0 else Fraction(0)
            purse -= given_now
            rest[each.bill] = each.amount_micros - given_now
        base = rest[debt.bill]
        for relief in reliefs:
            if relief.from_on <= day <= relief.until_on:
                base = Fraction(0) if relief.amount_micros is None else base - relief.amount_micros
        base = max(base, Fraction(0))
        valid = [v for v in versions if v.valid_from <= day]
        if valid:
            crossed = day.year > debt.due_on.year
            rate = valid[-1].later_year_permille if crossed else valid[-1].same_year_permille
            if base * rate > 0:
                first = first or valid[-1]
                total += base * Fraction(rate, 1000)
        day += DAY
    if first is None:
        return Fraction(0)
    step = first.rounding.step
    shift = Fraction(1, 2) if first.rounding.mode is RoundMode.HALF_UP else Fraction(0)
    amount = max(Fraction((total / step + shift).__floor__() * step), first.minimum_micros)
    if first.cap_permille is not None:
        ceiling = Fraction(debt.amount_micros * first.cap_permille, 1000)
        amount = min(amount, Fraction((ceiling / step).__floor__() * step))
    return amount


BILLS = st.lists(st.tuples(days, micros), min_size=1, max_size=3)
FLOWS = st.lists(st.builds(Flow, on=days, amount_micros=micros | micros.map(lambda m: -m)),
                 max_size=4)  # fmt: skip


@pytest.mark.req("I9")
@given(BILLS, FLOWS, st.lists(reliefs_of(), max_size=3), terms_lists(), days)
def test_the_rules_equal_the_oracle(
    bills: list[tuple[date, int]], flows: list[Flow], reliefs: list[Relief],
    versions: tuple[Terms, ...], upto: date,
) -> None:  # fmt: skip
    debts = debts_of(bills)
    for debt in debts:
        found = late_of(debt, debts, flows, reliefs, versions, upto=upto)
        assert found.penalty_micros == oracle(debt, debts, flows, reliefs, versions, upto)


@given(BILLS, FLOWS, terms_lists(), days, st.integers(0, 60))
def test_a_penalty_never_falls_as_days_go_by(
    bills: list[tuple[date, int]], flows: list[Flow], versions: tuple[Terms, ...], upto: date,
    more: int,
) -> None:  # fmt: skip
    debts = debts_of(bills)
    now = late_of(debts[0], debts, flows, [], versions, upto=upto)
    later = late_of(debts[0], debts, flows, [], versions, upto=upto + more * DAY)
    assert later.penalty_micros >= now.penalty_micros


def paper(state: PaperState) -> Paper:
    return Paper(
        id=1, bill=1, account="AC-1", kind=PenaltyKind.WAIVER, amount_micros=1, reason="flood",
        actor="user:li", state=state, decided_by="", entry_id=None,
    )  # fmt: skip


def test_documents_move_as_their_drawing_says() -> None:
    drawn = {}
    for line in (documents.__doc__ or "").splitlines():
        if "--" in line:
            before, act, after = line.replace("--> ", "--").split("--")
            drawn[PaperState(before.strip()), PaperAct(act)] = PaperState(after.strip())
    assert drawn == MOVES
    for state, act in itertools.product(PaperState, PaperAct):
        actor = "user:li" if act is PaperAct.WITHDRAW else "user:wang"
        if (state, act) in drawn:
            assert documents.moved(paper(state), act, actor) is drawn[state, act]
        else:
            with pytest.raises(RefusedError) as refused:
                documents.moved(paper(state), act, actor)
            assert refused.value.refusal == "penalty.document_state"


@pytest.mark.parametrize(
    ("act", "actor", "code"),
    [
        (PaperAct.APPROVE, "user:li", "penalty.same_person"),
        (PaperAct.APPROVE, "", "penalty.same_person"),
        (PaperAct.REFUSE, "user:li", "penalty.same_person"),
        (PaperAct.WITHDRAW, "user:wang", "penalty.not_the_proposer"),
    ],
)
def test_a_document_takes_two_people(act: PaperAct, actor: str, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        documents.moved(paper(PaperState.PROPOSED), act, actor)
    assert (refused.value.refusal, bool(refused.value.fix)) == (code, True)


ASKED = Proposal(
    bill=1, kind=PenaltyKind.WAIVER, amount_micros=5, reason="flood", actor="user:li"
)  # fmt: skip


@pytest.mark.parametrize(
    ("proposal", "code"),
    [
        (replace(ASKED, reason=" "), "penalty.reason_missing"),
        (replace(ASKED, amount_micros=0), "penalty.amount_bad"),
        (replace(ASKED, amount_micros=None), "penalty.amount_bad"),
        (replace(ASKED, from_on=DUE, until_on=DUE), "penalty.days_bad"),
        (replace(ASKED, kind=PenaltyKind.DISPUTE), "penalty.days_bad"),
        (
            replace(
                ASKED, kind=PenaltyKind.DEFERRAL, amount_micros=None, from_on=DUE + DAY,
                until_on=DUE,
            ),
            "penalty.days_bad",
        ),
    ],
)  # fmt: skip
def test_a_proposal_says_what_it_must_and_no_more(proposal: Proposal, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        documents.check(proposal)
    assert refused.value.refusal == code
    documents.check(ASKED)
