"""The kernel against the oracle, its properties, and what a tariff file may not say."""

import copy
import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from billing.rating.model import Use
from billing.rating.rules import kernel
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.oracle import oracle_fee
from billing.rating.service import prove
from billing.tariffs.model import PercentLine, Tariff
from billing.tariffs.rules import canonical, check_succession, digest, read_tariff, valid_on
from billing.tariffs.service import shipped
from protocols.errors import RefusedError

SHIPPED = shipped("cq-household-lv")
TARIFF, COMPILED = prove(SHIPPED)
counters = st.integers(0, 12_000_000)


def at(*year_wh: int) -> np.ndarray:
    return np.array(year_wh, dtype=np.int64)


def variant(**changes) -> bytes:
    """Return the shipped file with parts replaced; a dotted name goes into the first line."""
    body = copy.deepcopy(json.loads(SHIPPED))
    for name, value in changes.items():
        if name.startswith("line_"):
            body["lines"][0][name.removeprefix("line_")] = value
        else:
            body[name] = value
    return json.dumps(body).encode()


@st.composite
def tariffs(draw) -> Tariff:
    """Any ladder with a tax on it, in any stated rounding."""
    edges = sorted(draw(st.sets(st.integers(1, 9_000), min_size=0, max_size=4)))
    bounds = [0, *edges, None]
    rounding = st.fixed_dictionaries(
        {
            "step": st.sampled_from(["0.01", "0.05", "1", "0.0001"]),
            "mode": st.sampled_from(["half_up", "half_even", "down", "up"]),
        }
    )
    price = st.integers(0, 3_000_000).map(lambda micros: f"{micros / 10**6:.6f}")
    body = json.loads(SHIPPED)
    body["lines"][0]["steps"] = [
        {"over_kwh": str(low), "upto_kwh": str(high) if high else None, "price": draw(price)}
        for low, high in pairwise(bounds)
    ]
    body["lines"][0]["round"] = draw(rounding)
    if draw(st.booleans()):
        body["lines"].append(
            {"kind": "percent", "id": "tax", "label": {"en": "Tax"}, "base": ["energy"],
             "ledger_code": "revenue_energy", "percent": draw(st.sampled_from(["13", "-5.25"])),
             "round": draw(rounding)}
        )  # fmt: skip
    body["total_round"] = draw(rounding)
    return read_tariff(json.dumps(body).encode())


@pytest.mark.req("C4", "C7", "G1")
@settings(deadline=None)
@given(tariffs(), st.lists(counters, min_size=1, max_size=20))
def test_kernel_and_oracle_agree_to_the_micro(tariff: Tariff, year_wh: list[int]) -> None:
    compiled = compile_tariff(tariff, "x")
    fees = kernel.fee_at(compiled, at(*year_wh)).tolist()
    assert fees == [oracle_fee(tariff, each) for each in year_wh]
    assert all(type(fee) is int for fee in fees)


@settings(deadline=None)
@given(tariffs(), counters, counters)
def test_more_use_never_costs_less(tariff: Tariff, first: int, second: int) -> None:
    # a discount that is rounded more coarsely than its base may take more than the use brought
    assume(not any(isinstance(line, PercentLine) and line.percent < 0 for line in tariff.lines))
    compiled = compile_tariff(tariff, "x")
    low, high = sorted((first, second))
    assert kernel.fee_between(compiled, low, high) >= 0


@pytest.mark.req("C7")
@settings(deadline=None)
@given(tariffs(), st.lists(counters, min_size=2, max_size=12))
def test_splitting_a_period_anywhere_changes_nothing(tariff: Tariff, cuts: list[int]) -> None:
    compiled = {"x": compile_tariff(tariff, "x")}
    points = sorted(cuts)
    parts = [Use(digest="x", from_wh=low, to_wh=high) for low, high in pairwise(points)]
    whole = Use(digest="x", from_wh=points[0], to_wh=points[-1])
    assert kernel.bill(compiled, parts) == kernel.bill(compiled, [whole])


