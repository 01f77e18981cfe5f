"""What the caller of an importer states, because a foreign file does not say it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from billing.money import to_text


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTerms:
    """What a tariff file says and a foreign file does not."""

    code: str
    zone: str
    version: int = 1
    currency: str = "USD"
    minor_units: int = 2
    valid_from: date | None = None
    limits: Mapping[str, str] = field(default_factory=dict)
    share: Literal["own", "pro_rata"] | None = None
    left_out: tuple[str, ...] = ()
    vat_included: bool = False
    legal_ref: str = ""
    sources: tuple[str, ...] = ()

    @property
    def cent(self) -> dict[str, str]:
        """Return the rounding to the minor unit."""
        return {"step": to_text(10 ** (6 - self.minor_units), 0), "mode": "half_up"}


def new_line(kind: str, name: str, label: str, terms: ImportTerms, **more: Any) -> dict[str, Any]:
    """Return a line as a file writes it, rounded to the minor unit."""
    return {
        "kind": kind, "id": name, "label": {"en": label}, "ledger_code": f"revenue_{kind}",
        "round": terms.cent, **more,
    }  # fmt: skip
