"""Names of things that cross a wire; opaque text, made once by whoever first sends them."""

import re
from dataclasses import dataclass
from typing import NewType

UsagePointId = NewType("UsagePointId", str)
MeterId = NewType("MeterId", str)
ConcentratorId = NewType("ConcentratorId", str)
TransformerId = NewType("TransformerId", str)
CommandId = NewType("CommandId", str)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-\n"
_NO_START = (b"\n\n", b"\n_", b"\n.", b"\n-")


def is_name(text: str) -> bool:
    """Tell whether `text` may be an id: 1-64 letters, digits, `_.-`; safe in a topic and a path."""
    return _NAME.fullmatch(text) is not None


def are_names(texts: list[object]) -> bool:
    """Tell whether every one of many texts may be an id; quicker than one after the other."""
    if not texts or set(map(type, texts)) != {str}:
        return not texts
    joined = ("\n" + "\n".join(texts) + "\n").encode("utf-8", "replace")  # type: ignore[arg-type]
    return (
        joined.count(b"\n") == len(texts) + 1
        and not joined.translate(None, _LETTERS)
        and not any(pair in joined for pair in _NO_START)
        and max(map(len, texts)) <= 64  # type: ignore[arg-type]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchId:
    """
    One batch of one concentrator.

    `boot` is drawn anew at each start of the agent with an empty outbox and grows with time;
    `seq` counts from 1 without gaps within a boot, so a missing `seq` is a lost batch.
    """

    concentrator: ConcentratorId
    boot: int
    seq: int

    def __str__(self) -> str:
        """Return `C-01/1760000000/17`, the form used in logs and quarantine."""
        return f"{self.concentrator}/{self.boot}/{self.seq}"
