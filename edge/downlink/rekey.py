"""
New keys for a meter: kept sealed before they are sent, used once the meter has answered with them.

    in the vault   after a restart the meter has          what is done
    nothing        the keys it had                        send them (again)
    pending        either                                 ask with the new, then with the old
    current        the new keys                           tell that it is done

While nobody knows which keys the meter has, both are kept and it is asked again and again, also
when the order is over: then that is told as doubtful, and the asking goes on.
"""

import asyncio
import logging

from edge.acquire.driver import KeyDriver
from edge.acquire.port import MeterPort
from edge.clock import EdgeClock, Trust
from edge.config import KeyRing
from edge.downlink.admit import Reason
from edge.downlink.token import Advance
from edge.outbox import OutboxError
from edge.outbox.stages import CommandEvent
from edge.outbox.vault import KeyVault
from protocols.errors import PeerError
from protocols.identity import MeterId
from protocols.mqtt.downlink import Command
from protocols.mqtt.upkeep import NewKeys, open_keys
from protocols.mqtt.uplink import Stage

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_UNCHANGED = frozenset({"dlms.action_refused", "dlms.keys_unchanged"})
_LOG = logging.getLogger(__name__)


class Rekeying:
    """Carries out `rekey`."""

    def __init__(self, vault: KeyVault, keys: KeyRing, clock: EdgeClock, advance: Advance) -> None:
        """Keep keys in `vault`; `keys` has the master keys and what opens orders."""
        self._vault = vault
        self._keys = keys
        self._clock = clock
        self._advance = advance
        self._meters: dict[MeterId, asyncio.Lock] = {}

    def may(self, port: MeterPort) -> bool:
        """Tell whether a meter's keys can be changed from here."""
        keys = self._keys.of(port.meter)
        known = bool(keys.master_key and keys.encryption_key)
        return known and isinstance(port.driver, KeyDriver)

    async def carry_out(self, command: Command, port: MeterPort, stage: Stage) -> None:
        """Bring an order that stands at `stage` to its end, or at least to an answer."""
        try:
            new = open_keys(command, self._keys.transport_key)
        except PeerError as error:
            # of an order that was begun the vault knows more than its octets
            refused = stage is Stage.ACCEPTED
            await self._advance(
                command,
                CommandEvent.REFUSE if refused else CommandEvent.FAIL,
                Stage.REFUSED if refused else Stage.FAILED,
                reason=Reason.UPKEEP_SHAPE.value,
                evidence={"detail": error.message},
            )
            return
        async with self._meters.setdefault(command.meter, asyncio.Lock()):
            pending = await asyncio.to_thread(self._vault.pending, command.meter)
            if pending is not None and (stage is Stage.ACCEPTED or pending != new):
                # what an earlier order left undecided comes first
                if not await self._settled(port, pending, before=command):
                    fresh = stage is Stage.ACCEPTED
                    event = CommandEvent.LAPSE if fresh else CommandEvent.FAIL
                    end = Stage.EXPIRED if fresh else Stage.FAILED
                    await self._end(command, event, end, Reason.EXPIRED)
                    return
                pending = None
            if stage is Stage.ACCEPTED and not await self._advance(
                command, CommandEvent.BEGIN, Stage.STARTED
            ):
                return
            await self._change(command, port, new, pending)

    async def settle(self, port: MeterPort) -> None:
        """Find out which keys a meter has that an earlier run left undecided."""
        async with self._meters.setdefault(port.meter, asyncio.Lock()):
            pending = await asyncio.to_thread(self._vault.pending, port.meter)
            if pending is not None:
                await self._settled(port, pending)

    async def _change(
        self, command: Command, port: MeterPort, new: NewKeys, pending: NewKeys | None
    ) -> None:
        if pending is None:
            if await asyncio.to_thread(self._vault.current, command.meter) == new:
                await self._end(command, CommandEvent.SUCCEED, Stage.DONE)
                return
            if await self._sent(command, port, new):
                return
        if not await self._settled(port, new, before=command):
            await self._end(command, CommandEvent.FAIL, Stage.FAILED, Reason.KEYS_DOUBTFUL)
            await self._settled(port, new)
            return
        if await asyncio.to_thread(self._vault.current, command.meter) == new:
            await self._end(command, CommandEvent.SUCCEED, Stage.DONE)
        else:
            await self._end(command, CommandEvent.FAIL, Stage.FAILED, Reason.KEYS_UNCHANGED)

    async def _sent(self, command: Command, port: MeterPort, new: NewKeys) -> bool:
        """Send the keys; True when the order came to its end by that, False in doubt."""
        assert isinstance(port.driver, KeyDriver)  # admitted for that
        master = self._keys.of(command.meter).master_key
        keeper = self._vault.keeper(command.meter)
        try:
            async with port.lock:
                await port.driver.change_keys(new, master=master, keeper=keeper)
        except PeerError as error:
            if error.code in _UNCHANGED:
                await self._end(command, CommandEvent.FAIL, Stage.FAILED, Reason.KEYS_UNCHANGED)
                return True
            _LOG.warning(
                "edge.rekey.doubt",
                extra={"fields": {"command": command.id, "cause": error.code}},
            )
            if await asyncio.to_thread(self._vault.pending, command.meter) is None:
                # the disk did not keep them, so they were not sent
                await self._end(command, CommandEvent.FAIL, Stage.FAILED, Reason.KEYS_UNCHANGED)
                return True
            return False
        await self._end(command, CommandEvent.SUCCEED, Stage.DONE)
        return True

    async def _settled(
        self, port: MeterPort, pending: NewKeys, *, before: Command | None = None
    ) -> bool:
        """Ask until the meter has answered with the new or the old keys; False if time is up."""
        assert isinstance(port.driver, KeyDriver)
        keeper = self._vault.keeper(port.meter)
        pause = _FIRST_PAUSE
        while True:
            try:
                async with port.lock:
                    taken = await port.driver.settle_keys(pending, keeper=keeper)
            except (PeerError, OutboxError) as error:
                fields = {"meter": port.meter, "cause": error.code}
                _LOG.warning("edge.rekey.undecided", extra={"fields": fields})
            else:
                fields = {"meter": port.meter, "taken": str(taken)}
                _LOG.info("edge.rekey.settled", extra={"fields": fields})
                return True
            if before is not None and self._over(before):
                return False
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _over(self, command: Command) -> bool:
        trusted = self._clock.trust() is not Trust.UNTRUSTED
        return trusted and self._clock.now() >= command.expires

    async def _end(
        self, command: Command, event: CommandEvent, stage: Stage, reason: Reason | None = None
    ) -> None:
        await self._advance(command, event, stage, reason="" if reason is None else reason.value)
