"""Reads docs/requirements.toml and the markers on tests; `--write` makes docs/requirements.md."""

import ast
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "docs" / "requirements.toml"
TABLE = ROOT / "docs" / "requirements.md"
STATES = ("working", "partial", "not yet")

_HEAD = """\
# Requirements

What the product must do, by id, restated in short; where it is done and which tests show it.
**working**: done, and shown by the tests named. **partial**: some of it. **not yet**: nothing.
Written by `make requirements` from `docs/requirements.toml` and from the markers on the tests.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One row of the trace."""

    id: str
    domain: str
    text: str
    state: str
    place: str


def requirements() -> list[Requirement]:
    """Return every row in order. Raises ValueError on a state that is none."""
    found = []
    for letter, domain in tomllib.loads(SOURCE.read_text(encoding="utf-8")).items():
        for id_, row in domain.items():
            if id_ == "title":
                continue
            text, state, place = row
            if state not in STATES or not id_.startswith(letter):
                raise ValueError(f"{id_}: {state!r} is none of {', '.join(STATES)}")
            found.append(
                Requirement(id=id_, domain=domain["title"], text=text, state=state, place=place)
            )
    return found


def marked() -> dict[str, list[str]]:
    """Return per id the test files that carry `pytest.mark.req` with it, read without running."""
    files: dict[str, set[str]] = defaultdict(set)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.req":
                for argument in node.args:
                    if isinstance(argument, ast.Constant):
                        files[str(argument.value)].add(str(file.relative_to(ROOT)))
    return {id_: sorted(found) for id_, found in files.items()}


def table() -> str:
    """Return the text of docs/requirements.md."""
    rows, tests = requirements(), marked()
    counts = {state: sum(row.state == state for row in rows) for state in STATES}
    lines = [_HEAD + ", ".join(f"{count} {state}" for state, count in counts.items())]
    lines[0] += f"; {len(rows)} in all.\n"
    domain = ""
    for row in rows:
        if row.domain != domain:
            domain = row.domain
            lines += [f"\n## {row.id[0]}. {domain}\n", "| id | what | state | place | tests |",
                      "|---|---|---|---|---|"]  # fmt: skip
        shown = ", ".join(f"`{name.removeprefix('tests/')}`" for name in tests.get(row.id, ()))
        place = ", ".join(f"`{part}`" for part in row.place.split(", ")) if row.place else ""
        lines.append(f"| {row.id} | {row.text} | {row.state} | {place} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        TABLE.write_text(table(), encoding="utf-8")
    else:
        sys.stdout.write(table())
