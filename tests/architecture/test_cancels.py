"""Tasks of the product are ended by `ended`, which asks until they have: one cancel may be lost."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("billing", "cloud", "edge", "meterloop", "portal")


def cancels_and_waits(tree: ast.AST) -> list[int]:
    """Return the lines where a function cancels in a loop and then gathers what it cancelled."""
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        gathers = any(
            isinstance(call.func, ast.Attribute)
            and call.func.attr == "gather"
            and any(word.arg == "return_exceptions" for word in call.keywords)
            for call in calls
        )
        found += [
            call.lineno
            for call in calls
            if gathers and isinstance(call.func, ast.Attribute) and call.func.attr == "cancel"
        ]
    return found


def test_nobody_cancels_once_and_waits_for_ever() -> None:
    places = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PRODUCT
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in cancels_and_waits(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert places == [], "use cloud.store.rim.ended or edge.ending.ended"


def test_the_rule_finds_what_it_refuses() -> None:
    text = (
        "async def f(tasks):\n    for t in tasks:\n        t.cancel()\n"
        "    await asyncio.gather(*tasks, return_exceptions=True)\n"
    )
    assert cancels_and_waits(ast.parse(text)) == [3]
