"""Double entry, append-only, summing to zero at every statement."""
