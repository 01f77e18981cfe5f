"""The supervisor with real children: ready, killed, broken, ended, orphaned."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from meterloop.embedded.broker import LocalBroker, free_port
from meterloop.embedded.postgres import Cluster
from meterloop.embedded.spawn import tethered
from meterloop.supervisor import Child, ChildFailedError, State, Supervisor

TOY = str(Path(__file__).with_name("toy_process.py"))
ROOT = str(Path(__file__).parents[2])


def toy(name: str, parts: str = "good", **more: object) -> Child:
    def command() -> list[str]:
        return tethered(["env", f"PYTHONPATH={ROOT}", sys.executable, TOY, parts])

    return Child(name=name, command=command, **more)  # type: ignore[arg-type]


async def until(holds: Callable[[], bool], *, seconds: float = 45.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.05)


def table(folder: Path) -> dict[str, dict[str, object]]:
    rows = json.loads((folder / "run" / "status.json").read_text())["processes"]
    return {row["name"]: row for row in rows}


def test_a_killed_child_is_back_and_the_status_file_tells(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path) as supervisor:
            await supervisor.add(toy("one"), toy("two", "good,slow"))
            rows = table(tmp_path)
            assert {row["state"] for row in rows.values()} == {"ready"}
            first = supervisor.row("one").pid
            os.kill(first, signal.SIGKILL)
            row = supervisor.row("one")
            await until(lambda: row.state is State.READY and row.pid != first)
            assert (row.restarts, table(tmp_path)["two"]["restarts"]) == (1, 0)
            await until(lambda: row.health == {"turns": 7})
            pids = [child.pid for child in supervisor.status()]
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert {row["state"] for row in table(tmp_path).values()} == {"ended"}

    asyncio.run(scene())


def test_healthz_says_ready_and_counts_of_each_part(tmp_path: Path) -> None:
    async def scene() -> dict[str, object]:
        async with Supervisor(tmp_path) as supervisor:
            await supervisor.add(toy("one", "good,slow"))
            url = f"http://127.0.0.1:{supervisor.row('one').healthz}"

            def fetch() -> dict[str, object]:
                with urllib.request.urlopen(f"{url}/healthz") as answer:
                    return json.load(answer)  # type: ignore[no-any-return]

            return await asyncio.to_thread(fetch)

    assert asyncio.run(scene()) == {
        "process": "toy", "ready": True, "status": {"good.turns": 7, "slow.turns": 7},
    }  # fmt: skip


def test_a_part_with_a_bug_ends_its_process_and_both_are_started_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path) as supervisor:
            await supervisor.add(toy("one", "good,broken"))
            await until(lambda: supervisor.row("one").restarts >= 2)

    asyncio.run(scene())
    lines = [json.loads(line) for line in (tmp_path / "logs" / "one.log").read_text().splitlines()]
    failed = next(line for line in lines if line["event"] == "frame.part_failed")
    assert (failed["process"], failed["part"], failed["level"]) == ("toy", "broken", "error")
    assert "the toy broke" in failed["trace"]


def test_a_child_that_cannot_start_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Supervisor(tmp_path) as supervisor:
            await supervisor.add(toy("one", "stillborn"))

    with pytest.raises(ChildFailedError) as failed:
        asyncio.run(scene())
    assert failed.value.name == "one"
    assert "no key named tariff" in str(failed.value)
    assert "one.log" in str(failed.value)


def test_a_child_that_is_never_ready_is_ended_and_named(tmp_path: Path) -> None:
    silent = Child(name="mute", command=lambda: tethered(["sleep", "60"]), deadline=0.5)

    async def scene() -> None:
        async with Supervisor(tmp_path) as supervisor:
            await supervisor.add(silent)

    with pytest.raises(ChildFailedError, match=r"not ready in 0\.5 s"):
        asyncio.run(scene())
    pid = table(tmp_path)["mute"]["pid"]
    assert isinstance(pid, int)
    assert not psutil.pid_exists(pid)


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import asyncio, sys
        from pathlib import Path
        from meterloop.embedded.spawn import tethered
        from meterloop.supervisor import Child, Supervisor
        async def main():
            async with Supervisor(Path({str(tmp_path)!r})) as supervisor:
                command = [sys.executable, {TOY!r}, "good"]
                child = Child(name="one", command=lambda: tethered(command))
                await supervisor.add(child)
                print(supervisor.row("one").pid, flush=True)
                await asyncio.sleep(60)
        asyncio.run(main())
        """
    )
    environment = os.environ | {"PYTHONPATH": ROOT}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_postgres_and_broker_come_back_within_ten_seconds_of_a_kill(tmp_path: Path) -> None:
    cluster = Cluster(folder=tmp_path / "pg", durable=False)
    broker = LocalBroker(folder=tmp_path / "mqtt", port=free_port())
    children = [
        Child(
            name="postgres", command=cluster.command, prepare=cluster.prepare,
            probe=cluster.is_ready, end_signal=signal.SIGINT,
        ),
        Child(
            name="broker", command=broker.command, prepare=broker.prepare, probe=broker.is_ready
        ),
    ]  # fmt: skip

    async def scene() -> None:
        async with Supervisor(tmp_path) as supervisor:
            await supervisor.add(*children)
            for name in ("postgres", "broker"):
                row = supervisor.row(name)
                killed = row.pid
                os.kill(killed, signal.SIGKILL)
                await until(
                    lambda row=row, pid=killed: row.state is State.READY and row.pid != pid,  # type: ignore[misc]
                    seconds=10,
                )
                assert row.restarts >= 1
            assert cluster.postmaster() == supervisor.row("postgres").pid
        assert cluster.postmaster() is None

    asyncio.run(scene())
