"""What keeps an installation from working, each with the line that helps."""

import asyncio
import ctypes
import json
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import aiomqtt

from cloud.store.db import Connection, Database, TransientDatabaseError
from cloud.store.migrate import available
from cloud.store.sql import Queries
from meterloop.config import ConfigError, Installation
from meterloop.embedded.spawn import EmbeddedError
from meterloop.runners import config_of
from meterloop.stack import cluster_of, settings_of
from protocols.mqtt.broker import BrokerAddress

ROLES = ("ingest", "control", "signer", "billing", "portal")
_SQL = Queries(Path(__file__).parent / "sql")
_LEAST_VERSION = 150000
_LEAST_FREE_BYTES = 2 * 1024**3
_UNSYNCHRONISED = 5
_METERS_TRIED = 24


class Verdict(StrEnum):
    """How a look ended."""

    FINE = "ok"
    DOUBT = "warn"
    WRONG = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One look: what was looked at, what was found, and the line that helps when it is not fine."""

    check: str
    verdict: Verdict
    found: str
    fix: str = ""


def examine(installation: Installation) -> list[Finding]:
    """Look at everything that needs no running process of ours and no right to change anything."""
    findings = [_disk(installation.data), _time_sync(), _zones()]
    findings += _settings(installation)
    findings += _database(installation)
    findings += _broker(installation)
    findings += _meters(installation)
    findings.append(_browser())
    return findings


def _disk(folder: Path) -> Finding:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{free // 1024**3} GiB free at {there}"
    if free < _LEAST_FREE_BYTES:
        return Finding(check="disk", verdict=Verdict.WRONG, found=found, fix="free 2 GiB or more")
    return Finding(check="disk", verdict=Verdict.FINE, found=found)


def _time_sync() -> Finding:
    buffer = ctypes.create_string_buffer(512)
    state = ctypes.CDLL(None).adjtimex(buffer)
    if state == _UNSYNCHRONISED or state < 0:
        return Finding(
            check="clock",
            verdict=Verdict.DOUBT,
            found="the kernel says that nothing keeps its clock in time",
            fix="run a time service (chrony, systemd-timesyncd); cuts need a trusted clock",
        )
    return Finding(check="clock", verdict=Verdict.FINE, found="kept in time")


def _zones() -> Finding:
    try:
        ZoneInfo("Asia/Shanghai")
    except ZoneInfoNotFoundError:
        fix = "install the package tzdata"
        return Finding(check="time zones", verdict=Verdict.WRONG, found="none", fix=fix)
    return Finding(check="time zones", verdict=Verdict.FINE, found="known")


def _settings(installation: Installation) -> Iterator[Finding]:
    """Check every process's own table without starting it."""
    broker, dsn = BrokerAddress(host="127.0.0.1", port=1), "host=/nowhere"
    for kind in installation.services:
        try:
            settings_of(installation, kind, dsn=dsn, broker=broker)
        except ConfigError as error:
            fix = "correct the installation file"
            found = "; ".join(error.faults)
            yield Finding(check=f"settings {kind}", verdict=Verdict.WRONG, found=found, fix=fix)
    if installation.simulator is not None:
        try:
            config_of("simulator", installation.simulator, source="installation")
        except ConfigError as error:
            found = "; ".join(error.faults)
            fix = "correct the table [simulator]"
            yield Finding(check="settings simulator", verdict=Verdict.WRONG, found=found, fix=fix)


def _database(installation: Installation) -> list[Finding]:
    try:
        outer = installation.database.address()
        if not outer:
            cluster = cluster_of(installation)
            if not cluster.is_ready():
                found = f"embedded, not running; programs in {cluster.binaries}"
                return [Finding(check="database", verdict=Verdict.FINE, found=found)]
            outer = cluster.dsn()
    except (EmbeddedError, ConfigError) as error:
        fix = error.fix if isinstance(error, EmbeddedError) else "correct database.dsn_file"
        return [Finding(check="database", verdict=Verdict.WRONG, found=str(error), fix=fix)]
    try:
        database = Database(outer, application="meterloop-doctor", size=1)
        with database, database.transaction() as conn:
            return list(_server(conn))
    except TransientDatabaseError as error:
        fix = "start the server, or correct database.dsn"
        return [Finding(check="database", verdict=Verdict.WRONG, found=str(error)[:200], fix=fix)]


