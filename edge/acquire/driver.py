"""What every meter driver does, whatever protocol it speaks."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from protocols.events import EndDeviceEvent
from protocols.identity import MeterId
from protocols.mqtt.downlink import Verb
from protocols.mqtt.upkeep import NewKeys
from protocols.reading import Channel, RelayReading, Status
from protocols.timeline import Interval

_NO_STATUS = Status(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """
    One value as the meter gave it. *Units*: `raw * 10**scaler` in the channel's unit.

    `at` is device time: the stamp of a point value, or the start of an interval of `seconds`.
    """

    channel: Channel
    at: datetime
    seconds: int = 0
    raw: int
    scaler: int = 0
    status: Status = _NO_STATUS


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """Meter clock against ours: `offset = meter - midpoint of the exchange`, in milliseconds."""

    offset_ms: int
    uncertainty_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOut:
    """One visit: present values, the clock if the meter has one, the relay if it has one."""

    samples: tuple[Sample, ...]
    clock: ClockReading | None = None
    relay: RelayReading | None = None
    identity: str = ""
    """What the meter calls itself (logical device name, serial)."""
    raw: dict[str, Any] = field(default_factory=dict)
    """OBIS or register name -> printable value, for `meterloop read`."""


class MeterDriver(Protocol):
    """
    A session with one meter; every call has a deadline and raises PeerError when the meter fails.

    A driver opens itself on first use, keeps the association, and after any PeerError is closed
    and opened anew at the next call. It checks that the answer comes from `meter`
    (PeerError `*.foreign`).
    """

    meter: MeterId
    has_profile: bool
    has_relay: bool

    async def read_now(self) -> ReadOut:
        """Read registers, momentary values, clock and relay in as few trips as can be."""
        ...

    async def read_profile(self, span: Interval) -> tuple[Sample, ...]:
        """Read the intervals whose start lies in `span`, in order; what is not there is absent."""
        ...

    async def read_relay(self) -> RelayReading:
        """Read the switch. Raises: PeerError `meter.no_relay` where there is none."""
        ...

    async def operate(self, verb: Verb) -> None:
        """Ask the meter to open or close; success of the call proves nothing, read the relay."""
        ...

    async def set_clock(self, offset_ms: int) -> None:
        """Move the meter's clock by `-offset_ms`."""
        ...

    async def close(self) -> None:
        """End the session politely; never raises."""
        ...


@runtime_checkable
class KeepPowerDriver(Protocol):
    """
    A driver whose meter can be told to refuse trips; `operate` then takes `Verb.KEEP_POWER`.

    Its relay readings tell `keeps_power`, which alone proves that the order was obeyed.
    """

    async def keep_power(self, *, on: bool) -> bool:
        """Order it or end it; return what the meter says after. Raises: PeerError."""
        ...


Turn = Callable[[], AbstractAsyncContextManager[None]]
"""Entered around each short call of a long work, so that others get at the meter in between."""


@runtime_checkable
class ImageDriver(Protocol):
    """A driver whose meter takes firmware. A transfer that broke goes on where it stood."""

    async def transfer_image(
        self,
        blob: bytes,
        identifier: bytes,
        progress: Callable[[int, int], None],
        turn: Turn = nullcontext,
    ) -> None:
        """
        Bring `blob` into the meter and have it verified; nothing is activated.

        `progress` is told (blocks there, blocks in all). Call again after a PeerError of the line.
        Raises: PeerError `dlms.image_refused`, `dlms.image_disabled`, and as any call.
        """
        ...

    async def activate_image(self, turn: Turn = nullcontext) -> None:
        """
        Activate what was verified; nothing is done when it is active already.

        Raises: PeerError `dlms.image_refused`, and as any call.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMark:
    """
    How far a meter's logs are read: its own clock then, ours (business time), alarms that stood.

    Both clocks, because one of them may be set back before the logs are read again.
    """

    device_at: datetime
    read_at: datetime
    alarms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsRead:
    """What a meter has written down since the mark before, and the mark to go on from."""

    events: tuple[EndDeviceEvent, ...]
    mark: EventMark


@runtime_checkable
class EventDriver(Protocol):
    """A driver whose meter keeps logs of what happened to it."""

    async def read_events(self, before: EventMark | None) -> EventsRead:
        """
        Return what is new since `before`, all that the meter keeps when it is None.

        The same entry has the same (meter, code, at, origin) however often it is read.
        """
        ...


class KeyKeeper(Protocol):
    """Where keys are kept, sealed, so that no crash leaves a meter with keys that nobody has."""

    def pend(self, keys: NewKeys) -> None:
        """Keep keys that are about to be sent; on disk before this returns."""
        ...

    def promote(self, keys: NewKeys) -> None:
        """Make them the meter's keys; on disk before this returns."""
        ...

    def drop(self, keys: NewKeys) -> None:
        """Forget keys that the meter did not take."""
        ...


@runtime_checkable
class KeyDriver(Protocol):
    """A driver whose meter takes new keys."""

    async def change_keys(self, keys: NewKeys, *, master: bytes, keeper: KeyKeeper) -> None:
        """
        Give the meter new keys, wrapped by `master`; use them once it has answered with them.

        Raises: PeerError `*.keys_unchanged` or `*.action_refused` when it goes on with the old
        ones; with any other `settle_keys` finds the outcome out.
        """
        ...

    async def settle_keys(self, keys: NewKeys, *, keeper: KeyKeeper) -> bool:
        """Tell by asking whether the meter has `keys`. Raises: PeerError when it answers to none"""
        ...


class TokenAnswer(Protocol):
    """What a meter said to a token."""

    @property
    def evidence(self) -> Mapping[str, Any]:
        """Return the meter's result and, where it tells one, its balance after the token."""
        ...


@runtime_checkable
class TokenDriver(Protocol):
    """A driver whose meter takes tokens."""

    token_kind: str
    """What kind of token it takes, a `protocols.mqtt.downlink.TokenKind`."""

    async def deliver_token(self, opaque: bytes) -> TokenAnswer:
        """
        Hand a token over once; return the meter's result code and, where it tells one, a balance.

        Raises: PeerError `*.token_refused` where the meter has surely not taken it; any other
        PeerError leaves that in doubt.
        """
        ...
