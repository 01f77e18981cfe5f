"""
General block transfer: any APDU, ciphered or not, in numbered blocks with windows.

    E0  control  block u16  acknowledged u16  text      control: 80 last, 40 streaming, 3F window

A sender that streams goes on without waiting; the receiver confirms when a block says that it does
not. Blocks that do not follow are left out: what is confirmed is the last that did, and the sender
goes on from there.
*Source*: IEC 62056-5-3 clause 6.13 and 7.3.13 (general-block-transfer).
"""

from dataclasses import dataclass

from protocols.dlms.leaf import write_length
from protocols.dlms.octets import Octets
from protocols.errors import PeerError

GENERAL_BLOCK = 0xE0
_LAST, _STREAMING, _WINDOW = 0x80, 0x40, 0x3F
_MAX_STEPS = 70_000
_MAX_BLOCK = 0xFFFF
_HEAD = 9
"""Octets around the text of a block at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneralBlock:
    """One block, or with an empty text a confirmation."""

    last: bool
    streaming: bool = False
    window: int = 1
    number: int
    acknowledged: int
    text: bytes = b""

    def encode(self) -> bytes:
        """Return the octets."""
        control = (_LAST if self.last else 0) | (_STREAMING if self.streaming else 0)
        return (
            bytes((GENERAL_BLOCK, control | self.window & _WINDOW))
            + self.number.to_bytes(2, "big")
            + self.acknowledged.to_bytes(2, "big")
            + write_length(len(self.text))
            + self.text
        )


def decode_block(octets: bytes) -> GeneralBlock:
    """Return a block. Raises: PeerError on octets that are none."""
    reader = Octets(octets)
    reader.choice(GENERAL_BLOCK)
    control = reader.number(1)
    block = GeneralBlock(
        last=bool(control & _LAST),
        streaming=bool(control & _STREAMING),
        window=control & _WINDOW,
        number=reader.number(2),
        acknowledged=reader.number(2),
        text=reader.string(),
    )
    reader.end()
    return block


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What came of a block: `confirm` to send, or the `whole` APDU, or neither yet."""

    confirm: bytes = b""
    whole: bytes | None = None


class GeneralReceiver:
    """Puts one APDU together; bounded in octets and in blocks."""

    def __init__(self, *, limit: int) -> None:
        """Begin with nothing received."""
        self._limit = limit
        self._text = bytearray()
        self._taken = 0
        self._confirmed = 0
        self._steps = 0

    def feed(self, octets: bytes) -> Step:
        """
        Take one block.

        Raises: PeerError `dlms.blocks` when blocks never end or are not blocks, `dlms.too_long`.
        """
        block = decode_block(octets)
        self._steps += 1
        if self._steps > _MAX_STEPS or block.number == 0:
            raise PeerError("dlms.blocks", "general blocks that lead nowhere")
        if block.number == self._taken + 1:
            self._taken += 1
            self._text += block.text
            if len(self._text) > self._limit:
                raise PeerError("dlms.too_long", f"an APDU beyond {self._limit} octets")
            if block.last:
                return Step(whole=bytes(self._text))
        if block.streaming:
            return Step()
        self._confirmed += 1
        confirm = GeneralBlock(
            last=True, number=self._confirmed & _MAX_BLOCK, acknowledged=self._taken
        )
        return Step(confirm=confirm.encode())


class GeneralSender:
    """Cuts one APDU into blocks; gives out a window, then waits for its confirmation."""

    def __init__(self, apdu: bytes, *, size: int, window: int = 1) -> None:
        """Begin at the first block. Raises: ValueError when a block has no room."""
        room = size - _HEAD
        if room < 1:
            raise ValueError("the agreed APDU size leaves no room for a general block")
        self._texts = [apdu[at : at + room] for at in range(0, len(apdu), room)]
        if len(self._texts) > _MAX_BLOCK:
            raise ValueError("an APDU too long for general blocks of this size")
        self._window = max(1, min(window, _WINDOW))

    def blocks(self, *, after: int, heard: int = 0) -> list[bytes]:
        """
        Return the window of blocks that follows block `after`; all but its last are streamed.

        `heard` is the number of the confirmation that asked for them, which they confirm in turn.

        Raises: PeerError `dlms.blocks` on a confirmation of what was never sent.
        """
        if not 0 <= after < len(self._texts):
            raise PeerError("dlms.blocks", f"block {after} is confirmed, and was not waited for")
        end = min(after + self._window, len(self._texts))
        return [
            GeneralBlock(
                last=number == len(self._texts),
                streaming=number < end,
                window=self._window,
                number=number,
                acknowledged=heard & _MAX_BLOCK,
                text=self._texts[number - 1],
            ).encode()
            for number in range(after + 1, end + 1)
        ]
