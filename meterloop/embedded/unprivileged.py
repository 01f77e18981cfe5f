"""How to run a server that refuses to be root: in a user namespace, else as a system user."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from meterloop.embedded.spawn import EmbeddedError, tethered


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """The prefix that gives up root; `owner` is who must own the files when it is someone else."""

    prefix: tuple[str, ...] = ()
    owner: pwd.struct_passwd | None = None

    def run(self, command: Sequence[str]) -> list[str]:
        """Return the command line of a short program."""
        return [*self.prefix, *command]

    def serve(self, command: Sequence[str], *, end_signal: str) -> list[str]:
        """Return the command line of a server that gets `end_signal` when this process ends."""
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
