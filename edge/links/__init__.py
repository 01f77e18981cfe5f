"""Lines to meters: every call has a deadline, one owner per line."""
