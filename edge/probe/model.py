"""What a probe was asked, what it tried, and what it found."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from edge.links.serial import SerialSettings


class Line(Protocol):
    """An open line; both kinds of link are one."""

    def send(self, octets: bytes) -> None:
        """Send."""
        ...

    async def receive(self) -> bytes:
        """Return what has come, as soon as there is anything."""
        ...

    def close(self) -> None:
        """End the line; never raises."""
        ...


Opener = Callable[[SerialSettings], Awaitable[Line]]
"""Opens the line anew; over TCP the settings mean nothing."""


class Outcome(StrEnum):
    """How a step ended."""

    FOUND = "found"
    REFUSED = "refused"
    """Somebody is there and says no."""
    UNREADABLE = "unreadable"
    """Octets came that are no frame of what was tried."""
    SILENT = "silent"
    FAILED = "failed"
    """The line itself does not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing tried; `fix` is empty where nothing is wrong."""

    tried: str
    outcome: Outcome
    words: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Somebody who answered; `facts` are printable, `read_with` are options of `meterloop read`."""

    protocol: str
    settings: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    read_with: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """
    What to try. *Units*: seconds of wall time.

    Empty tuples mean the usual ones, None means every usual setting of a serial line.
    """

    timeout_seconds: float = 2.0
    protocols: tuple[str, ...] = ()
    client_saps: tuple[int, ...] = ()
    server_sap: int = 1
    units: tuple[int, ...] = ()
    hdlc_physical: int | None = None
    serial_number: str = ""
    baud: int | None = None
    parity: Literal["N", "E", "O"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """All of it."""

    address: str
    devices: tuple[Device, ...]
    steps: tuple[Step, ...]

    @property
    def found(self) -> bool:
        """Tell whether anybody was understood."""
        return bool(self.devices)

    @property
    def fix(self) -> str:
        """Return the line that would help most; empty when somebody was found."""
        if self.found:
            return ""
        worth = [Outcome.REFUSED, Outcome.UNREADABLE, Outcome.FAILED, Outcome.SILENT]
        told = sorted(
            (step for step in self.steps if step.fix and step.outcome in worth),
            key=lambda step: worth.index(step.outcome),
        )
        return told[0].fix if told else ""

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {
            "address": self.address,
            "found": [
                {
                    "protocol": device.protocol,
                    "settings": device.settings,
                    "facts": dict(device.facts),
                    "read_with": device.read_with,
                }
                for device in self.devices
            ],
            "steps": [
                {
                    "tried": step.tried,
                    "outcome": step.outcome.value,
                    "words": step.words,
                    "fix": step.fix,
                }
                for step in self.steps
            ],
            "fix": self.fix,
        }


def settings_text(settings: SerialSettings) -> str:
    """Return the settings as people write them, `9600 8N1`."""
    return f"{settings.baud} {settings.data_bits}{settings.parity}{settings.stop_bits}"
