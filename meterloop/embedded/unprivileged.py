"""
How to run a server that refuses to be root: in a user namespace, else as a system user.

Programs of another system (a folder made by debootstrap) need that system's libraries: for them
alone its `/usr` takes the place of ours, in a mount namespace of their own. That needs no root.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from meterloop.embedded.spawn import EmbeddedError, tethered

_USR_OF = 'mount --rbind "$1" /usr && shift && exec "$@"'
"""Run by a shell that is root of its namespaces: another `/usr`, then whatever follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """
    The prefix that gives up root; `owner` is who must own the files when it is someone else.

    `usr` is the other system's folder that stands in the place of `/usr`.
    """

    prefix: tuple[str, ...] = ()
    owner: pwd.struct_passwd | None = None
    usr: Path | None = None

    def inside(self, program: Path) -> Path:
        """Return where the server's user sees `program`."""
        if self.usr is None or not program.is_relative_to(self.usr):
            return program
        return Path("/usr") / program.relative_to(self.usr)

    def run(self, command: Sequence[str]) -> list[str]:
        """Return the command line of a short program."""
        return [*self.prefix, *command]

    def serve(self, command: Sequence[str], *, end_signal: str) -> list[str]:
        """Return the command line of a server that gets `end_signal` when this process ends."""
        if self.usr is not None:  # where our interpreter may find no libraries
            name = end_signal.removeprefix("SIG")
            return [*self.prefix, "setpriv", "--pdeathsig", name, "--", *command]
        if self.owner is None:  # inside the namespace our interpreter is still readable
            return [*self.prefix, *tethered(command, end_signal=end_signal)]
        *drop, dashes = self.prefix
        return [*drop, "--pdeathsig", end_signal.removeprefix("SIG"), dashes, *command]

    def reaches(self, program: Path) -> bool:
        """Tell whether the server's user may run `program`."""
        probe = [*self.prefix, str(program), "--version"]
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0

    def give(self, folder: Path) -> None:
        """
        Let the server's user own `folder`.

        Raises: EmbeddedError `postgres.unreachable_folder` when that user cannot enter it.
        """
        if self.owner is None:
            return
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid, follow_symlinks=False)
        probe = [*self.prefix, "test", "-w", str(folder)]
        if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
            raise EmbeddedError(
                "postgres.unreachable_folder",
                f"{folder} is not reachable for the user {self.owner.pw_name}.",
                fix="run as an ordinary user, or choose a folder such as --data /var/lib/meterloop",
            )


@cache
def choose() -> Drop:
    """
    Return the first way that works here.

    Raises: EmbeddedError `postgres.root` where neither a namespace nor a system user works.
    """
    if os.geteuid() != 0:
        return Drop()
    return namespace() or system_user()


def namespace() -> Drop | None:
    """Return the way by `unshare`, or None where the system forbids it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    prefix = (unshare, "--user", "--map-user=1000", "--map-group=1000", "--")
    works = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return Drop(prefix=prefix) if works else None


def usr_of(binaries: Path) -> Path | None:
    """Return the `usr` of another system's folder that `binaries` belong to, None of our own."""
    for folder in binaries.absolute().parents:
        if folder.name == "usr" and folder != Path("/usr"):
            return folder if (folder.parent / "etc" / "os-release").exists() else None
    return None


def other_system(usr: Path) -> Drop:
    """
    Return the way to run programs of another system's folder; no root is needed.

    Raises: EmbeddedError `postgres.no_namespaces` where the system forbids them.
    """
    unshare = shutil.which("unshare") or "unshare"
    outer = (unshare, "--user", "--map-root-user", "--mount", "--", "sh", "-c", _USR_OF, "sh")
    inner = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
    prefix = (*outer, str(usr), *inner)
    try:
        told = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
        cause = told.stderr.strip() if told.returncode else ""
    except OSError as error:
        cause = str(error)
    if cause:
        raise EmbeddedError(
            "postgres.no_namespaces",
            f"the programs in {usr} need user and mount namespaces: {cause[-200:]}",
            fix="name a server with database.dsn, or programs of this system",
        )
    return Drop(prefix=prefix, usr=usr)


def system_user() -> Drop:
    """Return the way by a system user that owns the files. Raises EmbeddedError `postgres.root`."""
    setpriv = shutil.which("setpriv")
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        if setpriv is not None:
            ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
            return Drop(prefix=(setpriv, *ids, "--"), owner=user)
    raise EmbeddedError(
        "postgres.root",
        "PostgreSQL refuses to run as root, and this system forbids user namespaces.",
        fix="run as an ordinary user, or name a server with database.dsn",
    )
