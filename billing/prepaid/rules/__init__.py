"""Pure decisions of the balance: figures from registers, lines passed, days that are over."""

from billing.prepaid.rules.days import (
    DAY_GRACE,
    MISSING_AFTER,
    days_over,
    ladder_year,
    largest_plausible_wh,
    next_day,
    quality_of,
)
from billing.prepaid.rules.figures import corrected, figures, newest, rows_of, said, screened
from billing.prepaid.rules.lines import available, lines_passed, steps_reached

__all__ = [
    "DAY_GRACE",
    "MISSING_AFTER",
    "available",
    "corrected",
    "days_over",
    "figures",
    "ladder_year",
    "largest_plausible_wh",
    "lines_passed",
    "newest",
    "next_day",
    "quality_of",
    "rows_of",
    "said",
    "screened",
    "steps_reached",
]
