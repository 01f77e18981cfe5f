"""Steps of a payment, quotes, allocation and files, without a database."""

import json
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.customers.model import AccountId
from billing.ledger.model import AccountKind
from billing.ledger.rules import allocating
from billing.payments.model import (
    Channel,
    DifferenceKind,
    FileRow,
    HoldEvent,
    HoldState,
    PaymentOrder,
    Policy,
    StatementRow,
)
from billing.payments.rules import comparing, payme, quoting, signed, steps
from billing.payments.service.posting import ORDER
from protocols.errors import RefusedError

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def drawn_table() -> dict[tuple[str, str], str]:
    """Read the table of the module's docstring: it is what people read."""
    assert steps.__doc__ is not None
    lines = [line.split("|") for line in steps.__doc__.splitlines() if "|" in line]
    events = lines[0][1].split()
    return {
        (state.strip(), event): word.lower()
        for state, row in lines[1:]
        for event, word in zip(events, row.split(), strict=True)
    }


@pytest.mark.req("H1")
@pytest.mark.parametrize("state", HoldState)
@pytest.mark.parametrize("event", HoldEvent)
def test_every_state_and_event_goes_where_the_drawn_table_says(state, event) -> None:
    told = drawn_table()[state.value, event.value]
    if told == "refused":
        with pytest.raises(RefusedError) as caught:
            steps.next_state(state, event)
        assert caught.value.fix
    else:
        to = steps.next_state(state, event)
        assert to.value == (state.value if told == "same" else told)
        # whoever repeats a step that was taken gets no further
        if event is not HoldEvent.TAKEN or to is not HoldState.SUSPENSE:
            assert steps.next_state(to, event) is to


def test_a_day_ends_at_the_channels_own_cutover() -> None:
    bank = Channel(channel="bank", zone="Asia/Tashkent", cutover=time(18))
    before, after = NOON + timedelta(minutes=59), NOON + timedelta(minutes=60)  # 17:59, 18:00
    assert steps.business_day(bank, after) - steps.business_day(bank, before) == timedelta(days=1)
    steps.check_day_open(bank, NOON, before)
    with pytest.raises(RefusedError, match="day_closed"):
        steps.check_day_open(bank, NOON, after)


@given(
    st.integers(1, 10**9),
    st.dictionaries(st.sampled_from(ORDER.order), st.integers(0, 10**9)),
)
def test_allocation_pays_in_order_and_never_more_than_paid_or_owed(amount, owed) -> None:
    parts = allocating.allocate(amount, owed, ORDER)
    assert sum(parts.values()) == min(amount, sum(owed.values()))
    assert all(0 < part <= owed[kind] for kind, part in parts.items())
    paid_in_full = [parts.get(kind, 0) == owed.get(kind, 0) for kind in ORDER.order]
    later = [kind for kind, full in zip(ORDER.order, paid_in_full, strict=True) if not full][1:]
    assert not any(parts.get(kind) for kind in later)


def test_an_order_that_names_a_kind_twice_does_not_ship() -> None:
    assert ORDER.order[:2] == (AccountKind.AR_EMERGENCY, AccountKind.AR_PENALTY)
    with pytest.raises(ValueError, match="twice"):
        allocating.parse_order('{"rule": "x", "order": ["ar_energy", "ar_energy"]}')


def an_order(amount: int, account: str = "AC-1") -> PaymentOrder:
    return PaymentOrder(
        channel="bank", peer_txn_id="t", account=AccountId(account), amount_micros=amount,
        currency="CNY", peer_time=NOON, actor="peer:bank",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        (Policy.ANY, {5, 10, 15}), (Policy.EXACT, {10}), (Policy.EXACT_UP, {10, 15}),
        (Policy.EXACT_DOWN, {5, 10}),
    ],
)  # fmt: skip
def test_an_amount_keeps_to_the_policy_of_its_quote(policy: Policy, allowed: set[int]) -> None:
    due = quoting.QuotedDue(
        id=1, channel="bank", account="AC-1", due_micros=10, expires_at=NOON + timedelta(minutes=15)
    )
    for amount in (5, 10, 15):
        if amount in allowed:
            quoting.check_against_quote(an_order(amount), due, policy, now=NOON)
        else:
            with pytest.raises(RefusedError, match=r"payments\.policy"):
                quoting.check_against_quote(an_order(amount), due, policy, now=NOON)
    for order, quote, now in (
        (an_order(10, "AC-2"), due, NOON), (an_order(10), None, NOON),
        (an_order(10), due, NOON + timedelta(minutes=15)),
    ):  # fmt: skip
        with pytest.raises(RefusedError, match=r"payments\.quote"):
            quoting.check_against_quote(order, quote, policy, now=now)


