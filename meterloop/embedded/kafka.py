"""
An embedded Apache Kafka on loopback: one node, broker and controller, from its server jars.

The jars come from Maven's repositories by their coordinates, once, into the user's cache. Java 17
and `mvn` must be installed. The log is disposable: readings move by receipt, so a Kafka that
forgets everything loses nothing.
"""

import base64
import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cloud.ingest.runner.settings import MAX_RECORD_BYTES
from meterloop.embedded.broker import HOST
from meterloop.embedded.spawn import EmbeddedError, tethered

VERSION = "3.9.1"
_DEPENDENCIES = (
    ("org.apache.kafka", "kafka_2.13", VERSION),
    ("org.slf4j", "slf4j-simple", "1.7.36"),
)
_START_DEADLINE = 60.0
_FETCH_DEADLINE = 540.0

_SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/log
auto.create.topics.enable=false
message.max.bytes={record}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.retention.hours=24
"""


def cache_folder() -> Path:
    """Return where the jars are kept between runs: METERLOOP_CACHE, else the user's cache."""
    if chosen := os.environ.get("METERLOOP_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "meterloop"


def jars() -> Path:
    """
    Return the folder of Kafka's jars; fetch them with Maven when this user has none yet.

    Raises: EmbeddedError `kafka.no_java`, `kafka.no_maven`, `kafka.not_fetched`.
    """
    if shutil.which("java") is None:
        raise EmbeddedError(
            "kafka.no_java", "Apache Kafka needs Java 17.", fix="install openjdk-17-jre-headless"
        )
    kept = cache_folder() / f"kafka-{VERSION}"
    if kept.is_dir():
        return kept
    mvn = shutil.which("mvn")
    if mvn is None:
        raise EmbeddedError(
            "kafka.no_maven", "Kafka's jars are fetched by Maven.", fix="install maven"
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    with _alone(kept.with_suffix(".lock")):
        if not kept.is_dir():
            _fetch(mvn, kept)
    return kept


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Let one process at a time fetch; the others then find what it fetched."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(mvn: str, kept: Path) -> None:
    """Let Maven, which checks every sum, copy the jars; the folder appears whole or not at all."""
    wanted = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>"
        f"<version>{version}</version></dependency>"
        for group, name, version in _DEPENDENCIES
    )
    project = (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>meterloop</groupId><artifactId>kafka</artifactId><version>1</version>"
        f"<packaging>pom</packaging><dependencies>{wanted}</dependencies></project>"
    )
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        (Path(scratch) / "pom.xml").write_text(project, encoding="utf-8")
        done = subprocess.run(
            [mvn, "-q", "-B", "--strict-checksums", "dependency:copy-dependencies",
             "-DincludeScope=runtime", f"-DoutputDirectory={scratch}/jars"],
            cwd=scratch, capture_output=True, text=True, check=False, timeout=_FETCH_DEADLINE,
        )  # fmt: skip
        if done.returncode:
            raise EmbeddedError(
                "kafka.not_fetched",
                f"Maven could not fetch Apache Kafka {VERSION}: {done.stdout.strip()[-400:]}",
                fix="let Maven reach a repository once; the jars are then kept",
            )
        (Path(scratch) / "jars").rename(kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalKafka:
    """A Kafka node on 127.0.0.1 with its files in `folder`; two ports of its own."""

    folder: Path
    port: int
    controller_port: int
    heap: str = "512m"

    @property
    def servers(self) -> str:
        """Return what clients connect to."""
        return f"{HOST}:{self.port}"

    def prepare(self) -> None:
        """
        Write the settings, and format the storage where it holds nothing yet.

        A fresh storage gets a fresh cluster id: readers see by it that the log begins anew.
        Raises: EmbeddedError.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = _SETTINGS.format(
            host=HOST,
            port=self.port,
            controller=self.controller_port,
            folder=self.folder.absolute(),
            record=MAX_RECORD_BYTES,
        )
        self._settings.write_text(settings, encoding="utf-8")
        if (self.folder / "log" / "meta.properties").exists():
            return
        # 16 octets, as Kafka wants; a first letter, for a dash would look like an option
        octets = b"m" + secrets.token_bytes(15)
        cluster = base64.urlsafe_b64encode(octets).decode().rstrip("=")
        tool = [*self._java("kafka.tools.StorageTool"), "format", "-t", cluster, "-c"]
        done = subprocess.run(
            [*tool, str(self._settings)], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise EmbeddedError(
                "kafka.not_formatted",
                f"Kafka could not format its storage: {(done.stdout + done.stderr)[-400:]}",
                fix=f"look into {self.folder}",
            )

    def wipe(self) -> None:
        """Forget every record, topic and offset, as a lost disk would; the node must be down."""
        shutil.rmtree(self.folder / "log", ignore_errors=True)

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, main: str) -> list[str]:
        # the serial collector and the first compiler: a small node starts in a second
        return [
            "java", f"-Xmx{self.heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars()}/*", main,
        ]  # fmt: skip

    def command(self) -> list[str]:
        """Return the command line that serves in the foreground and ends with this process."""
        return tethered([*self._java("kafka.Kafka"), str(self._settings)])

    def is_ready(self) -> bool:
        """Tell whether the node accepts connections."""
        try:
            with socket.create_connection((HOST, self.port), timeout=0.5):
                return True
        except OSError:
            return False


class EmbeddedKafka:
    """A node served by a child of this process, for tests, benchmarks and single commands."""

    def __init__(self, node: LocalKafka) -> None:
        """Serve `node` from `start` to `stop`."""
        self.node = node
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> str:
        """Return what clients connect to."""
        return self.node.servers

    def start(self) -> None:
        """Serve, and return once connections are accepted. Raises EmbeddedError if they are not."""
        self.node.prepare()
        log = self.node.folder / "kafka.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.node.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + _START_DEADLINE
        while not self.node.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(
                    "kafka.did_not_start",
                    f"Kafka did not listen on {self.node.servers}.",
                    fix=f"read {log}",
                )
            time.sleep(0.05)

    def kill(self) -> None:
        """End the node at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def stop(self) -> None:
        """End the node."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()
