"""DLMS/COSEM, one codec for client and server: no I/O, no clock, no randomness."""
