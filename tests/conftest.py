"""What every test may ask for: a real PostgreSQL, a fresh migrated database, a real broker."""

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cloud.store.db import Database
from cloud.store.migrate import migrate
from meterloop.embedded.broker import EmbeddedBroker, LocalBroker, free_port
from meterloop.embedded.postgres import Cluster, EmbeddedPostgres
from protocols.mqtt.broker import BrokerAddress

_TEMPLATE = "migrated"


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test session; not durable, for nothing outlives the session."""
    with tempfile.TemporaryDirectory(prefix="ml-pg-") as folder:
        cluster = Cluster(folder=Path(folder), durable=False)
        with EmbeddedPostgres(cluster) as server:
            yield server


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database with every migration applied, to copy from."""
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_TEMPLATE}")
    migrate(postgres.cluster.dsn(database=_TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def database_dsn(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """The DSN of a database of this test alone, as owner; dropped afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield postgres.cluster.dsn(database=name)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def db(database_dsn: str) -> Iterator[Database]:
    """A `Database` of this test alone, as owner."""
    with Database(database_dsn, application="test") as database:
        yield database


@pytest.fixture(scope="session")
def mqtt_broker() -> Iterator[BrokerAddress]:
    """The address of a real MQTT 5 broker of this test session."""
    with tempfile.TemporaryDirectory(prefix="ml-mqtt-") as folder:
        with EmbeddedBroker(LocalBroker(folder=Path(folder), port=free_port())) as broker:
            yield broker.address
