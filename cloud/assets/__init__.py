"""Meters, concentrators, transformers, usage points, and what was installed where when."""
