"""Printing: the kept text of a bill as a PDF page, the same octets each time it is asked for."""

from functools import cache
from pathlib import Path

import typst

from billing.bills.model import Refusal
from protocols.errors import RefusedError

_TEMPLATES = Path(__file__).parents[1] / "templates"
FONTS = _TEMPLATES / "fonts"
"""Subsets of Noto Sans (Latin, Cyrillic, Arabic script, GB 2312); no other font is ever used."""

_INVISIBLE = frozenset("\u200c\u200d\u2066\u2067\u2068\u2069")
"""What joins letters or turns the line, and is never drawn."""


def pdf_of(content: str) -> bytes:
    """
    Return the page of one bill.

    Raises: RefusedError `bills.glyph_missing` when a letter has no picture in our fonts: a box in
    a name or an amount is worse than no page.
    """
    lacking = sorted(set(content) - _coverage() - _INVISIBLE)
    if lacking:
        raise RefusedError(
            Refusal.GLYPH,
            f"no font of ours has U+{ord(lacking[0]):04X} {lacking[0]!r}",
            fix="write the name otherwise, or add a font and its coverage",
        )
    octets = _compiler().compile(format="pdf", sys_inputs={"bill": content})
    assert isinstance(octets, bytes)
    return octets


@cache
def _coverage() -> frozenset[str]:
    """Return the letters that regular and bold fonts have between them."""
    found: set[str] = set()
    for row in (FONTS / "coverage.txt").read_text(encoding="ascii").split():
        first, _, last = row.partition("-")
        found.update(chr(code) for code in range(int(first, 16), int(last or first, 16) + 1))
    return frozenset(found)


@cache
def _compiler() -> typst.Compiler:
    return typst.Compiler(
        str(_TEMPLATES / "bill.typ"), root=str(_TEMPLATES), font_paths=[str(FONTS)],
        ignore_system_fonts=True,
    )  # fmt: skip
