"""
What a meter keeps past any power cut: numbers and octets by name, written down before it answers.

A process killed with `kill -9` loses nothing of it: everything is in the ledger first.
"""

from collections.abc import Callable
from typing import Protocol


class MemoryLedger(Protocol):
    """The part of the ledger that memory needs; see `simulators.truth`."""

    def setting(self, meter: str, at_ms: int, name: str, value: int) -> None:
        """Keep what the meter was told to remember; durable when this returns."""
        ...

    def keep(self, meter: str, name: str, octets: bytes) -> None:
        """Keep octets under a name in place of those before; durable when this returns."""
        ...

    def forget(self, meter: str, prefix: str) -> None:
        """Forget all octets whose names begin so; durable when this returns."""
        ...


class MeterMemory:
    """The memory of one meter."""

    def __init__(self, meter: str, ledger: MemoryLedger, now_ms: Callable[[], int]) -> None:
        """Begin empty; what the ledger holds is restored by whoever reads the ledger."""
        self._meter = meter
        self._ledger = ledger
        self._now_ms = now_ms
        self._numbers: dict[str, int] = {}
        self._octets: dict[str, bytes] = {}

    def remember(self, name: str, value: int) -> None:
        """Keep a number."""
        self._ledger.setting(self._meter, self._now_ms(), name, value)
        self._numbers[name] = value

    def remembered(self, name: str) -> int:
        """Return a number, 0 when there is none."""
        return self._numbers.get(name, 0)

    def restore(self, name: str, value: int) -> None:
        """Take up a number that the ledger holds."""
        self._numbers[name] = value

    def keep(self, name: str, octets: bytes) -> None:
        """Keep octets."""
        self._ledger.keep(self._meter, name, octets)
        self._octets[name] = octets

    def kept(self, name: str) -> bytes:
        """Return octets, empty when there are none."""
        return self._octets.get(name, b"")

    def all_kept(self, prefix: str) -> dict[str, bytes]:
        """Return all octets whose names begin so, by the rest of their names."""
        return {
            name.removeprefix(prefix): octets
            for name, octets in self._octets.items()
            if name.startswith(prefix)
        }

    def forget(self, prefix: str) -> None:
        """Forget all octets whose names begin so."""
        self._ledger.forget(self._meter, prefix)
        for name in [name for name in self._octets if name.startswith(prefix)]:
            del self._octets[name]

    def restore_octets(self, name: str, octets: bytes) -> None:
        """Take up octets that the ledger holds."""
        self._octets[name] = octets
