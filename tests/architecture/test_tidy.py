"""Taste as failing tests: sizes, words, clocks, floats, documentation, nothing of one machine."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("billing", "cloud", "edge", "meterloop", "portal", "protocols", "simulators")
MODULE_LINES, FUNCTION_LINES = 500, 60
BANNED = {"data", "info", "manager", "handler", "helper", "utils", "process", "misc"}
CLOCKS = {"edge/clock.py", "cloud/store/clock.py", "simulators/clock.py"}
CLOCK_CALLS = {"now", "utcnow", "today", "time", "time_ns"}
MONEY_OR_ENERGY = re.compile(r"(_micros|_wh|micros|wh)$")
EXACT = ("billing/money.py", "billing/ledger", "billing/prepaid", "billing/payments",
         "billing/rating", "cloud/rollups", "cloud/usage", "cloud/ingest/rules",
         "cloud/vee/rules")  # fmt: skip


@cache
def modules() -> tuple[tuple[str, ast.Module, str], ...]:
    found = []
    for root in CODE:
        for file in sorted((ROOT / root).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            found.append((str(file.relative_to(ROOT)), ast.parse(text), text))
    return tuple(found)


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, tree, _ in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def test_modules_and_functions_stay_small() -> None:
    wrong = [
        f"{name}: {len(text.splitlines())} lines"
        for name, _, text in modules()
        if len(text.splitlines()) > MODULE_LINES
    ]
    for name, node in functions():
        assert node.end_lineno is not None
        length = node.end_lineno - node.lineno + 1
        if length > FUNCTION_LINES:
            wrong.append(f"{name}:{node.lineno} {node.name}: {length} lines")
    assert not wrong, "\n".join(wrong)


def names_given(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every name that this module gives to something."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
                # asyncio calls the parameter of this one `data`
                if name != "data_received":
                    yield from (
                        (arg.lineno, arg.arg)
                        for arg in ast.walk(node.args)
                        if isinstance(arg, ast.arg)
                    )
            case ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def test_no_module_or_name_is_a_word_that_says_nothing() -> None:
    wrong = []
    for name, tree, _ in modules():
        words = {part.removesuffix(".py").strip("_").lower() for part in Path(name).parts}
        wrong += [f"{name}: module" for _ in words & BANNED]
        # the data folder of an installation, and its keeper of processes, are what they are
        allowed = {"data", "process"} if name.startswith("meterloop/") else set()
        # a role that the sources name is called so
        allowed |= {"manager"} if name == "portal/auth/model.py" else set()
        wrong += [
            f"{name}:{line} {given}"
            for line, given in names_given(tree)
            if given.strip("_").lower() in BANNED - allowed
        ]
    assert not wrong, "\n".join(wrong)


def test_clocks_are_read_in_their_own_modules_alone() -> None:
    wrong = []
    for name, tree, _ in modules():
        if name in CLOCKS or name.startswith("meterloop/"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                of = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
                if of in {"datetime", "date", "time"} and node.func.attr in CLOCK_CALLS:
                    wrong.append(f"{name}:{node.lineno} {of}.{node.func.attr}()")
    assert not wrong, "\n".join(wrong)


def test_money_and_energy_are_never_floats() -> None:
    wrong = []
    for name, tree, _ in modules():
        for node in ast.walk(tree):
            match node:
                case ast.AnnAssign(target=ast.Name(id=given), annotation=ast.Name(id="float")):
                    pair = given
                case ast.arg(arg=given, annotation=ast.Name(id="float")):
                    pair = given
                case _:
                    continue
            if MONEY_OR_ENERGY.search(pair):
                wrong.append(f"{name}:{node.lineno} {pair}: float")
        if name.startswith(EXACT) and not name.endswith("oracle.py"):
            wrong += [
                f"{name}:{node.lineno} true division"
                for node in ast.walk(tree)
                if isinstance(node, ast.BinOp | ast.AugAssign)
                and isinstance(node.op, ast.Div)
                and not _joins_a_path(node)
                and not _guesses(name, node)
            ]
    assert not wrong, "\n".join(wrong)


def _guesses(name: str, node: ast.BinOp | ast.AugAssign) -> bool:
    """Tell a reciprocal in the fused loops: a first guess that an exact remainder puts right."""
    return name == "billing/rating/rules/fused.py" and ast.unparse(node).startswith("1.0 / ")


def _joins_a_path(node: ast.BinOp | ast.AugAssign) -> bool:
    text = ast.unparse(node)
    return "Path" in text or "parent" in text or "FOLDER" in text.upper() or "'" in text


def test_what_is_public_is_documented() -> None:
    wrong = []
    for name, tree, _ in modules():
        if not ast.get_docstring(tree):
            wrong.append(f"{name}: module")
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if not node.name.startswith("_") and not ast.get_docstring(node):
                wrong.append(f"{name}:{node.lineno} {node.name}")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_left_for_later() -> None:
    wrong = []
    for name, tree, text in modules():
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                wrong.append(f"{name}:{number} {line.strip()}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == "NotImplementedError":
                wrong.append(f"{name}:{node.lineno} NotImplementedError")
    assert not wrong, "\n".join(wrong)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:  # an unpacked archive: no list, so everything of ours
        return [file for root in CODE for file in (ROOT / root).rglob("*") if file.is_file()]
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_file_names_a_machine() -> None:
    """A path of one developer's disk, or an address that is no example, has no place here."""
    pattern = re.compile(r"(/root/|/Users/|\b10\.\d+\.\d+\.\d+|\b192\.168\.)")
    wrong = []
    for file in tracked():
        if file.suffix in {".lock", ".png", ".woff2", ".parquet", ".js"} or file == Path(__file__):
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [
            f"{file.relative_to(ROOT)}:{number}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    assert not wrong, "\n".join(wrong)


def test_every_package_says_that_it_is_typed() -> None:
    assert [root for root in CODE if not (ROOT / root / "py.typed").is_file()] == []
