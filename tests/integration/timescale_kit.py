"""A cluster of plain PostgreSQL, or of the TimescaleDB that deploy/test-timescale.sh makes."""

from pathlib import Path

import pytest

from meterloop.embedded.kafka import cache_folder
from meterloop.embedded.postgres import Cluster
from meterloop.embedded.spawn import EmbeddedError


def timescale_binaries() -> Path:
    """Where the script keeps the programs of PostgreSQL 17 with TimescaleDB; maybe not there."""
    return cache_folder() / "timescale-pg17" / "usr" / "lib" / "postgresql" / "17" / "bin"


def a_cluster(folder: Path, *, hypertable: bool) -> Cluster:
    """A cluster for tests; skips the test that wants TimescaleDB where it cannot run."""
    if not hypertable:
        return Cluster(folder=folder, durable=False)
    binaries = timescale_binaries()
    if not (binaries / "postgres").exists():
        pytest.skip("no TimescaleDB here; make test-timescale says why")
    try:
        return Cluster(
            folder=folder, durable=False, binaries=binaries, preload=("timescaledb",)
        )  # fmt: skip
    except EmbeddedError as error:
        pytest.skip(f"TimescaleDB cannot run here: {error}")
