"""docker-compose.yml and deploy/ fit the code: no engine runs here, so each claim is parsed."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from cloud.ingest.runner.settings import MAX_RECORD_BYTES
from edge.config import config_from_json, load_keys
from meterloop.cli import app
from meterloop.config import DISTRIBUTED, SERVICES, load_installation
from meterloop.embedded.kafka import VERSION
from meterloop.frame import Part, Status
from meterloop.healthy import main as healthy
from meterloop.stack import broker_of, kafka_servers_of, settings_of, signer_public_key
from protocols.identity import ConcentratorId, UsagePointId
from protocols.mqtt import topics

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
INSTALLATION = load_installation(ROOT / "deploy" / "installation.toml")
OURS = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service.get("image") == "meterloop:local"
}


def test_every_service_of_the_code_has_a_container_and_no_other() -> None:
    assert set(OURS) == {*INSTALLATION.services, "migrate", "edge"}
    assert set(INSTALLATION.services) == {*SERVICES, *DISTRIBUTED} - {"ingest"}
    assert {"database", "broker", "kafka"} == set(COMPOSE["services"]) - set(OURS)


def test_every_command_is_a_verb_of_the_command_line() -> None:
    group = typer.main.get_command(app)
    for name, service in OURS.items():
        program, verb, *rest = service["command"]
        assert program == "meterloop", name
        command = group.get_command(typer.Context(group), verb)  # type: ignore[attr-defined]
        assert command is not None, name
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, name


def test_every_service_is_watched() -> None:
    for name, service in COMPOSE["services"].items():
        check = service["healthcheck"]
        assert name == "migrate" or check["test"][0] == "CMD", name
    port = OURS["worker"]["environment"]["METERLOOP_HEALTHZ_PORT"]
    assert OURS["worker"]["healthcheck"]["test"][-1] == port


def test_every_environment_name_is_read_by_the_code() -> None:
    code = "\n".join(file.read_text() for file in (ROOT / "meterloop").rglob("*.py"))
    for name, service in OURS.items():
        for variable in service.get("environment", {}):
            assert f'"{variable}"' in code, f"{name}: nothing reads {variable}"


def test_the_installation_file_fits_every_service() -> None:
    broker = broker_of(INSTALLATION)
    assert (broker.host, broker.port) == ("broker", 8883)
    assert broker.host in COMPOSE["services"]
    servers = kafka_servers_of(INSTALLATION)
    assert servers.partition(":")[0] in COMPOSE["services"]
    for kind in INSTALLATION.services:
        settings_of(
            INSTALLATION, kind, dsn=INSTALLATION.database.dsn, broker=broker, kafka_servers=servers
        )
    assert "host=database " in INSTALLATION.database.dsn
    published = COMPOSE["services"]["portal"]["ports"][0].split(":")[-1]
    assert INSTALLATION.portal["port"] == int(published)


def test_each_container_holds_the_certificate_of_its_own_role() -> None:
    hba = (ROOT / "deploy" / "pg_hba.conf").read_text()
    shared = {"messages": "meterloop_control"} | dict.fromkeys(DISTRIBUTED, "meterloop_ingest")
    for kind in INSTALLATION.services:
        settings = settings_of(
            INSTALLATION, kind, dsn="", broker=broker_of(INSTALLATION), kafka_servers="kafka:9092"
        )
        role = shared.get(kind, f"meterloop_{kind}")
        mounts = OURS[kind]["volumes"]
        assert f"./deploy/run/certs/{role}:/run/certs:ro" in mounts, kind
        assert role in hba
        assert settings.get("user", role) == role


def test_kafka_takes_what_the_mqtt_broker_takes_and_makes_no_topic_by_itself() -> None:
    environment = COMPOSE["services"]["kafka"]["environment"]
    largest = re.search(
        r"max_packet_size (\d+)", (ROOT / "deploy/mosquitto/mosquitto.conf").read_text()
    )
    assert largest is not None
    assert int(environment["KAFKA_MESSAGE_MAX_BYTES"]) == MAX_RECORD_BYTES > int(largest[1])
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert f"{VERSION}" in COMPOSE["services"]["kafka"]["image"]


def test_the_signing_key_is_mounted_for_the_signer_alone() -> None:
    holders = [
        name
        for name, service in COMPOSE["services"].items()
        if any("run/keys" in str(volume) for volume in service.get("volumes", ()))
    ]
    assert holders == ["signer"]
    assert str(INSTALLATION.key_file).startswith("/run/keys/")


def allows(user: str, access: str, topic: str) -> bool:
    """Tell what mosquitto would from our ACL file."""
    current = ""
    for line in (ROOT / "deploy" / "mosquitto" / "acl").read_text().splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "user":
            current = words[1]
            continue
        kind, granted, pattern = words
        if (kind == "pattern" or current == user) and granted in (access, "readwrite"):
            levels = pattern.replace("%u", user)
            shape = (
                re.escape(levels).replace(r"\+", "[^/]+").replace(r"\#", ".*").replace("#", ".*")
            )
            if re.fullmatch(shape, topic):
                return True
    return False


C01, C02, UP = ConcentratorId("C-01"), ConcentratorId("C-02"), UsagePointId("UP-000042")


@pytest.mark.parametrize(
    ("user", "access", "topic"),
    [
        ("C-01", "write", topics.up_data(C01)),
        ("C-01", "write", topics.up_ack(C01)),
        ("C-01", "write", topics.up_state(C01)),
        ("C-01", "read", topics.down_command(C01)),
        ("C-01", "read", topics.down_receipt(C01)),
        ("C-01", "read", topics.down_watch(C01)),
        ("meterloop_ingest", "read", topics.up_data(C02)),
        ("meterloop_ingest", "write", topics.down_receipt(C02)),
        ("meterloop_ingest", "write", topics.live(UP, topics.Live.READING)),
        ("meterloop_control", "read", topics.up_ack(C01)),
        ("meterloop_control", "write", topics.down_command(C01)),
        ("meterloop_control", "write", topics.down_receipt(C01)),
        ("meterloop_control", "write", topics.live(UP, topics.Live.SUPPLY)),
        ("meterloop_billing", "write", topics.live(UP, topics.Live.BALANCE)),
        ("meterloop_portal", "read", topics.live(UP, topics.Live.BALANCE)),
        ("meterloop_portal", "write", topics.down_watch(C01)),
    ],
)
def test_the_broker_allows_what_each_party_does(user: str, access: str, topic: str) -> None:
    assert allows(user, access, topic)


@pytest.mark.parametrize(
    ("user", "access", "topic"),
    [
        ("C-01", "write", topics.up_data(C02)),
        ("C-01", "read", topics.down_command(C02)),
        ("C-01", "write", topics.down_command(C01)),
        ("C-01", "read", topics.live(UP, topics.Live.BALANCE)),
        ("meterloop_portal", "write", topics.down_command(C01)),
        ("meterloop_ingest", "write", topics.down_command(C01)),
        ("meterloop_billing", "write", topics.down_command(C01)),
    ],
)
def test_the_broker_refuses_what_nobody_may(user: str, access: str, topic: str) -> None:
    assert not allows(user, access, topic)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_prepare_makes_what_the_containers_mount(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for _ in range(2):  # what exists is kept
        subprocess.run(["bash", str(ROOT / "deploy/prepare.sh"), str(run)], check=True)
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = str(volume).split(":")[0]
            if source.startswith("./deploy/run/"):
                assert any((run / source.removeprefix("./deploy/run/")).iterdir()), source
            elif source.startswith("./"):
                assert (ROOT / source).exists(), source
    public = signer_public_key(run / "keys" / "signer.key")
    config = config_from_json((run / "edge" / "edge.json").read_text())
    assert config.control_public_key == public != "0" * 64
    assert len(load_keys(run / "edge" / "keys.json").system_title) == 8
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", str(run / "authority/ca.crt"),
         str(run / "certs/C-01/client.crt"), str(run / "certs/broker/broker.crt")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert verified.stdout.count(": OK") == 2


def test_the_dockerfile_copies_every_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    roots = [path.parent.name for path in ROOT.glob("*/py.typed")]
    assert sorted(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE)) == sorted(roots)


def test_the_health_check_tells_a_ready_process_from_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from meterloop import frame
    from meterloop.embedded.broker import free_port

    free_tcp_port = free_port()
    monkeypatch.setenv("METERLOOP_HEALTHZ_PORT", str(free_tcp_port))
    found: list[int] = []

    async def part(stop: asyncio.Event, ready: Any, status: Status) -> None:
        found.append(await asyncio.to_thread(healthy, ["", str(free_tcp_port)]))
        ready()
        found.append(await asyncio.to_thread(healthy, ["", str(free_tcp_port)]))
        stop.set()

    assert asyncio.run(frame._run("toy", [Part(name="toy", run=part)], {})) == 0
    found.append(healthy(["", str(free_tcp_port)]))
    assert found == [1, 0, 1]