def test_limits_are_the_channels_own() -> None:
    narrow = Channel(channel="bank", min_micros=5, max_micros=10)
    quoting.check_limits(an_order(5), narrow)
    for amount in (4, 11):
        with pytest.raises(RefusedError, match=r"payments\.amount"):
            quoting.check_limits(an_order(amount), narrow)


def ours(txn: str, net: int, at: datetime = NOON) -> StatementRow:
    return StatementRow(
        receipt_no=f"R-{txn}", peer_txn_id=txn, account=AccountId("AC-1"), state=HoldState.POSTED,
        amount_micros=net or 7, net_micros=net, currency="CNY", peer_time=at, received_at=at,
    )  # fmt: skip


def theirs(txn: str, amount: int, at: datetime = NOON, currency: str = "CNY") -> FileRow:
    return FileRow(peer_txn_id=txn, account="", amount_micros=amount, currency=currency,
                   peer_time=at)  # fmt: skip


@pytest.mark.req("H9")
def test_a_file_is_compared_row_by_row() -> None:
    book = [ours("a", 5), ours("b", 5), ours("c", 5), ours("d", 5), ours("e", 0), ours("f", 0)]
    file = [theirs("a", 5), theirs("b", 6), theirs("c", 5, NOON + timedelta(days=1)),
            theirs("x", 9), theirs("e", 7)]  # fmt: skip
    matched, found = comparing.compare(book, file, channel=Channel(channel="bank"))
    kinds = {each.peer_txn_id: each.kind for each in found}
    assert matched == 1
    assert kinds == {
        "b": DifferenceKind.AMOUNT, "c": DifferenceKind.DATE, "x": DifferenceKind.THEIRS_ONLY,
        "e": DifferenceKind.AMOUNT, "d": DifferenceKind.OURS_ONLY,
    }  # fmt: skip


@pytest.mark.parametrize(
    "rows",
    [
        [theirs("a", 5), theirs("a", 5)], [theirs("a", 0)], [theirs("a", -1)], [theirs("", 5)],
        [theirs("a", 5, NOON.replace(tzinfo=None))], [theirs("a", 5, currency="UZS")],
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_a_channels_is_refused(rows: list[FileRow]) -> None:
    with pytest.raises(RefusedError, match=r"payments\.file") as caught:
        comparing.check_file(rows, {"a": "CNY"})
    assert caught.value.fix


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["id", "method", "params", "amount", "time", "account"]), inner,
            max_size=4,
        ),
        max_leaves=8,
    ),
    st.sampled_from(["CheckTransaction", "CreateTransaction", "GetStatement", ""]),
)  # fmt: skip
def test_any_json_is_a_call_or_a_fault_that_can_be_sent(body: object, method: str) -> None:
    if isinstance(body, dict) and method:
        body = {**body, "method": method}
    found = payme.parse(json.dumps(body).encode())
    if isinstance(found, payme.Fault):
        found_body = payme.fault_body(found)
        assert set(found_body["error"]["message"]) == {"uz", "ru", "en"}
    else:
        found_body = payme.result_body(found, {})
        assert found.method == method
    json.dumps(found_body, ensure_ascii=False, allow_nan=False).encode()


@given(st.binary(max_size=64))
def test_any_octets_are_a_call_or_a_fault(octets: bytes) -> None:
    assert isinstance(payme.parse(octets), payme.Call | payme.Fault)


def a_request(**changes: str | bytes) -> signed.Signed:
    plain = {"method": "POST", "path": "/p?a=1", "timestamp": "1773144000000", "nonce": "n" * 16,
             "body": b'{"amount": 1.10}', "signature": ""}  # fmt: skip
    return signed.Signed(**{**plain, **changes})  # type: ignore[arg-type]


def test_a_signature_covers_every_part_of_a_request() -> None:
    signer = signed.Signer(key_id="k", channel="kiosk", secret="s" * 32)
    good = signed.signature_of(a_request(), signer.secret)
    assert signed.is_genuine(a_request(signature=good), signer)
    for change in ({"method": "GET"}, {"path": "/p?a=2"}, {"timestamp": "1773144000001"},
                   {"nonce": "m" * 16}, {"body": b'{"amount": 1.1}'},
                   {"signature": good.upper()}, {"signature": "é"}):  # fmt: skip
        assert not signed.is_genuine(a_request(**{"signature": good, **change}), signer)


@pytest.mark.parametrize(
    "change",
    [{"nonce": "short"}, {"nonce": "n" * 65}, {"nonce": "n" * 15 + "!"}, {"timestamp": "now"},
     {"timestamp": "1773144000"}, {"timestamp": "9" * 40}, {"timestamp": "1773143699999"}],
)  # fmt: skip
def test_a_request_out_of_its_time_is_not_timely(change: dict[str, str]) -> None:
    assert signed.is_timely(a_request(), wall_now=NOON)
    assert not signed.is_timely(a_request(**change), wall_now=NOON)
