"""
Records a session: stands between a client and a meter, changes nothing, writes a redacted tape.

Each line is written and flushed when it is complete, so a recording that is killed is a tape.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TextIO

from protocols.tape.lines import Piece, Side, head_line, piece_line
from protocols.tape.redact import Redactor
from simulators.line_proxy import CLIENT, ENDED


class TapeRecorder:
    """
    The `tap` of a `LineProxy` that writes a tape; one connection at a time.

    `elapsed` returns seconds since the start of the recording.
    """

    def __init__(
        self, out: TextIO, *, peer: str, started: datetime, elapsed: Callable[[], float]
    ) -> None:
        """Write the tape's head."""
        self._out = out
        self._elapsed = elapsed
        self._redactor = Redactor()
        self.pieces = 0
        self.withheld = 0
        self._put(head_line(peer, started))

    def __call__(self, side: str, octets: bytes) -> None:
        """Take one piece of CLIENT or METER, or the end of the line (ENDED)."""
        if side == ENDED:
            self._keep_all(Side.CLIENT, self._redactor.flush())
            self._put(piece_line(Piece(us=self._now(), side=Side.CLIENT, closes=True)))
            self._redactor = Redactor()
        elif side == CLIENT:
            self._keep_all(Side.CLIENT, self._redactor.client(octets))
        else:
            self._keep_all(Side.CLIENT, self._redactor.flush())
            self._keep_all(Side.METER, [self._redactor.meter(octets)])

    def _now(self) -> int:
        return int(self._elapsed() * 1_000_000)

    def _keep_all(self, side: Side, said: list[tuple[bytes, bool]]) -> None:
        for octets, withheld in said:
            self.pieces += 1
            self.withheld += withheld
            piece = Piece(us=self._now(), side=side, octets=octets, withheld=withheld)
            self._put(piece_line(piece))

    def _put(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()
