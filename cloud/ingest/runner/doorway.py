"""
A share of the concentrators' messages, each acknowledged only when we say so.

The MQTT broker keeps at most `inflight` of them on their way to us and holds the rest: a log that
is away becomes back-pressure there, and what we never acknowledged is delivered again.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud.ingest.runner.settings import BridgeConfig
from protocols.mqtt import topics

_SESSION_SECONDS = 3600
_KEEPALIVE = 15
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message and the connection that brought it: its number counts in that one alone."""

    message: MQTTMessage
    connection: int


class Doorway:
    """Delivers messages into `waiting` from `open` to `close`; the library's thread reads."""

    def __init__(self, config: BridgeConfig, changed: Callable[[str], None]) -> None:
        """Tell `changed` "connected" or "away", in the loop that opens."""
        self.waiting: asyncio.Queue[Delivered] = asyncio.Queue()
        self._config = config
        self._changed = changed
        self._connection = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client = self._made()

    def open(self) -> None:
        """Begin to connect; a broker that is away is tried again and again."""
        self._loop = asyncio.get_running_loop()
        broker = self._config.broker
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.SessionExpiryInterval = _SESSION_SECONDS
        connect.ReceiveMaximum = self._config.inflight
        self._client.connect_async(
            broker.host, broker.port, keepalive=_KEEPALIVE, clean_start=False, properties=connect
        )
        self._client.loop_start()

    def acknowledge(self, delivered: Delivered) -> None:
        """Let the broker forget a message; one of a connection that is gone comes again anyhow."""
        if delivered.connection == self._connection:
            self._client.ack(delivered.message.mid, delivered.message.qos)

    async def close(self) -> None:
        """End the session's connection; the session itself waits for the next one."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def _made(self) -> Client:
        broker = self._config.broker
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._config.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        if broker.username:
            secret = Path(broker.password_file).read_text(encoding="utf-8").strip()
            client.username_pw_set(broker.username, secret)
        if broker.tls_ca:
            client.tls_set(broker.tls_ca, broker.tls_cert or None, broker.tls_key or None)
        client.reconnect_delay_set(min_delay=1, max_delay=3)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_connect_fail = lambda *_: self._tell(self._changed, "away")
        client.on_disconnect = lambda *_: self._tell(self._changed, "away")
        client.on_message = self._on_message
        return client

    def _on_connect(self, client: Client, *answer: Any) -> None:
        reason = answer[2]
        if reason.is_failure:
            _LOG.warning("bridge.broker.refused", extra={"fields": {"cause": str(reason)[:200]}})
            return
        self._connection += 1
        client.subscribe(f"$share/{self._config.share}/{topics.ALL_DATA}", qos=1)

    def _on_subscribe(self, _client: Client, *answer: Any) -> None:
        (reason, *_) = answer[2]
        if reason.is_failure:
            _LOG.warning("bridge.share.refused", extra={"fields": {"cause": str(reason)[:200]}})
            return
        self._tell(self._changed, "connected")

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        self._tell(self.waiting.put_nowait, Delivered(message, self._connection))

    def _tell(self, call: Callable[[Any], None], value: Any) -> None:
        """Cross from the library's thread into our loop, unless that has ended."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, value)
