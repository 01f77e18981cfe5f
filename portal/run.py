"""The portal process: one uvicorn server with the live hub beside it."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Callable, MutableMapping
from pathlib import Path

import uvicorn

from cloud.store.db import Database
from portal.app import create_app
from portal.config import PortalConfig
from portal.site import Site

_LOG = logging.getLogger(__name__)
_GRACE_SECONDS = 2


class _Server(uvicorn.Server):
    """A server that leaves signals to the frame that runs it."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Capture none."""
        yield


async def run(
    config: PortalConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: MutableMapping[str, int | str],
) -> None:
    """
    Serve people until `stop`; call `ready` once the port answers. Port 0 takes a free one.

    `status` counts viewers of live pages and live messages. Raises: OSError when the port is taken.
    """
    listener = _listen(config)
    with (
        listener,
        Database(
            config.dsn, user=config.database_user, application="meterloop-portal", size=8
        ) as db,
    ):
        app = create_app(config, db, demo_passwords=_passwords(config), stop=stop)
        server = _Server(
            uvicorn.Config(
                app, host=config.host, port=config.port, log_config=None, access_log=False,
                server_header=False, timeout_graceful_shutdown=_GRACE_SECONDS, lifespan="off",
            )
        )  # fmt: skip
        site: Site = app.state.site
        parts = [
            asyncio.create_task(server.serve(sockets=[listener])),
            asyncio.create_task(site.hub.run(stop)),
            asyncio.create_task(_tell(server, site, listener, stop, ready, status)),
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            stop.set()
            await asyncio.gather(*parts)
        finally:
            for part in parts:
                part.cancel()


async def _tell(  # noqa: PLR0917 - one caller
    server: _Server,
    site: Site,
    listener: socket.socket,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: MutableMapping[str, int | str],
) -> None:
    port = listener.getsockname()[1]
    while not server.started:  # noqa: ASYNC110 - uvicorn offers a flag, no event
        await asyncio.sleep(0.02)
    status["address"] = f"http://{site.config.host}:{port}"
    ready()
    _LOG.info("portal.ready", extra={"fields": {"port": port}})
    while not stop.is_set():
        status["viewers"] = site.hub.viewers
        status["live_messages"] = site.hub.messages
        status["broker"] = "connected" if site.hub.connected else "away"
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)


def _listen(config: PortalConfig) -> socket.socket:
    """Return the listening socket. Raises: OSError naming the setting to change."""
    try:
        return socket.create_server((config.host, config.port), backlog=2048)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{config.host}:{config.port} cannot be listened on ({error.strerror}); "
            "set the portal's port to one that is free, or to 0",
        ) from error


def _passwords(config: PortalConfig) -> dict[str, str]:
    if not config.demo or not config.demo_credentials_file:
        return {}
    found = json.loads(Path(config.demo_credentials_file).read_text(encoding="utf-8"))
    return {str(login): str(password) for login, password in found.items()}
