"""Printing: the kept text of a bill as a PDF page, the same octets each time it is asked for."""

from functools import cache
from pathlib import Path

import typst

_TEMPLATES = Path(__file__).parents[1] / "templates"
FONTS = _TEMPLATES / "fonts"
"""Subsets of Noto Sans (Latin, Cyrillic, Arabic script, GB 2312); no other font is ever used."""


def pdf_of(content: str) -> bytes:
    """Return the page of one bill."""
    octets = _compiler().compile(format="pdf", sys_inputs={"bill": content})
    assert isinstance(octets, bytes)
    return octets


@cache
def _compiler() -> typst.Compiler:
    return typst.Compiler(
        str(_TEMPLATES / "bill.typ"), root=str(_TEMPLATES), font_paths=[str(FONTS)],
        ignore_system_fonts=True,
    )  # fmt: skip
