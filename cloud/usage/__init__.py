"""Validated usage of a usage point over time: the one door that billing uses."""
