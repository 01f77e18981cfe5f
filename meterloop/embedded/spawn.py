"""Command lines of children that must not outlive this process, and the lock of a folder."""

import fcntl
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_LINGER = 20.0
_TETHER = Path(__file__).with_name("tether.py")


class EmbeddedError(Exception):
    """
    An embedded server cannot run here.

    `code` is stable, `message` says what was found, `fix` is the one line that helps.
    """

    def __init__(self, code: str, message: str, *, fix: str) -> None:
        """Keep the code and the fix beside the sentence."""
        super().__init__(f"{code}: {message} Fix: {fix}")
        self.code = code
        self.message = message
        self.fix = fix


def tethered(command: Sequence[str], *, end_signal: str = "SIGTERM") -> list[str]:
    """
    Return the command line that runs `command` and signals it when this process ends.

    Start it from the main thread: the kernel watches the thread that forked.
    """
    python = [sys.executable, "-I", "-S", str(_TETHER)]
    return [*python, str(os.getpid()), end_signal, *command]


class FolderLock:
    """
    One owner per folder, held by the kernel until the owner ends, even by `kill -9`.

    Children that are given `fileno` hold it too: a run that was killed counts as running until
    the last of its children has ended, so two runs never touch the same files or ports.
    """

    def __init__(self, file: Path) -> None:
        """Lock `file`, which is made when it is missing."""
        self._file = file
        self._open: IO[str] | None = None

    @property
    def fileno(self) -> int:
        """Return the open file that holds the lock."""
        assert self._open is not None, "the lock is not held"
        return self._open.fileno()

    def acquire(self) -> None:
        """
        Take the lock; wait a moment for what a killed owner left behind.

        Raises: EmbeddedError `folder.in_use`, at once when its owner lives.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = self._file.open("a+", encoding="ascii")
        deadline = time.monotonic() + _LINGER
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                handle.seek(0)
                owner = handle.read().strip() or "unknown"
                if _lives(owner) or time.monotonic() > deadline:
                    handle.close()
                    raise EmbeddedError(
                        "folder.in_use",
                        f"{self._file.parent} is in use by process {owner}.",
                        fix=f"end process {owner}, or choose another folder with --data DIR",
                    ) from None
            time.sleep(0.05)
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        self._open = handle

    def release(self) -> None:
        """Give the lock back; the file stays, for removing it would let two owners in."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def __enter__(self) -> Self:
        """Acquire."""
        self.acquire()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        """Release."""
        self.release()


def _lives(owner: str) -> bool:
    return owner.isdigit() and Path(f"/proc/{owner}").exists()
