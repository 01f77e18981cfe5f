"""`meterloop probe`, `record` and `replay` as a field engineer runs them, in real processes."""

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from protocols.tape.lines import Side, parse_tape
from protocols.timeline import to_ms
from simulators.fleet import make_fleet
from simulators.meter.dlms_server import DlmsMeterServer
from simulators.truth import TruthLedger
from simulators.world import World

ROOT = Path(__file__).parents[2]
ORIGIN = datetime(2026, 3, 4, 10, 7, tzinfo=UTC)
FLEET = make_fleet(seed=7, customers=60, origin=ORIGIN)
LLS, GMAC = FLEET.planted("race"), FLEET.planted("story")


def meterloop(*words: str, **how) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "meterloop.cli", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **how,
    )  # fmt: skip


@contextlib.contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A verb that serves; yields it and the address it says it is ready at."""
    child = subprocess.Popen(
        [sys.executable, "-m", "meterloop.cli", *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = child.stderr.readline()
        assert line.startswith("ready "), line + child.stderr.read()
        yield child, line.split()[1]
    finally:
        child.kill()
        child.communicate()


@pytest.fixture
def meters(tmp_path) -> Iterator[dict[str, int]]:
    """Two meters on their own event loop; where each listens."""
    ready, stop, ports = threading.Event(), threading.Event(), {}

    async def serve() -> None:
        ledger = TruthLedger(tmp_path / "truth.sqlite", FLEET)
        world = World(FLEET, ledger, now_ms=lambda: to_ms(ORIGIN))
        servers = []
        for spec in (LLS, GMAC):
            server = DlmsMeterServer(world.meters[spec.meter])
            await server.start("127.0.0.1", 0)
            ports[spec.meter] = server.port
            servers.append(server)
        ready.set()
        await asyncio.to_thread(stop.wait)
        for server in servers:
            await server.close()
        await asyncio.sleep(0.05)
        ledger.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(60)
    yield ports
    stop.set()
    thread.join(30)


@pytest.fixture
def keys_file(tmp_path) -> Path:
    path = tmp_path / "keys.json"
    path.write_text(
        json.dumps(
            {
                "system_title": b"MTLTEST1".hex(),
                LLS.meter: {"password": LLS.password.hex()},
                GMAC.meter: {
                    "authentication_key": GMAC.authentication_key.hex(),
                    "encryption_key": GMAC.encryption_key.hex(),
                },
            }
        )
    )
    path.chmod(0o600)
    return path


def read(meter: str, port: int | str, keys: Path, how: str, tmp_path: Path, *more: str):
    return meterloop(
        "read", meter, "--host", "127.0.0.1", "--port", str(port), "--authentication", how,
        "--keys", str(keys), "--json", *more,
        env={"PATH": "/usr/bin:/bin", "XDG_STATE_HOME": str(tmp_path / "state")},
    )  # fmt: skip


def test_probe_answers_with_json_and_with_lines(meters):
    address = f"127.0.0.1:{meters[GMAC.meter]}"
    told = meterloop("probe", address, "--timeout", "0.3", "--json")
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    assert answer["ok"] is True
    assert answer["found"][0]["facts"]["logical_device_name"] == GMAC.meter
    assert {step["outcome"] for step in answer["steps"]} <= {"found", "refused"}
    shown = meterloop("probe", address, "--timeout", "0.3")
    assert "speaks dlms" in shown.stdout
    assert "meterloop read METER --protocol dlms --client-sap 1" in shown.stdout
    assert "refused" in shown.stderr


def test_probe_fails_with_a_fix_line_and_a_status():
    told = meterloop("probe", "127.0.0.1:1", "--timeout", "0.3")
    assert told.returncode == 1
    assert "fix: check host and port" in told.stderr
    answer = json.loads(meterloop("probe", "127.0.0.1:1", "--json").stdout)
    assert answer["ok"] is False
    assert answer["fix"]
    assert meterloop("probe", "nowhere").returncode == 2
    assert "host:port" in meterloop("probe", "nowhere").stderr
    assert "N, E or O" in meterloop("probe", "127.0.0.1:1", "--parity", "X").stderr


def test_a_session_is_recorded_without_its_password_and_plays_again(meters, keys_file, tmp_path):
    tape = tmp_path / "session.tape"
    address = f"127.0.0.1:{meters[LLS.meter]}"
    with started("record", address, "--out", str(tape)) as (_, where):
        through = read(LLS.meter, where.rpartition(":")[2], keys_file, "lls", tmp_path)
        assert through.returncode == 0, through.stdout
    text = tape.read_text()
    found = parse_tape(text)
    assert LLS.password.hex() not in text
    assert {piece.side for piece in found.pieces} == {Side.CLIENT, Side.METER}
    with started("replay", str(tape), "--speed", "0") as (_, where):
        again = read(LLS.meter, where.rpartition(":")[2], keys_file, "lls", tmp_path)
    assert again.returncode == 0, again.stdout
    assert json.loads(again.stdout)["registers"] == json.loads(through.stdout)["registers"]
    frames = meterloop("replay", str(tape), "--frames").stdout.splitlines()
    assert len(frames) == sum(bool(piece.octets) for piece in found.pieces)
    assert all(bytes.fromhex(frame).startswith(b"\x00\x01") for frame in frames)


def test_recording_never_writes_over_a_file_and_a_spoilt_tape_says_which_line(tmp_path):
    tape = tmp_path / "a.tape"
    tape.write_text("precious")
    told = meterloop("record", "127.0.0.1:1", "--out", str(tape), "--seconds", "0.1")
    assert told.returncode == 2
    assert tape.read_text() == "precious"
    told = meterloop("replay", str(tape), "--seconds", "0.1")
    assert told.returncode == 2
    assert "line 1" in told.stderr


WRONG = {
    "key": (GMAC, "hls5", {"authentication_key": "00" * 16}, {"dlms.authentication",
            "dlms.exception", "dlms.tag_mismatch", "dlms.rejected"}),
    "encryption-key": (GMAC, "hls5", {"encryption_key": "00" * 16},
            {"dlms.exception", "dlms.tag_mismatch", "dlms.rejected"}),
    "password": (LLS, "lls", {"password": b"guess".hex()}, {"dlms.rejected"}),
    "kind": (GMAC, "lls", {"password": b"guess".hex()}, {"dlms.rejected"}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_key_is_a_typed_error_with_a_fix_line(meters, keys_file, tmp_path, name):
    spec, how, changed, codes = WRONG[name]
    plain = json.loads(keys_file.read_text())
    plain[spec.meter] = plain[spec.meter] | changed
    keys_file.write_text(json.dumps(plain))
    told = read(spec.meter, meters[spec.meter], keys_file, how, tmp_path)
    assert told.returncode == 1, told.stderr
    assert told.stdout, told.stderr
    error = json.loads(told.stdout)["error"]
    assert error["code"] in codes
    assert error["fix"]
    assert not any(value in told.stdout + told.stderr for value in changed.values())


def test_a_wrong_client_address_is_a_typed_error_with_a_fix_line(meters, keys_file, tmp_path):
    told = read(LLS.meter, meters[LLS.meter], keys_file, "lls", tmp_path, "--client-sap", "99")
    assert told.returncode == 1
    assert told.stdout, told.stderr
    error = json.loads(told.stdout)["error"]
    assert error["code"] in {"dlms.exception", "dlms.rejected"}
    assert "--client-sap" in error["fix"]


def test_a_meter_swapped_for_another_is_a_typed_error_with_a_fix_line(meters, keys_file, tmp_path):
    plain = json.loads(keys_file.read_text())
    plain["M-000061"] = plain[LLS.meter]
    keys_file.write_text(json.dumps(plain))
    told = read("M-000061", meters[LLS.meter], keys_file, "lls", tmp_path)
    assert told.stdout, told.stderr
    error = json.loads(told.stdout)["error"]
    assert error["code"] == "dlms.foreign"
    assert "swapped" in error["fix"]


def test_two_thousand_meters_live_in_one_process(tmp_path):
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import asyncio, sys\n"
            "from datetime import UTC, datetime\n"
            "from pathlib import Path\n"
            "from protocols.timeline import TimeScale\n"
            "from simulators.run import SimulatorConfig, run\n"
            "folder = Path(sys.argv[1])\n"
            "start = datetime(2026, 3, 1, tzinfo=UTC)\n"
            "scale = TimeScale(wall_origin=datetime.now(UTC), origin=start, speed=1)\n"
            "config = SimulatorConfig(seed=1, scale=scale, truth=folder / 'truth.sqlite',\n"
            "    fleet_file=folder / 'fleet.json', customers=1923)\n"
            "status = {}\n"
            "asyncio.run(run(config, stop=asyncio.Event(), status=status,\n"
            "    ready=lambda: print(status['meters'], flush=True)))\n",
            str(tmp_path),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert int(child.stdout.readline()) == 2000
        assert psutil.Process(child.pid).memory_info().rss < 400 * 2**20
        fleet = json.loads((tmp_path / "fleet.json").read_text())
        for name in ("M-000001", "M-001000", "M-001923"):
            place = fleet["endpoints"][name]
            told = meterloop(
                "probe", f"{place['host']}:{place['port']}", "--timeout", "2", "--json"
            )
            assert told.returncode == 0, told.stdout
    finally:
        child.kill()
        child.wait()
