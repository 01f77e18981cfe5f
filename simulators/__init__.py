"""
Meters standing in for hardware, and a ledger of what truly happened.

A fleet is a pure function of a seed; energy is a pure function of fleet, seed and relay history.
Real frames leave over real sockets. Imports `protocols` only.
"""
