"""Composes an agent from its configuration and runs it: polls, keeps, forwards, obeys."""

import asyncio
import logging
from collections.abc import Callable, Mapping, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.acquire.driver import MeterDriver
from edge.acquire.plans import plan_of, turns_of
from edge.acquire.poll import MeterPoller
from edge.acquire.port import MeterPort
from edge.clock import EdgeClock
from edge.config import EdgeConfig, KeyRing, MeterConfig, load_keys
from edge.downlink.fetch import ImageFetcher
from edge.downlink.obey import Obedience
from edge.downlink.report import AckReporter
from edge.downlink.settings import SettingsKeeper, settings_in_force
from edge.ending import ended
from edge.outbox import Outbox
from edge.outbox.counters import Counters
from edge.outbox.reserve import DiskReserve
from edge.outbox.vault import KeyVault
from edge.session import EdgeSession
from edge.uplink.collect import Collector
from edge.uplink.publish import BatchPublisher
from protocols.identity import MeterId
from protocols.mqtt.downlink import Watch
from protocols.mqtt.upkeep import Setting
from protocols.timeline import to_ms

if TYPE_CHECKING:
    from edge.acquire.push import PushDesk

Build = Callable[[MeterConfig, KeyRing, Counters, EdgeClock], MeterDriver]

_GRACE = 3.0
_PORT_PAUSE = 10.0

_LOG = logging.getLogger(__name__)


async def run(
    config: EdgeConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    status: MutableMapping[str, int | str],
    build: Build | None = None,
) -> None:
    """
    Run the agent until `stop`.

    Survives meters, disk and broker going away and coming back. Raises only on a bug, or
    ConfigError and OutboxError before `ready` when it cannot begin at all.
    """
    clock = EdgeClock(
        config.time_scale, sync_file=Path(config.sync_file) if config.sync_file else None
    )
    keys = load_keys(config.keys_file)
    outbox = Outbox(config.outbox, wall_ms=to_ms(clock.wall_now()))
    try:
        agent = _Agent(
            config=config,
            clock=clock,
            keys=keys,
            outbox=outbox,
            status=status,
            build=build or _drivers(),
        )
        await agent.run(stop, ready)
    finally:
        outbox.close()


def _drivers() -> Build:
    # imported here so that tests with drivers of their own need no protocol stack
    from edge.acquire.drivers import build_driver

    return build_driver


