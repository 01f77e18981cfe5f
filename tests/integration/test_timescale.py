"""Readings of open days in a hypertable of a real TimescaleDB: migrated, written, dropped."""

import json
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from cloud.ingest import service as ingest
from cloud.store.db import Database
from meterloop.cli import app
from meterloop.cli.keeper import in_words
from meterloop.config import Installation
from meterloop.embedded.postgres import Cluster, EmbeddedPostgres, find_binaries
from meterloop.embedded.unprivileged import usr_of
from meterloop.stack import cluster_of
from tests.integration.ingest_kit import (
    M1,
    ORIGIN,
    READINGS,
    a_batch,
    build_network,
    registers,
    send,
    slots,
    tables,
)
from tests.integration.timescale_kit import a_cluster, timescale_binaries

HOUR = timedelta(hours=1)
CHUNKS = "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'reading'"


@pytest.fixture(scope="module")
def timescale(
    postgres: EmbeddedPostgres, hypertable: bool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedPostgres]:
    """The server of this session where it is one, else one of these tests."""
    if hypertable:
        yield postgres
        return
    with EmbeddedPostgres(a_cluster(tmp_path_factory.mktemp("ts"), hypertable=True)) as server:
        yield server


@pytest.fixture
def empty_dsn(timescale: EmbeddedPostgres) -> Iterator[str]:
    """A database without tables on a server that has loaded TimescaleDB."""
    name = f"empty_{secrets.token_hex(6)}"
    with psycopg.connect(timescale.dsn, autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE {name}")
    yield timescale.cluster.dsn(database=name)
    with psycopg.connect(timescale.dsn, autocommit=True) as owner:
        owner.execute(f"DROP DATABASE {name} WITH (FORCE)")


def migrated(folder: Path, dsn: str, *, hypertable: bool) -> dict[str, Any]:
    """Run `meterloop migrate`, as JSON and in words, and return what it says of readings."""
    config = folder / "installation.toml"
    section = f'[database]\ndsn = "{dsn}"\nhypertable = {str(hypertable).lower()}\n'
    config.write_text(f'data = "{folder}"\n{section}')
    first = CliRunner().invoke(app, ["migrate", "--config", str(config), "--json"])
    assert first.exit_code == 0, first.output
    readings: dict[str, Any] = json.loads(first.stdout)["readings"]
    again = CliRunner().invoke(app, ["migrate", "--config", str(config)])
    assert again.stdout == f"nothing to apply\n{in_words(readings)}\n"
    return readings


def test_a_hypertable_takes_rows_and_a_closed_day_leaves_no_chunk(
    empty_dsn: str, tmp_path: Path
) -> None:
    told = migrated(tmp_path, empty_dsn, hypertable=True)
    assert (told["kept_by"], told["edition"], told["fix"]) == ("timescaledb", "apache", "")
    assert told["timescaledb"].startswith("2.")
    assert told["means"].startswith("a day of rows is a chunk; continuous aggregates")
    with Database(empty_dsn) as db:
        build_network(db)
        for days in range(2):
            ingest.open_days_ahead(db, now=ORIGIN + 24 * days * HOUR, ahead=0)
        rows = [*registers(M1, {1: 100, 2: 200, 25: 500}), *slots(M1, {2: 5, 3: 6, 50: 7})]
        with Database(empty_dsn, user="meterloop_ingest") as worker:
            assert send(worker, a_batch(1, rows)).account.stored == 6
            before = tables(db, *READINGS)
            assert tables(db, CHUNKS) == [[(2,)]]
            closed = ingest.close_past_days(worker, now=ORIGIN + 30 * HOUR, keep=timedelta(0))
        assert closed == {ORIGIN.date(): 4}
        assert tables(db, CHUNKS) == [[(1,)]]
        assert tables(db, *READINGS) == before
        for act in ("UPDATE ingest.reading SET wh = 1", "DELETE FROM ingest.reading",
                    "TRUNCATE ingest.reading"):  # fmt: skip
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation), db.transaction() as c:
                c.execute(act)
        with pytest.raises(psycopg.errors.UniqueViolation), db.transaction() as conn:
            conn.execute("INSERT INTO ingest.reading SELECT * FROM ingest.reading LIMIT 1")


def test_nobody_gets_a_hypertable_unasked(empty_dsn: str, tmp_path: Path) -> None:
    told = migrated(tmp_path, empty_dsn, hypertable=False)
    assert (told["kept_by"], told["loaded"], told["installed"]) == ("partitions", True, False)
    assert "is loaded and not used" in in_words(told)
    late = migrated(tmp_path, empty_dsn, hypertable=True)
    assert late["kept_by"] == "partitions"
    assert "a new database" in late["fix"]


def test_migrate_says_what_is_missing_for_a_hypertable(tmp_path: Path) -> None:
    with EmbeddedPostgres(Cluster(folder=tmp_path / "plain", durable=False)) as server:
        told = migrated(tmp_path, server.dsn, hypertable=True)
    assert (told["kept_by"], told["loaded"]) == ("partitions", False)
    assert "install TimescaleDB" in told["fix"]


def test_an_owner_who_is_no_superuser_is_told_too(timescale: EmbeddedPostgres) -> None:
    with psycopg.connect(timescale.dsn) as conn:
        conn.execute("CREATE ROLE plain_owner; SET ROLE plain_owner")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            conn.execute("SELECT current_setting('shared_preload_libraries')")
        row = conn.execute("SELECT current_setting('timescaledb.disable_load', true)").fetchone()
        assert row is not None
        assert row[0] is not None
        conn.rollback()


def test_binaries_of_another_system_are_known_by_their_folder(tmp_path: Path) -> None:
    bin_ = tmp_path / "other" / "usr" / "lib" / "postgresql" / "17" / "bin"
    assert usr_of(bin_) is None
    (tmp_path / "other" / "etc").mkdir(parents=True)
    (tmp_path / "other" / "etc" / "os-release").touch()
    assert usr_of(bin_) == tmp_path / "other" / "usr"
    assert usr_of(Path("/usr/lib/postgresql/17/bin")) is None
    assert usr_of(find_binaries()) is None


def test_the_key_of_the_installation_loads_the_library(
    timescale: EmbeddedPostgres, tmp_path: Path
) -> None:
    section = {"binaries": str(timescale_binaries()), "hypertable": True, "durable": False}
    installation = Installation.model_validate({"data": tmp_path, "database": section})
    with EmbeddedPostgres(cluster_of(installation)) as server, psycopg.connect(server.dsn) as conn:
        row = conn.execute("SHOW shared_preload_libraries").fetchone()
        assert row == ("timescaledb",)
        assert server.cluster.postmaster() == server.pid
