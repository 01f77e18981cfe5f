"""
No test takes a busy machine's delay for a fault: short deadlines and sleeps before an assertion.

What an honest party must beat is given in many seconds, or the test runs on the patient loop. What
must have happened is waited for by a condition with a bound. `SPANS` names the rest, with reasons.
"""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

TESTS = Path(__file__).parents[1]
ELSEWHERE = {"benchmarks", "vendor", "peers"}
LEAST_SECONDS = 10.0
LEAST_ANSWER_SECONDS = 2.0
ANSWERS = {"timeout_seconds"}
"""Names under which a driver is told how long it waits for one answer."""
PATIENT = {"patient_loop", "rtu_kit"}
"""Modules with loops on which time passes only while nobody has anything to do."""
_NOTHING_COMES = "what must not come would come in this span; a slow machine lets it pass"
SPANS: dict[tuple[str, str], str] = {
    ("integration/edge_harness.py", "until"): "a turn of a loop that has a bound of its own",
    ("integration/test_billing_bills_corrections.py",
     "test_a_bill_outside_a_run_waits_for_the_run_that_posts"): _NOTHING_COMES,
    ("integration/test_control_races.py", "later"): _NOTHING_COMES,
    ("integration/test_edge_agent.py", "test_a_cut_and_a_restore_over_the_wire"): _NOTHING_COMES,
    ("integration/test_edge_agent.py",
     "test_a_broker_that_goes_away_with_its_memory_loses_nothing"):
        "the line must break by itself; whether it does within the second does not matter",
    ("integration/test_edge_upkeep_firmware.py", "test_an_image_waits_for_its_hour"):
        _NOTHING_COMES,
    ("integration/test_edge_upkeep_keys.py",
     "test_keys_of_a_meter_that_falls_silent_are_doubtful_and_settled_when_it_is_back"):
        "the meter is silent while it matters; an answer that was late is asked for again",
    ("integration/test_kafka_runner.py",
     "test_what_kafka_has_not_is_not_acknowledged_and_comes_again"): _NOTHING_COMES,
    ("integration/test_portal_live.py",
     "test_only_watched_points_are_followed_and_the_last_value_comes_at_once"): _NOTHING_COMES,
}  # fmt: skip


def modules() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(TESTS.rglob("*.py")):
        name = file.relative_to(TESTS)
        if not ELSEWHERE & set(name.parts):
            yield str(name), ast.parse(file.read_text(encoding="utf-8"))


def is_patient(tree: ast.Module) -> bool:
    """Whether a module takes its event loop from one of `PATIENT`."""
    return any(
        isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] in PATIENT
        for node in ast.walk(tree)
    )


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield every outermost function or method with its name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                yield getattr(inner, "name", node.name), inner
        else:
            yield getattr(node, "name", ""), node


def seconds_of(node: ast.expr | None) -> float | None:
    """Return a number as it stands in the source, None for anything that is reckoned."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    return None


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def deadline_of(node: ast.Call) -> float | None:
    """Return the seconds after which this call gives up, where they stand in the source."""
    name = called(node)
    named = {one.arg: one.value for one in node.keywords}
    if name == "asyncio.timeout" and node.args:
        return seconds_of(node.args[0])
    if name == "asyncio.wait_for":
        return seconds_of(named.get("timeout", node.args[1] if len(node.args) > 1 else None))
    if name.endswith((".result", ".communicate", "subprocess.run")):
        return seconds_of(named.get("timeout"))
    if name.endswith((".until", "until")):
        return seconds_of(named.get("seconds", node.args[-1] if len(node.args) > 1 else None))
    return None


def short_deadlines(tree: ast.AST, *, patient: bool) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if patient:
            continue
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                seconds = seconds_of(value) if getattr(key, "value", "") in ANSWERS else None
                if seconds is not None and seconds < LEAST_ANSWER_SECONDS:
                    yield node.lineno, f"an answer must come within {seconds:g} s"
        if not isinstance(node, ast.Call):
            continue
        deadline = deadline_of(node)
        if deadline is not None and deadline < LEAST_SECONDS:
            yield node.lineno, f"{called(node)} gives up after {deadline:g} s"
        for one in node.keywords:
            seconds = seconds_of(one.value) if one.arg in ANSWERS else None
            if seconds is not None and seconds < LEAST_ANSWER_SECONDS:
                yield node.lineno, f"an answer must come within {seconds:g} s"


def sleeps(statement: ast.stmt) -> bool:
    """Whether a statement is a sleep of more than a turn of the loop."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    call = call.value if isinstance(call, ast.Await) else call
    if not isinstance(call, ast.Call) or called(call) not in {"asyncio.sleep", "time.sleep"}:
        return False
    seconds = seconds_of(call.args[0])
    return seconds is None or seconds > 0


def sleeps_before_assertions(tree: ast.AST, *, patient: bool) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        for block in (getattr(node, "body", None), getattr(node, "orelse", None)):
            if patient or not isinstance(block, list):
                continue
            for before, after in pairwise(block):
                if sleeps(before) and isinstance(after, ast.Assert):
                    yield before.lineno, "sleeps, and then expects something to be so"


def test_nothing_honest_is_hurried_and_nothing_is_slept_for() -> None:
    wrong, used = [], set()
    for name, tree in modules():
        patient = is_patient(tree)
        for function, node in functions(tree):
            found = [
                *short_deadlines(node, patient=patient),
                *sleeps_before_assertions(node, patient=patient),
            ]
            if found and (name, function) in SPANS:
                used.add((name, function))
                continue
            wrong += [f"{name}:{line} {function}: {what}" for line, what in found]
    assert not wrong, "\n".join(wrong)
    assert used == set(SPANS), f"no longer needed: {set(SPANS) - used}"


def test_the_check_itself_finds_what_it_looks_for() -> None:
    hasty = ast.parse(
        "async def f():\n"
        "    driver = Driver(timeout_seconds=0.2)\n"
        "    await asyncio.sleep(0.5)\n"
        "    assert done\n"
        "    async with asyncio.timeout(3):\n"
        "        await there.until(lambda: True, 5.0)\n"
        "        await asyncio.wait_for(task, 9)\n"
    )
    assert [line for line, _ in short_deadlines(hasty, patient=False)] == [2, 5, 6, 7]
    assert [line for line, _ in sleeps_before_assertions(hasty, patient=False)] == [3]
    calm = ast.parse(
        "async def f():\n"
        "    driver = Driver(timeout_seconds=2.0)\n"
        "    await asyncio.sleep(0)\n"
        "    assert done\n"
        "    async with asyncio.timeout(30):\n"
        "        while not done:\n"
        "            await asyncio.sleep(0.05)\n"
    )
    assert not [*short_deadlines(calm, patient=False)]
    assert not [*sleeps_before_assertions(calm, patient=False)]
