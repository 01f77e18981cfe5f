"""
Run a command that ends when its parent ends: `python tether.py PARENT_PID SIGNAL COMMAND...`.

Linux clears a parent-death signal when credentials change, so this runs after `unshare` and
execs the command itself: no extra process stays, and the command keeps this process's id.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    """Ask the kernel for the signal, check that the parent still lives, become the command."""
    parent, name, command = int(argv[1]), argv[2], argv[3:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, getattr(signal, name), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)
    os.execvp(command[0], command)  # noqa: S606 - an argument vector of ours, no shell


if __name__ == "__main__":
    main(sys.argv)