@pytest.mark.req("C7", "C9")
@settings(deadline=None)
@given(st.lists(st.integers(0, 60_000), min_size=1, max_size=60), counters)
def test_drawdowns_of_any_days_add_up_to_the_bill(uses: list[int], opening: int) -> None:
    registers = np.cumsum([0, *uses]) + opening
    fees = kernel.fee_at(COMPILED, registers.astype(np.int64))
    drawdowns = np.diff(fees)
    bill = kernel.bill(
        {COMPILED.digest: COMPILED},
        [Use(digest=COMPILED.digest, from_wh=opening, to_wh=int(registers[-1]))],
    )
    assert int(drawdowns.sum()) == bill
    assert (drawdowns >= 0).all()


@settings(deadline=None)
@given(tariffs(), counters, counters)
def test_the_trace_sums_to_the_fee_and_covers_the_use(tariff, first: int, second: int) -> None:
    compiled = compile_tariff(tariff, "x")
    low, high = sorted((first, second))
    lines = kernel.trace(compiled, low, high)
    assert sum(line.amount_micros for line in lines) == kernel.fee_between(compiled, low, high)
    steps = [line for line in lines if line.step]
    assert sum(line.upto_wh - line.from_wh for line in steps) == high - low


@settings(deadline=None)
@given(st.lists(counters, min_size=1, max_size=30), st.randoms())
def test_the_order_of_accounts_means_nothing(year_wh: list[int], random) -> None:
    order = list(range(len(year_wh)))
    random.shuffle(order)
    fees = kernel.fee_at(COMPILED, at(*year_wh))
    assert kernel.fee_at(COMPILED, at(*[year_wh[n] for n in order])).tolist() == [
        fees[n] for n in order
    ]


def test_a_step_ends_with_its_last_watt_hour() -> None:
    edges = at(0, 2_399_999, 2_400_000, 2_400_001, 4_800_000, 4_800_001)
    assert kernel.tier_at(COMPILED, edges).tolist() == [1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("wrong", [-1, 10_000_000_001])
def test_a_counter_beyond_the_proven_bound_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        kernel.fee_at(COMPILED, at(5, wrong))


STEPS = json.loads(SHIPPED)["lines"][0]["steps"]


def steps(**changes) -> list[dict[str, str | None]]:
    """Return the shipped steps with the second one changed."""
    return [STEPS[0], {**STEPS[1], **changes}, STEPS[2]]


@pytest.mark.req("G1", "G3", "G4")
@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"line_steps": steps(over_kwh="2500")}, "tariffs.steps", "gap of 100000 Wh"),
        ({"line_steps": steps(over_kwh="2300")}, "tariffs.steps", "overlaps"),
        ({"line_steps": steps(upto_kwh=None)}, "tariffs.steps", "follows an open step"),
        ({"line_steps": steps(upto_kwh="2400")}, "tariffs.steps", "ends where"),
        ({"line_steps": STEPS[:2]}, "tariffs.steps", "must be open"),
        ({"line_steps": []}, "tariffs.shape", "at least 1"),
        ({"line_steps": steps(price=0.57)}, "tariffs.shape", "decimal text"),
        ({"line_steps": steps(price="0.5700001")}, "tariffs.shape", "not an amount"),
        ({"line_round": None}, "tariffs.rounding", "round"),
        ({"line_round": {"step": "0.01", "mode": "bankers"}}, "tariffs.shape", "mode"),
        ({"total_round": None}, "tariffs.rounding", "total_round"),
        ({"line_kind": "demand"}, "tariffs.shape", "demand"),
        ({"line_scope": {"widths": "per_day", "reset": "calendar_year", "mode": "marginal"}},
         "tariffs.shape", "widths"),
        ({"largest_year_kwh": "999999999999"}, "tariffs.bound", "64-bit"),
        ({"largest_year_kwh": "4800"}, "tariffs.bound", "last step"),
        ({"zone": "Chongqing"}, "tariffs.shape", "zone"),
        ({"valid_to": "2019-01-01"}, "tariffs.shape", "valid_to"),
        ({"test_cases": []}, "tariffs.shape", "test_cases"),
        ({"colour": "red"}, "tariffs.shape", "colour"),
        ({"test_cases": [{"name": "w", "from_kwh": "0", "to_kwh": "1", "total": "0.53"}]},
         "tariffs.case", "expects 530000"),
        ({"test_cases": [{"name": "w", "from_kwh": "2", "to_kwh": "1", "total": "0"}]},
         "tariffs.case", "not in order"),
    ],
)  # fmt: skip
def test_a_tariff_that_is_unclear_is_refused(changes, code: str, says: str) -> None:
    with pytest.raises(RefusedError) as caught:
        prove(variant(**changes))
    assert caught.value.refusal.value == code, str(caught.value)
    assert says in str(caught.value)
    assert caught.value.fix


