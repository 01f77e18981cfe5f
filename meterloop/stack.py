"""
A running installation: embedded servers where none are named, migrations, then every process.

    lock the folder -> PostgreSQL -> migrations -> broker -> [simulator] -> edges and services

Used by `up`, by the demo and by the tests of the whole.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.store.migrate import migrate
from meterloop.config import (
    DISTRIBUTED,
    ConcentratorSection,
    ConfigError,
    Installation,
    write_private,
)
from meterloop.embedded.broker import HOST, LocalBroker, free_port
from meterloop.embedded.postgres import Cluster, find_binaries
from meterloop.embedded.spawn import FolderLock, tethered
from meterloop.runners import accepted_keys, config_of
from meterloop.supervisor import Child, ChildStatus, Supervisor
from protocols.mqtt.broker import BrokerAddress

_LOG = logging.getLogger(__name__)


def signer_public_key(key_file: Path) -> str:
    """
    Return the public half, as hex, of the key that signs every command; make the key when new.

    Raises: ConfigError when the file is not 32 octets of hex, or open to other users.
    """
    if not key_file.exists():
        write_private(key_file, Ed25519PrivateKey.generate().private_bytes_raw().hex() + "\n")
    if key_file.stat().st_mode & 0o077:
        raise ConfigError(
            "installation", [f"signer_key_file {key_file}: others may read it; chmod 600 it"]
        )
    try:
        private = Ed25519PrivateKey.from_private_bytes(
            bytes.fromhex(key_file.read_text(encoding="ascii").strip())
        )
    except ValueError:
        fault = f"signer_key_file {key_file}: must be 64 hex digits, an Ed25519 private key"
        raise ConfigError("installation", [fault]) from None
    return private.public_key().public_bytes_raw().hex()


def cluster_of(installation: Installation) -> Cluster:
    """Return the embedded PostgreSQL of an installation that names no server."""
    return Cluster(
        folder=installation.data / "postgres",
        binaries=find_binaries(installation.database.binaries),
        durable=installation.database.durable,
        preload=("timescaledb",) if installation.database.hypertable else (),
    )


def address_of_database(installation: Installation) -> str:
    """Return the DSN, of the outer server if one is named, else of the embedded one."""
    return installation.database.address() or cluster_of(installation).dsn()


def broker_of(installation: Installation) -> BrokerAddress:
    """
    Return the broker for a process started by hand.

    Raises: ConfigError when the file leaves the port of its embedded broker to chance.
    """
    section = installation.broker
    if not section.host and not section.port:
        fault = "broker.port: must be given when a process is started by itself"
        raise ConfigError("installation", [fault])
    return BrokerAddress(**section.model_dump() | {"host": section.host or HOST})


def kafka_servers_of(installation: Installation) -> str:
    """
    Return the Kafka servers for a process started by hand.

    Raises: ConfigError when the file leaves the port of its embedded Kafka to chance.
    """
    section = installation.kafka
    if not section.servers and not section.port:
        fault = "kafka.servers: must be given when a process is started by itself"
        raise ConfigError("installation", [fault])
    return section.servers or f"{HOST}:{section.port}"


def settings_of(
    installation: Installation,
    kind: str,
    *,
    dsn: str,
    broker: BrokerAddress,
    kafka_servers: str = "",
) -> dict[str, Any]:
    """
    Return the settings of one service as JSON values: what is common, then the file's own table.

    Raises: ConfigError when the table holds a key or value that the service does not take.
    """
    common = {
        "dsn": dsn,
        "broker": asdict(broker),
        "kafka": installation.kafka.address(kafka_servers),
        "scale": installation.time.scale,
        "signer_key_file": str(installation.key_file),
    }
    known = accepted_keys(kind)
    settings = {name: value for name, value in common.items() if name in known}
    settings |= getattr(installation, kind) or {}
    config_of(kind, settings, source="installation")
    return settings


def edge_settings(
    installation: Installation, section: ConcentratorSection, *, broker: BrokerAddress
) -> dict[str, Any]:
    """
    Return the configuration of one edge agent as JSON values.

    Raises: ConfigError when its meters file is missing or holds a meter that cannot be.
    """
    file = Path(section.meters_file)
    try:
        meters = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fault = f"concentrator {section.id}: meters_file {file} cannot be read ({error})"
        raise ConfigError("installation", [fault]) from error
    settings = {
        "concentrator": section.id,
        "broker": asdict(broker),
        "time_scale": installation.time.scale,
        "outbox": str(installation.data / "edge" / f"{section.id}.sqlite"),
        "keys_file": section.keys_file,
        "control_public_key": signer_public_key(installation.key_file),
        "poll_seconds": section.poll_seconds,
        "profile_seconds": section.profile_seconds,
        "concurrency": section.concurrency,
        "meters": meters,
        **section.settings,
    }
    config_of("edge", settings, source=str(file))
    return settings


def _environment() -> dict[str, str]:
    """Return what children need: this very tree, and one thread each, for there are many."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    # few arenas: a small concentrator has little memory, and glibc gives each thread one of its own
    memory = {"MALLOC_ARENA_MAX": "2"}
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"} | threads | memory


