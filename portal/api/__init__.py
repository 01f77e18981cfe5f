"""The interface for machines: payments of peers, readings and balances."""
