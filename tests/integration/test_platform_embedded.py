"""The embedded servers on real folders: start, restart, kill, and what they refuse."""

import os
import pwd
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psycopg
import pytest

from cloud.store.db import Database
from meterloop.embedded.postgres import Cluster, EmbeddedPostgres
from meterloop.embedded.spawn import EmbeddedError, FolderLock
from meterloop.embedded.unprivileged import system_user


def make(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(Cluster(folder=folder, durable=False))


def test_every_role_signs_in_over_the_private_socket_alone(database_dsn: str) -> None:
    for role in ("ingest", "control", "signer", "billing", "portal"):
        with Database(database_dsn, user=f"meterloop_{role}") as database:
            with database.transaction() as conn:
                row = conn.execute("SELECT current_user, inet_server_addr()").fetchone()
                assert row == (f"meterloop_{role}", None)
    with psycopg.connect(database_dsn, user="auditor") as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("DELETE FROM audit.event")


def test_a_committed_row_outlives_a_killed_server(tmp_path: Path) -> None:
    server = make(tmp_path / "pg")
    server.start()
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE kept (n int)")
        conn.execute("INSERT INTO kept VALUES (42)")
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    with server, psycopg.connect(server.dsn) as conn:
        assert conn.execute("SELECT n FROM kept").fetchone() == (42,)


def test_a_second_instance_on_one_folder_is_refused_with_the_owner_named(tmp_path: Path) -> None:
    with make(tmp_path / "pg"), pytest.raises(EmbeddedError) as refused:
        make(tmp_path / "pg").start()
    assert refused.value.code == "folder.in_use"
    assert str(os.getpid()) in refused.value.message
    assert "--data" in refused.value.fix


def test_a_stale_pid_file_of_another_process_is_removed(tmp_path: Path) -> None:
    server = make(tmp_path / "pg")
    server.start()
    server.stop()
    (server.cluster.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.cluster.data}\n")
    with server:
        assert server.cluster.postmaster() == server.pid


def test_a_cluster_of_another_version_is_refused_untouched(tmp_path: Path) -> None:
    server = make(tmp_path / "pg")
    server.cluster.prepare()
    (server.cluster.data / "PG_VERSION").write_text("11\n")
    with pytest.raises(EmbeddedError) as refused:
        server.start()
    assert refused.value.code == "postgres.wrong_version"
    assert "PostgreSQL 11" in refused.value.fix


def test_a_folder_with_foreign_files_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "pg" / "data"
    data.mkdir(parents=True)
    (data / "letter.txt").write_text("mine")
    with pytest.raises(EmbeddedError) as refused:
        make(tmp_path / "pg").start()
    assert refused.value.code == "postgres.foreign_folder"
    assert (data / "letter.txt").read_text() == "mine"


def test_a_first_start_cut_short_is_made_good(tmp_path: Path) -> None:
    folder = tmp_path / "pg"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "half").write_text("")
    (folder / "creating").touch()
    with make(folder) as server, psycopg.connect(server.dsn) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_long_folder_name_gets_a_short_private_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    with make(deep) as server:
        assert len(str(server.cluster.socket_folder)) < 90
        assert server.cluster.socket_folder.stat().st_mode & 0o777 == 0o700
        with psycopg.connect(server.dsn) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)


def test_the_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from meterloop.embedded.postgres import Cluster, EmbeddedPostgres
        server = EmbeddedPostgres(Cluster(folder=Path({str(tmp_path / "pg")!r}), durable=False))
        server.start()
        print(server.pid, flush=True)
        time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    cluster = Cluster(folder=tmp_path / "pg")
    while cluster.postmaster() == pid:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_owners_children_hold_the_lock_until_they_end(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import os, subprocess
        from pathlib import Path
        from meterloop.embedded.spawn import FolderLock
        lock = FolderLock(Path({str(tmp_path / "lock")!r}))
        lock.acquire()
        last_act = "sleep 1.5; touch " + {str(tmp_path / "ended")!r}
        subprocess.Popen(["sh", "-c", last_act], pass_fds=[lock.fileno])
        os.kill(os.getpid(), 9)
        """
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    with FolderLock(tmp_path / "lock"):
        assert (tmp_path / "ended").exists()


def test_a_lock_says_who_holds_it(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "lock"), pytest.raises(EmbeddedError, match="in_use"):
        FolderLock(tmp_path / "lock").acquire()
    with FolderLock(tmp_path / "lock"):
        pass


def runs_as(user: pwd.struct_passwd, python: str, home: Path) -> bool:
    """Tell whether `user` reaches this interpreter and this tree."""
    try:
        probe = subprocess.run(
            [python, "-c", "import meterloop.embedded.postgres"],
            user=user.pw_uid, group=user.pw_gid, extra_groups=[], capture_output=True, check=False,
            env=ordinary_environment(home), cwd=home,
        )  # fmt: skip
    except PermissionError:
        return False
    return probe.returncode == 0


def ordinary_environment(home: Path) -> dict[str, str]:
    paths = [str(Path(__file__).parents[2]), *(path for path in sys.path if "-packages" in path)]
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": ":".join(paths)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_gets_a_server_too() -> None:
    user = pwd.getpwnam("nobody")
    home = Path("/var/tmp") / f"ml-ordinary-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, user.pw_uid, user.pw_gid)
    pythons = [sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"]
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from meterloop.embedded.postgres import Cluster, EmbeddedPostgres
        server = EmbeddedPostgres(Cluster(folder=Path({str(home / "pg")!r}), durable=False))
        with server:
            print("ready" if server.cluster.is_ready() else "not ready")
        """
    )
    try:
        python = next((name for name in pythons if runs_as(user, name, home)), None)
        if python is None:
            pytest.skip("no ordinary user reaches this interpreter, which lies in root's home")
        result = subprocess.run(
            [python, "-c", program], user=user.pw_uid, group=user.pw_gid, extra_groups=[],
            capture_output=True, text=True, check=False, env=ordinary_environment(home), cwd=home,
        )  # fmt: skip
        assert result.stdout == "ready\n", result.stderr
    finally:
        subprocess.run(["rm", "-r", str(home)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_without_namespaces_gets_a_server_of_a_system_user() -> None:
    folder = Path("/var/tmp") / f"ml-system-{os.getpid()}"
    cluster = Cluster(folder=folder, durable=False, drop=system_user())
    try:
        with EmbeddedPostgres(cluster) as server:
            with psycopg.connect(server.dsn) as conn:
                assert conn.execute("SELECT 1").fetchone() == (1,)
            assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    finally:
        subprocess.run(["rm", "-r", str(folder)], check=True)
