"""
Settings from afar: proven, judged, kept, then used, without a restart and without losing a reading.

    what comes                         what becomes of it
    for another concentrator           ignored
    an older revision                  ignored: the newer one holds already
    the newest revision, same octets   ignored: it is retained and comes at each connect
    the newest revision, other octets  refused, `revision_reused`
    a newer one, over its time         expired; what held before holds on
    a newer one, unknown or out of range   refused, naming key and range
    a newer one else                   on disk, then in use, then told: done
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, MutableMapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.clock import EdgeClock, Trust
from edge.downlink.report import AckReporter
from edge.failpoint import reach
from edge.outbox import Outbox
from edge.outbox.settings import StoredSettings
from protocols.errors import PeerError
from protocols.identity import ConcentratorId, MeterId
from protocols.mqtt.upkeep import ConfigOrder, Setting, fault_of, open_config
from protocols.mqtt.uplink import Ack, Stage

_LOG = logging.getLogger(__name__)

REVISION_REUSED = "revision_reused"
EXPIRED = "expired"


def settings_in_force(
    outbox: Outbox, key: Ed25519PublicKey, concentrator: ConcentratorId
) -> ConfigOrder | None:
    """Return the order that held when the agent ended; None where its word is worth nothing now."""
    stored = outbox.settings.in_force()
    if stored is None:
        return None
    try:
        order = open_config(stored.payload, key)
    except PeerError:
        order = None
    if order is None or order.concentrator != concentrator or fault_of(order.settings):
        # control has another key by now, or we another name or narrower ranges
        _LOG.warning("edge.settings.void", extra={"fields": {"revision": stored.revision}})
        return None
    return order


class SettingsKeeper:
    """Takes orders of settings; `apply` is called with what holds from now on."""

    def __init__(
        self,
        outbox: Outbox,
        clock: EdgeClock,
        *,
        concentrator: ConcentratorId,
        public_key: Ed25519PublicKey,
        reporter: AckReporter,
        apply: Callable[[Mapping[str, Setting]], None],
        status: MutableMapping[str, int | str] | None = None,
    ) -> None:
        """Obey whoever holds the private half of `public_key`, and nobody else."""
        self._outbox = outbox
        self._clock = clock
        self._concentrator = concentrator
        self._key = public_key
        self._reporter = reporter
        self._apply = apply
        self._status = status if status is not None else {}
        held = settings_in_force(outbox, public_key, concentrator)
        self.revision = 0 if held is None else held.revision
        """The revision in use, 0 when only the file holds."""

    async def receive(self, payload: bytes) -> None:
        """Take one signed order. Never raises on what a peer sent; raises OutboxError."""
        try:
            order = open_config(payload, self._key)
        except PeerError as error:
            self._count("settings_rejected")
            _LOG.warning("edge.settings.rejected", extra={"fields": {"cause": error.code}})
            return
        if order.concentrator != self._concentrator:
            self._count("settings_foreign")
            return
        newest = await asyncio.to_thread(self._outbox.settings.newest)
        if newest is not None and order.revision <= newest.revision:
            if order.revision == newest.revision and payload != newest.payload:
                ack = self._ack(order, Stage.REFUSED, REVISION_REUSED)
                await asyncio.to_thread(self._outbox.settings.refuse, ack)
                self._told(order, ack)
            return
        await self._take(order, payload)

    async def _take(self, order: ConfigOrder, payload: bytes) -> None:
        trusted = self._clock.trust() is not Trust.UNTRUSTED
        late = order.expires is not None and trusted and self._clock.now() >= order.expires
        fault = fault_of(order.settings)
        if late:
            ack = self._ack(order, Stage.EXPIRED, EXPIRED)
        elif fault:
            ack = self._ack(order, Stage.REFUSED, fault)
        else:
            ack = self._ack(order, Stage.DONE, "")
        taken = ack.stage is Stage.DONE
        stored = StoredSettings(revision=order.revision, payload=payload, taken=taken)
        reach("edge.before_settings")
        await asyncio.to_thread(self._outbox.settings.enter, stored, ack)
        reach("edge.after_settings")
        if taken:
            self.revision = order.revision
            self._apply(order.settings)
        self._told(order, ack)

    def _ack(self, order: ConfigOrder, stage: Stage, reason: str) -> Ack:
        return Ack(
            id=order.id,
            meter=MeterId(order.concentrator),
            stage=stage,
            at=self._clock.now(),
            reason=reason,
            evidence={"revision": order.revision},
        )

    def _told(self, order: ConfigOrder, ack: Ack) -> None:
        self._reporter.wake()
        self._count(f"settings_{ack.stage.value}")
        _LOG.info(
            "edge.settings.stage",
            extra={
                "fields": {
                    "order": order.id,
                    "revision": order.revision,
                    "stage": ack.stage.value,
                    "reason": ack.reason,
                }
            },
        )

    def _count(self, name: str) -> None:
        self._status[name] = int(self._status.get(name, 0)) + 1
