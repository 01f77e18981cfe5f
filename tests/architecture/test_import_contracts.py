"""The drawn house is the built house: import-linter's contracts of pyproject.toml hold."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_import_contract_holds() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-1000:]
    assert " 0 broken" in result.stdout


def test_every_context_has_only_the_five_names() -> None:
    wrong = []
    for container in ("cloud", "billing"):
        for context in sorted((ROOT / container).iterdir()):
            if not context.is_dir() or context.name in {"store", "__pycache__"}:
                continue
            # a runner is a second way to run the service beside the agent, such as a Kafka worker
            allowed = {"__init__", "model", "rules", "store", "service", "agent", "runner"}
            folders = {
                "agent",
                "runner",
                "model",
                "rules",
                "store",
                "service",
                "sql",
                "templates",
                "published",
                "__pycache__",
            }
            for entry in context.iterdir():
                name = entry.name if entry.is_dir() else entry.stem
                known = folders if entry.is_dir() else allowed
                if name not in known and entry.suffix in {"", ".py"}:
                    wrong.append(str(entry.relative_to(ROOT)))
    assert not wrong, f"a context has model, rules, store, sql, service, agent: {wrong}"
