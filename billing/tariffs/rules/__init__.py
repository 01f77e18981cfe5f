"""Pure rules of tariff files: read, refuse what is unclear, and name a version by its content."""

from billing.tariffs.rules.versions import (
    canonical,
    check_succession,
    digest,
    read_tariff,
    read_usage,
    valid_on,
)

__all__ = ["canonical", "check_succession", "digest", "read_tariff", "read_usage", "valid_on"]
