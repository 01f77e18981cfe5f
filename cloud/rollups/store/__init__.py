"""SQL of roll-ups: `queue` of what waits, `versions` of days and periods, `recomputes`."""
