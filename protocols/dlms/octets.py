"""A cursor over received octets; every step ends in a value or PeerError `dlms.truncated`."""

from protocols.dlms.axdr import LIMITS, Limits, decode
from protocols.dlms.leaf import read_length, truncated
from protocols.dlms.values import Value
from protocols.errors import PeerError


class Octets:
    """Reads forward through one APDU."""

    __slots__ = ("_limits", "octets", "offset")

    def __init__(self, octets: bytes, offset: int = 0, *, limits: Limits = LIMITS) -> None:
        """Begin at `offset`."""
        self.octets = octets
        self.offset = offset
        self._limits = limits

    def take(self, count: int) -> bytes:
        """Return the next `count` octets."""
        end = self.offset + count
        if end > len(self.octets):
            raise truncated(self.offset)
        taken = self.octets[self.offset : end]
        self.offset = end
        return taken

    def number(self, size: int) -> int:
        """Return the next `size` octets as an unsigned number."""
        return int.from_bytes(self.take(size), "big")

    def length(self) -> int:
        """Return a length in definite form."""
        length, self.offset = read_length(self.octets, self.offset)
        return length

    def string(self) -> bytes:
        """Return octets that stand behind their length."""
        return self.take(self.length())

    def value(self) -> Value:
        """Return the next A-XDR value."""
        value, self.offset = decode(self.octets, self.offset, limits=self._limits)
        return value

    def choice(self, *allowed: int) -> int:
        """Return the next octet, one of `allowed`. Raises: PeerError `dlms.choice`."""
        octet = self.number(1)
        if octet not in allowed:
            raise PeerError("dlms.choice", f"octet {octet:#04x} where one of {allowed} must stand")
        return octet

    def rest(self) -> bytes:
        """Return all octets not read yet."""
        return self.take(len(self.octets) - self.offset)

    def end(self) -> None:
        """Insist that all was read. Raises: PeerError `dlms.trailing`."""
        if self.offset != len(self.octets):
            left = len(self.octets) - self.offset
            raise PeerError("dlms.trailing", f"{left} octets follow the APDU")
