"""
Pure decisions of validation and estimation; integers in, integers out.

`coverage` knows what lacks as intervals arrive. The rest works on whole series at once: `grid` and
`observed` hold them, `checks` finds what is wrong, `estimate` fills what lacks.
"""

from cloud.vee.rules.coverage import (
    DOUBTFUL,
    Coverage,
    Ranges,
    clip,
    doubtful_status,
    extend,
    merge,
    over_capacity,
    permille,
    quality_of,
    subtract,
)

__all__ = [
    "DOUBTFUL", "Coverage", "Ranges", "clip", "doubtful_status", "extend", "merge",
    "over_capacity", "permille", "quality_of", "subtract",
]  # fmt: skip
