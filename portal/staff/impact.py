"""What a tariff does to real accounts, drawn: totals, distribution, who gains and who loses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from billing.rating.rules.impact import Band, Impact
from billing.rating.service.accounts import Accounts
from billing.rating.service.impact import price_by_both
from billing.tariffs.model import Tariff
from cloud.store.db import Database
from portal import drawing
from portal.auth.model import AccessRefusal
from portal.fmt import Reader, plain_digits
from protocols.errors import RefusedError

MOST = 5_000
"""Accounts that a page prices; more are for the command line, which has no reader waiting."""
_TOP = 5
_MOST_DAYS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpactView:
    """
    The impact, or why registers cannot tell it.

    `more` says that there are accounts beyond those that were looked at.
    """

    refused: str = ""
    detail: str = ""
    impact: Impact | None = None
    unpriced: Mapping[str, int]
    more: bool = False
    bars: Sequence[drawing.Box] = ()
    bands: Sequence[tuple[Band, str]] = ()


def impact_view(
    db: Database, both: tuple[Tariff, Tariff], first: str, until: str, *, reader: Reader
) -> ImpactView:
    """
    Return what the second tariff costs the accounts of the first, from their registers.

    Raises: RefusedError `bad_input` when days are none, or too many.
    """
    days = _days(first, until)
    if both[0].currency != both[1].currency:
        raise RefusedError(AccessRefusal.BAD_INPUT, "the two are in different money")
    try:
        them = Accounts(db=db, tariffs=both, first=days[0], until=days[1], most=MOST)
        impact = price_by_both(*both, them.uses(), top=_TOP)
    except RefusedError as error:
        return ImpactView(refused=error.refusal.value, detail=error.message, unpriced={})
    told = [(band, _said(band, reader)) for band in impact.bands if band.accounts]
    return ImpactView(
        impact=impact, unpriced=dict(them.unpriced), more=them.looked_at == MOST, bands=told,
        bars=drawing.bars([
            (band.accounts, _kind(band), f"{said}: {reader.number(band.accounts)}")
            for band, said in ((band, _said(band, reader)) for band in impact.bands)
        ]),
    )  # fmt: skip


def _days(first: str, until: str) -> tuple[date, date]:
    try:
        days = date.fromisoformat(plain_digits(first)), date.fromisoformat(plain_digits(until))
    except ValueError as error:
        raise RefusedError(AccessRefusal.BAD_INPUT, "a day is like 2026-11-18") from error
    if not 0 < (days[1] - days[0]).days <= _MOST_DAYS:
        raise RefusedError(AccessRefusal.BAD_INPUT, f"name 1 to {_MOST_DAYS} days in order")
    return days


def _kind(band: Band) -> str:
    if band.over == band.upto:
        return "same"
    return "fall" if band.upto is not None and band.upto <= 0 else "rise"


def _said(band: Band, reader: Reader) -> str:
    """Return a band in percent as its reader says it; each figure is isolated, left to right."""
    if band.over == band.upto:
        return _percent(0, reader)
    if band.over is None:
        return _percent(band.upto or 0, reader, "≤ ")
    if band.upto is None:
        return _percent(band.over, reader, "> ")
    low, high = _percent(band.over, reader), _percent(band.upto, reader)
    return reader.words("bill.span", a=low, b=high)


def _percent(hundredths: int, reader: Reader, before: str = "") -> str:
    sign = "+" if hundredths > 0 else ""
    return f"\u2066{before}{sign}{reader.number(hundredths, scale=2, most=2)} %\u2069"
