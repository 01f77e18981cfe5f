"""Things: from the raw reading to validated usage, and the hand on the switch."""
