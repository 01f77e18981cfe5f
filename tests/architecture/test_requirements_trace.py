"""The requirements table tells the truth: its ids, its tests, its places, and that it is fresh."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def table_module() -> ModuleType:
    file = Path(__file__).with_name("requirements_table.py")
    spec = importlib.util.spec_from_file_location("requirements_table", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


trace = table_module()


def test_every_id_of_the_inventory_is_there_once() -> None:
    ids = [row.id for row in trace.requirements()]
    assert len(ids) == len(set(ids)) == 339
    sizes = {"A": 12, "B": 18, "C": 16, "D": 21, "E": 8, "F": 17, "G": 24, "H": 19, "I": 10,
             "J": 21, "K": 14, "L": 8, "M": 9, "N": 12, "O": 6, "P": 9, "Q": 11, "R": 16, "S": 38,
             "T": 7, "U": 3, "V": 24, "W": 7, "X": 3, "Y": 6}  # fmt: skip
    wanted = [
        f"{letter}{number}" for letter, size in sizes.items() for number in range(1, size + 1)
    ]
    assert ids == wanted


def test_what_is_called_working_has_a_test() -> None:
    tests = trace.marked()
    bare = [
        row.id for row in trace.requirements() if row.state == "working" and not tests.get(row.id)
    ]
    assert not bare, f"called working, but no test carries the marker: {bare}"


def test_every_marker_names_an_id_that_has_begun() -> None:
    states = {row.id: row.state for row in trace.requirements()}
    tests = trace.marked()
    assert set(tests) <= set(states), set(tests) - set(states)
    behind = [id_ for id_ in tests if states[id_] == "not yet"]
    assert not behind, f"a test shows them, the table says not yet: {behind}"


def test_every_place_exists() -> None:
    wrong = [
        f"{row.id}: {place}"
        for row in trace.requirements()
        for place in filter(None, row.place.split(", "))
        if place != "the whole" and not (ROOT / place).exists()
    ]
    assert not wrong, wrong
    assert all(row.place for row in trace.requirements() if row.state != "not yet")


def test_the_table_is_what_make_requirements_writes() -> None:
    assert trace.TABLE.read_text(encoding="utf-8") == trace.table(), "run make requirements"


def test_rows_are_restated_in_short() -> None:
    long = [row.id for row in trace.requirements() if len(row.text) > 110 or "|" in row.text]
    assert not long
    assert not [row.id for row in trace.requirements() if not re.match(r"[A-Z].*\.$", row.text)]
