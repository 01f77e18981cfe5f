"""How an account pays and how it gets its bills (G10, G21): what fits together, what follows."""

from dataclasses import dataclass
from enum import StrEnum

from protocols.errors import RefusedError


class MeansRefusal(StrEnum):
    """Why a choice is not taken."""

    MANDATE = "means.mandate_bad"


class Means(StrEnum):
    """How an account pays its bills."""

    COUNTER = "counter"
    """At a bank's, a shop's or our own counter, or at a page; what is chosen for nobody."""
    CASH = "cash"
    """To a collector at the door."""
    BANK_DEBIT = "bank_debit"
    """A bank takes what is due by mandate; such bills go on the debit list."""
    PREPAID = "prepaid"
    """Before it is used; a bill is a statement."""


class Delivery(StrEnum):
    """How an account gets its bills."""

    SMS = "sms"
    ELECTRONIC = "electronic"
    """At its own page, as PDF and by the API; the first look is noted."""
    PAPER = "paper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What holds for an account; a mandate is the bank's number of the debit order."""

    means: Means
    delivery: Delivery
    mandate: str = ""


STANDARD = Choice(means=Means.COUNTER, delivery=Delivery.SMS)


def check(choice: Choice) -> None:
    """Refuse a debit without mandate, or a mandate without debit. Raises: RefusedError."""
    mandate = choice.mandate.strip()
    fits = (choice.means is Means.BANK_DEBIT) == bool(mandate)
    if not fits or len(mandate) > 64 or not mandate.isprintable():
        raise RefusedError(
            MeansRefusal.MANDATE, f"mandate {choice.mandate!r} with {choice.means}",
            fix="state the bank's number of the debit order, with bank_debit alone",
        )  # fmt: skip