class Stack:
    """The processes of one installation, from `async with` to its end."""

    def __init__(self, installation: Installation) -> None:
        """Nothing starts yet."""
        self.installation = installation
        self.supervisor = Supervisor(installation.data)
        self.dsn = ""
        self.broker = BrokerAddress(host="", port=0)
        self.kafka_servers = ""
        self.migrations: list[str] = []
        self._lock = FolderLock(installation.data / "run" / "lock")

    async def __aenter__(self) -> Self:
        """
        Take the folder, start PostgreSQL, migrate, start the broker.

        Raises: EmbeddedError, ConfigError, ChildFailedError, MigrationError.
        """
        self.installation.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        await asyncio.to_thread(self._lock.acquire)
        self.supervisor.keeps_open = (self._lock.fileno,)
        try:
            signer_public_key(self.installation.key_file)
            await self.supervisor.__aenter__()
            await asyncio.gather(self._start_database(), self._start_broker(), self._start_kafka())
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every process, then give the folder back."""
        await self._end()

    async def _end(self) -> None:
        await self.supervisor.end()
        self._lock.release()

    async def _start_database(self) -> None:
        outer = self.installation.database.address()
        if outer:
            self.dsn = outer
        else:
            cluster = await asyncio.to_thread(cluster_of, self.installation)
            self.dsn = cluster.dsn()
            await self.supervisor.add(
                Child(
                    name="postgres",
                    command=cluster.command,
                    prepare=cluster.prepare,
                    probe=cluster.is_ready,
                    end_signal=signal.SIGINT,
                )
            )
        self.migrations = await asyncio.to_thread(
            migrate, self.dsn, hypertable=self.installation.database.hypertable
        )

    async def _start_broker(self) -> None:
        section = self.installation.broker
        if section.host:
            self.broker = BrokerAddress(**section.model_dump())
            return
        local = LocalBroker(
            folder=self.installation.data / "broker", port=section.port or free_port()
        )
        self.broker = local.address
        await self.supervisor.add(
            Child(
                name=local.kind, command=local.command, prepare=local.prepare, probe=local.is_ready
            )
        )

    async def _start_kafka(self) -> None:
        section = self.installation.kafka
        if not set(self.installation.services) & set(DISTRIBUTED):
            return
        self.kafka_servers = section.servers
        if section.servers:
            return
        from meterloop.embedded.kafka import LocalKafka

        local = LocalKafka(
            folder=self.installation.data / "kafka",
            port=section.port or free_port(),
            controller_port=free_port(),
        )
        self.kafka_servers = local.servers
        await self.supervisor.add(
            Child(
                name="kafka", command=local.command, prepare=local.prepare, probe=local.is_ready,
                deadline=120.0,
            )
        )  # fmt: skip

    async def start_simulator(self) -> ChildStatus:
        """Start the simulated fleet and return its row, whose `told` holds its addresses."""
        settings = dict(self.installation.simulator or {})
        if "scale" in accepted_keys("simulator"):
            settings.setdefault("scale", self.installation.time.scale)
        config_of("simulator", settings, source="installation")
        await self.supervisor.add(self._child("simulator", "simulator", settings))
        return self.supervisor.row("simulator")

    async def start_services(self) -> None:
        """Start the services of the cloud, billing and portal, all at once."""
        children = []
        for kind in self.installation.services:
            settings = self._service_settings(kind)
            names = [kind]
            if kind == "worker":
                count = self.installation.kafka.workers
                names = [f"worker-{number}" for number in range(1, count + 1)]
            children += [self._child(name, kind, settings) for name in names]
        await self.supervisor.add(*children)

    async def start_edges(self) -> None:
        """Start one agent for each concentrator, all at once."""
        children = []
        for section in self.installation.concentrator:
            settings = edge_settings(self.installation, section, broker=self.broker)
            children.append(self._child(f"edge-{section.id}", "edge", settings))
        (self.installation.data / "edge").mkdir(exist_ok=True, mode=0o700)
        await self.supervisor.add(*children)

    def _service_settings(self, kind: str) -> dict[str, Any]:
        settings = settings_of(
            self.installation, kind, dsn=self.dsn, broker=self.broker,
            kafka_servers=self.kafka_servers,
        )  # fmt: skip
        if kind == "portal" and not settings.get("port"):
            settings["port"] = free_port()
        return settings

    @property
    def portal_url(self) -> str:
        """Return the address of the portal once it runs. Raises KeyError before."""
        told = self.supervisor.row("portal").told
        return f"http://localhost:{told['port']}"

    def _child(self, name: str, kind: str, settings: Mapping[str, Any]) -> Child:
        file = self.installation.data / "run" / f"{name}.json"
        write_private(file, json.dumps(settings, indent=1))
        command = [sys.executable, "-m", "meterloop.runners", kind, str(file), name]
        return Child(name=name, command=lambda: tethered(command), environment=_environment())