def test_parts_of_a_micro_need_a_stated_rounding() -> None:
    none = {"step": "0.01", "mode": "none"}
    whole = prove(
        variant(line_round=none, test_cases=[{"name": "w", "from_kwh": "0", "to_kwh": "1",
                                              "total": "0.52"}])
    )[1]  # fmt: skip
    assert kernel.fee_between(whole, 0, 1000) == 520_000
    with pytest.raises(RefusedError, match="parts of a micro"):
        prove(variant(line_round=none, line_steps=steps(price="0.570001")))
    with pytest.raises(RefusedError, match="neither a line nor the total"):
        prove(variant(line_round=none, total_round=none))


def test_a_share_of_a_line_that_does_not_stand_before_it_is_refused() -> None:
    body = json.loads(SHIPPED)
    tax = {"kind": "percent", "id": "tax", "label": {}, "base": ["levy"], "percent": "13",
           "ledger_code": "revenue_energy",
           "round": {"step": "0.01", "mode": "half_up"}}  # fmt: skip
    body["lines"].append(tax)
    with pytest.raises(RefusedError, match="no earlier line"):
        prove(json.dumps(body).encode())
    body["lines"][1] = {**tax, "id": "energy", "base": ["energy"]}
    with pytest.raises(RefusedError, match="two lines"):
        prove(json.dumps(body).encode())


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"\xff", b"null"])
def test_garbage_is_no_tariff(garbage: bytes) -> None:
    with pytest.raises(RefusedError):
        prove(garbage)


def test_the_identity_of_a_version_is_its_content_not_its_spelling() -> None:
    body = json.loads(SHIPPED)
    shuffled = json.dumps(dict(reversed(list(body.items()))), indent=7).encode()
    assert digest(canonical(shuffled)) == COMPILED.digest
    assert digest(canonical(variant(version=2))) != COMPILED.digest


@pytest.mark.req("G2")
def test_versions_follow_one_another_without_gap_overlap_or_past() -> None:
    def version(number: int, start: str, end: str | None = None) -> Tariff:
        return read_tariff(variant(version=number, valid_from=start, valid_to=end))

    today = version(1, "2026-11-21").valid_from
    open_ended = version(1, "2020-01-01")
    check_succession(version(2, "2027-01-01"), [open_ended], today=today)
    closed = version(1, "2020-01-01", "2027-01-01")
    for wrong, earlier in (
        (version(3, "2027-01-01"), open_ended),
        (version(2, "2026-11-21"), open_ended),
        (version(2, "2019-01-01"), open_ended),
        (version(2, "2027-02-01"), closed),
        (version(2, "2026-12-01"), closed),
    ):
        with pytest.raises(RefusedError, match="validity"):
            check_succession(wrong, [earlier], today=today)
    both = [("a", open_ended), ("b", version(2, "2027-01-01"))]
    assert valid_on(both, closed.valid_to) == "b"
    assert valid_on(both, today) == "a"
    assert valid_on(both, version(1, "2019-12-31").valid_from) is None
