"""Templates to text: required variables, numbers and dates as each language writes them."""

from collections.abc import Mapping
from datetime import datetime
from string import Formatter
from typing import Any

from cloud.messages.model import REQUIRED, Kind, Language
from cloud.messages.rules.codes import WORDS

_DIGITS = {Language.FA: str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")}
_SIGNS: Mapping[Language, tuple[str, str]] = {
    Language.FA: ("٬", "٫"),
    Language.ZH: (",", "."),
    Language.UZ: (" ", ","),
    Language.RU: (" ", ","),
    Language.EN: (",", "."),
}
"""Thousands and decimal sign. *Source*: CLDR 47; a plain space where CLDR has a narrow one, which
no SMS alphabet carries."""

_GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_TWICE = frozenset("^{}\\[~]|€")
"""*Source*: 3GPP TS 23.038 section 6.2.1, default alphabet and its extension table."""

_ISOLATE, _POP = "\u2068", "\u2069"


class TemplateError(ValueError):
    """A message lacks a variable or a template asks for one that its kind does not have: a bug."""


def render(template: str, kind: Kind, language: Language, variables: Mapping[str, Any]) -> str:
    """
    Return the text of a message.

    Names ending `_micros` are money, `_wh` energy (shown as kWh), `_at` aware datetimes shown as
    they stand in their own zone, `_code` a code in the language's words; all else is text. In
    Persian what runs left to right is isolated.

    Raises: TemplateError on a missing or unknown variable.
    """
    missing = REQUIRED[kind] - variables.keys()
    if missing:
        raise TemplateError(f"{kind}: {', '.join(sorted(missing))} is missing")
    parts = []
    for literal, name, _spec, _conversion in Formatter().parse(template):
        parts.append(literal)
        if name is None:
            continue
        if name not in REQUIRED[kind]:
            raise TemplateError(f"{kind}/{language}: {{{name}}} is no variable of this kind")
        parts.append(_shown(name, variables[name], language))
    return "".join(parts).strip()


def names_in(template: str) -> frozenset[str]:
    """Return the variables that a template uses."""
    return frozenset(name for _text, name, _s, _c in Formatter().parse(template) if name)


def money(micros: int, language: Language) -> str:
    """Return an amount with two decimals, rounded half up away from zero."""
    sign = "-" if micros < 0 else ""
    cents = (abs(micros) + 5_000) // 10_000
    return _decimal(sign if cents else "", cents, 2, language)


def energy(wh: int, language: Language) -> str:
    """Return watt-hours as kilowatt-hours with one decimal, rounded half up away from zero."""
    tenths = (abs(wh) + 50) // 100
    return _decimal("-" if wh < 0 and tenths else "", tenths, 1, language)


def segments(text: str) -> int:
    """
    Return how many short messages a text takes.

    *Source*: 3GPP TS 23.038 and 23.040: 160 septets (153 in parts) or 70 UCS-2 units (67 in parts).
    """
    if all(letter in _GSM7 or letter in _GSM7_TWICE for letter in text):
        size = sum(2 if letter in _GSM7_TWICE else 1 for letter in text)
        return 1 if size <= 160 else -(-size // 153)
    size = len(text.encode("utf-16-be")) // 2
    return 1 if size <= 70 else -(-size // 67)


def _shown(name: str, value: Any, language: Language) -> str:
    if name.endswith("_micros"):
        return _isolated(money(value, language), language)
    if name.endswith("_wh"):
        return _isolated(energy(value, language), language)
    if name.endswith("_at"):
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise TemplateError(f"{name} must be an aware datetime")
        text = f"{value:%Y-%m-%d %H:%M}"
        return _isolated(text.translate(_DIGITS.get(language, {})), language)
    if isinstance(value, int):
        return str(value).translate(_DIGITS.get(language, {}))
    if name.endswith("_code"):
        return WORDS[language].get(str(value), str(value))
    return _isolated(str(value), language)


def _isolated(text: str, language: Language) -> str:
    return f"{_ISOLATE}{text}{_POP}" if language is Language.FA else text


def _decimal(sign: str, scaled: int, places: int, language: Language) -> str:
    thousands, point = _SIGNS[language]
    whole, part = divmod(scaled, 10**places)
    text = f"{sign}{whole:,}".replace(",", thousands) + f"{point}{part:0{places}}"
    return text.translate(_DIGITS.get(language, {}))
