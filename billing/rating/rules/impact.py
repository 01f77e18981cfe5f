"""What another tariff would do to accounts: totals before and after, who gains, who loses."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np

from billing.money import IntArray
from billing.rating.model import PeriodUse
from billing.rating.rules.usage import use_of
from billing.tariffs.model import Tariff
from billing.tariffs.model.usage import UsageFile

BANDS = (-5_000, -2_000, -1_000, -500, -100, 0, 100, 500, 1_000, 2_000, 5_000)
"""Edges of the distribution, in hundredths of a percent of the bill before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountImpact:
    """One account's bill before and after. *Units*: micros."""

    account: str
    before_micros: int
    after_micros: int

    @property
    def change_micros(self) -> int:
        """Return what the account pays more; less is negative."""
        return self.after_micros - self.before_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """
    Accounts whose bill rises by more than `over`, at most `upto` hundredths of a percent.

    Both 0: the bill stays as it is.
    """

    over: int | None
    upto: int | None
    accounts: int
    change_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """All accounts together, their distribution, and the largest changes each way."""

    accounts: int
    before_micros: int
    after_micros: int
    up: int
    down: int
    same: int
    bands: tuple[Band, ...]
    gainers: tuple[AccountImpact, ...]
    """They pay less: the largest fall first."""
    losers: tuple[AccountImpact, ...]
    """They pay more: the largest rise first."""

    @property
    def change_micros(self) -> int:
        """Return what all pay more together."""
        return self.after_micros - self.before_micros


def use_at_any_time(tariff: Tariff, usage: UsageFile) -> PeriodUse:
    """Return the use as though the tariff were valid in its period. Raises: RefusedError."""
    return use_of(tariff.model_copy(update={"valid_from": date.min, "valid_to": None}), usage)


def impact_of(accounts: Sequence[str], before: IntArray, after: IntArray, *, top: int) -> Impact:
    """
    Return what the change from `before` to `after` means, account by account and in all.

    *Shape*: both (accounts,). A bill that was 0 and is not any more counts as the largest rise.
    """
    change = after - before
    order = np.argsort(change, kind="stable")
    falls = [int(n) for n in order[:top] if change[n] < 0]
    rises = [int(n) for n in order[::-1][:top] if change[n] > 0]

    def one(number: int) -> AccountImpact:
        return AccountImpact(
            account=accounts[number],
            before_micros=int(before[number]),
            after_micros=int(after[number]),
        )

    return Impact(
        accounts=len(accounts),
        before_micros=sum(before.tolist()),
        after_micros=sum(after.tolist()),
        up=int((change > 0).sum()),
        down=int((change < 0).sum()),
        same=int((change == 0).sum()),
        bands=_bands(before, change),
        gainers=tuple(one(n) for n in falls),
        losers=tuple(one(n) for n in rises),
    )


def _bands(before: IntArray, change: IntArray) -> tuple[Band, ...]:
    """Return the distribution, in order; bills that stay the same are a band of their own."""
    whole = np.abs(before.astype(object))
    moved = change.astype(object) * 10_000
    found = []
    for over, upto in pairwise((None, *BANDS, None)):
        within = change != 0
        if over is not None:
            within &= (moved > over * whole).astype(np.bool_)
        if upto is not None:
            within &= (moved <= upto * whole).astype(np.bool_)
        found.append(_band(over, upto, change[within]))
        if upto == 0:
            found.append(_band(0, 0, change[change == 0]))
    return tuple(found)


def _band(over: int | None, upto: int | None, changes: IntArray) -> Band:
    return Band(
        over=over, upto=upto, accounts=int(changes.size), change_micros=sum(changes.tolist())
    )
