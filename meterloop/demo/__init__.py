"""The demo: a small town of simulated meters, and the story of one cut that everything must pass."""
