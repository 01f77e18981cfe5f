"""One simulated meter: its state, and the servers that let others ask for it."""
