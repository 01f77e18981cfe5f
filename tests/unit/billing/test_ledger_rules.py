"""Posting rules, the chain of evidence and exports, without a database."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.ledger.model import (
    AccountKind,
    AccountSum,
    BookedEntry,
    BookedLeg,
    Event,
    Root,
    Side,
)
from billing.ledger.rules import chain, check_balanced, exports, posting_rules
from billing.ledger.service.posting import RULES
from protocols.errors import RefusedError

DAY = date(2026, 3, 10)
OWNERS = ("account", "channel", "vat_authority", "levy_authority", "subsidy_authority")


def booked(number: int, amount: int = 5) -> BookedEntry:
    return BookedEntry(
        entry_id=number, key=f"k{number}", req_hash=b"h", kind="payment", value_date=DAY,
        booked_at=datetime(2026, 3, 10, tzinfo=UTC), actor="peer:bank", reason='says "so"\n',
        reverses=None, source_ref="",
        legs=(
            BookedLeg(seq=1, code="bank_clearing:web", kind=AccountKind.BANK, side=Side.DEBIT,
                      amount_micros=amount, currency="CNY"),
            BookedLeg(seq=2, code="AC-1", kind=AccountKind.CUSTOMER, side=Side.CREDIT,
                      amount_micros=amount, currency="CNY"),
        ),
    )  # fmt: skip


def event(kind: str, **amounts: int) -> Event:
    named = {leg.owner for leg in RULES[kind].legs if leg.owner} if kind in RULES else set()
    return Event(
        kind=kind, key="k", value_date=DAY, actor="system:billing", currency="CNY",
        owners={owner: f"{owner}-1" for owner in named}, amounts=amounts,
    )  # fmt: skip


@pytest.mark.req("G14")
def test_the_chart_is_complete_and_every_kind_has_a_side_and_a_root() -> None:
    wanted = {
        "ar_energy", "ar_penalty", "ar_connection", "unbilled_revenue", "customer_prepayment",
        "deposit", "vat_payable", "levy_payable", "subsidy_receivable", "bank_clearing",
        "agent_float", "suspense", "rounding_carry", "bad_debt", "theft_penalty",
    }  # fmt: skip
    assert wanted <= {kind.value for kind in AccountKind}
    for kind in AccountKind:
        root = exports.beancount_account(kind, kind.code_of("X1")).split(":")[0]
        if kind not in {AccountKind.OPENING, AccountKind.ADJUSTMENT}:
            assert (root in {"Assets", "Expenses"}) == (kind.normal is Side.DEBIT), kind


def test_a_bill_is_booked_by_its_rule_and_sums_to_zero() -> None:
    draft = posting_rules.draft_of(
        RULES, event("bill", total=105, subsidy=10, energy=100, vat=13, levy=3, rounding=-1)
    )
    check_balanced(draft)
    assert {(leg.code, int(leg.side), leg.amount_micros) for leg in draft.legs} == {
        ("ar_energy:account-1", 1, 105), ("subsidy_receivable:subsidy_authority-1", 1, 10),
        ("revenue_energy", -1, 100), ("vat_payable:vat_authority-1", -1, 13),
        ("levy_payable:levy_authority-1", -1, 3), ("rounding_carry", 1, 1),
    }  # fmt: skip


@pytest.mark.parametrize("kind", sorted(RULES))
def test_a_rule_that_is_given_one_amount_everywhere_balances_when_it_has_two_legs(kind) -> None:
    legs = RULES[kind].legs
    if len(legs) == 2:
        draft = posting_rules.draft_of(RULES, event(kind, **{legs[0].amount: 7}))
        check_balanced(draft)
        assert draft.kind == kind
    else:
        with pytest.raises(RefusedError, match="missing"):
            posting_rules.draft_of(RULES, event(kind, **{legs[0].amount: 7}))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (event("gift", amount=1), "ledger.rule_unknown"),
        (event("penalty", amount=1, more=1), "ledger.rule_unfit"),
        (event("penalty"), "ledger.rule_unfit"),
        (replace(event("penalty", amount=1), owners={}), "ledger.rule_unfit"),
    ],
)
def test_what_no_rule_books_is_refused(wrong: Event, code: str) -> None:
    with pytest.raises(RefusedError) as caught:
        posting_rules.draft_of(RULES, wrong)
    assert caught.value.refusal.value == code
    assert caught.value.fix


def test_a_rule_on_one_side_does_not_ship() -> None:
    with pytest.raises(ValueError, match="one side"):
        posting_rules.parse('{"x": [["debit", "bank_clearing", "", "amount"]]}')


@pytest.mark.req("G14")
def test_a_chain_breaks_wherever_anything_is_changed() -> None:
    entries = [booked(n, n + 1) for n in range(1, 6)]
    links = list(chain.links_after(None, entries, day=DAY))
    whole = list(zip(links, entries, strict=True))
    assert chain.broken(None, whole) == []
    assert chain.broken(links[1], whole[2:]) == []
    for place in range(5):
        for changed in (
            replace(entries[place], actor="x"),
            replace(entries[place], value_date=date(2026, 3, 9)),
            replace(entries[place], legs=entries[place].legs[:1]), None,
        ):  # fmt: skip
            forged = [*whole[:place], (links[place], changed), *whole[place + 1 :]]
            assert chain.broken(None, forged) == [
                f"link {place + 1} does not fit entry {place + 1}"
            ]
    assert chain.broken(None, whole[1:])
    assert chain.broken(None, [whole[0], *whole[2:]])


def test_a_day_never_goes_back() -> None:
    first = list(chain.links_after(None, [booked(1)], day=DAY))[-1]
    assert next(iter(chain.links_after(first, [booked(2)], day=date(2026, 3, 9)))).day == DAY


def test_root_lines_read_back_and_others_are_refused() -> None:
    root = Root(day=DAY, position=3, entries=2, digest=bytes(range(32)))
    assert chain.parse_roots(chain.root_line(root) + "\n") == [root]
    with pytest.raises(RefusedError, match="line 1"):
        chain.parse_roots("{}")


@given(st.lists(st.text(alphabet="aC-3:/é ", min_size=1, max_size=6), unique=True, max_size=30))
def test_two_codes_never_share_a_beancount_name(owners: list[str]) -> None:
    names = [exports.beancount_account(AccountKind.BANK, f"bank_clearing:{own}") for own in owners]
    assert len(set(names)) == len(owners)


def test_exports_write_exact_amounts_and_flat_text() -> None:
    text = exports.beancount_entry(booked(1, 1_000_001))
    assert "Assets:Bank-Clearing:C-web  1.000001 CNY" in text
    assert "Liabilities:Customer-Prepayment:AC-1  -1.000001 CNY" in text
    assert '"says \\"so\\""' in text
    rows = exports.csv_lines(booked(1, 1_000_001)).splitlines()
    assert rows[0].startswith("1,1,2026-03-10,2026-03-10T00:00:00+00:00,payment,bank_clearing:web")
    assert exports.decimal_text(-5) == "-0.000005"
    held = AccountSum(code="AC-1", kind=AccountKind.CUSTOMER, currency="CNY", dr=1, cr=3)
    assert list(exports.beancount_foot([held], day=DAY)) == [
        "2026-03-10 balance Liabilities:Customer-Prepayment:AC-1 -0.000002 CNY\n"
    ]
