"""Catalogues `<language>.json`: flat maps of key to text with `{name}` places."""

import json
import re
from functools import cache
from pathlib import Path

LANGUAGES = ("fa", "zh", "uz", "ru", "en")
RTL = frozenset({"fa"})
_FOLDER = Path(__file__).parent
_PLACE = re.compile(r"\{([a-z_]+)\}")


@cache
def catalogue(language: str) -> dict[str, str]:
    """Return every text of a language. Raises KeyError for a language we do not speak."""
    if language not in LANGUAGES:
        raise KeyError(language)
    texts: dict[str, str] = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return texts


def places(text: str) -> frozenset[str]:
    """Return the names that a text wants filled in."""
    return frozenset(_PLACE.findall(text))


class Words:
    """The texts of one language. A missing key is a bug and raises KeyError; the gate finds it."""

    def __init__(self, language: str) -> None:
        """Load the catalogue of `language`."""
        self.language = language
        self._texts = catalogue(language)

    def __call__(self, key: str, **filled: str) -> str:
        """Return the text of `key` with its places filled; values are text already formatted."""
        return _PLACE.sub(lambda place: filled[place.group(1)], self._texts[key])

    def has(self, key: str) -> bool:
        """Tell whether there is a text; for codes that other parts of the house make."""
        return key in self._texts

    def of_code(self, family: str, code: str, otherwise: str = "") -> str:
        """Return the text of a code such as a refusal; unknown: `otherwise`, or the code."""
        return self._texts.get(f"{family}.{code}", otherwise or code)
