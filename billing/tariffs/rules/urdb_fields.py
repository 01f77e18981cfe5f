"""
What the fields of a URDB rate are to us, and its numbers as whole ones.

URDB is the Utility Rate Database of OpenEI; its files are JSON with numbers, which are read here as
the text they were written in, because a float has no place in a price.

*Source*: https://openei.org/services/doc/rest/util_rates/?version=8
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from billing.money import to_text
from billing.tariffs.model import Refusal
from protocols.errors import RefusedError

TOLD = (
    "utility", "name", "sector", "servicetype", "voltagecategory", "phasewiring", "description",
    "basicinformationcomments", "energycomments", "demandcomments", "peakkwcapacitymin",
    "peakkwcapacitymax", "peakkwcapacityhistory", "peakkwhusagemin", "peakkwhusagemax",
    "peakkwhusagehistory", "voltageminimum", "voltagemaximum", "demandwindow", "supersedes",
)  # fmt: skip
"""Words and bounds of who may have the rate: they change no price and are kept as text."""

NAMED = ("label", "uri", "source", "sourceparent")
"""Where the rate comes from: kept as sources."""

PRICED = frozenset(
    {
        "energyratestructure", "energyweekdayschedule", "energyweekendschedule",
        "energytoulabels", "demandtoulabels", "demandratestructure", "demandweekdayschedule",
        "demandweekendschedule", "demandrateunit", "demandunits", "flatdemandstructure",
        "flatdemandmonths", "flatdemandunit", "fixedchargefirstmeter", "fixedchargeunits",
        "fixedmonthlycharge", "mincharge", "minchargeunits", "minmonthlycharge",
        "fueladjustmentsmonthly", "lookbackpercent", "lookbackmonths", "lookbackrange",
    }
)  # fmt: skip
"""What becomes lines, or is refused where these are made."""

KEPT = frozenset({*TOLD, *NAMED, "startdate", "enddate", "country"})
BOOKKEEPING = frozenset({"approved", "is_default", "revisions", "eiaid", "latest_update"})

_NUMBER = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,3}))?")
_PRICES = frozenset({"rate", "adj", "sell"})
_OPEN_FROM = 10**15
"""A last step that ends beyond 10^12 kWh is one that is meant to be open."""


def refuse(name: str, message: str, fix: str) -> NoReturn:
    """Raise the refusal of a field, by its name."""
    raise RefusedError(Refusal.UNSUPPORTED, f"{name}: {message}", fix=fix)


def read_rate(document: bytes) -> dict[str, Any]:
    """
    Return the one rate a file holds, its numbers still text; empty and zero fields are left out.

    Raises: RefusedError `tariffs.shape` when the file is no such thing or holds several rates.
    """
    try:
        found = json.loads(document, parse_float=str, parse_int=str)
        if isinstance(found, str):
            found = json.loads(found, parse_float=str, parse_int=str)
    except ValueError as error:
        raise RefusedError(Refusal.SHAPE, f"not JSON: {error}", fix="write UTF-8 JSON") from error
    rates = found.get("items", [found]) if isinstance(found, dict) else found
    if not isinstance(rates, list) or len(rates) != 1 or not isinstance(rates[0], dict):
        raise RefusedError(
            Refusal.SHAPE, "the file does not hold exactly one URDB rate",
            fix="ask for one rate by its label, with detail=full",
        )  # fmt: skip
    named = {name.lower(): value for name, value in rates[0].items()}
    return {
        name: value
        for name, value in named.items()
        if name.endswith(("schedule", "flatdemandmonths")) or not _is_empty(value)
    }


def check_fields(rate: Mapping[str, Any], left_out: Sequence[str]) -> None:
    """
    Refuse by name every field that no line can be made of, unless the caller leaves it out.

    Raises: RefusedError `tariffs.unsupported`.
    """
    for name in left_out:
        if name not in rate:
            refuse(name, "is to be left out, but the rate does not state it", "do not name it")
    known = PRICED | KEPT | BOOKKEEPING
    for name in sorted(set(rate) - known - set(left_out)):
        refuse(
            name, "cannot be represented", f"leave it out by name (--leave-out {name}) if it "
            "does not concern the accounts you bill, or write the tariff by hand",
        )  # fmt: skip


def micros_of(name: str, text: Any) -> int:
    """Return micros of a JSON number's text. Raises: RefusedError when it is finer than that."""
    return _scaled(name, text, 6)


def thousandths_of(name: str, text: Any) -> int | None:
    """Return Wh of kWh (or W of kW), None where the edge is as good as open."""
    edge = _scaled(name, text, 3)
    return None if edge >= _OPEN_FROM else edge


def kwh_text(thousandths: int) -> str:
    """Return Wh or W as a file writes kWh or kW."""
    return to_text(thousandths * 1000, 0)


def _scaled(name: str, text: Any, digits: int) -> int:
    found = _NUMBER.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise RefusedError(
            Refusal.SHAPE, f"{name}: {text!r} is not a number", fix="correct the file"
        )
    sign, whole, part, power = found[1], found[2], found[3] or "", int(found[4] or 0)
    shift = power - len(part) + digits
    number: int = int(whole + part)
    if shift < 0:
        number, rest = divmod(number, 10**-shift)
        if rest:
            refuse(name, f"{text} has more than {digits} decimals", "round it in the file")
    else:
        number = number * int(10**shift)
    return -number if sign else number


def _is_empty(value: Any) -> bool:
    """Return whether a field says nothing: absent, blank, false, zero, or a list of these."""
    if isinstance(value, list):
        return all(_is_empty(each) for each in value)
    if isinstance(value, dict):
        prices = [each for name, each in value.items() if name in _PRICES]
        return not value or (bool(prices) and all(_is_empty(each) for each in prices))
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return not int(re.sub(r"[eE].*|[.-]", "", value))
    return value in (None, False, "")
