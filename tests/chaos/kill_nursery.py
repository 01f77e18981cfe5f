"""
Starts agents quickly, to be killed: loads the product once, then forks one per line of stdin.

A line is `FAILPOINT` (with `@n`) or `-` for none; answers are `born PID` and `died PID STATUS`.
"""

import asyncio
import ctypes
import os
import signal
import sys
from pathlib import Path

import edge.acquire.drivers  # noqa: F401
from edge.config import load_config
from edge.failpoint import VARIABLE
from edge.run import run

_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of linux/prctl.h."""


async def live(config: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run(load_config(config), stop=stop, ready=lambda: None, status={})


def main() -> None:
    config = Path(sys.argv[1])
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            # an agent does not outlive a test that was itself killed
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if line.strip() != "-":
                place, _, nth = line.strip().partition("@")
                os.environ[VARIABLE] = f"{place}:kill@{nth or 1}"
            code = 1
            try:
                asyncio.run(live(config))
                code = 0
            finally:
                os._exit(code)
        print("born", child, flush=True)
        _, status = os.waitpid(child, 0)
        print("died", child, os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
