"""
Takes what comes down, carries it through its table (`edge.outbox.stages`), and tells each step.

Every step is on disk before the next begins. A reconnect (or keep-power) for a meter withdraws
each disconnect of it that has not acted; from the go to the verdict a command holds its meter's
lock, so that a later reconnect always acts last.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Mapping, MutableMapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.acquire.driver import ImageDriver, KeepPowerDriver, ReadOut, TokenDriver
from edge.acquire.piece import Piece, Sink
from edge.acquire.port import MeterPort
from edge.clock import EdgeClock, Trust
from edge.config import KeyRing
from edge.downlink.admit import Admission, Reason, Scope, judge
from edge.downlink.confirm import Challenge, Handshakes
from edge.downlink.execute import Limits, Switching, Verdict
from edge.downlink.fetch import ImageFetcher
from edge.downlink.firmware import Firmware
from edge.downlink.rekey import Rekeying
from edge.downlink.report import AckReporter
from edge.downlink.token import Delivery
from edge.ending import ended
from edge.outbox import Outbox, OutboxError
from edge.outbox.acks import ReplyTo
from edge.outbox.commands import StoredCommand
from edge.outbox.stages import CommandEvent
from edge.outbox.vault import KeyVault
from protocols.errors import PeerError
from protocols.events import EndDeviceEvent, EventCode
from protocols.identity import CommandId, ConcentratorId, MeterId
from protocols.mqtt.downlink import UPKEEP, Command, Go, Verb, open_signed
from protocols.mqtt.uplink import FINAL, Ack, Stage

_KEPT_WHOLE = 1000
"""Ended commands kept with all their acks; of older ones a digest and the last ack."""

_LOG = logging.getLogger(__name__)
_MOVES = frozenset({Verb.DISCONNECT, Verb.RECONNECT})
_WITHDRAWS_CUTS = frozenset({Verb.RECONNECT, Verb.KEEP_POWER})


class Obedience:
    """The commands of one agent, from the wire to their ends."""

    def __init__(
        self,
        outbox: Outbox,
        clock: EdgeClock,
        *,
        concentrator: ConcentratorId,
        public_key: Ed25519PublicKey,
        ports: Mapping[MeterId, MeterPort],
        sink: Sink,
        reporter: AckReporter,
        handshakes: Handshakes | None = None,
        limits: Limits | None = None,
        status: MutableMapping[str, int | str] | None = None,
        fetcher: ImageFetcher | None = None,
        vault: KeyVault | None = None,
        keys: KeyRing | None = None,
    ) -> None:
        """Obey whoever holds the private half of `public_key`, and nobody else."""
        self._outbox = outbox
        self._clock = clock
        self._key = public_key
        self._ports = ports
        self._sink = sink
        self._reporter = reporter
        self._handshakes = handshakes or Handshakes(clock.monotonic)
        self._limits = limits or Limits()
        self._status = status if status is not None else {}
        self._vault = vault
        self._rekeying = None
        if vault is not None and keys is not None:
            self._rekeying = Rekeying(vault, keys, clock, self._advance)
        self._scope = Scope(
            concentrator=concentrator,
            relays={meter: port.driver.has_relay for meter, port in ports.items()},
            keepers=frozenset(
                meter for meter, port in ports.items() if isinstance(port.driver, KeepPowerDriver)
            ),
            tokens=frozenset(
                meter for meter, port in ports.items() if isinstance(port.driver, TokenDriver)
            ),
            images=frozenset(
                meter
                for meter, port in ports.items()
                if fetcher is not None and isinstance(port.driver, ImageDriver)
            ),
            rekeyed=frozenset(
                meter
                for meter, port in ports.items()
                if self._rekeying is not None and self._rekeying.may(port)
            ),
        )
        self._unwanted: set[CommandId] = set()
        """Cuts with a go that a later reconnect has overtaken."""
        self._delivery = Delivery(outbox, self._advance)
        self._firmware = (
            None if fetcher is None else Firmware(outbox, clock, self._advance, fetcher)
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception of a bug, for which the agent must die and be started anew."""

    async def receive(self, payload: bytes, reply: ReplyTo | None = None) -> None:
        """Take one signed message. Never raises on what a peer sent; raises OutboxError."""
        try:
            message = open_signed(payload, self._key)
        except PeerError as error:
            self._count("commands_rejected")
            _LOG.warning("edge.command.rejected", extra={"fields": {"cause": error.code}})
            return
        if isinstance(message, Go):
            taken = self._handshakes.redeem(message)
            self._count("go_taken" if taken else "go_ignored")
            _LOG.info("edge.command.go", extra={"fields": {"command": message.id, "taken": taken}})
            return
        await self._take(message, payload, reply)

    async def resume(self) -> None:
        """Take up the commands that a crash or a restart left without an end."""
        ordered: set[tuple[MeterId, Verb]] = set()
        for stored in await asyncio.to_thread(self._outbox.commands.still_open):
            try:
                message = open_signed(stored.payload, self._key)
            except PeerError:
                # control has another key by now: its older word is worth nothing
                message = None
            if isinstance(message, Command) and stored.meter in self._ports:
                self._start(self._resumed(stored, message))
                ordered.add((stored.meter, stored.verb))
            else:
                self._start(self._abandoned(stored))
        if self._vault is None or self._rekeying is None:
            return
        for meter in await asyncio.to_thread(self._vault.undecided):
            if meter in self._ports and (meter, Verb.REKEY) not in ordered:
                self._start(self._rekeying.settle(self._ports[meter]))

    async def finish(self) -> None:
        """Stop working on commands; `resume` of the next run takes them up."""
        await ended(*self._tasks)

    def under_way(self) -> str:
        """Return how far upkeep is, in words, `order: what` by `order: what`; at most 8 of them."""
        progress = {} if self._firmware is None else self._firmware.progress
        return "; ".join(f"{id_}: {told}" for id_, told in sorted(progress.items())[:8])

    async def idle(self) -> None:
        """Wait until no command is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _take(self, command: Command, payload: bytes, reply: ReplyTo | None) -> None:
        known = await asyncio.to_thread(self._outbox.commands.find, command.id)
        if known is not None:
            await self._answer_replay(known, payload)
            return
        trusted = self._clock.trust() is not Trust.UNTRUSTED
        judgement = judge(command, self._scope, now=self._clock.now(), clock_trusted=trusted)
        reason = judgement.reason.value if judgement.reason else ""
        match judgement.admission:
            case Admission.IGNORE:
                self._count("commands_foreign")
                _LOG.warning("edge.command.foreign", extra={"fields": {"command": command.id}})
                return
            case Admission.ADMIT:
                event, stage = CommandEvent.ADMIT, Stage.ACCEPTED
            case Admission.REFUSE:
                event, stage = CommandEvent.REFUSE, Stage.REFUSED
            case Admission.EXPIRE:
                event, stage = CommandEvent.LAPSE, Stage.EXPIRED
        ack = self._ack(command, stage, reason=reason)
        entered = await asyncio.to_thread(
            self._outbox.commands.enter, payload, command.verb, event, ack, reply
        )
        self._told(command, stage, reason)
        if entered and event is CommandEvent.ADMIT:
            self._start(self._obeyed(command))

    async def _answer_replay(self, known: StoredCommand, payload: bytes) -> None:
        self._count("commands_repeated")
        if not known.came_as(payload):
            _LOG.error("edge.command.id_reused", extra={"fields": {"command": known.id}})
            return
        await asyncio.to_thread(self._outbox.commands.tell_again, known.id)
        self._reporter.again()

    async def _obeyed(self, command: Command) -> None:
        """Carry out an accepted command."""
        if command.verb is Verb.DELIVER_TOKEN:
            await self._delivery.deliver(command, self._ports[command.meter])
            return
        if command.verb in UPKEEP:
            await self._care(command, Stage.ACCEPTED)
            return
        if command.verb is Verb.DISCONNECT:
            await self._cut(command)
            return
        if command.verb in _WITHDRAWS_CUTS:
            await self._supersede(command)
        port = self._ports[command.meter]
        async with port.lock:
            if await self._advance(command, CommandEvent.BEGIN, Stage.STARTED):
                await self._conclude(command, self._switching(command, port))

    async def _care(self, command: Command, stage: Stage) -> None:
        """Bring upkeep that stands at `stage` to its end; its steps may all be done again."""
        port = self._ports[command.meter]
        if command.verb is Verb.REKEY:
            assert self._rekeying is not None  # admitted for that
            await self._rekeying.carry_out(command, port, stage)
        else:
            assert self._firmware is not None
            await self._firmware.carry_out(command, port, stage)

    async def _cut(self, command: Command) -> None:
        """The handshake, then the act: nothing is done without an answer to our own nonce."""
        early = self._clock.wall_seconds_until(command.not_before)
        if early > 0:
            await asyncio.sleep(early)
        challenge = self._handshakes.challenge(command)
        if not await self._advance(
            command, CommandEvent.CHALLENGE, Stage.CHALLENGE, nonce=challenge.nonce
        ):
            self._handshakes.withdraw(command.id)
            return
        if not await self._handshakes.answered(challenge):
            await self._advance(
                command, CommandEvent.LAPSE, Stage.EXPIRED, reason=Reason.NO_GO.value
            )
            return
        port = self._ports[command.meter]
        async with port.lock:
            reason = self._cut_forbidden(command, challenge)
            if reason is Reason.CLOCK_UNTRUSTED:
                await self._advance(
                    command, CommandEvent.REFUSE, Stage.REFUSED, reason=reason.value
                )
            elif reason is not None:
                await self._advance(command, CommandEvent.LAPSE, Stage.EXPIRED, reason=reason.value)
            elif await self._advance(command, CommandEvent.GO, Stage.STARTED):
                await self._conclude(command, self._switching(command, port, challenge))
                self._unwanted.discard(command.id)

    def _cut_forbidden(self, command: Command, challenge: Challenge) -> Reason | None:
        """Return why a cut with a good go must not act at this moment."""
        if self._clock.monotonic() >= challenge.valid_until:
            return Reason.GO_LAPSED
        if self._clock.trust() is Trust.UNTRUSTED:
            return Reason.CLOCK_UNTRUSTED
        return Reason.EXPIRED if self._clock.now() >= command.expires else None

    def _switching(
        self, command: Command, port: MeterPort, challenge: Challenge | None = None
    ) -> Switching:
        def may_operate() -> Reason | None:
            if command.verb is not Verb.DISCONNECT:
                return None
            if command.id in self._unwanted:
                return Reason.SUPERSEDED
            if challenge is None:
                # found at a restart: whatever go it had died with the earlier run
                return Reason.RESTARTED
            return self._cut_forbidden(command, challenge)

        def on_visit(readout: ReadOut) -> None:
            self._sink.add(port.piece(readout, received=self._clock.now()))

        return Switching(
            port.driver,
            command.verb,
            clock=self._clock,
            limits=self._limits,
            may_operate=may_operate,
            on_visit=on_visit,
        )

    async def _conclude(self, command: Command, switching: Switching) -> None:
        """From `started` to an end, over `unknown` where the meter went silent."""
        verdict = await switching.carry_out()
        if verdict.event is CommandEvent.LOSE:
            await self._advance(
                command,
                CommandEvent.LOSE,
                Stage.UNKNOWN,
                reason=verdict.reason,
                evidence=verdict.evidence,
            )
            verdict = await switching.resolve()
        await self._end(command, verdict)

    async def _end(self, command: Command, verdict: Verdict) -> None:
        stage = {
            CommandEvent.SUCCEED: Stage.DONE,
            CommandEvent.ARM: Stage.ARMED,
            CommandEvent.FAIL: Stage.FAILED,
        }[verdict.event]
        await self._advance(
            command, verdict.event, stage, reason=verdict.reason, evidence=verdict.evidence
        )
        if stage is Stage.FAILED and command.verb in _MOVES:
            now = self._clock.now()
            event = EndDeviceEvent(
                meter=command.meter,
                code=EventCode.RELAY_FAILED,
                at=now,
                origin=command.id,
                detail=verdict.reason,
            )
            self._sink.add(Piece(meter=command.meter, received=now, events=(event,)))

    async def _resumed(self, stored: StoredCommand, command: Command) -> None:
        """Bring a command that an earlier run began to its end; read the switch, never guess."""
        port = self._ports[command.meter]
        if stored.stage is Stage.ACCEPTED:
            trusted = self._clock.trust() is not Trust.UNTRUSTED
            judged = judge(command, self._scope, now=self._clock.now(), clock_trusted=trusted)
            if judged.admission is Admission.ADMIT:
                await self._obeyed(command)
                return
            reason = judged.reason.value if judged.reason else ""
            await self._advance(command, CommandEvent.LAPSE, Stage.EXPIRED, reason=reason)
            return
        if command.verb in UPKEEP:
            await self._care(command, stored.stage)
            return
        async with port.lock:
            if stored.stage is Stage.CHALLENGE:
                await self._advance(
                    command, CommandEvent.RESTART, Stage.EXPIRED, reason=Reason.RESTARTED.value
                )
                return
            if stored.stage is Stage.STARTED:
                await self._advance(
                    command, CommandEvent.RESTART, Stage.UNKNOWN, reason=Reason.RESTARTED.value
                )
            if command.verb is Verb.DELIVER_TOKEN:
                # it may be in the meter or not, and must not be in it twice
                await self._advance(
                    command, CommandEvent.FAIL, Stage.FAILED, reason=Reason.TOKEN_DOUBTFUL.value
                )
                return
            await self._end(command, await self._switching(command, port).resolve())

    async def _abandoned(self, stored: StoredCommand) -> None:
        """End an open command whose meter or key is no longer ours."""
        reason = Reason.FOREIGN_METER.value
        if stored.stage in (Stage.ACCEPTED, Stage.CHALLENGE):
            await self._advance(stored, CommandEvent.LAPSE, Stage.EXPIRED, reason=reason)
            return
        await self._advance(stored, CommandEvent.RESTART, Stage.UNKNOWN, reason=reason)
        await self._advance(stored, CommandEvent.FAIL, Stage.FAILED, reason=reason)

    async def _supersede(self, reconnect: Command) -> None:
        """Withdraw each disconnect of the same meter; one that has its go acts no more."""
        for stored in await asyncio.to_thread(self._outbox.commands.still_open):
            if stored.meter != reconnect.meter or stored.verb is not Verb.DISCONNECT:
                continue
            self._unwanted.add(stored.id)
            if await self._advance(
                stored, CommandEvent.REFUSE, Stage.REFUSED, reason=Reason.SUPERSEDED.value
            ):
                self._handshakes.withdraw(stored.id)
                self._unwanted.discard(stored.id)

    async def _advance(
        self,
        command: Command | StoredCommand,
        event: CommandEvent,
        stage: Stage,
        *,
        nonce: bytes = b"",
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> bool:
        """Write a step, waiting for the disk if need be; False when the table has no such step."""
        ack = self._ack(command, stage, nonce=nonce, reason=reason, evidence=evidence)
        while True:
            try:
                moved = await asyncio.to_thread(self._outbox.commands.advance, event, ack)
                break
            except OutboxError as error:
                # the act, if any, is done or not yet begun; only the telling waits
                _LOG.error("edge.command.unwritten", extra={"fields": {"cause": error.message}})
                await asyncio.sleep(1.0)
        if moved:
            self._told(command, stage, reason)
            if stage in FINAL:
                await self._prune()
        return moved

    async def _prune(self) -> None:
        """Shrink what ended long ago; where the disk refuses, the next end does it."""
        with contextlib.suppress(OutboxError):
            await asyncio.to_thread(self._outbox.commands.prune, _KEPT_WHOLE)

    def _ack(
        self,
        command: Command | StoredCommand,
        stage: Stage,
        *,
        nonce: bytes = b"",
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> Ack:
        return Ack(
            id=command.id,
            meter=command.meter,
            stage=stage,
            at=self._clock.now(),
            nonce=nonce,
            reason=reason,
            evidence=evidence or {},
        )

    def _told(self, command: Command | StoredCommand, stage: Stage, reason: str) -> None:
        self._reporter.wake()
        self._count(f"commands_{stage.value}")
        _LOG.info(
            "edge.command.stage",
            extra={
                "fields": {
                    "command": command.id,
                    "meter": command.meter,
                    "verb": command.verb.value,
                    "stage": stage.value,
                    "reason": reason,
                }
            },
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.broken.done():
            self.broken.set_exception(error)

    def _count(self, name: str) -> None:
        self._status[name] = int(self._status.get(name, 0)) + 1
