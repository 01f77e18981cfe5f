"""The demo: a small town of simulated meters, and the story of a cut that all must pass."""
