"""How a check says no."""

from billing.tariffs.model import Line, Refusal
from protocols.errors import RefusedError


def refused(refusal: Refusal, message: str, fix: str) -> RefusedError:
    """Return the refusal to raise."""
    return RefusedError(refusal, message, fix=fix)


def unsupported(line: Line, what: str) -> RefusedError:
    """Return the refusal of what is written well and cannot be priced."""
    return refused(
        Refusal.UNSUPPORTED,
        f"line {line.id}: the engine cannot price {what}",
        "write it another way; nothing is ignored",
    )
