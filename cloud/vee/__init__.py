"""Validation: which quality a value deserves, and exceptions for what is missing."""
