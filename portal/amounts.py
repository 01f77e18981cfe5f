"""Typed numbers to integers: what a person or a machine writes, in any digits."""

import re

from portal.auth.model import AccessRefusal
from portal.fmt import plain_digits
from protocols.errors import RefusedError

_NUMBER = re.compile(r"([+-]?)(\d{1,12})(?:[.,](\d{1,6}))?")


def scaled(text: str, places: int) -> int:
    """
    Return a decimal text as an integer of 10**-places, exactly.

    Raises: RefusedError `bad_input` when it is no number or is finer than `places`.
    """
    found = _NUMBER.fullmatch(plain_digits(text).replace("\u00a0", "").replace(" ", "").strip())
    if found is None:
        raise _bad(text)
    sign, whole, part = found.group(1), found.group(2), (found.group(3) or "").rstrip("0")
    if len(part) > places:
        raise _bad(text)
    value = int(whole + part.ljust(places, "0"))
    return -value if sign == "-" else value


def micros_of(text: str) -> int:
    """Return an amount of money in micros; zero and less are the payment service's to refuse."""
    return scaled(text, 6)


def wh_of(text: str) -> int:
    """Return a register in kilowatt-hours as watt-hours."""
    return scaled(text, 3)


def _bad(text: str) -> RefusedError:
    return RefusedError(
        AccessRefusal.BAD_AMOUNT, f"not an amount: {text[:40]!r}", fix="write it like 12.50"
    )
