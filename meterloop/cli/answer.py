"""How verbs answer: one JSON object or plain lines on standard output, errors with a fix line."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from cloud.store.db import TransientDatabaseError
from cloud.store.migrate import MigrationError
from edge.probe.causes import cause_of
from meterloop.config import ConfigError, Installation, default_data_folder, load_installation
from meterloop.embedded.spawn import EmbeddedError
from meterloop.supervisor import ChildFailedError
from protocols.errors import PeerError, RefusedError

JsonFlag = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Installation file (TOML). Default: the demo's, if it has run."),
]

FAILED, UNUSABLE = 1, 2


def installation_from(config: Path | None) -> Installation:
    """Return the named installation, or the demo's. Raises ConfigError."""
    return load_installation(config or default_data_folder() / "installation.toml")


def who_types() -> str:
    """Return the actor of what is done here: the account of this system, also behind sudo."""
    return f"user:{os.environ.get('SUDO_USER') or os.environ.get('USER') or 'operator'}"


def say(answer: Mapping[str, Any], *, as_json: bool, text: str = "") -> None:
    """Print `answer` as JSON, else `text`, else one `key: value` line per entry."""
    if as_json:
        line = json.dumps({"ok": True, **answer}, default=str, ensure_ascii=False)
    else:
        line = text or "\n".join(f"{key}: {value}" for key, value in answer.items())
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def failures_told(*, as_json: bool) -> Iterator[None]:
    """Turn each expected failure into a sentence and an exit code; a bug keeps its trace."""
    try:
        yield
    except ConfigError as error:
        _fail("config.unusable", str(error), "", as_json=as_json, code=UNUSABLE)
    except EmbeddedError as error:
        _fail(error.code, error.message, error.fix, as_json=as_json)
    except RefusedError as error:
        _fail(error.refusal.value, error.message, error.fix, as_json=as_json)
    except PeerError as error:
        cause = cause_of(error)
        told = error.message if error.message == cause.words else f"{error.message}: {cause.words}"
        _fail(error.code, told, cause.fix, as_json=as_json)
    except ChildFailedError as error:
        _fail("child.failed", str(error), f"read {error.log}", as_json=as_json)
    except MigrationError as error:
        _fail("migration.unfit", str(error), "", as_json=as_json)
    except TransientDatabaseError as error:
        fix = "start the installation (meterloop up), or check database.dsn"
        _fail("database.away", str(error).strip(), fix, as_json=as_json)


def _fail(name: str, message: str, fix: str, *, as_json: bool, code: int = FAILED) -> NoReturn:
    if as_json:
        error = {"code": name, "message": message, "fix": fix}
        sys.stdout.write(json.dumps({"ok": False, "error": error}, ensure_ascii=False) + "\n")
    else:
        sys.stderr.write(f"meterloop: {message}\n" + (f"  fix: {fix}\n" if fix else ""))
    raise typer.Exit(code)
