"""
Hands tokens over: at most once each, in the order of their coming, never read, never counted.

A token whose answer was lost may be in the meter, so it is not sent again: it ends as failed and
doubtful, and the balance tells a person the rest.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from edge.acquire.driver import TokenDriver
from edge.acquire.port import MeterPort
from edge.downlink.admit import Reason
from edge.failpoint import reach
from edge.outbox import Outbox, OutboxError
from edge.outbox.commands import StoredCommand
from edge.outbox.stages import CommandEvent
from protocols.errors import PeerError
from protocols.mqtt.downlink import Command, token_of
from protocols.mqtt.uplink import Stage

_LOG = logging.getLogger(__name__)


class Advance(Protocol):
    """Writes a step of a command; see `edge.downlink.obey`."""

    async def __call__(
        self,
        command: Command | StoredCommand,
        event: CommandEvent,
        stage: Stage,
        *,
        nonce: bytes = b"",
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> bool:
        """Return False when the table has no such step."""
        ...


class Delivery:
    """Carries out `deliver_token`."""

    def __init__(self, outbox: Outbox, advance: Advance) -> None:
        """Note tokens in `outbox`."""
        self._outbox = outbox
        self._advance = advance

    async def deliver(self, command: Command, port: MeterPort) -> None:
        """Bring an accepted command to its end. The meter's lock keeps tokens in their order."""
        async with port.lock:
            try:
                token = token_of(command)
                assert isinstance(port.driver, TokenDriver)  # admitted for that
                if token.kind != port.driver.token_kind:
                    raise PeerError("command.token", f"the meter takes {port.driver.token_kind}")
            except PeerError as error:
                await self._refuse(command, Reason.TOKEN_SHAPE, error.message)
                return
            first = await asyncio.to_thread(
                self._outbox.commands.note_token, command.meter, token.opaque, command.id
            )
            if not first:
                await self._refuse(command, Reason.TOKEN_REPEATED, "another command brought it")
                return
            if not await self._advance(command, CommandEvent.BEGIN, Stage.STARTED):
                return
            await self._hand_over(command, token.opaque, port.driver)

    async def _hand_over(self, command: Command, opaque: bytes, driver: TokenDriver) -> None:
        try:
            reach("edge.before_token")
            result = await driver.deliver_token(opaque)
            reach("edge.after_token")
        except PeerError as error:
            surely = error.code.endswith(".token_refused")
            reason = Reason.TOKEN_REFUSED if surely else Reason.TOKEN_DOUBTFUL
            await self._advance(
                command, CommandEvent.FAIL, Stage.FAILED, reason=reason.value,
                evidence={"error": error.code, **error.evidence},
            )  # fmt: skip
            if surely:
                # it is not in the meter, so a later command may bring it again
                with contextlib.suppress(OutboxError):
                    await asyncio.to_thread(
                        self._outbox.commands.forget_token, command.meter, opaque, command.id
                    )
        else:
            await self._advance(
                command, CommandEvent.SUCCEED, Stage.DONE, evidence=dict(result.evidence)
            )

    async def _refuse(self, command: Command, reason: Reason, detail: str) -> None:
        _LOG.warning(
            "edge.token.refused", extra={"fields": {"command": command.id, "reason": reason.value}}
        )
        await self._advance(
            command, CommandEvent.REFUSE, Stage.REFUSED, reason=reason.value,
            evidence={"detail": detail},
        )  # fmt: skip
