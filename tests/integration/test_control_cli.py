"""`meterloop control`: orders to one meter from the command line, by two people where due."""

import json
import threading
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from cloud.control import service as control
from cloud.signer import service as signer
from cloud.store.clock import Clock
from cloud.store.db import Database
from meterloop.cli import app
from protocols.mqtt.downlink import Command, open_signed
from protocols.mqtt.uplink import Stage
from tests.integration.control_kit import ack, build
from tests.integration.people_kit import make_people, sign_in

KEY = Ed25519PrivateKey.generate()
POINT = "UP-000001"
PEOPLE = ("lin", "reza")


class Counter:
    """A person at a terminal of this installation."""

    def __init__(self, folder: Path, dsn: str) -> None:
        secret = folder / "dsn"
        secret.write_text(dsn)
        secret.chmod(0o600)
        self._config = folder / "town.toml"
        self._config.write_text(f'[database]\ndsn_file = "{secret}"\n')

    def let_in(self, db: Database, *people: str) -> None:
        """Have each sign in as an account of the system of its own."""
        make_people(db, *people)
        for who in people:
            sign_in(who, self._config, self._config.parent / who)

    def says(self, *words: str, who: str = "reza") -> tuple[int, dict[str, Any]]:
        """Return exit code and answer of one `meterloop control` line."""
        arguments = ["control", *words, "--config", str(self._config), "--json"]
        home = self._config.parent / who
        result = CliRunner().invoke(app, arguments, env={"XDG_CONFIG_HOME": str(home)})
        assert result.stdout, result.output
        return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def counter(tmp_path: Path, db: Database, database_dsn: str) -> Counter:
    build(db, 1, keeps_power=True, token_kind="sts")
    build(db, 2)
    found = Counter(tmp_path, database_dsn)
    found.let_in(db, *PEOPLE)
    return found


class Edge(threading.Thread):
    """Signs and obeys whatever is ordered while a person waits."""

    def __init__(self, db: Database, end: Stage, **more: Any) -> None:
        super().__init__(daemon=True)
        self._db, self._end, self._more = db, end, more
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(30)

    def run(self) -> None:
        """Obey until the block ends."""
        clock, known = Clock(), set[str]()
        while not self._over.wait(0.05):
            control.issue_tokens(self._db, clock)
            control.prepare(self._db, clock)
            signer.sign_waiting(self._db, KEY, clock)
            for item in control.outgoing(self._db, clock):
                order = open_signed(item.payload, KEY.public_key())
                if isinstance(order, Command) and order.id not in known:
                    known.add(order.id)
                    for stage in (Stage.ACCEPTED, Stage.STARTED):
                        ack(self._db, order.id, 1, stage, at=clock.now())
                    ack(self._db, order.id, 1, self._end, at=clock.now(), **self._more)


@pytest.mark.req("D8")
def test_two_people_at_two_terminals(counter: Counter, db: Database) -> None:
    with Edge(db, Stage.DONE, evidence={"before": {"keeps_power": False}}):
        code, told = counter.says("keep-power", POINT, "--reason", "ventilator", "--wait", "30")
        assert (code, told["state"], told["verb"]) == (0, "done", "keep_power")
        assert told["evidence"] == {"before": {"keeps_power": False}}
        assert counter.says("show", POINT)[1]["keep_power"] == "on"
        code, told = counter.says("end-keep-power", POINT, "--reason", "moved out")
        assert (code, told["state"]) == (0, "requested")
        code, told = counter.says("end-keep-power", POINT, "--approve")
        assert (code, told["error"]["code"]) == (1, "same_person")
        code, told = counter.says("end-keep-power", POINT, "--approve", "--wait", "30", who="lin")
        assert (code, told["state"]) == (0, "done")
    shown = counter.says("show", POINT)[1]
    assert (shown["keep_power"], shown["end_keep_power"]) == ("off", None)
    assert [row["verb"] for row in shown["orders"]] == ["end_keep_power", "keep_power"]


@pytest.mark.req("C13")
def test_a_token_is_carried_and_told_of_again(counter: Counter, db: Database) -> None:
    words = (
        "token",
        POINT,
        "--kind",
        "sts",
        "--key",
        "sale-1",
        "--digits",
        "1234 5678 9012 3456 7890",
    )
    with Edge(db, Stage.DONE, evidence={"balance": 7}):
        code, told = counter.says(*words, "--wait", "30")
    assert (code, told["state"], told["evidence"]) == (0, "done", {"balance": 7})
    assert "7890" not in json.dumps(told)
    assert counter.says(*words)[1]["token"] == told["token"]
    code, told = counter.says(*words[:-2], "--hex", "00")
    assert (code, told["error"]["code"]) == (1, "key_reused")


def test_an_order_that_fails_exits_so_and_says_why(counter: Counter, db: Database) -> None:
    with Edge(db, Stage.FAILED, reason="meter_silent"):
        code, told = counter.says("read-relay", POINT, "--wait", "30")
    assert (code, told["error"]["code"]) == (1, "failed")
    assert "meter_silent" in told["error"]["message"]


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("keep-power", "UP-000002", "--reason", "x"), 1, "no_keep_power"),
        (("keep-power", POINT, "--reason", " "), 1, "no_reason"),
        (("keep-power", "UP-999999", "--reason", "x"), 1, "unknown_supply"),
        (("end-keep-power", POINT, "--reason", "x"), 1, "not_kept"),
        (("end-keep-power", POINT, "--approve"), 2, "config.unusable"),
        (("token", POINT, "--kind", "sts", "--key", "k"), 2, "config.unusable"),
        (("token", POINT, "--kind", "sts", "--key", "k", "--hex", "0"), 2, "config.unusable"),
        (("token", POINT, "--kind", "sts", "--key", "k", "--digits", "ab"), 2, "config.unusable"),
        (("token", POINT, "--kind", "dlt645", "--key", "k", "--hex", "00"), 1, "no_tokens"),
    ],
)
def test_what_cannot_be_ordered_is_refused_in_words(
    counter: Counter, words: tuple[str, ...], code: int, error: str
) -> None:
    found, told = counter.says(*words)
    assert (found, told["ok"], told["error"]["code"]) == (code, False, error)
    assert told["error"]["message"]


@pytest.mark.req("D8")
def test_protections_reach_the_meters_where_somebody_wants_it(
    counter: Counter, db: Database
) -> None:
    assert counter.says("policy")[1]["push_keep_power"] is False
    assert counter.says("policy", "--push-keep-power")[1]["push_keep_power"] is True
    with db.transaction() as conn:
        assert control.policy(conn).push_keep_power is True
    assert counter.says("policy", "--no-push-keep-power")[1]["push_keep_power"] is False


def test_a_wish_is_taken_back(counter: Counter, db: Database) -> None:
    with Edge(db, Stage.EXPIRED):
        counter.says("keep-power", POINT, "--reason", "ventilator", "--wait", "30")
    assert counter.says("show", POINT)[1]["keep_power"] == "unknown"
    counter.says("end-keep-power", POINT, "--reason", "moved out")
    code, told = counter.says("end-keep-power", POINT, "--withdraw")
    assert (code, told["state"]) == (0, "withdrawn")