class _Agent:
    """The parts of one agent, wired."""

    def __init__(
        self,
        *,
        config: EdgeConfig,
        clock: EdgeClock,
        keys: KeyRing,
        outbox: Outbox,
        status: MutableMapping[str, int | str],
        build: Build,
    ) -> None:
        public_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(config.control_public_key))
        held = settings_in_force(outbox, public_key, config.concentrator)
        self._file = config
        self._config = config if held is None else config.with_settings(held.settings)
        self._clock = clock
        self._outbox = outbox
        self._status = status
        self._heard_at = clock.monotonic()
        concentrator = config.concentrator
        self._collector = Collector(
            outbox,
            clock,
            concentrator=concentrator,
            most_batches=config.outbox_max_batches,
            content_type=config.content_type,
            disk_short=DiskReserve(config.outbox.parent, config.disk_reserve_mb, clock).short,
            status=status,
        )
        self._publisher = BatchPublisher(outbox, clock, concentrator=concentrator, status=status)
        self._reporter = AckReporter(outbox, clock, concentrator=concentrator)
        vault = outbox.vault(keys.transport_key) if keys.transport_key else None
        if vault is not None:
            keys = vault.over(keys)
        ports = {
            item.meter: MeterPort(build(item, keys, outbox.counters, clock))
            for item in config.meters
        }
        self._pollers = self._make_pollers(ports)
        fetcher = ImageFetcher(outbox.images, clock, concentrator=concentrator)
        self._obedience = Obedience(
            outbox,
            clock,
            concentrator=concentrator,
            public_key=public_key,
            ports=ports,
            sink=self._collector,
            reporter=self._reporter,
            status=status,
            fetcher=fetcher,
            vault=vault,
            keys=keys,
        )
        self._pushes = self._make_pushes(keys, vault)
        self._settings = self._make_settings(public_key)
        self._session = self._make_session(fetcher)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Run every part; the first that fails ends all, for that is a bug."""
        await self._obedience.resume()
        quiet = asyncio.Event()
        pollers: list[asyncio.Future[None]] = [
            asyncio.ensure_future(poller.run(stop)) for poller in self._pollers.values()
        ]
        keeping = asyncio.ensure_future(self._collector.run(quiet))
        talking = asyncio.ensure_future(self._session.run(stop))
        waking = asyncio.ensure_future(self._forward())
        stopped: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        parts: list[asyncio.Future[Any]] = [*pollers, keeping, talking, waking, stopped]
        if self._pushes is not None:
            parts.append(asyncio.ensure_future(self._listen(self._pushes)))
        ready()
        _LOG.info(
            "edge.ready",
            extra={
                "fields": {
                    "concentrator": self._config.concentrator,
                    "meters": len(self._pollers),
                    "boot": self._outbox.batches.boot,
                    "waiting": self._outbox.batches.waiting,
                }
            },
        )
        try:
            await asyncio.wait([*parts, self._obedience.broken], return_when="FIRST_COMPLETED")
        finally:
            stop.set()
            await self._obedience.finish()
            if pollers:
                await asyncio.wait(pollers, timeout=_GRACE)
            # only when no poller adds any more is everything that was read on disk
            quiet.set()
            await asyncio.wait([keeping, talking], timeout=_GRACE)
            await ended(*parts)
        for part in [*parts, self._obedience.broken]:
            if part.done() and not part.cancelled():
                part.result()

    async def _forward(self) -> None:
        """Wake the publisher whenever something was stored."""
        while True:
            await self._collector.stored.wait()
            self._collector.stored.clear()
            self._publisher.wake()

    def _make_pushes(self, keys: KeyRing, vault: KeyVault | None) -> "PushDesk | None":
        if not self._config.push_port:
            return None
        # imported here so that an agent without pushes needs no more than before
        from edge.acquire.push import PushDesk

        return PushDesk(
            self._config.meters,
            keys_of=lambda meter: (keys if vault is None else vault.over(keys, meter)).of(meter),
            counters=self._outbox.counters,
            floors=self._outbox.push_floors,
            clock=self._clock,
            sink=self._collector,
            status=self._status,
        )

    async def _listen(self, desk: "PushDesk") -> None:
        """Hear pushes until cancelled; a port that is taken is tried again, for it may be freed."""
        from edge.links.push import PushListener

        host, port = self._config.push_host or "0.0.0.0", self._config.push_port  # noqa: S104
        while True:
            listener = PushListener()
            try:
                await listener.listen_udp(host, port)
                await listener.listen_tcp(host, port)
                await desk.run(listener)
            except OSError as error:
                _LOG.error("edge.push.port", extra={"fields": {"cause": str(error)[:200]}})
            finally:
                await listener.close()
            await asyncio.sleep(_PORT_PAUSE)

    def _make_settings(self, public_key: Ed25519PublicKey) -> SettingsKeeper:
        return SettingsKeeper(
            self._outbox,
            self._clock,
            concentrator=self._config.concentrator,
            public_key=public_key,
            reporter=self._reporter,
            apply=self._apply,
            status=self._status,
        )

    def _make_session(self, fetcher: ImageFetcher) -> EdgeSession:
        return EdgeSession(
            self._config.broker,
            concentrator=self._config.concentrator,
            boot=self._outbox.batches.boot,
            publisher=self._publisher,
            reporter=self._reporter,
            on_command=self._obedience.receive,
            on_settings=self._settings.receive,
            fetcher=fetcher,
            on_watch=self._watch,
            on_released=self._collector.released,
            presence=self._presence,
            status=self._status,
            wall_now=self._clock.wall_now,
        )

    def _make_pollers(self, ports: dict[MeterId, MeterPort]) -> dict[MeterId, MeterPoller]:
        config, turns = self._config, turns_of(self._config)
        return {
            item.meter: MeterPoller(
                ports[item.meter],
                plan_of(config, item),
                clock=self._clock,
                sink=self._collector,
                turns=turns[item.shared_line],
                coverage=self._outbox.coverage.of(item.meter),
                event_mark=self._outbox.event_marks.of(item.meter),
                clock_book=self._outbox.clock_sets,
                heard=self._heard,
                status=self._status,
            )
            for item in config.meters
        }

    def _apply(self, settings: Mapping[str, Setting]) -> None:
        """Go on with settings from afar; what they do not name is as the file has it."""
        self._config = self._file.with_settings(settings)
        turns = turns_of(self._config)
        self._session.announce()
        for item in self._config.meters:
            self._pollers[item.meter].replan(plan_of(self._config, item), turns[item.shared_line])

    def _heard(self) -> bool:
        """Tell whether the broker is there, or was a short while ago."""
        now = self._clock.monotonic()
        if self._session.connected:
            self._heard_at = now
        return now - self._heard_at < self._config.offline_after_seconds

    def _watch(self, watch: Watch) -> None:
        poller = self._pollers.get(watch.meter)
        if poller is not None:
            poller.watch(watch.wall_seconds)

    def _presence(self) -> dict[str, int | str]:
        """Return what the retained state tells: completeness, backlog, silence, the clock."""
        missing = sum((poller.coverage.missing() for poller in self._pollers.values()), timedelta())
        presence: dict[str, int | str] = {
            "waiting": self._outbox.batches.waiting,
            "silent": sum(poller.silent for poller in self._pollers.values()),
            "missing_s": int(missing.total_seconds()),
            "clock": self._clock.trust().value,
            "full": int(self._collector.full),
            "config_revision": self._settings.revision,
            "upkeep": self._obedience.under_way(),
        }
        self._status.update(presence)
        return presence
