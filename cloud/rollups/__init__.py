"""Usage rolled up to days, months and reading cycles, and what late readings changed in them."""
