"""
A wallet that takes customers' money and tells of it badly: twice, late, out of order, unheard.

Its book is its own: what it believes to be paid goes into its settlement file, right or wrong.
A request whose answer is lost was still delivered: that is what makes the other side's book differ.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from simulators.load import key_of

_TRIES = 3
_LATE = timedelta(hours=13)


class Heard(StrEnum):
    """What came back of a request."""

    YES = "yes"
    NO = "no"
    SILENCE = "silence"


class Script(StrEnum):
    """How this wallet behaves."""

    PLAIN = "plain"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    DROP_REPLY = "drop_reply"
    DELAY_PAST_TIMEOUT = "delay_past_timeout"
    DAY_CUT_OVER = "day_cut_over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """One payment that a customer makes at the wallet."""

    txn_id: str
    account: str
    amount_micros: int
    currency: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One HTTP request as it goes on the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Wire = Callable[[Wish], tuple[int, bytes]]


class Teller(Protocol):
    """The protocol a wallet speaks: announce a purchase, confirm that its money was taken."""

    def announce(self, purchase: Purchase) -> Heard:
        """Tell of a purchase before its money is taken."""

    def confirm(self, purchase: Purchase) -> Heard:
        """Tell that the money was taken."""


class LossyWire:
    """Delivers every request, `sends` times, and loses answers as the seed says."""

    def __init__(self, wire: Wire, *, seed: int, sends: int = 1, lost_permille: int = 0) -> None:
        """Wrap `wire`."""
        self._wire, self._seed = wire, seed
        self._sends, self._lost_permille = sends, lost_permille
        self._sent = 0

    def __call__(self, wishes: Callable[[], Wish]) -> tuple[int, bytes] | None:
        """Send what `wishes` returns, made anew for each send; None when the answer was lost."""
        answer: tuple[int, bytes] | None = None
        for _ in range(self._sends):
            self._sent += 1
            answer = self._wire(wishes())
        lost = key_of(self._seed, "lost", self._sent) % 1000 < self._lost_permille
        return None if lost else answer


@dataclass(slots=True)
class Wallet:
    """Runs purchases through a teller by a script; `paid` is the wallet's own book."""

    teller: Teller
    script: Script
    seed: int
    paid: list[Purchase] = field(default_factory=list)

    def run(self, purchases: Sequence[Purchase], set_clock: Callable[[datetime], None]) -> None:
        """Take all purchases, in the order of the instants at which things happen."""
        steps = sorted(
            (step for purchase in purchases for step in self._steps(purchase)),
            key=lambda step: (step[0], step[1].txn_id),
        )
        announced = dict[str, Heard]()
        for at, purchase, verb in steps:
            set_clock(at)
            if verb == "announce":
                announced[purchase.txn_id] = self._insist(self.teller.announce, purchase)
            elif verb == "early":
                self.teller.confirm(purchase)
            elif announced[purchase.txn_id] is not Heard.NO:
                self._close(purchase, self._insist(self.teller.confirm, purchase))

    def _steps(self, purchase: Purchase) -> Iterator[tuple[datetime, Purchase, str]]:
        if self.script is Script.REORDER:
            yield purchase.at - timedelta(seconds=1), purchase, "early"
        yield purchase.at, purchase, "announce"
        pause = timedelta(seconds=30)
        if self.script is Script.DELAY_PAST_TIMEOUT and self._chance(purchase, "late", 500):
            pause = _LATE
        if self.script is Script.DAY_CUT_OVER:
            pause = timedelta(minutes=20)
        yield purchase.at + pause, purchase, "confirm"

    def _close(self, purchase: Purchase, heard: Heard) -> None:
        """Write the own book; after silence the wallet guesses, as wallets do."""
        guess = self._chance(purchase, "guess", 500)
        if heard is Heard.YES or (heard is Heard.SILENCE and guess):
            self.paid.append(purchase)

    def _insist(self, tell: Callable[[Purchase], Heard], purchase: Purchase) -> Heard:
        for _ in range(_TRIES):
            heard = tell(purchase)
            if heard is not Heard.SILENCE:
                return heard
        return Heard.SILENCE

    def _chance(self, purchase: Purchase, of: str, permille: int) -> bool:
        return key_of(self.seed, of, purchase.txn_id) % 1000 < permille
