"""The installation file: what it accepts, and the sentence for each thing that is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from meterloop.config import (
    DISTRIBUTED,
    ConcentratorSection,
    ConfigError,
    Installation,
    KafkaSection,
    TimeSection,
    default_data_folder,
    load_installation,
    parse_installation,
    to_toml,
    write_private,
)
from meterloop.runners import PROGRAMS, config_of
from meterloop.stack import broker_of, kafka_servers_of, settings_of, signer_public_key
from protocols.mqtt.broker import BrokerAddress
from protocols.timeline import TimeScale

BASE = Path("/srv/town")


def parse(text: str) -> Installation:
    return parse_installation(text, source="town.toml", base=BASE)


def test_an_empty_file_is_an_installation_beside_itself() -> None:
    found = parse("")
    assert found.data == BASE / "data"
    assert found.key_file == BASE / "data/keys/signer.key"
    assert found.database.address() == ""


def test_relative_paths_start_at_the_file() -> None:
    found = parse(
        'data = "d"\n[broker]\nhost = "b"\ntls_ca = "ca.crt"\n'
        '[[concentrator]]\nid = "C-01"\nmeters_file = "m.json"\nkeys_file = "/k.json"\n'
    )
    assert found.broker.tls_ca == "/srv/town/ca.crt"
    assert found.concentrator[0].meters_file == "/srv/town/m.json"
    assert found.concentrator[0].keys_file == "/k.json"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[broker]\nport = 70000", "broker.port: Input should be less than or equal to 65535"),
        ("[borker]\nport = 1", "borker: no such key; remove it or correct its name"),
        ("[broker]\nprot = 1", "broker.prot: no such key"),
        ('[time]\nscale = "fast"', "time.scale: time scale must be WALL,ORIGIN,SPEED"),
        ('services = ["ingset"]', "services: unknown ingset; known are ingest, control"),
        ('[[concentrator]]\nid = "C-01"\nkeys_file = "k"', "meters_file: is missing"),
        ('[[concentrator]]\nid = "C 1"\nmeters_file = "m"\nkeys_file = "k"', "concentrator.0.id"),
        ("name = ", "is not TOML"),
        (
            '[[concentrator]]\nid = "C-01"\nmeters_file = "m"\nkeys_file = "k"\n' * 2,
            "concentrator.id C-01 is given twice",
        ),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_with_what_was_found(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        parse(text)
    assert sentence in str(wrong.value)
    assert str(wrong.value).startswith("town.toml: ")


def test_every_fault_is_told_at_once_and_no_secret_is_shown() -> None:
    with pytest.raises(ConfigError) as wrong:
        parse("signer_key_file = 7\n[broker]\nport = -1\nusername = 3\npassword_file = 9")
    assert len(wrong.value.faults) == 4
    assert "found 9" not in str(wrong.value)


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config FILE"):
        load_installation(tmp_path / "none.toml")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    town = Installation(
        data=tmp_path / "d",
        time=TimeSection(scale=str(TimeScale(speed=60))),
        portal={"port": 8080, "demo": True},
        simulator={"seed": 4, "truth": "t\"r'u.sqlite"},
        concentrator=(
            ConcentratorSection(
                id="C-01", meters_file="/m.json", keys_file="/k.json", settings={"concurrency": 2}
            ),
        ),
    )
    assert parse_installation(to_toml(town), source="x", base=Path("/")) == town


@pytest.mark.parametrize("kind", sorted(set(PROGRAMS) - {"edge", "simulator"}))
def test_every_service_takes_the_common_settings_and_refuses_unknown_ones(kind: str) -> None:
    broker = BrokerAddress(host="127.0.0.1", port=1883)
    found = Installation()
    settings = settings_of(
        found, kind, dsn="host=/x", broker=broker, kafka_servers="127.0.0.1:9092"
    )
    # the bridge knows no database
    assert kind == "bridge" or settings["dsn"] == "host=/x"
    config_of(kind, settings, source="x")
    wrong = found.model_copy(update={kind: {"coulour": "red"}})
    with pytest.raises(ConfigError, match=rf"{kind}\.coulour: no such key; known are"):
        settings_of(wrong, kind, dsn="host=/x", broker=broker)


def test_a_service_key_of_the_wrong_kind_is_named() -> None:
    broker = BrokerAddress(host="127.0.0.1", port=1883)
    wrong = Installation(billing={"sweep_seconds": "often"})
    with pytest.raises(ConfigError, match=r"billing\.sweep_seconds: .*number.*found 'often'"):
        settings_of(wrong, "billing", dsn="host=/x", broker=broker)


def test_a_single_process_needs_a_port_that_is_known() -> None:
    with pytest.raises(ConfigError, match=r"broker\.port: must be given"):
        broker_of(Installation())
    with pytest.raises(ConfigError, match=r"kafka\.servers: must be given"):
        kafka_servers_of(Installation())
    assert kafka_servers_of(Installation(kafka=KafkaSection(port=9092))) == "127.0.0.1:9092"


@pytest.mark.parametrize("kind", DISTRIBUTED)
def test_a_missing_extra_is_named(kind: str) -> None:
    # in a process of its own: modules that are loaded already would not miss it
    told = subprocess.run(
        [sys.executable, "-c",
         "import sys; sys.modules['faust'] = sys.modules['aiokafka'] = None\n"
         f"from meterloop.runners import PROGRAMS; PROGRAMS[{kind!r}]()"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert told.returncode == 1
    assert f"{kind}: needs " in told.stderr
    assert "pip install 'meterloop[distributed]'" in told.stderr


@pytest.mark.parametrize("kind", DISTRIBUTED)
def test_bridge_and_worker_are_told_of_the_cluster(kind: str) -> None:
    found = Installation(
        services=("bridge", "worker"),
        kafka=KafkaSection(servers="k1:9092,k2:9092", workers=3, partitions=24, replication=3),
    )
    broker = BrokerAddress(host="127.0.0.1", port=1883)
    settings = settings_of(
        found, kind, dsn="host=/x", broker=broker, kafka_servers=kafka_servers_of(found)
    )
    kafka = config_of(kind, settings, source="x").kafka
    assert (kafka.servers, kafka.partitions, kafka.replication) == ("k1:9092,k2:9092", 24, 3)


def test_the_data_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METERLOOP_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert default_data_folder() == Path("/x/meterloop/demo")
    monkeypatch.setenv("METERLOOP_DATA", "/y")
    assert default_data_folder() == Path("/y")


def test_the_signing_key_is_made_once_private_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "signer.key"
    public = signer_public_key(file)
    assert public == signer_public_key(file)
    assert len(public) == 64
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        signer_public_key(file)
    write_private(file, "not a key")
    with pytest.raises(ConfigError) as wrong:
        signer_public_key(file)
    assert "64 hex digits" in str(wrong.value)
    assert "not a key" not in str(wrong.value)


def test_the_example_of_the_documentation_is_an_installation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "installation.md").read_text(encoding="utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    found = parse(example)
    assert found.concentrator[0].poll_seconds == 10.0
    for kind in found.services:
        settings_of(found, kind, dsn="host=/x", broker=broker_of(found))
