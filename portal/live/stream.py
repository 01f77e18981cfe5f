"""
The SSE endpoint, as bare ASGI: one open answer per browser, 15 KiB each.

*Source*: WHATWG HTML, server-sent events. Authorised before the answer starts and again every
minute; a comment line every 15 s keeps middle boxes awake.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from cloud.store.clock import Clock
from cloud.store.db import TransientDatabaseError
from cloud.store.rim import ended
from portal.fmt import Reader
from portal.live.hub import Hub, Mailbox
from protocols.identity import UsagePointId
from protocols.mqtt.live import LiveBalance, LiveMessage, LiveReading, LiveSupply
from protocols.timeline import from_ms, to_ms

_LOG = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HEARTBEAT = 15.0
_REAUTHORISE = 60.0
_RETRY_MS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """What a viewer is allowed: which usage point, read how, priced in what."""

    usage_point: UsagePointId
    reader: Reader
    currency: str


Authorise = Callable[[Scope, UsagePointId], Seat | None]
"""Blocking; runs in a thread. None: this browser may not see that usage point.

Raises: TransientDatabaseError when nobody can tell."""


def event_of(message: LiveMessage, seat: Seat, clock: Clock) -> bytes:
    """Return one SSE event: text ready to show, and the integers behind it."""
    reader = seat.reader
    shown: dict[str, Any] = {"now": to_ms(clock.wall_now())}
    match message:
        case LiveReading():
            shown |= {
                "k": "reading", "t": message.at_ms, "wall": message.wall_ms,
                "q": message.quality, "wh": message.register_wh,
                "text": {
                    "register": reader.kwh(message.register_wh),
                    "quality": reader.words.of_code("quality", message.quality),
                },
            }  # fmt: skip
            if message.power_w is not None:
                shown["w"] = message.power_w
                shown["text"]["power"] = reader.kw(message.power_w)
            if message.voltage_mv is not None:
                shown["text"]["voltage"] = reader.volts(message.voltage_mv)
            if message.current_ma is not None:
                shown["text"]["current"] = reader.amps(message.current_ma)
        case LiveBalance():
            shown |= {
                "k": "balance", "t": message.at_ms, "micros": message.available_micros,
                "wall": to_ms(clock.scale.wall_at(from_ms(message.at_ms))),
                "text": {
                    "balance": reader.money(message.available_micros, seat.currency),
                    "cost": reader.money(message.cost_today_micros, seat.currency),
                    # beside its cost, never from another source: people divide one by the other
                    "today": reader.number(message.today_wh, scale=3, least=2, most=2),
                },
            }  # fmt: skip
        case LiveSupply():
            shown |= {
                "k": "supply", "t": message.at_ms, "state": message.state,
                "wall": to_ms(clock.scale.wall_at(from_ms(message.at_ms))),
                "text": {"supply": reader.words.of_code("supply", message.state)},
            }  # fmt: skip
    return (
        b"data: " + json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
    )


class LiveStream:
    """`GET live?point=UP-000042` as an ASGI application."""

    def __init__(self, hub: Hub, authorise: Authorise, clock: Clock, stop: asyncio.Event) -> None:
        """Serve what `hub` receives to those whom `authorise` lets in, until `stop`."""
        self._hub, self._authorise, self._clock, self._stop = hub, authorise, clock, stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one browser until it leaves, loses its right, or the process ends."""
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        point = UsagePointId(query.get("point", [""])[0][:64])
        try:
            seat = await asyncio.to_thread(self._authorise, scope, point)
        except TransientDatabaseError:
            await _refuse(send, 503, b"the database is away")
            return
        if seat is None:
            await _refuse(send, 403, b"forbidden")
            return
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"),
        ]  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        mailbox = Mailbox()
        self._hub.add(seat.usage_point, mailbox)
        parts = [
            asyncio.create_task(self._pump(mailbox, seat, send)),
            asyncio.create_task(_gone(receive)),
            asyncio.create_task(self._unwelcome(scope, seat)),
            asyncio.create_task(_stopped(self._stop)),
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.discard(seat.usage_point, mailbox)
            await ended(*parts)
        with contextlib.suppress(OSError, RuntimeError):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, mailbox: Mailbox, seat: Seat, send: Send) -> None:
        await _write(send, b"retry: %d\n\n" % _RETRY_MS)
        while True:
            try:
                messages = await asyncio.wait_for(mailbox.take(), _HEARTBEAT)
            except TimeoutError:
                await _write(send, b": still here\n\n")
                continue
            await _write(send, b"".join(event_of(one, seat, self._clock) for one in messages))

    async def _unwelcome(self, scope: Scope, seat: Seat) -> None:
        while True:
            await asyncio.sleep(_REAUTHORISE)
            try:
                still = await asyncio.to_thread(self._authorise, scope, seat.usage_point)
            except TransientDatabaseError:
                # who was welcome a minute ago stays until somebody can say otherwise
                continue
            if still is None:
                return


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stopped(stop: asyncio.Event) -> None:
    await stop.wait()


async def _refuse(send: Send, status: int, said: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": said, "more_body": False})
