"""
Firmware for a meter: fetched while the order is accepted, sent once it is started, activated last.

    accepted   blocks are fetched; an order that ends before all are there is expired
    started    blocks go into the meter in short turns, so that a cut or a restore never waits for
               more than one; the meter verifies; it is activated if and when the order says so
    done       with evidence

Every step may be done again, so a restart goes on where it stood: blocks are on disk, the meter
knows what it lacks, and what was verified or activated is noted here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edge.acquire.driver import ImageDriver
from edge.acquire.port import MeterPort
from edge.clock import EdgeClock, Trust
from edge.downlink.admit import Reason
from edge.downlink.fetch import ImageFetcher
from edge.downlink.token import Advance
from edge.failpoint import reach
from edge.outbox import Outbox, OutboxError
from edge.outbox.firmware import ImageStep
from edge.outbox.stages import CommandEvent
from protocols.errors import PeerError
from protocols.identity import CommandId, MeterId
from protocols.mqtt.downlink import Command, Verb
from protocols.mqtt.upkeep import FirmwareOrder, activation_of, firmware_of
from protocols.mqtt.uplink import Stage

_AT_A_TIME = 2
"""Images sent at once: each is held in memory."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_HOPELESS = frozenset(
    {"dlms.image_refused", "dlms.image_disabled", "dlms.action_refused", "dlms.foreign"}
)
_LOG = logging.getLogger(__name__)


class _EndedError(Exception):
    """The order came to an end without success."""

    def __init__(self, reason: Reason, evidence: dict[str, Any] | None = None) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.evidence = evidence or {}


@dataclass(slots=True)
class _Work:
    """One order under way; `told` is what the state says of it."""

    command: Command
    port: MeterPort
    driver: ImageDriver
    evidence: dict[str, Any] = field(default_factory=dict)


