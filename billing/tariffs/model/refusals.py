"""Why a tariff or a usage file was not taken: the codes an operator sees."""

from enum import StrEnum


class Refusal(StrEnum):
    """Codes of tariff files and versions, and of the usage that is priced with them."""

    SHAPE = "tariffs.shape"
    STEPS = "tariffs.steps"
    TOU = "tariffs.tou"
    BASE = "tariffs.base"
    ROUNDING = "tariffs.rounding"
    BOUND = "tariffs.bound"
    CASE = "tariffs.case"
    VALIDITY = "tariffs.validity"
    CHANGED = "tariffs.changed"
    UNKNOWN = "tariffs.unknown"
    FROZEN = "tariffs.frozen"
    NOT_FROZEN = "tariffs.not_frozen"
    PROPOSAL = "tariffs.proposal"
    SAME_PERSON = "tariffs.same_person"
    UNSUPPORTED = "tariffs.unsupported"
    USAGE = "usage.shape"
    QUALITY = "usage.quality"
    BEYOND = "usage.beyond"
    GAP = "usage.gap"
    INTERVAL = "usage.interval"
    NEGATIVE = "usage.negative"
    CURRENCY = "usage.currency"
    ATTRIBUTE = "usage.attribute"
    PERIOD = "usage.period"
    MISSING = "usage.missing"
