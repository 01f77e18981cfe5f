"""
ReadingQualityType: who judged a value, in which category, with which finding.

*Source*: IEC 61968-9 annex D, `system.category.index`; categories 0 valid, 4 data collection,
5 reasonability, 6 validation, 7 edited, 8 estimated, 10 questionable, 11 derived, 12 projected.
"""

from protocols.errors import PeerError
from protocols.reading import Quality

CODE = "cim.reading_quality"
_OURS = "3"
"""A meter data management system judged."""

REF = {
    Quality.RAW: f"{_OURS}.0.0",
    Quality.VALID: f"{_OURS}.0.1",
    Quality.ESTIMATED: f"{_OURS}.8.0",
    Quality.EDITED: f"{_OURS}.7.0",
    Quality.QUESTIONABLE: f"{_OURS}.10.0",
}
"""The code we write for each quality."""

_BY_CATEGORY = {
    4: Quality.QUESTIONABLE, 5: Quality.QUESTIONABLE, 6: Quality.QUESTIONABLE,
    7: Quality.EDITED, 8: Quality.ESTIMATED, 10: Quality.QUESTIONABLE,
    11: Quality.ESTIMATED, 12: Quality.ESTIMATED,
}  # fmt: skip
_MANUAL_READ = 131
_WEIGHT = (
    Quality.RAW, Quality.VALID, Quality.EDITED, Quality.ESTIMATED, Quality.QUESTIONABLE,
)  # fmt: skip


def quality_of(refs: list[str]) -> Quality:
    """
    Return the gravest of the qualities named; none named is raw.

    Diagnostics, power quality and tamper flags (categories 1 to 3) say something about the meter
    and leave the value as it was; a reading taken by hand (4.131) is as good as any.
    Raises: PeerError `cim.reading_quality` for what is no code.
    """
    found = [_one(ref) for ref in refs] or [Quality.RAW]
    return max(found, key=_WEIGHT.index)


def _one(ref: str) -> Quality:
    parts = ref.strip().split(".")
    if len(parts) != 3 or not all(
        part.isascii() and part.isdigit() and len(part) < 6 for part in parts
    ):
        raise PeerError(CODE, f"{ref[:40]!r} is not system.category.index")
    category, index = int(parts[1]), int(parts[2])
    if category == 0:
        return Quality.VALID if index == 1 else Quality.RAW
    if category == 4 and index == _MANUAL_READ:
        return Quality.RAW
    return _BY_CATEGORY.get(category, Quality.RAW)
