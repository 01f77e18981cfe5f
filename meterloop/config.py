"""
One installation in one TOML file: where things are, and the settings of each process.

Only what differs from the default needs to stand in the file; an empty file is an installation
with an embedded PostgreSQL and broker in its data folder. Secrets stand in files of their own.
"""

import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from protocols.timeline import TimeScale

SERVICES = ("ingest", "control", "signer", "messages", "billing", "portal")
"""Processes of the cloud, billing and portal that `up` starts, in the order of the table."""
DISTRIBUTED = ("bridge", "worker")
"""What stands in the place of `ingest` where readings pass through Kafka."""

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class ConfigError(Exception):
    """
    A configuration cannot be used.

    Each fault names its key, what was found there and what to write instead.
    """

    def __init__(self, source: str, faults: list[str]) -> None:
        """List every fault, not only the first."""
        super().__init__(f"{source}: " + "; ".join(faults))
        self.source = source
        self.faults = faults


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, defer_build=True)


class DatabaseSection(_Section):
    """
    An empty `dsn` means an embedded PostgreSQL in the data folder.

    `hypertable` lets TimescaleDB keep the readings of open days, from the first migration on.
    """

    dsn: str = ""
    dsn_file: str = ""
    binaries: str = ""
    durable: bool = True
    hypertable: bool = False

    def address(self) -> str:
        """Return the DSN of an outer server, or an empty text. Raises ConfigError on a bad file."""
        if self.dsn_file:
            try:
                return Path(self.dsn_file).read_text(encoding="utf-8").strip()
            except OSError as error:
                fault = f"database.dsn_file = {self.dsn_file!r} cannot be read ({error.strerror})"
                raise ConfigError("installation", [fault]) from error
        return self.dsn


class BrokerSection(_Section):
    """An empty `host` means an embedded broker on loopback; `port` 0 is chosen free."""

    host: str = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    username: str = ""
    password_file: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""


class KafkaSection(_Section):
    """
    The log between bridge and workers; looked at only where `services` names them.

    Empty `servers` mean an embedded Kafka in the data folder, on `port`, or one chosen free.
    `workers` is how many of them `up` starts.
    """

    servers: str = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    topic: Annotated[str, Field(pattern=_NAME)] = "meterloop.batches"
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 12
    replication: Annotated[int, Field(ge=1, le=15)] = 1
    group: Annotated[str, Field(pattern=_NAME)] = "meterloop-ingest"
    username: str = ""
    password_file: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    def address(self, servers: str) -> dict[str, Any]:
        """Return the settings of a process that speaks to the cluster at `servers`."""
        ours = {"servers", "port", "workers"}
        return {"servers": servers} | self.model_dump(mode="json", exclude=ours)


class TimeSection(_Section):
    """How business time runs over wall time; empty is real time."""

    scale: str = ""

    @field_validator("scale")
    @classmethod
    def _readable(cls, text: str) -> str:
        TimeScale.parse(text)
        return text


class ConcentratorSection(_Section):
    """
    One edge agent. `meters_file` holds a JSON list of meters, `keys_file` their keys (mode 0600).

    *Units*: seconds of wall time.
    """

    id: Annotated[str, Field(pattern=_NAME)]
    meters_file: str
    keys_file: str
    poll_seconds: Annotated[float, Field(gt=0)] = 2.0
    profile_seconds: Annotated[float, Field(gt=0)] = 3.0
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 8
    settings: dict[str, Any] = Field(default_factory=dict)
    """Further keys of the agent's own configuration."""


class Installation(_Section):
    """
    The whole file. Relative paths start at the file's folder.

    The tables named like a service, and `simulator`, hold keys of that process's own configuration
    and are checked against it at start.
    """

    name: Annotated[str, Field(pattern=_NAME)] = "meterloop"
    data: Path = Path("data")
    services: tuple[str, ...] = SERVICES
    database: DatabaseSection = DatabaseSection()
    broker: BrokerSection = BrokerSection()
    kafka: KafkaSection = KafkaSection()
    time: TimeSection = TimeSection()
    signer_key_file: str = ""
    ingest: dict[str, Any] = Field(default_factory=dict)
    bridge: dict[str, Any] = Field(default_factory=dict)
    worker: dict[str, Any] = Field(default_factory=dict)
    control: dict[str, Any] = Field(default_factory=dict)
    signer: dict[str, Any] = Field(default_factory=dict)
    messages: dict[str, Any] = Field(default_factory=dict)
    billing: dict[str, Any] = Field(default_factory=dict)
    portal: dict[str, Any] = Field(default_factory=dict)
    simulator: dict[str, Any] | None = None
    concentrator: tuple[ConcentratorSection, ...] = ()

    @field_validator("services")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = SERVICES + DISTRIBUTED
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise ValueError(f"unknown {', '.join(unknown)}; known are {', '.join(known)}")
        return names

    @model_validator(mode="after")
    def _concentrators_differ(self) -> Self:
        names = [item.id for item in self.concentrator]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"concentrator.id {', '.join(twice)} is given twice; ids must differ")
        return self

    @property
    def key_file(self) -> Path:
        """Return where the signer's private key stands."""
        return Path(self.signer_key_file) if self.signer_key_file else self.data / "keys/signer.key"


