"""Fees seen across calculation, ledger and collection: arrears, day books, what does not fit."""
