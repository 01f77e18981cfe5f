"""Whether open findings keep a bill from being made."""

from collections.abc import Iterable

from cloud.vee.model import ExceptionKind


def blocks(
    kinds: Iterable[ExceptionKind], *, unsound_ms: int, whole_ms: int, allowed_permille: int
) -> bool:
    """
    Tell whether blocking findings of the days of a bill keep it from being made.

    The gate is of the bill's whole time, not of each of its days: only where more of it than
    allowed is unsound. Any other blocking finding blocks by itself. *Source*: Itron IEE, billing
    gate: share of the values that a bill is made of; MDM handbook section 3, `billing_gate`.
    """
    found = set(kinds)
    if found - {ExceptionKind.BILLING_GATE}:
        return True
    return bool(found) and unsound_ms * 1000 > allowed_permille * whole_ms


def share_permille(unsound_ms: int, whole_ms: int) -> int:
    """Return the share of time that is unsound, rounded up; all of it where there is no time."""
    return -(-unsound_ms * 1000 // whole_ms) if whole_ms else 1000
