"""
An embedded MQTT 5 broker on loopback: mosquitto where it is installed, else `iotcore`.

Custody of readings moves by receipt, so a broker that forgets everything loses nothing.
"""

import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from meterloop.embedded.spawn import EmbeddedError, tethered
from protocols.mqtt.broker import BrokerAddress

HOST = "127.0.0.1"
MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
_START_DEADLINE = 15.0
_FIRST_PORT, _LAST_PORT = 10_000, 14_000
"""Below where systems draw ports of outgoing connections, and where meters are simulated."""

_MOSQUITTO = """\
listener {port} {host}
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 5
max_packet_size {payload}
max_queued_messages 100000
max_inflight_messages 200
log_dest stderr
log_type error
log_type warning
user {user}
"""

_IOTCORE = """\
id = 0

[router]
id = 0
max_connections = 2000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "meterloop"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {payload}
max_inflight_count = 200
dynamic_filters = true
"""


def free_port(host: str = HOST) -> int:
    """
    Return a TCP port that nobody listens on at this moment, and that no client will draw.

    A port that the system gives lies where it also draws those of outgoing connections: one of
    them, even a client's to the very server that was just killed, would keep it from coming back.

    Raises: OSError when none is free.
    """
    start = secrets.randbelow(_LAST_PORT - _FIRST_PORT)
    for step in range(_LAST_PORT - _FIRST_PORT):
        port = _FIRST_PORT + (start + step) % (_LAST_PORT - _FIRST_PORT)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port is left on {host} between {_FIRST_PORT} and {_LAST_PORT}")


def mosquitto_path() -> str | None:
    """Return the mosquitto server of this machine, which ordinary users may lack on PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBroker:
    """A broker on 127.0.0.1 with its files in `folder`."""

    folder: Path
    port: int
    mosquitto: str | None = field(default_factory=mosquitto_path)

    @property
    def address(self) -> BrokerAddress:
        """Return what clients connect to."""
        return BrokerAddress(host=HOST, port=self.port)

    @property
    def kind(self) -> str:
        """Return which broker this is."""
        return "mosquitto" if self.mosquitto else "iotcore"

    def prepare(self) -> None:
        """
        Write the broker's configuration.

        Raises: EmbeddedError `broker.port_in_use` when somebody else has the port.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.is_ready():
            raise EmbeddedError(
                "broker.port_in_use",
                f"port {self.port} on {HOST} is taken.",
                fix="end that server, or set broker.port = 0 to have a free port chosen",
            )
        form = _MOSQUITTO if self.mosquitto else _IOTCORE
        text = form.format(
            host=HOST,
            port=self.port,
            folder=self.folder.absolute(),
            payload=MAX_PAYLOAD_BYTES,
            user=self.folder.owner(),
        )
        self._settings.write_text(text, encoding="utf-8")

    @property
    def _settings(self) -> Path:
        return self.folder / ("mosquitto.conf" if self.mosquitto else "broker.toml")

    def command(self) -> list[str]:
        """Return the command line that serves in the foreground and ends with this process."""
        if self.mosquitto:
            return tethered([self.mosquitto, "-c", str(self._settings)])
        module = "meterloop.embedded.iotcore_broker"
        return tethered([sys.executable, "-m", module, str(self._settings)])

    def is_ready(self) -> bool:
        """Tell whether something accepts connections on the broker's port."""
        try:
            with socket.create_connection((HOST, self.port), timeout=0.5):
                return True
        except OSError:
            return False


class EmbeddedBroker:
    """A broker served by a child of this process, for tests and single commands."""

    def __init__(self, broker: LocalBroker) -> None:
        """Serve `broker` from `start` to `stop`."""
        self.broker = broker
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> BrokerAddress:
        """Return what clients connect to."""
        return self.broker.address

    def start(self) -> None:
        """Serve, and return once connections are accepted. Raises EmbeddedError if they are not."""
        self.broker.prepare()
        log = self.broker.folder / "broker.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.broker.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + _START_DEADLINE
        while not self.broker.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(
                    "broker.did_not_start",
                    f"{self.broker.kind} did not listen on {HOST}:{self.broker.port}.",
                    fix=f"read {log}",
                )
            time.sleep(0.02)

    def kill(self) -> None:
        """End the broker at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)
            self._process = None

    def stop(self) -> None:
        """End the broker."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
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
