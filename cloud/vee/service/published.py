"""The rule sets that come with the product."""

from functools import cache
from pathlib import Path

from cloud.vee.rules.rule_sets import RuleSet, read_rule_set

SHIPPED = Path(__file__).parents[1] / "published"
"""Rule sets that come with the product, each value with its source."""


@cache
def shipped_rule_sets() -> tuple[RuleSet, ...]:
    """Return the rule sets that come with the product, the one that others rest on first."""
    base = read_rule_set((SHIPPED / "household.v1.json").read_bytes())
    others = sorted(set(SHIPPED.glob("*.json")) - {SHIPPED / "household.v1.json"})
    return (base, *(read_rule_set(file.read_bytes(), base) for file in others))
