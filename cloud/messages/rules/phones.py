"""Can this telephone number be used? The raw text is judged, since parsers drop letters."""

import phonenumbers

from cloud.messages.model import PhoneProblem

_SEPARATORS = " -()./\u00a0"


def phone_problem(raw: str) -> PhoneProblem | None:
    """
    Return why a number cannot be used, or None.

    Numbers carry their country (`+86...`); separators are allowed. phonenumbers silently drops
    letters, so they are looked for first.
    """
    text = raw.strip()
    if not text:
        return PhoneProblem.EMPTY
    digits = "".join(letter for letter in text if letter not in _SEPARATORS)
    body = digits.removeprefix("+")
    if not (body.isascii() and body.isdigit()):
        return PhoneProblem.LETTERS
    if not digits.startswith("+"):
        return PhoneProblem.NO_COUNTRY if len(body) >= 7 else PhoneProblem.TOO_SHORT
    try:
        number = phonenumbers.parse(digits, None)
    except phonenumbers.NumberParseException as error:
        if error.error_type == phonenumbers.NumberParseException.TOO_LONG:
            return PhoneProblem.TOO_LONG
        short = len(body) < 7
        return PhoneProblem.TOO_SHORT if short else PhoneProblem.NO_COUNTRY
    match phonenumbers.is_possible_number_with_reason(number):
        case phonenumbers.ValidationResult.IS_POSSIBLE:
            return None
        case phonenumbers.ValidationResult.TOO_SHORT:
            return PhoneProblem.TOO_SHORT
        case phonenumbers.ValidationResult.TOO_LONG:
            return PhoneProblem.TOO_LONG
        case _:
            return PhoneProblem.IMPOSSIBLE


def canonical(raw: str) -> str:
    """Return a usable number in the form `+861380...` that a gateway takes."""
    digits = "".join(letter for letter in raw.strip() if letter not in _SEPARATORS)
    return phonenumbers.format_number(
        phonenumbers.parse(digits, None), phonenumbers.PhoneNumberFormat.E164
    )


def masked(phone: str) -> str:
    """Return a number that may be shown to people who need not know it: `+86…42`."""
    return f"{phone[:3]}…{phone[-2:]}" if len(phone) > 6 else "…"
