"""One question on one line: send, gather until the answer is whole, within a deadline."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from edge.probe.model import Line
from protocols.errors import PeerError

_T = TypeVar("_T")
_MOST_SHOWN = 24
_MOST_HEARD = 65_536


class UnreadableError(Exception):
    """Octets came, but no answer stood in them; `octets` is what came first."""

    def __init__(self, octets: bytes) -> None:
        """Keep the beginning of what came."""
        super().__init__(octets[:_MOST_SHOWN].hex(" "))
        self.octets = octets


async def ask(
    line: Line, octets: bytes, search: Callable[[bytes], _T | None], *, seconds: float
) -> _T:
    """
    Send and return what `search` finds; it is given each piece as it comes.

    Raises: PeerError `link.timeout` on silence, `link.closed`, what `search` raises;
    UnreadableError when time runs out or the line ends after octets that led nowhere.
    """
    line.send(octets)
    heard = b""
    try:
        async with asyncio.timeout(seconds):
            while len(heard) < _MOST_HEARD:
                piece = await line.receive()
                heard += piece
                found = search(piece)
                if found is not None:
                    return found
    except TimeoutError:
        if heard:
            raise UnreadableError(heard) from None
        raise PeerError("link.timeout", f"no answer in {seconds} s") from None
    except PeerError as error:
        if heard and heard != octets and error.code == "link.closed":
            raise UnreadableError(heard) from None
        raise
    raise UnreadableError(heard)