def default_data_folder() -> Path:
    """Return where the demo keeps its files: METERLOOP_DATA, else the user's data folder."""
    if chosen := os.environ.get("METERLOOP_DATA"):
        return Path(chosen)
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "meterloop" / "demo"


def load_installation(file: Path) -> Installation:
    """Return the installation in a TOML file. Raises ConfigError naming every key at fault."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        fault = f"cannot be read ({error.strerror}); name the file with --config FILE"
        raise ConfigError(str(file), [fault]) from error
    return parse_installation(text, source=str(file), base=file.absolute().parent)


def parse_installation(text: str, *, source: str, base: Path) -> Installation:
    """Return the installation in a TOML text. Raises ConfigError naming every key at fault."""
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(source, [f"is not TOML: {error}; see docs/installation.md"]) from error
    try:
        found = Installation.model_validate(plain)
    except ValidationError as error:
        raise ConfigError(source, faults_of(error)) from None
    return _anchored(found, base)


def faults_of(error: ValidationError, *, prefix: str = "") -> list[str]:
    """Return one sentence per fault: key, what was found, what would be right."""
    faults = []
    for item in error.errors(include_url=False):
        key = ".".join([*([prefix] if prefix else []), *(str(part) for part in item["loc"])])
        match item["type"]:
            case "extra_forbidden" | "unexpected_keyword_argument":
                faults.append(f"{key}: no such key; remove it or correct its name")
            case "missing" | "missing_keyword_only_argument":
                faults.append(f"{key}: is missing; add it")
            case _:
                wanted = item["msg"].removeprefix("Value error, ")
                shown = _shown(key, item["input"])
                faults.append(f"{key or 'file'}: {wanted}{shown}")
    return faults


def _shown(key: str, found: Any) -> str:
    secret = any(word in key for word in ("password", "key", "dsn", "secret", "token"))
    if secret or isinstance(found, dict | list):
        return ""
    return f" (found {found!r})"


def _anchored(installation: Installation, base: Path) -> Installation:
    def path(text: str) -> str:
        return str(base / text) if text else ""

    broker, database, kafka = installation.broker, installation.database, installation.kafka
    files = ("password_file", "tls_ca", "tls_cert", "tls_key")
    return installation.model_copy(
        update={
            "data": base / installation.data,
            "signer_key_file": path(installation.signer_key_file),
            "database": database.model_copy(update={"dsn_file": path(database.dsn_file)}),
            "broker": broker.model_copy(
                update={name: path(getattr(broker, name)) for name in files}
            ),
            "kafka": kafka.model_copy(update={name: path(getattr(kafka, name)) for name in files}),
            "concentrator": tuple(
                item.model_copy(
                    update={
                        "meters_file": path(item.meters_file),
                        "keys_file": path(item.keys_file),
                    }
                )
                for item in installation.concentrator
            ),
        }
    )


def to_toml(installation: Installation) -> str:
    """Return the TOML text that `parse_installation` reads back; defaults are left out."""
    plain = installation.model_dump(mode="json", exclude_defaults=True)
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items() if _is_plain(value)]
    for key, value in plain.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]", *(f"{name} = {_toml(item)}" for name, item in value.items())]
        elif not _is_plain(value):
            for table in value:
                lines += ["", f"[[{key}]]"]
                lines += [f"{name} = {_toml(item)}" for name, item in table.items()]
    return "\n".join(lines).strip() + "\n"


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return not any(isinstance(item, dict) for item in value)
    return not isinstance(value, dict)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{name} = {_toml(item)}" for name, item in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


def write_private(file: Path, text: str) -> None:
    """Write `text` whole or not at all, readable for this user alone."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    number, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
    with os.fdopen(number, "w", encoding="utf-8") as partial:
        partial.write(text)
        partial.flush()
        os.fsync(partial.fileno())
    Path(name).replace(file)
