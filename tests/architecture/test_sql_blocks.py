"""Every named SQL block: it fits the migrated schema, says rows and locks, and is used."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg

from cloud.store.sql import Queries

ROOT = Path(__file__).parents[2]
CODE = ("billing", "cloud", "edge", "meterloop", "portal")
_PARAMETER = re.compile(r"%\(([a-z0-9_]+)\)s")
_FOLDERS = sorted(
    folder
    for root in CODE
    for folder in (ROOT / root).rglob("sql")
    if folder.is_dir() and any(folder.glob("*.sql"))
)


def every_block() -> Iterator[tuple[str, str, str]]:
    for folder in _FOLDERS:
        for name, text in Queries(folder).items():
            yield str(folder.relative_to(ROOT)), name, text


BLOCKS = list(every_block())


def with_numbered_parameters(text: str) -> str:
    """Return the statement as the server's own parser takes it: %(name)s becomes $n."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    plain = _PARAMETER.sub(number, text).replace("%%", "%").strip().rstrip(";")
    return _without_copy(plain)


def _without_copy(text: str) -> str:
    """Return what a COPY reads or writes as a SELECT, for the server explains no COPY itself."""
    into = re.search(r"^COPY (\S+) \(([^)]+)\) FROM STDIN", text, re.MULTILINE)
    if into:
        return f"SELECT {into[2]} FROM {into[1]}"
    out = re.search(r"^COPY \((.+)\)\s+TO STDOUT", text, re.MULTILINE | re.DOTALL)
    return out[1] if out else text


def test_there_are_blocks_to_look_at() -> None:
    assert len(BLOCKS) > 100


def test_every_block_fits_the_migrated_schema(database_dsn: str) -> None:
    wrong = []
    with psycopg.connect(database_dsn, autocommit=True) as conn:
        for folder, name, text in BLOCKS:
            try:
                conn.execute(f"EXPLAIN (GENERIC_PLAN) {with_numbered_parameters(text)}")
                if "\nCREATE TEMPORARY TABLE " in text:  # later blocks ask what it makes
                    conn.execute(text.replace(" ON COMMIT DROP", ""))
            except psycopg.Error as error:
                wrong.append(f"{folder}:{name}: {str(error).splitlines()[0]}")
    assert not wrong, "\n".join(wrong)


def test_every_block_says_its_rows_and_locks_and_is_one_statement() -> None:
    wrong = []
    for folder, name, text in BLOCKS:
        lines = text.strip().splitlines()
        body = "\n".join(line.partition("--")[0] for line in lines).strip()
        if not lines[0].startswith("-- ") or ";" in body.rstrip(";"):
            wrong.append(f"{folder}:{name}")
    assert not wrong, f"the line under the name must be a comment, then one statement: {wrong}"


def test_no_block_is_dead() -> None:
    dead = []
    for folder in _FOLDERS:
        context = folder.parent
        code = "\n".join(file.read_text(encoding="utf-8") for file in context.rglob("*.py"))
        for name in Queries(folder):
            # the audit and the reports run every block of their folders by listing them
            if f'"{name}"' not in code and not _listed(folder):
                dead.append(f"{folder.relative_to(ROOT)}:{name}")
    assert not dead, f"no code names these blocks: {dead}"


def _listed(folder: Path) -> bool:
    return folder.parent.name == "audit"


def test_queries_and_parameters_never_mix_by_formatting() -> None:
    wrong = []
    for root in CODE:
        for file in (ROOT / root).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            if re.search(r"execute\(\s*f[\"']", text):
                wrong.append(str(file.relative_to(ROOT)))
    assert not wrong, f"statements put together by formatting: {wrong}"
