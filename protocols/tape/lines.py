"""
The tape: one JSON object a line, so that a text editor, `grep` and a diff can read it.

    {"meterloop_tape": 1, "peer": "192.0.2.10:4059", "started": "2026-03-01T08:00:00+00:00"}
    {"us": 1520, "from": "client", "hex": "0001..."}
    {"us": 9210, "from": "meter", "hex": "0001..."}
    {"us": 9900, "from": "client", "hex": "2a2a", "withheld": true}
    {"us": 12000, "from": "client", "event": "close"}

*Units*: `us` is microseconds since `started`. A withheld piece keeps its length and nothing else.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

VERSION = 1
_MAX_LINE = 1_000_000


class TapeError(ValueError):
    """A file is no tape of ours; says which line and why."""


class Side(StrEnum):
    """Who sent a piece."""

    CLIENT = "client"
    METER = "meter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Octets that came at once. *Units*: `us` since the start of the tape."""

    us: int
    side: Side
    octets: bytes = b""
    withheld: bool = False
    closes: bool = False
    """The side ended the line; `octets` is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape:
    """One recording."""

    peer: str
    started: datetime
    pieces: tuple[Piece, ...]

    def sessions(self) -> list[tuple[Piece, ...]]:
        """Return the pieces of each connection, cut where a side ended the line."""
        found: list[tuple[Piece, ...]] = []
        now: list[Piece] = []
        for piece in self.pieces:
            if not piece.closes:
                now.append(piece)
            elif now:
                found.append(tuple(now))
                now = []
        return [*found, tuple(now)] if now else found


def head_line(peer: str, started: datetime) -> str:
    """Return the first line of a tape."""
    return json.dumps({"meterloop_tape": VERSION, "peer": peer, "started": started.isoformat()})


def piece_line(piece: Piece) -> str:
    """Return the line of one piece."""
    plain: dict[str, object] = {"us": piece.us, "from": piece.side.value}
    if piece.closes:
        return json.dumps(plain | {"event": "close"})
    plain["hex"] = piece.octets.hex()
    return json.dumps(plain | ({"withheld": True} if piece.withheld else {}))


def parse_tape(text: str) -> Tape:
    """Return the tape in a text. Raises: TapeError naming the line."""
    lines = _objects(text.splitlines())
    number, head = next(lines, (1, {}))
    if head.get("meterloop_tape") != VERSION:
        raise TapeError(f"line {number}: not a tape of version {VERSION}; record it with meterloop")
    try:
        started = datetime.fromisoformat(str(head["started"]))
        peer = str(head["peer"])
    except (KeyError, ValueError) as error:
        raise TapeError(f"line {number}: {type(error).__name__}: {error}") from None
    return Tape(peer=peer, started=started, pieces=tuple(_pieces(lines)))


def _objects(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            plain = json.loads(line) if len(line) <= _MAX_LINE else None
        except (ValueError, RecursionError):
            plain = None
        if not isinstance(plain, dict):
            raise TapeError(f"line {number}: not a JSON object of a tape")
        yield number, plain


def _pieces(lines: Iterable[tuple[int, dict[str, object]]]) -> Iterator[Piece]:
    for number, plain in lines:
        try:
            us = plain["us"]
            if not isinstance(us, int) or isinstance(us, bool) or us < 0:
                raise ValueError("us is a whole number of microseconds")
            side = Side(str(plain["from"]))
            closes = plain.get("event") == "close"
            octets = b"" if closes else bytes.fromhex(str(plain["hex"]))
        except (KeyError, ValueError) as error:
            raise TapeError(f"line {number}: {type(error).__name__}: {error}"[:200]) from None
        withheld = plain.get("withheld") is True
        yield Piece(us=us, side=side, octets=octets, withheld=withheld, closes=closes)
