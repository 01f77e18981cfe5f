"""Serves small HTTP applications inside the simulator's own event loop, on given addresses."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

_START_SECONDS = 10.0


class _Server(uvicorn.Server):
    """Leaves the signals to whoever runs the whole process, and tells when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended_or_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            # uvicorn leaves the interpreter on a failed bind; `served` turns that into OSError
            self.should_exit = True
        finally:
            self.ended_or_up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: FastAPI, host: str, port: int) -> AsyncIterator[None]:
    """
    Serve `app` while the block runs.

    Raises: OSError when it does not come up, most often because the port is in use.
    """
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, lifespan="off",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(_START_SECONDS):
            await server.ended_or_up.wait()
        if not server.started:
            raise OSError(f"cannot serve HTTP on {host}:{port}; is the port in use?")
        yield
    finally:
        server.should_exit = True
        await asyncio.wait([task], timeout=_START_SECONDS)
