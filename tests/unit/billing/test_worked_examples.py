"""
Published bills, priced again: the utility's own figures, to the last minor unit.

Each file in `worked` holds a tariff as its source states it, usage, and the amounts the source
arrives at. `kind` says whose words they are: `own_page` (the utility, regulator or ministry
itself), `copy` (its page or leaflet kept elsewhere), `press` (its example as a newspaper tells it),
`bill` (a real bill), `third_party` (somebody's sum on its tariff). Where a source is wrong the
right figure stands as `total` and what it printed as `published_total`. `buys` tells a purchase:
what was paid, and the kWh that the token held.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from billing.money import parse_micros, to_text
from billing.rating.rules import kernel
from billing.rating.rules.columns import columns_of
from billing.rating.rules.compiler import compile_tariff
from billing.rating.rules.inverse import buy
from billing.rating.rules.oracle import oracle_charges
from billing.rating.rules.usage import use_of
from billing.tariffs.model import Tariff, UsageCase
from billing.tariffs.rules import read_tariff

FOLDER = Path(__file__).parent / "worked"
FILES = {file.stem: json.loads(file.read_bytes()) for file in sorted(FOLDER.glob("*.json"))}
EXAMPLES = [
    pytest.param(name, number, id=f"{name}: {example['name']}")
    for name, worked in FILES.items()
    for number, example in enumerate(worked["examples"])
]
BOUGHT = [
    pytest.param(name, number, id=f"{name}: {example['name']}")
    for name, worked in FILES.items()
    for number, example in enumerate(worked["examples"])
    if "buys" in example
]
KINDS = {"own_page", "copy", "press", "bill", "third_party"}


def tariff_of(worked: dict[str, Any]) -> Tariff:
    """Return the file's tariff, its examples as its own test cases."""
    cases = [
        {key: example[key] for key in ("name", "usage", "lines", "total")}
        for example in worked["examples"]
    ]
    return read_tariff(json.dumps({**worked["tariff"], "test_cases": cases}).encode())


def told(amounts: dict[str, int]) -> dict[str, str]:
    return {name: to_text(amount) for name, amount in amounts.items()}


@pytest.mark.req("G1")
@pytest.mark.parametrize(("name", "number"), EXAMPLES)
def test_a_published_bill_comes_out_to_the_last_minor_unit(name: str, number: int) -> None:
    tariff = tariff_of(FILES[name])
    case = tariff.test_cases[number]
    assert isinstance(case, UsageCase)
    use = use_of(tariff, case.usage)

    second = oracle_charges(tariff, use)
    assert told({line: second.lines[line] for line in case.lines}) == told(case.lines)
    assert to_text(second.total) == to_text(case.total)

    compiled = compile_tariff(tariff, name)
    first = kernel.price(compiled, columns_of(compiled, [use]))
    ids = [line.id for line in tariff.lines]
    assert dict(zip(ids, first.lines[:, 0].tolist(), strict=True)) == second.lines
    assert int(first.total[0]) == second.total


@pytest.mark.parametrize(("name", "number"), BOUGHT)
def test_a_published_purchase_buys_as_much(name: str, number: int) -> None:
    tariff = tariff_of(FILES[name])
    case = tariff.test_cases[number]
    assert isinstance(case, UsageCase)
    buys = FILES[name]["examples"][number]["buys"]
    paid = parse_micros(buys["paid"])
    nothing = replace(use_of(tariff, case.usage), energy_wh=(0,))
    compiled = compile_tariff(tariff, name)
    found = buy(compiled, nothing, paid, charged_micros=0, token_wh=buys["token_wh"])
    assert to_text(found.energy_wh * 1_000) == buys["kwh"]
    assert (found.cost_micros, found.left_micros) == (case.total, paid - case.total)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_worked_file_says_whose_figures_it_holds(name: str) -> None:
    worked = FILES[name]
    assert worked["kind"] in KINDS
    assert worked["url"].startswith("http")
    assert worked["publisher"]
    assert len(worked["country"]) == 2
    assert worked["tariff"]["code"] == name
    assert worked["url"] in worked["tariff"]["sources"]
    for example in worked["examples"]:
        printed = example.get("published_total", example["total"])
        if "wrong" in example:
            assert "published_total" in example
            assert parse_micros(printed) != parse_micros(example["total"])
        else:
            assert "published_total" not in example


def test_there_are_enough_of_them_and_most_are_the_publishers_own() -> None:
    kinds = [worked["kind"] for worked in FILES.values() for _ in worked["examples"]]
    assert len(kinds) >= 25
    assert kinds.count("own_page") >= 20
    assert len({worked["country"] for worked in FILES.values()}) >= 10
