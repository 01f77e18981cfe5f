"""The two kinds of expected failure; anything else is a bug and ends the process."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class PeerError(Exception):
    """
    The other side broke its protocol.

    `code` is stable and machine readable (`dlms.tag_mismatch`), `peer` names who, `evidence` holds
    what was seen (short, never keys). Counted, retried or quarantined; never a reason to crash.
    """

    def __init__(
        self, code: str, message: str, *, peer: str = "", evidence: Mapping[str, Any] | None = None
    ) -> None:
        """Keep the stable `code` beside the sentence a person reads."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.peer = peer
        self.evidence: dict[str, Any] = dict(evidence or {})


class RefusedError(Exception):
    """
    A rule said no.

    Carries the `Refusal` code an operator sees, the sentence, and the `fix` that would help.
    Never logged as an error: it is the system doing its work.
    """

    def __init__(self, refusal: StrEnum, message: str, *, fix: str = "") -> None:
        """Keep the code, the sentence and the line that says what to do."""
        super().__init__(f"{refusal.value}: {message}" + (f" Fix: {fix}" if fix else ""))
        self.refusal = refusal
        self.message = message
        self.fix = fix
