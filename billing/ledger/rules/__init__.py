"""Pure rules of double entry: drafts, posting rules, the chain of evidence, exports."""

from billing.ledger.rules.drafts import check_balanced, request_hash

__all__ = ["check_balanced", "request_hash"]
