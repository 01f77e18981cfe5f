"""The list of verbs: true to the verbs, and quick, for it imports none of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from meterloop.cli import app
from meterloop.cli.verbs import VERBS, loaded

ROOT = Path(__file__).parents[3]
ASK = """
import json, sys
from typer.testing import CliRunner
from meterloop.cli import app
answer = CliRunner().invoke(app, sys.argv[1:])
print(json.dumps([answer.exit_code, answer.output, sorted(sys.modules)]))
"""
HOUSE = {"billing", "cloud", "edge", "meterloop", "portal", "protocols", "simulators"}
HEAVY = {"numpy", "pyarrow", "psycopg", "cryptography"}


def asked(*words: str) -> tuple[int, str, set[str]]:
    """Ask in a process of its own: exit code, output, modules that were imported for it."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, *words],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    code, output, modules = json.loads(done.stdout)
    return code, output, set(modules)


@pytest.mark.parametrize("module", sorted({verb.module for verb in VERBS.values()}))
def test_the_list_names_what_each_module_registers_and_says_what_it_says(module: str) -> None:
    commands = loaded(module)
    assert set(commands) == {name for name, verb in VERBS.items() if verb.module == module}
    for name, command in commands.items():
        assert (command.help or "").split("\n\n")[0].replace("\n", " ") == VERBS[name].words


def test_a_verb_is_the_same_by_whatever_way_it_is_asked_for() -> None:
    group = typer.main.get_command(app)
    context = typer.Context(group)
    assert group.list_commands(context) == list(VERBS)  # type: ignore[attr-defined]
    up = group.get_command(context, "up")  # type: ignore[attr-defined]
    assert {"--config", "--json"} <= {option for one in up.params for option in one.opts}
    assert group.get_command(context, "down") is None  # type: ignore[attr-defined]


def test_help_and_a_mistyped_verb_import_no_verb() -> None:
    for words, code, said in ((["--help"], 0, "upkeep"), (["tarif"], 2, "Did you mean 'tariff'?")):
        ended, output, modules = asked(*words)
        assert ended == code, output
        assert said in output
        ours = {name for name in modules if name.split(".")[0] in HOUSE}
        assert ours == {"meterloop", "meterloop.cli", "meterloop.cli.verbs"}
        assert modules & HEAVY == set()


def test_one_verb_imports_no_part_of_the_house_that_it_does_not_need() -> None:
    ended, output, modules = asked("dlms", "decode", "--help")
    assert ended == 0, output
    assert not {name for name in modules if name.startswith(("billing", "portal", "numpy"))}
