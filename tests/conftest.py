"""What every test may ask for: a real PostgreSQL, a fresh migrated database, a real broker."""

import gc
import os
import secrets
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from _pytest.terminal import TerminalReporter
from hypothesis import settings

from cloud.store.db import Database
from cloud.store.migrate import migrate
from meterloop.embedded.broker import EmbeddedBroker, LocalBroker, free_port
from meterloop.embedded.postgres import EmbeddedPostgres
from protocols.mqtt.broker import BrokerAddress
from tests.integration.timescale_kit import a_cluster
from tests.sharing import FilesTogether, Places, turn_of

_MEMORY = Path("/dev/shm")
_ROOM_OCTETS = 6_000_000_000


def _has_room(folder: Path) -> bool:
    """Whether the tests' folders may lie there, programs among them."""
    if not folder.is_dir() or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False
    return shutil.disk_usage(folder).free > _ROOM_OCTETS


if _has_room(_MEMORY):
    # half the time of a meter's or an agent's test is its SQLite waiting for the disk, and a copy
    # of the migrated database takes a tenth of the time; no test cuts the power: what a killed
    # process had written is there in memory as on a disk
    os.environ.setdefault("TMPDIR", str(_MEMORY))
    tempfile.tempdir = None
# where Python may write no bytecode, every process that a test starts would compile the product
# anew: a third of the time it takes to be ready
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# how long an example takes says nothing on a busy machine
settings.register_profile("patient", parent=settings(), deadline=None)
settings.load_profile("patient")

_TEMPLATE = "migrated"
_WORKING = Path(__file__).parents[1] / "docs" / "requirements.toml"
_SHOWS = "shows"
_shown: set[str] = set()
"""Requirement ids of tests that passed in this run, or were skipped for want of a program."""
_places = Places()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell which requirements a passed test shows; a skipped one shows none where CI is set."""
    report = yield
    excused = report.skipped and not os.environ.get("CI")
    if (report.when == "call" and report.passed) or excused:
        shown = [str(id_) for marker in item.iter_markers("req") for id_ in marker.args]
        report.user_properties.append((_SHOWS, " ".join(shown)))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note them where the run ends, which may be another process than where the test ran."""
    for name, value in report.user_properties:
        if name == _SHOWS:
            _shown.update(str(value).split())
    process = getattr(report, "node", None)  # only where several processes share the suite
    if process is not None:
        _places.saw(report.nodeid.split("::", 1)[0], process.gateway.id)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether | None:
    """Where groups are asked for, give them out as they are meant."""
    return FilesTogether(config, log) if config.option.dist == "loadgroup" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: turn_of(item.location[0]))


def pytest_collection_finish() -> None:
    """Let no garbage collection go through all tests and modules again: they stay."""
    gc.collect()
    gc.freeze()


def _unshown(config: pytest.Config) -> list[str]:
    """Return the ids called working that no test of a full run has shown; none of a partial run."""
    chosen = config.option.keyword or config.option.markexpr or config.option.collectonly
    full = [str(path) for path in config.args] == [str(path) for path in config.getini("testpaths")]
    if chosen or not full or config.option.lf or not _WORKING.exists():
        return []
    if hasattr(config, "workerinput"):
        return []  # a worker sees its own tests only; whoever hears of all judges
    domains = tomllib.loads(_WORKING.read_text(encoding="utf-8")).values()
    rows = {id_: row for domain in domains for id_, row in domain.items() if id_ != "title"}
    return [id_ for id_, row in rows.items() if row[1] == "working" and id_ not in _shown]


def _torn(config: pytest.Config) -> list[str]:
    """Return the groups of tests that should have stayed in one process and did not."""
    return _places.torn if getattr(config.option, "dist", "no") == "loadgroup" else []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a full run that leaves a working requirement unshown, and one that tears a group."""
    config = session.config
    if session.exitstatus == pytest.ExitCode.OK and (_unshown(config) or _torn(config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Say which requirements a full run left unshown, and which groups ran in two processes."""
    if torn := _torn(config):
        terminalreporter.section("tests that should have run in one process")
        terminalreporter.line(" ".join(torn))
    unshown = _unshown(config)
    if unshown:
        terminalreporter.section("requirements called working without a passing test")
        terminalreporter.line(" ".join(unshown))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where readings of open days are kept while the tests run."""
    parser.addoption(
        "--readings-in", choices=("partitions", "hypertable"), default="partitions",
        help="plain PostgreSQL (default), or TimescaleDB of deploy/test-timescale.sh",
    )  # fmt: skip


@pytest.fixture(scope="session")
def hypertable(request: pytest.FixtureRequest) -> bool:
    """Whether this session keeps readings of open days in a hypertable."""
    return bool(request.config.getoption("--readings-in") == "hypertable")


@pytest.fixture(scope="session")
def postgres(hypertable: bool) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test session; not durable, for nothing outlives the session."""
    with tempfile.TemporaryDirectory(prefix="ml-pg-") as folder:
        with EmbeddedPostgres(a_cluster(Path(folder), hypertable=hypertable)) as server:
            yield server


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres, hypertable: bool) -> str:
    """The name of a database with every migration applied, to copy from."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_TEMPLATE}")
    migrate(postgres.cluster.dsn(database=_TEMPLATE), hypertable=hypertable)
    return _TEMPLATE


@pytest.fixture
def database_dsn(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The DSN of a database of this test alone, as owner; dropped afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY FILE_COPY"
        )
    yield postgres.cluster.dsn(database=name)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def db(database_dsn: str) -> Iterator[Database]:
    """A `Database` of this test alone, as owner."""
    with Database(database_dsn, application="test") as database:
        yield database


@pytest.fixture(scope="module")
def mqtt_broker() -> Iterator[BrokerAddress]:
    """The address of a real MQTT 5 broker of one module: what it retains is nobody else's."""
    with tempfile.TemporaryDirectory(prefix="ml-mqtt-") as folder:
        with EmbeddedBroker(LocalBroker(folder=Path(folder), port=free_port())) as broker:
            yield broker.address
