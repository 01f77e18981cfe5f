"""The figures of every shipped file can be found, changed one by one, and nothing else changes."""

import json
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.rating.service import prove
from billing.tariffs import service as tariffs
from billing.tariffs.rules.diff import About, changes_of
from billing.tariffs.rules.parameters import examples_of, next_version, parameters_of
from protocols.errors import RefusedError

FILES = sorted(tariffs.SHIPPED.glob("*.json"))
DAY = date(2027, 1, 1)


def document_of(number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILES[number % len(FILES)].read_bytes())
    return found


def changed(document: dict[str, Any], values: dict[str, str], **more: Any) -> dict[str, Any]:
    totals = {one.number: one.total for one in examples_of(document, DAY)} or {0: "1"}
    terms = {"valid_from": DAY, "totals": totals, "legal_ref": "order 7", "source": "gazette 7"}
    found: dict[str, Any] = json.loads(next_version(document, values=values, **{**terms, **more}))
    return found


@pytest.mark.req("G3", "G4")
@given(st.integers(0, len(FILES) - 1), st.integers(0), st.integers(1, 999_999))
def test_one_figure_changes_and_no_other(file: int, pick: int, millis: int) -> None:
    document = document_of(file)
    places = parameters_of(document)
    assert len({each.place for each in places}) == len(places) > 0
    chosen = places[pick % len(places)]
    value = f"{millis // 1000}.{millis % 1000:03}"
    if value == chosen.value or not examples_of(document, DAY):
        return
    after = changed(document, {chosen.place: value})
    prices = [one for one in changes_of(document, after) if one.about is About.PRICE]
    assert [(one.before, one.after) for one in prices] == [(chosen.value, value)]
    assert (after["version"], after["valid_from"]) == (document["version"] + 1, "2027-01-01")


@pytest.mark.parametrize("file", range(len(FILES)), ids=[path.stem for path in FILES])
def test_the_same_figures_from_another_year_prove_themselves_by_the_same_totals(file: int) -> None:
    document = document_of(file)
    examples = examples_of(document, DAY)
    assert examples, "every shipped file can be changed at the page"
    ladder = document.get("basis", "ladder_year") == "ladder_year"
    # a period of another year may have other working days: only ladders are sure to cost the same
    if ladder:
        tariff, _ = prove(json.dumps(changed(document, {})).encode())
        assert tariff.valid_from == DAY
    for example in examples:
        if not ladder:
            assert date.fromisoformat(example.use["usage"]["period"]["start"]) >= DAY


@given(st.dates(date(2019, 1, 1), date(2032, 12, 31)))
def test_an_example_is_moved_by_whole_years_and_keeps_its_days(day: date) -> None:
    document = document_of(next(n for n, path in enumerate(FILES) if "zj" in path.stem))
    for case, example in zip(document["test_cases"], examples_of(document, day), strict=True):
        old, new = (
            [date.fromisoformat(one["usage"]["period"][side]) for side in ("start", "end")]
            for one in (case, example.use)
        )
        assert new[0] >= min(day, old[0])
        assert [(one.month, one.day) for one in new] == [(one.month, one.day) for one in old]
        assert new[0] == old[0] or new[0] - day < timedelta(days=366)


def test_what_cannot_be_is_refused() -> None:
    document = document_of(0)
    for values, more, code in (
        ({"energy/nowhere": "1"}, {}, "tariffs.shape"),
        ({}, {"totals": {}}, "tariffs.case"),
        ({}, {"legal_ref": " "}, "tariffs.shape"),
    ):
        with pytest.raises(RefusedError) as refused:
            changed(document, values, **more)
        assert refused.value.refusal.value == code
