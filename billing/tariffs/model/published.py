"""A version as it was published: its file, word for word, and who put it in force."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One row of the tariff book; `document` is canonical JSON."""

    digest: str
    code: str
    number: int
    currency: str
    valid_from: date
    valid_to: date | None
    published_at: datetime
    published_by: str
    cases: int
    document: str