class Firmware:
    """Carries out `firmware` and `activate_firmware`."""

    def __init__(
        self, outbox: Outbox, clock: EdgeClock, advance: Advance, fetcher: ImageFetcher
    ) -> None:
        """Note steps in `outbox`."""
        self._outbox = outbox
        self._clock = clock
        self._advance = advance
        self._fetcher = fetcher
        self._at_once = asyncio.Semaphore(_AT_A_TIME)
        self._meters: dict[MeterId, asyncio.Lock] = {}
        self._progress: dict[CommandId, str] = {}

    @property
    def progress(self) -> dict[CommandId, str]:
        """Return how far each order under way is, in words."""
        return self._progress

    async def carry_out(self, command: Command, port: MeterPort, stage: Stage) -> None:
        """Bring an order that stands at `stage` to its end."""
        assert isinstance(port.driver, ImageDriver)  # admitted for that
        work = _Work(command, port, port.driver)
        try:
            # one image at a time for one meter, in the order of their coming
            async with self._meters.setdefault(command.meter, asyncio.Lock()):
                await self._stages(work, stage)
        finally:
            self._progress.pop(command.id, None)

    async def _stages(self, work: _Work, stage: Stage) -> None:
        command = work.command
        try:
            if command.verb is Verb.ACTIVATE_FIRMWARE:
                source, order = activation_of(command), None
            else:
                source, order = command.id, firmware_of(command)
                self._check(command, order)
        except PeerError as error:
            fresh = stage is Stage.ACCEPTED
            await self._advance(
                command,
                CommandEvent.REFUSE if fresh else CommandEvent.FAIL,
                Stage.REFUSED if fresh else Stage.FAILED,
                reason=Reason.UPKEEP_SHAPE.value,
                evidence={"detail": error.message},
            )
            return
        if stage is Stage.ACCEPTED and not await self._begun(work, order, source):
            return
        try:
            if order is not None:
                await self._bring(work, order)
            if order is None or order.activate:
                await self._activate(work, order, source)
        except _EndedError as end:
            await self._advance(
                command, CommandEvent.FAIL, Stage.FAILED, reason=end.reason.value,
                evidence={**work.evidence, **end.evidence},
            )  # fmt: skip
        else:
            await self._advance(
                command, CommandEvent.SUCCEED, Stage.DONE, evidence=dict(work.evidence)
            )

    @staticmethod
    def _check(command: Command, order: FirmwareOrder) -> None:
        if order.activate_at is not None and order.activate_at >= command.expires:
            raise PeerError("command.firmware", "activate_at must come before the order expires")

    async def _begun(self, work: _Work, order: FirmwareOrder | None, source: CommandId) -> bool:
        """From `accepted` to `started`, with the image on disk; False when it ended before."""
        command = work.command
        if order is None:
            step = await asyncio.to_thread(self._outbox.firmware.of, command.meter, source)
            if step not in (ImageStep.VERIFIED, ImageStep.ACTIVATED):
                await self._advance(
                    command, CommandEvent.REFUSE, Stage.REFUSED, reason=Reason.IMAGE_UNKNOWN.value,
                    evidence={"detail": "no verified image of that order is in the meter"},
                )  # fmt: skip
                return False
        else:
            try:
                await self._fetched(work, order)
            except TimeoutError:
                await self._advance(
                    command, CommandEvent.LAPSE, Stage.EXPIRED, reason=Reason.EXPIRED.value
                )
                return False
            except PeerError as error:
                damaged = error.code == "image.damaged"
                reason = Reason.IMAGE_DAMAGED if damaged else Reason.IMAGE_UNKNOWN
                await self._advance(
                    command, CommandEvent.REFUSE, Stage.REFUSED, reason=reason.value,
                    evidence={"detail": error.message},
                )  # fmt: skip
                return False
        return await self._advance(command, CommandEvent.BEGIN, Stage.STARTED)

    async def _fetched(self, work: _Work, order: FirmwareOrder) -> bytes:
        """Return the image. Raises: TimeoutError when the order ends first, PeerError."""
        command = work.command

        def progress(done: int, count: int) -> None:
            self._progress[command.id] = f"fetching {done}/{count}"

        async with asyncio.timeout(max(0.0, self._clock.wall_seconds_until(command.expires))):
            while True:
                try:
                    return await self._fetcher.image(order, progress)
                except OutboxError as error:
                    _LOG.error("edge.image.unwritten", extra={"fields": {"cause": error.message}})
                    await asyncio.sleep(_FIRST_PAUSE)

    async def _bring(self, work: _Work, order: FirmwareOrder) -> None:
        """Have the image verified in the meter. Raises: _EndedError."""
        command = work.command
        step = await asyncio.to_thread(self._outbox.firmware.of, command.meter, command.id)
        if step not in (ImageStep.VERIFIED, ImageStep.ACTIVATED):
            await self._note(command, command.id, ImageStep.SENDING)
            async with self._at_once:
                try:
                    blob = await self._fetched(work, order)
                except TimeoutError:
                    raise _EndedError(Reason.EXPIRED) from None
                except PeerError as error:
                    raise _EndedError(Reason.IMAGE_DAMAGED, {"error": error.code}) from None
                await self._patiently(
                    work,
                    lambda: work.driver.transfer_image(
                        blob, order.identifier, self._sending(command), work.port.turn
                    ),
                )
            await self._note(command, command.id, ImageStep.VERIFIED)
            reach("edge.after_verified")
        work.evidence |= {"image": order.image.hex(), "octets": order.size, "verified": True}

    async def _activate(self, work: _Work, order: FirmwareOrder | None, source: CommandId) -> None:
        """Have the image run. Raises: _EndedError."""
        command = work.command
        if order is not None and order.activate_at is not None:
            self._progress[command.id] = "waiting for its hour"
            await self._until(order.activate_at)
        step = await asyncio.to_thread(self._outbox.firmware.of, command.meter, source)
        if step is None:
            raise _EndedError(Reason.IMAGE_UNKNOWN, {"detail": "another image took its place"})
        if step is not ImageStep.ACTIVATED:
            self._progress[command.id] = "activating"
            reach("edge.before_activate")
            await self._patiently(work, lambda: work.driver.activate_image(work.port.turn))
            reach("edge.after_activate")
            await self._note(command, source, ImageStep.ACTIVATED)
        work.evidence["activated"] = True

    async def _until(self, instant: datetime) -> None:
        """Wait for an instant, in pieces: the wall clock may be set meanwhile."""
        left = self._clock.wall_seconds_until(instant)
        while left > 0:
            await asyncio.sleep(min(left, _LONGEST_PAUSE))
            left = self._clock.wall_seconds_until(instant)

    async def _patiently(self, work: _Work, act: Callable[[], Awaitable[None]]) -> None:
        """Act again after each failure of the line, while the order lasts. Raises: _EndedError."""
        pause = _FIRST_PAUSE
        while True:
            if self._over(work.command):
                raise _EndedError(Reason.EXPIRED, {"error": work.evidence.get("error", "")})
            try:
                await act()
                return
            except OutboxError as error:
                _LOG.error("edge.outbox.refused", extra={"fields": {"cause": error.message}})
            except PeerError as error:
                if error.code in _HOPELESS:
                    raise _EndedError(
                        Reason.IMAGE_REFUSED, {"error": error.code, **error.evidence}
                    ) from None
                work.evidence["error"] = error.code
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _over(self, command: Command) -> bool:
        trusted = self._clock.trust() is not Trust.UNTRUSTED
        return trusted and self._clock.now() >= command.expires

    def _sending(self, command: Command) -> Callable[[int, int], None]:
        def progress(done: int, count: int) -> None:
            self._progress[command.id] = f"sending {done}/{count}"
            reach("edge.after_send")

        return progress

    async def _note(self, command: Command, source: CommandId, step: ImageStep) -> None:
        """Keep a step, waiting for the disk if need be."""
        while True:
            try:
                await asyncio.to_thread(self._outbox.firmware.note, command.meter, source, step)
                return
            except OutboxError as error:
                _LOG.error("edge.outbox.refused", extra={"fields": {"cause": error.message}})
                await asyncio.sleep(_FIRST_PAUSE)
