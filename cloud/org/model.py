"""Companies and their units."""

from dataclasses import dataclass
from enum import StrEnum


class UnitKind(StrEnum):
    """Level of a unit below its company."""

    BRANCH = "branch"
    OFFICE = "office"
    SECTION = "section"


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """A company that supplies electricity."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A branch, office or section; `zone` is the IANA zone its people live by."""

    id: str
    company: str
    parent: str | None
    kind: UnitKind
    name: str
    zone: str
