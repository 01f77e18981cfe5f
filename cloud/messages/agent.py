"""
Sends what is queued to the SMS centre over HTTP, each message under its own id until it is taken.

The centre may take a message and lose the answer: sending the same id again does no harm there.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple
from urllib.parse import urlsplit

from cloud.messages import service
from cloud.messages.model import MessageEvent
from cloud.messages.rules.backoff import next_pause
from cloud.store.clock import Clock
from cloud.store.db import Database, TransientDatabaseError
from cloud.store.rim import Status, count, rest
from protocols.timeline import TimeScale

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_TIMEOUT_SECONDS = 5.0
_MAX_TRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagesConfig:
    """Where the outbox and the SMS centre are; an empty gateway keeps messages queued."""

    dsn: str
    gateway_url: str = ""
    scale: TimeScale = field(default_factory=TimeScale)
    user: str = "meterloop_control"


class Answer(NamedTuple):
    """What the centre said: HTTP status, 0 when it could not be reached."""

    status: int
    cause: str


async def run(
    config: MessagesConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: Status,
) -> None:
    """Send until `stop`; a database or a centre that is away is tried again."""
    clock = Clock(scale=config.scale)
    with Database(config.dsn, user=config.user, application="meterloop-messages", size=2) as db:
        ready()
        while not stop.is_set():
            try:
                sent = await send_due(db, config.gateway_url, clock, status=status)
            except TransientDatabaseError as error:
                _LOG.warning("messages.database.away", extra={"fields": {"cause": _short(error)}})
                sent = 0
            if not sent:
                await rest(stop, _POLL_SECONDS)


async def send_due(db: Database, gateway_url: str, clock: Clock, *, status: Status) -> int:
    """Give every message that is due to the centre once; return how many it took."""
    if not gateway_url:
        return 0
    taken = 0
    for message in await asyncio.to_thread(service.due, db, wall_now=clock.wall_now()):
        answer = await asyncio.to_thread(post, gateway_url, message.id, message.phone, message.text)
        if 200 <= answer.status < 300:
            await asyncio.to_thread(
                service.note, db, message.id, MessageEvent.ACCEPTED, now=clock.now()
            )
            taken += 1
        elif 400 <= answer.status < 500 or message.tries + 1 >= _MAX_TRIES:
            await asyncio.to_thread(
                service.note, db, message.id, MessageEvent.FAILED, cause=answer.cause,
                now=clock.now(),
            )  # fmt: skip
            count(status, "failed")
        else:
            pause = timedelta(seconds=next_pause(message.tries))
            await asyncio.to_thread(
                service.put_off, db, message.id, next_try_wall=clock.wall_now() + pause,
                cause=answer.cause,
            )  # fmt: skip
            count(status, "put_off")
    if taken:
        status["sent"] = int(status.get("sent", 0)) + taken
    return taken


def post(gateway_url: str, id_: str, phone: str, text: str) -> Answer:
    """Send one message; the id makes a repeat harmless. Never raises on a bad peer."""
    parts = urlsplit(gateway_url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    link = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    body = json.dumps({"id": id_, "to": phone, "text": text}).encode()
    try:
        link.request(
            "POST", f"{parts.path.rstrip('/')}/messages", body,
            {"Content-Type": "application/json"},
        )  # fmt: skip
        answer = link.getresponse()
        answer.read(65_536)
        return Answer(answer.status, f"http {answer.status}")
    except (OSError, HTTPException) as error:
        return Answer(0, _short(error))
    finally:
        link.close()


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:120]
