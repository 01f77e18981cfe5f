"""Money in: one core (quote, pay, status, statement), idempotent by channel and peer id."""
