"""What to read next, and the drivers that read it."""