def _server(conn: Connection) -> Iterator[Finding]:
    row = conn.execute(_SQL["server_facts"]).fetchone()
    assert row is not None
    version, fsync, commit, standby = row
    found = f"PostgreSQL {version // 10000}.{version % 10000}, fsync {fsync}"
    if version < _LEAST_VERSION:
        fix = "use PostgreSQL 15 or newer"
        yield Finding(check="database", verdict=Verdict.WRONG, found=found, fix=fix)
    elif standby:
        fix = "name the primary in database.dsn"
        yield Finding(check="database", verdict=Verdict.WRONG, found="a standby", fix=fix)
    elif "off" in (fsync, commit):
        fix = "set fsync = on and synchronous_commit = on: receipts promise what is on disk"
        yield Finding(check="database", verdict=Verdict.DOUBT, found=found, fix=fix)
    else:
        yield Finding(check="database", verdict=Verdict.FINE, found=found)
    wanted = [*(f"meterloop_{name}" for name in ROLES), "auditor"]
    missing = [name for (name,) in conn.execute(_SQL["missing_roles"], {"roles": wanted})]
    if missing:
        fix = "run meterloop migrate as the owner of the database"
        found = f"missing: {', '.join(missing)}"
        yield Finding(check="roles", verdict=Verdict.WRONG, found=found, fix=fix)
        return
    yield Finding(check="roles", verdict=Verdict.FINE, found=f"{len(wanted)} there")
    applied = {number for number, _ in conn.execute(_SQL["applied_migrations"])}
    waiting = [item.name for item in available() if item.number not in applied]
    if waiting:
        found, fix = f"waiting: {', '.join(waiting)}", "run meterloop migrate"
        yield Finding(check="migrations", verdict=Verdict.WRONG, found=found, fix=fix)
    else:
        yield Finding(check="migrations", verdict=Verdict.FINE, found=f"{len(applied)} applied")


def _broker(installation: Installation) -> Iterator[Finding]:
    section = installation.broker
    if not section.host:
        yield Finding(check="broker", verdict=Verdict.FINE, found="embedded")
        return
    address = BrokerAddress(**section.model_dump())
    place = f"{address.host}:{address.port}"
    try:
        asyncio.run(_greet(address))
    except (aiomqtt.MqttError, OSError, TimeoutError) as error:
        fix = "start the broker, or correct the table [broker]"
        found = f"{place}: {error or type(error).__name__}"
        yield Finding(check="broker", verdict=Verdict.WRONG, found=found, fix=fix)
    else:
        yield Finding(check="broker", verdict=Verdict.FINE, found=f"{place} speaks MQTT 5")


def _secret(file: str) -> str | None:
    return Path(file).read_text(encoding="utf-8").strip() if file else None


async def _greet(address: BrokerAddress) -> None:
    password = _secret(address.password_file)
    tls = None
    if address.tls_ca:
        tls = aiomqtt.TLSParameters(
            ca_certs=address.tls_ca,
            certfile=address.tls_cert or None,
            keyfile=address.tls_key or None,
        )
    async with asyncio.timeout(5):
        async with aiomqtt.Client(
            address.host,
            address.port,
            identifier="meterloop-doctor",
            protocol=aiomqtt.ProtocolVersion.V5,
            username=address.username or None,
            password=password,
            tls_params=tls,
        ):
            return


def _meters(installation: Installation) -> Iterator[Finding]:
    """Knock at the first meters of each concentrator; no word of any protocol is said."""
    for section in installation.concentrator:
        check = f"meters of {section.id}"
        file = Path(section.meters_file)
        try:
            meters: Sequence[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
            places = [(meter["host"], int(meter["port"])) for meter in meters[:_METERS_TRIED]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            fix = "write the meters file; see docs/installation.md"
            found = f"{file}: {error}"
            yield Finding(check=check, verdict=Verdict.WRONG, found=found, fix=fix)
            continue
        silent = [f"{host}:{port}" for host, port in places if not _answers(host, port)]
        found = f"{len(places) - len(silent)} of {len(places)} tried accept a connection"
        if silent:
            fix = f"check power and network of {', '.join(silent[:3])}"
            yield Finding(check=check, verdict=Verdict.DOUBT, found=found, fix=fix)
        else:
            yield Finding(check=check, verdict=Verdict.FINE, found=found)


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def _browser() -> Finding:
    names: tuple[Callable[[], str | None], ...] = (
        lambda: shutil.which("chromium"),
        lambda: shutil.which("google-chrome"),
    )
    path = next((found for look in names if (found := look())), None)
    if path is None:
        fix = "only the tests of pages need it: apt-get install chromium"
        return Finding(check="browser", verdict=Verdict.DOUBT, found="none", fix=fix)
    return Finding(check="browser", verdict=Verdict.FINE, found=path)
