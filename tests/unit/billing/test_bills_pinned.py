"""Inputs that are much alike are read like the first of them, to the last figure."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.bills.model import Agreement
from billing.bills.rules import pinned
from billing.bills.rules.inputs import Facts, fingerprint
from billing.rating.rules.compiler import compile_tariff
from billing.tariffs.rules import read_tariff
from protocols.errors import RefusedError
from tests.integration.bills_kit import TARIFF
from tests.unit.billing.test_bills_rules import month

_FILE = read_tariff(json.dumps(TARIFF).encode())
VERSIONS = {"d": (_FILE, compile_tariff(_FILE, "d"))}


def stated(number: int, start: str, end: str, before: str) -> dict[str, Any]:
    return {
        "account": f"AC-{number}", "currency": "CNY", "quality": "actual", "households": 1,
        "period": {"start": "2026-01-01", "end": "2026-02-01"}, "attributes": {},
        "contract_kw": "0", "capacity_kva": "0", "before_kwh": {"calendar_year": {"all": before}},
        "readings": [{"at": "2026-01-01", "kwh": {"all": start}},
                     {"at": "2026-02-01", "kwh": {"all": end}}],
    }  # fmt: skip


def said(usage: str, frames: Any = None) -> object:
    try:
        if frames is None:
            return pinned.pieces_in(usage, ["d"], VERSIONS)
        return pinned.pieces_like(usage, ["d"], VERSIONS, frames)
    except RefusedError as error:
        return error.refusal, error.message


kwh = st.one_of(
    st.integers(0, 10**9).map(pinned.kwh),
    st.sampled_from(["-1", "1.2345", "1e3", "", "00012", "١٢", "1.", ".5", " 1", "9" * 13]),
)
changes = st.sampled_from(
    [{}, {"quality": "estimated"}, {"ct_ratio": 2, "ratio_applied": False}, {"closing": False},
     {"loss_kwh": {"all": "3"}}, {"households": 2}, {"kwh": {"all": "1"}}, {"account": 7},
     {"before_kwh": {}}, {"before_kwh": {"never": {"all": "1"}}}, {"strange": 1},
     {"readings": [{"at": "2026-01-01", "kwh": {"all": "1"}}]},
     {"readings": [{"at": "2026-01-01", "kwh": {"all": "1"}},
                   {"at": "2026-02-01", "kwh": {"all": "2"}, "more": 1}]}]
)  # fmt: skip


@given(st.lists(st.tuples(kwh, kwh, kwh, changes), min_size=1, max_size=6))
def test_inputs_that_are_alike_say_what_each_says_alone(
    rows: list[tuple[str, str, str, dict[str, Any]]],
) -> None:
    frames: Any = {}
    assert said(pinned.canonical_usage(stated(0, "1", "2", "0")), frames) is not None
    for number, (start, end, before, change) in enumerate(rows):
        usage = pinned.canonical_usage({**stated(number, start, end, before), **change})
        assert said(usage, frames) == said(usage)


def facts(**changed: Any) -> Facts:
    agreement = Agreement(
        agreement="SA",
        account="AC",
        usage_point="UP",
        currency="CNY",
        tariff_code="t",
        pinned_hash=None,
        attributes={"households": "1"},
        started_at=datetime(2025, 1, 1, tzinfo=UTC),
        opening_register_wh=0,
        opening_year_wh=0,
    )
    known = Facts(
        agreement=agreement, versions=[("d", _FILE)], start=date(2026, 1, 1), end=date(2026, 2, 1),
        history=[month(2025, 12, 300)], registers={date(2026, 1, 1): 5, date(2026, 2, 1): 9},
        end_quality="actual", metered=None, drawn=None, class_daily_wh=None,
    )  # fmt: skip
    return replace(known, **changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"registers": {date(2026, 1, 1): 5, date(2026, 2, 1): 10}},
        {"registers": {date(2026, 1, 1): 4, date(2026, 2, 1): 9}},
        {"versions": [("e", _FILE)]}, {"history": []}, {"drawn": (1, 5, 9)},
        {"end": date(2026, 2, 2)},
        {"agreement": replace(facts().agreement, attributes={"households": "2"})},
    ],
)  # fmt: skip
def test_no_fact_changes_without_its_fingerprint(changed: dict[str, Any]) -> None:
    assert fingerprint(facts()) == fingerprint(facts())
    assert fingerprint(facts(**changed)) != fingerprint(facts())


def test_what_may_be_estimated_has_no_fingerprint() -> None:
    assert fingerprint(facts(end_quality="")) is None
    assert fingerprint(facts(end_quality="questionable")) is None
    assert fingerprint(facts(history=[month(2025, 12, 300, "estimated")])) is None
