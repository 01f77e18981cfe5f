"""An agent with real drivers in a process of its own, to be killed at a failpoint."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from edge.config import EdgeConfig, load_config
from edge.run import run
from tests.integration.edge_harness import REPO


@asynccontextmanager
async def agent_process(
    config: Path, failpoint: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the agent of a configuration file; it dies at `failpoint`, else it ends in order."""
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    environment.pop("METERLOOP_FAILPOINT", None)
    if failpoint:
        environment["METERLOOP_FAILPOINT"] = f"{failpoint}:kill"
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, str(config), env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 30)


async def _main(config: EdgeConfig) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run(config, stop=stop, ready=lambda: None, status={})


if __name__ == "__main__":
    asyncio.run(_main(load_config(Path(sys.argv[1]))))
