"""
Long texts in pieces: cutting what we send, and putting together what we get, in order and bounded.

*Source*: IEC 62056-5-3 clause 6 (service-specific block transfer).
"""

from protocols.dlms.reference import DataBlock
from protocols.errors import PeerError

MAX_TEXT = 4_194_304
BLOCK_HEAD = 16
"""Octets around the raw part of a block at most: tags, invoke id, number, length."""


class Outgoing:
    """A text cut into blocks of at most `size` octets; the first may be shorter."""

    def __init__(self, text: bytes, *, size: int, first: int | None = None) -> None:
        """Begin with nothing sent. Raises: ValueError when a block has no room for any octet."""
        if size < 1 or (first is not None and first < 0):
            raise ValueError("the agreed APDU size leaves no room for a block")
        self._text = text
        self._size = size
        self._first = size if first is None else first
        self._at = 0
        self.number = 0

    @property
    def done(self) -> bool:
        """Tell whether the last block has been given out."""
        return self.number > 0 and self._at >= len(self._text)

    def next(self) -> DataBlock:
        """Return the next block. Raises: RuntimeError after the last."""
        if self.done:
            raise RuntimeError("no block follows the last one")
        size = self._first if self.number == 0 else self._size
        raw = self._text[self._at : self._at + size]
        self._at += len(raw)
        self.number += 1
        return DataBlock(last=self._at >= len(self._text), number=self.number, raw=raw)


class Incoming:
    """A text that comes in blocks numbered from 1."""

    def __init__(self, *, limit: int = MAX_TEXT) -> None:
        """Begin with nothing received, and take at most `limit` octets."""
        self._parts: list[bytes] = []
        self._octets = 0
        self._limit = limit

    @property
    def number(self) -> int:
        """Return the number of the last block taken."""
        return len(self._parts)

    def add(self, block: DataBlock) -> bytes | None:
        """
        Take a block; return the whole text once its last has come.

        Raises: PeerError `dlms.blocks` when it does not follow, `dlms.too_long`.
        """
        if block.number != len(self._parts) + 1 or not (block.raw or block.last or not self._parts):
            raise PeerError("dlms.blocks", f"block {block.number} does not follow the last one")
        self._parts.append(block.raw)
        self._octets += len(block.raw)
        if self._octets > self._limit:
            raise PeerError("dlms.too_long", f"a text beyond {self._limit} octets")
        return b"".join(self._parts) if block.last else None
