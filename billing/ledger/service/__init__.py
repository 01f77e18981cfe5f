"""Use cases of the ledger: book once, reverse once, state, seal, prove, export."""

from billing.ledger.service.evidence import EXAMPLES, audit_book, audit_sums, seal
from billing.ledger.service.exports import ExportFormat, export, trial_balance
from billing.ledger.service.posting import (
    ORDER,
    balance_of,
    balances_of,
    book,
    book_many,
    float_of,
    open_customer_account,
    owed,
    owed_of_many,
    post,
    post_many,
    reverse,
    statement,
)

__all__ = [
    "EXAMPLES",
    "ORDER",
    "ExportFormat",
    "audit_book",
    "audit_sums",
    "balance_of",
    "balances_of",
    "book",
    "book_many",
    "export",
    "float_of",
    "open_customer_account",
    "owed",
    "owed_of_many",
    "post",
    "post_many",
    "reverse",
    "seal",
    "statement",
    "trial_balance",
]
